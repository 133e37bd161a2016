"""Why: undoing, drift and handlers rest on what an entry says, whatever came before: a kill, others, another call."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from sloth_runner.agent.looking import stamp_of
from sloth_runner.engine.recording import covered, look_again, look_again_there
from sloth_runner.ops import Batch, Found, Stat
from sloth_runner.state.ledger import Ledger
from sloth_runner.state.ledger_queries import entries, intents, pending
from sloth_runner.state.ledger_records import KEPT_CONTENT, Entry, source_stamp, stamps
from sloth_runner.transport.local import LocalTransport
from tests.modules.kit import Killed, Machine

BY = ("ann", "host", 1)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine with a file ``f`` of others, where all that is looked at was made just now."""
    machine = Machine(tmp_path)
    machine.transport = Now()
    file(machine).write_text("theirs")
    file(machine).chmod(0o644)
    return machine


def file(machine: Machine) -> Path:
    return machine.root / "f"


def write(machine: Machine, content: str, killed: int | None = None, **more: Any) -> Entry:
    """A run with a call that wants this content, up to its end or killed; what is known then."""
    machine.ledger = Ledger(machine.store, "local", tuple)
    secret = more.pop("sensitive", False)
    args = {"dest": str(file(machine)), "content": content}
    args |= {"mode": more.pop("mode")} if "mode" in more else {}
    context = machine.context(sensitive=True) if secret else None
    if killed is not None:
        with pytest.raises(Killed):
            machine.call("file.write", args, killed_after=killed, context=context, **more)
        assert list(intents(machine.store, "local"))
    else:
        machine.call("file.write", args, context=context, **more)
        assert not list(intents(machine.store, "local"))
    return next(entries(machine.store, "local", f"file:{file(machine)}"), NOTHING)


NOTHING = Entry(
    "", "", {}, None, None, None, {}, False, None, None, 0, 0, (*BY, None, None), "", (), None, ""
)


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def salted(text: str) -> str:
    """What is known of a secret content."""
    return str(covered({"content": sha(text)}, "salt")["content"])


def kept(machine: Machine, text: str) -> bool:
    """Whether a content is kept."""
    return machine.ledger.content(sha(text)) is not None


def due(machine: Machine) -> list[tuple[str, str, str]]:
    return [(one.handler, one.run, one.task) for one in pending(machine.store, "local", "stack")]


def test_what_was_there_before_is_kept_through_all_that_comes_later(machine: Machine) -> None:
    first = write(machine, "one")
    assert first.before is not None and first.before["content"] == first.before_content == sha("theirs")
    assert first.touched and kept(machine, "theirs") and kept(machine, "one")
    file(machine).write_text("of others")
    again = write(machine, "two")
    assert (again.before, again.before_content) == (first.before, first.before_content)
    assert again.order == first.order < again.time
    assert not kept(machine, "of others")


def test_what_others_put_back_is_taken_from_there_on_with_another_mode(machine: Machine) -> None:
    write(machine, "one")
    file(machine).write_text("theirs")
    entry = write(machine, "theirs", mode="0600")
    assert entry.before_content == sha("theirs") and kept(machine, "theirs")


@pytest.mark.parametrize("mode", ["0600", "0644"])
def test_a_content_that_comes_to_be_ours_later_is_kept_before_it_goes(machine: Machine, mode: str) -> None:
    """A call that changed only the mode, now or when it is found changed, has kept none."""
    for _ in range(2):
        machine.ledger = Ledger(machine.store, "local", tuple)
        machine.call("file.attributes", {"path": str(file(machine)), "mode": mode})
        file(machine).chmod(0o666)
    machine.call("file.attributes", {"path": str(file(machine)), "mode": mode})
    entry = write(machine, "one")
    assert entry.before_content == sha("theirs") and kept(machine, "theirs")


def test_what_is_adopted_is_ours_from_the_first_change_on(machine: Machine) -> None:
    met = write(machine, "theirs")
    assert met.adopted and met.before_content is None and met.left == {}
    assert write(machine, "theirs", by=(*BY, "run", "another")).order == met.order
    file(machine).chmod(0o600)
    entry = write(machine, "one")
    assert entry.touched and entry.order > met.order, "it is undone before all that came before"
    assert entry.before is not None and entry.before["mode"] == "0600", "as it was when we first touched it"
    assert entry.before_content == sha("theirs")


