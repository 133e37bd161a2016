"""Why: what is converged rests on a machine that others use, too, and on looks that may fail."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from sloth_runner.errors import TaskFailed
from sloth_runner.ops import Batch, OpError, Stat, Write
from sloth_runner.state.ledger import Ledger
from sloth_runner.state.ledger_queries import entries, intents
from sloth_runner.transport.local import LocalTransport
from tests.modules.kit import Killed, Machine, make_tree


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def run(machine: Machine, name: str, *, killed: int | None = None, **args: Any) -> str:
    """A run with one call; its message."""
    machine.ledger = Ledger(machine.store, "local", tuple)
    return machine.call(name, args, killed_after=killed).message


def known(machine: Machine) -> list[str]:
    """The addresses of all entries, without the folder."""
    return [one.address.replace(f"{machine.root}/", "") for one in entries(machine.store, "local")]


def test_what_can_be_looked_at_no_more_in_the_old_way_is_changed_in_the_new_one(machine: Machine) -> None:
    """Nothing is said of whether others have changed it."""
    path = machine.root / "f"
    path.write_text('{"a": 1}')
    args: dict[str, Any] = {"path": str(path), "key": "a"}
    run(machine, "file.set_key", **args, value=2, format="json")
    path.write_text("a: 1\n")
    message = run(machine, "file.set_key", **args, value=3, format="yaml")
    assert path.read_text() == "a: 3\n" and "by others" not in message
    assert not machine.jobs[0].drifted


def test_what_others_did_shows_in_the_old_way_to_look(machine: Machine) -> None:
    path = machine.root / "f"
    path.write_text('{"a": 1}')
    args: dict[str, Any] = {"path": str(path), "key": "a"}
    run(machine, "file.set_key", **args, value=2, format="json")
    message = run(machine, "file.set_key", **args, value=3, format="yaml")
    assert "by others" not in message
    path.write_text('{"a": 9}')
    message = run(machine, "file.set_key", **args, value=4, format="json")
    assert "it had been changed by others since" in message


class Rival(LocalTransport):
    """A machine where others write into each file at once."""

    def __init__(self) -> None:
        super().__init__(os.environ, grace=0.2)

    def at_once(self, op: Any) -> Any:
        found = super().at_once(op)
        return found if found is None else self._spoil(op, found)

    async def do(self, op: Any, *more: Any) -> Any:
        return self._spoil(op, await super().do(op, *more))

    def _spoil(self, op: Any, found: Any) -> Any:
        if isinstance(op, Write):
            Path(op.path).write_text("theirs")
        return found


@pytest.mark.parametrize("secret", [False, True])
def test_what_is_not_as_wanted_after_the_change_fails_and_is_not_recorded(
    machine: Machine, secret: bool
) -> None:
    machine.transport = Rival()
    args = {"dest": f"{machine.root}/f", "content": "s3cr3t"}
    with pytest.raises(TaskFailed, match="still not as wanted: content") as caught:
        machine.call("file.write", args, context=machine.context(sensitive=secret))
    digest = hashlib.sha256(b"s3cr3t").hexdigest()
    assert (digest[:20] in caught.value.message) is not secret
    machine.ledger.flush()
    assert known(machine) == [] and len(list(intents(machine.store, "local"))) == 1


def test_what_was_ours_in_what_a_killed_run_removed_is_forgotten_by_the_next(machine: Machine) -> None:
    make_tree(machine.root, {"d/f": "a\n", "dd": "a\n"})
    for name in ("d/f", "dd"):
        run(machine, "file.line", path=f"{machine.root}/{name}", line="b")
    run(machine, "file.write", dest=f"{machine.root}/d/sub/g", content="x")
    others = [address for address in known(machine) if ":d/" not in address]
    assert len(others) == 1 and len(known(machine)) == 3
    args: dict[str, Any] = {"path": f"{machine.root}/d", "recursive": True}
    with pytest.raises(Killed):
        run(machine, "file.absent", killed=1, **args)
    assert not (machine.root / "d").exists()
    run(machine, "file.absent", **args)
    assert known(machine) == [*others, "file:d"]


def test_what_another_stack_names_in_a_folder_that_goes_is_missed_by_that(machine: Machine) -> None:
    for name in ("f", "g"):
        machine.call("file.write", {"dest": f"{machine.root}/d/{name}", "content": "x"}, stack="another")
    machine.call("file.write", {"dest": f"{machine.root}/d/f", "content": "x"})
    machine.call("file.write", {"dest": f"{machine.root}/d/h", "content": "x"})
    machine.call("file.absent", {"path": f"{machine.root}/d/none"})
    run(machine, "file.absent", path=f"{machine.root}/d", recursive=True)
    assert known(machine) == ["file:d", "file:d/f", "file:d/g", "file:d/none"]


class Full(LocalTransport):
    """A machine that is full after the first file, and then answers no question."""

    def __init__(self) -> None:
        super().__init__(os.environ, grace=0.2)
        self.written = 0

    def at_once(self, op: Any) -> Any:
        self._look(op)
        return super().at_once(op)

    async def do(self, op: Any, *more: Any) -> Any:
        self._look(op)
        return await super().do(op, *more)

    def _look(self, op: Any) -> None:
        for one in op.ops if isinstance(op, Batch) else (op,):
            if isinstance(one, Stat) and self.written > 1:
                raise OpError("denied", one.path, "can't be looked at")
            if isinstance(one, Write):
                self.written += 1
                if self.written > 1:
                    raise OpError("full", one.path, "there is no room")


def test_a_look_that_fails_after_a_failure_does_not_hide_that(machine: Machine) -> None:
    make_tree(machine.source, {"tree/a": "a", "tree/b": "b"})
    machine.transport = Full()
    with pytest.raises(TaskFailed, match="there is no room"):
        run(machine, "file.copy", src="tree", dest=f"{machine.root}/d")


def unpack(machine: Machine, *, secret: bool = False, killed: int | None = None) -> set[str]:
    """A run that unpacks an archive; which texts of it and of what was there before can be read in the store."""
    machine.ledger = Ledger(machine.store, "local", tuple)
    args = {"src": "a.tgz", "dest": f"{machine.root}/d"}
    machine.call("archive", args, killed_after=killed, context=machine.context(sensitive=secret))
    stored = b"".join(found.value for found in machine.store.scan())
    return {text for text in ("theirs", "others", "ours") if text.encode() in stored}


@pytest.fixture
def archive(machine: Machine) -> Path:
    """A file that the next archive writes over."""
    make_tree(machine.root, {"d/x": "theirs"})
    make_tree(machine.source, {"a.tgz": {"tar": [{"name": "x", "content": "ours"}]}})
    return machine.root / "d/x"


def test_what_a_sensitive_archive_writes_over_is_not_kept(machine: Machine, archive: Path) -> None:
    assert unpack(machine, secret=True) == set()
    assert archive.read_text() == "ours"


def test_what_an_archive_writes_over_is_kept_as_the_first_run_met_it(machine: Machine, archive: Path) -> None:
    with pytest.raises(Killed):
        unpack(machine, killed=1)
    archive.write_text("others")
    assert unpack(machine) == {"theirs"}
    (entry,) = [one for one in entries(machine.store, "local") if one.kind == "archive"]
    assert entry.extra["contents"] == [hashlib.sha256(b"theirs").hexdigest()]