def test_who_applied_it_stays_when_another_task_finds_it_so(machine: Machine) -> None:
    first = write(machine, "one", by=(*BY, "run1", "t1"))
    entry = write(machine, "one", by=("eve", "there", 2, "run2", "t2"))
    assert entry.by == (*BY, "run1", "t2") and entry.time == first.time and entry.order == first.order
    entry = write(machine, "two", by=("eve", "there", 2, "run3", "t2"))
    assert entry.by == ("eve", "there", 2, "run3", "t2") and entry.time > first.time
    assert entry.order == first.order


NEWS: list[dict[str, Any]] = [
    {"site": ("another line",)},
    {"by": (*BY, "run", "another")},
    {"module": "file.copy"},
    {"agent": "web1"},
    {"user": "daemon"},
    {"keep": True},
]


@pytest.mark.parametrize("news", NEWS, ids=[next(iter(news)) for news in NEWS])
def test_what_is_new_about_a_call_is_recorded_though_nothing_changed(
    machine: Machine, news: dict[str, Any]
) -> None:
    write(machine, "one")
    entry = write(machine, "one", **news)
    assert {name: getattr(entry, name) for name in news} == news
    assert entry.touched
    file(machine).unlink()
    entry = write(machine, "one", **news)
    assert {name: getattr(entry, name) for name in news} == news


def test_what_is_as_it_was_is_not_written_again(machine: Machine) -> None:
    write(machine, "one")
    for content in ("one", "one"):
        revs = [found.rev for found in machine.store.scan()]
        write(machine, content)
    assert [found.rev for found in machine.store.scan()] == revs


def test_another_stack_is_known_beside(machine: Machine) -> None:
    first = write(machine, "one", mode="0600", stack="a", site=("line a",), by=(*BY, "run", "ta"))
    entry = write(machine, "one", stack="b", site=("line b",), by=(*BY, "run", "tb"), agent="web1")
    assert first.shares == first.others == {}
    assert entry.stack == "b" and entry.others == {"a": ["ta", "", ["line a"]]}
    assert entry.shares == {"a": ["content", "mode", "type"], "b": ["content", "type"]}
    entry = write(machine, "one", mode="0600", stack="a", by=(*BY, "run", "ta"))
    assert entry.others.keys() == {"b"} and entry.others["b"][:2] == ["tb", "web1"]
    assert entry.shares["b"] == ["content", "type"]
    secret = write(machine, "one", stack="c", sensitive=True)
    assert {stack: claim[:2] for stack, claim in secret.others.items()} == {
        "a": ["ta", ""],
        "b": ["tb", "web1"],
    }
    assert "line" not in str(secret.others)


def test_a_handler_is_called_for_by_a_change_alone(machine: Machine) -> None:
    write(machine, "theirs", notify=("h",))
    assert due(machine) == []
    write(machine, "one", notify=("h",), by=(*BY, "r", "t"))
    assert due(machine) == [("h", "r", "t")]


def test_a_handler_that_a_killed_run_owes_is_called_for_by_the_next(machine: Machine) -> None:
    write(machine, "one", 1, notify=("h",))
    assert due(machine) == []
    assert write(machine, "one", notify=("g",)).touched
    assert [name for name, *_ in due(machine)] == ["h"], "only the first of them has changed anything"


def test_handlers_of_all_killed_runs_are_called_for(machine: Machine) -> None:
    write(machine, "one", 1, notify=("h",))
    write(machine, "two", 1, notify=("g", "h"))
    entry = write(machine, "three", notify=("i",))
    assert [name for name, *_ in due(machine)] == ["g", "h", "i"]
    assert entry.before is not None and entry.before["content"] == entry.before_content == sha("theirs")
    assert kept(machine, "theirs")


def test_a_kill_does_not_forget_what_was_before_the_first_run(machine: Machine) -> None:
    write(machine, "one")
    write(machine, "two", 1)
    file(machine).write_text("of others")
    entry = write(machine, "three")
    assert entry.before is not None and entry.before["content"] == entry.before_content == sha("theirs")


def secrets(machine: Machine) -> list[str]:
    """What of the contents can be read in the store."""
    stored = b"".join(found.key.encode() + found.value for found in machine.store.scan())
    texts = ("theirs", "one", "two")
    return [text for text in texts if text.encode() in stored or sha(text).encode() in stored]


@pytest.mark.parametrize("before", ["plain", "killed", "adopted", "changed", ""])
def test_of_what_becomes_sensitive_nothing_is_kept(machine: Machine, before: str) -> None:
    known = NOTHING
    if before == "killed":
        write(machine, "one", 1)
    elif before == "adopted":
        write(machine, "theirs")
    elif before:
        known = write(machine, "one")
    entry = write(machine, "two" if before != "plain" else "one", sensitive=True)
    assert secrets(machine) == []
    assert entry.before_content is None and entry.content is None and entry.salt == "salt"
    assert entry.before is not None and entry.before["content"] == salted("theirs")
    assert entry.wanted is not None and entry.applied is not None
    assert (
        entry.wanted["content"] == entry.applied["content"] == salted("one" if before == "plain" else "two")
    )
    assert known is NOTHING or entry.order == known.order


def test_a_salt_stays(machine: Machine) -> None:
    first = write(machine, "one", sensitive=True)
    for content in ("one", "two"):
        entry = write(machine, content, sensitive=True, salt="another")
        assert (entry.salt, entry.before) == ("salt", first.before)
    assert secrets(machine) == []


@pytest.mark.parametrize("there", [True, False])
def test_of_what_was_sensitive_is_known_only_that_it_was_there(machine: Machine, there: bool) -> None:
    if not there:
        file(machine).unlink()
    write(machine, "one", sensitive=True)
    entry = write(machine, "one")
    assert entry.before == ({} if there else None) and entry.before_content is None and entry.salt == ""
    assert entry.applied is not None and entry.applied["content"] == entry.content == sha("one")
    assert kept(machine, "one")


def test_a_sensitive_call_that_was_killed_leaves_digests(machine: Machine) -> None:
    write(machine, "one", 1, sensitive=True)
    assert secrets(machine) == []
    entry = write(machine, "one", sensitive=True)
    assert entry.before is not None and entry.before["content"] == salted("theirs")
    assert secrets(machine) == []


@pytest.mark.parametrize(("size", "is_kept"), [(KEPT_CONTENT, True), (KEPT_CONTENT + 1, False)])
def test_a_content_is_kept_up_to_a_size(machine: Machine, size: int, is_kept: bool) -> None:
    text = "x" * size
    for content in (text, text, "two"):
        entry = write(machine, content)
        assert (entry.content is not None) is (is_kept or content == "two")
        assert kept(machine, text) is is_kept


def test_what_was_too_large_to_be_kept_is_not_promised(machine: Machine) -> None:
    file(machine).write_text("x" * (KEPT_CONTENT + 1))
    assert write(machine, "one").before_content is None


def test_a_run_that_finds_all_well_settles_what_a_killed_one_began(machine: Machine) -> None:
    write(machine, "one")
    write(machine, "two", 1, notify=("h",))
    file(machine).write_text("one")
    write(machine, "one")
    assert [name for name, *_ in due(machine)] == ["h"]


class Now(LocalTransport):
    """The machine at the same moment: what a file is like does not show in its stamp yet, however slow we are."""

    def __init__(self) -> None:
        super().__init__(os.environ, grace=0.2)

    def at_once(self, op: Any) -> Any:
        found = super().at_once(op)
        if isinstance(op, Batch) and isinstance(found, tuple):
            return tuple(map(_unstamped, found))
        return _unstamped(found)


def _unstamped(found: Any) -> Any:
    return found._replace(stamp=None) if isinstance(found, Found) else found


class Later(LocalTransport):
    """The machine a moment later: what a file is like shows in its stamp."""

    is_local = False

    def __init__(self) -> None:
        super().__init__(os.environ, grace=0.2)
        self.users: list[str | None] = []

    def at_once(self, op: Any) -> Any:
        found = super().at_once(op)
        if isinstance(op, Batch) and isinstance(found, tuple):
            return tuple(map(_stamped, op.ops, found))
        return _stamped(op, found)

    def as_user(self, user: str | None) -> Later:
        self.users.append(user)
        return self

    async def do(self, op: Any, on_output: Any = None) -> Any:
        return self.at_once(op)


def _stamped(op: Any, found: Any) -> Any:
    is_file = isinstance(op, Stat) and isinstance(found, Found) and found.kind == "file"
    return found._replace(stamp=stamp_of(Path(op.path).stat())) if is_file else found


CALL = "c" * 32


def looked_again(machine: Machine, there: bool) -> Entry:
    """What is known of the file at the end of a run."""
    later = Later()
    if there:
        machine.run(look_again_there(machine.ledger, later))
        machine.ledger.flush()
        assert later.users == ["ann"]
    else:
        look_again(machine.ledger, later)
    assert machine.ledger.unseen == {}
    return next(entries(machine.store, "local", f"file:{file(machine)}"))


@pytest.mark.parametrize("there", [False, True])
def test_a_call_settles_once_its_file_shows_what_it_is(machine: Machine, there: bool) -> None:
    entry = write(machine, "one", call=CALL, user="ann")
    assert (entry.call, entry.seen) == ("", ""), "it was made just now"
    entry = looked_again(machine, there)
    stamp = stamp_of(file(machine).stat())
    assert (entry.call, entry.seen) == (CALL, stamps(stamp))
    entry = write(machine, "two", user="ann")
    assert (entry.call, entry.seen) == ("", "")


def test_what_makes_the_next_look_cheaper_is_news(machine: Machine) -> None:
    write(machine, "one", call=CALL)
    machine.transport = Later()
    for call in (CALL, "d" * 32):
        entry = write(machine, "one", call=call)
        assert (entry.call, entry.seen) == (call, stamps(stamp_of(file(machine).stat())))
        assert machine.ledger.unseen == {}
    file(machine).touch()
    entry = write(machine, "one", call=CALL)
    assert entry.seen == stamps(stamp_of(file(machine).stat()))
    machine.call("file.attributes", {"path": str(file(machine)), "mode": "0604"})
    entry = write(machine, "one", call=CALL)
    assert entry.call == "", "a mode that another call wants does not show in this one"
    entry = write(machine, "one", call=CALL, sensitive=True)
    assert (entry.call, entry.seen) == ("", "")


def test_one_of_many_files_does_not_stand_for_the_call(machine: Machine) -> None:
    tree = Path(__file__).parent.parent / "modules" / "cases"  # files that have been there for a while
    machine.transport = Later()
    for _ in range(2):
        machine.call("file.copy", {"src": str(tree), "dest": f"{machine.root}/d"}, call=CALL)
        known = list(entries(machine.store, "local"))
        assert len(known) > 2 and {one.call for one in known} == {""}
    machine.call("file.copy", {"src": str(tree / "copy.yaml"), "dest": f"{machine.root}/e"}, call=CALL)
    assert CALL in {one.call for one in entries(machine.store, "local")}


def test_a_call_with_a_source_settles_with_that(machine: Machine) -> None:
    (machine.source / "s").write_text("one")
    os.utime(machine.source / "s", (1, 1))
    machine.transport = Later()
    machine.call("file.copy", {"src": "s", "dest": str(file(machine))}, call=CALL)
    entry = machine.ledger.entry(f"file:{file(machine)}")
    assert entry is not None and entry.source == "s"
    assert entry.call == (CALL if source_stamp(entry) else ""), "what changed a moment ago may do so again"


def edit(path: Path) -> None:
    path.write_text("two")


def open_to_all(path: Path) -> None:
    path.chmod(0o666)


def take_away(path: Path) -> None:
    path.unlink()


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("change", [edit, open_to_all, take_away, make_folder])
def test_what_others_have_changed_at_once_settles_nothing(machine: Machine, change: Any, there: bool) -> None:
    write(machine, "one", mode="0600", call=CALL, user="ann")
    change(file(machine))
    entry = looked_again(machine, there)
    assert (entry.call, entry.seen) == ("", "")


def test_a_paranoid_run_reads_what_a_stamp_says_is_as_it_was(machine: Machine) -> None:
    entry = write(machine, "one")
    edit(file(machine))
    machine.ledger.record(entry._replace(seen=stamps(stamp_of(file(machine).stat()))), {}, (), begun=False)
    machine.ledger.flush()
    write(machine, "one")
    assert file(machine).read_text() == "two", "a stamp is believed"
    write(machine, "one", paranoid=True)
    assert file(machine).read_text() == "one"
