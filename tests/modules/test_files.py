"""Why: what trees and cases can't show: how often is asked and committed, what is undone, what is never told."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path
from pwd import getpwuid
from typing import TYPE_CHECKING, Any

import pytest

from sloth_runner.agent.perform import perform
from sloth_runner.errors import BadArgument, Conflict, SlothError, TaskFailed
from sloth_runner.modules import kinds
from sloth_runner.modules.base import Change, Kind, Look, Observed, Resource, differing
from sloth_runner.modules.files.editing import load
from sloth_runner.modules.files.kind import KIND
from sloth_runner.modules.files.tree import below
from sloth_runner.ops import (
    Batch,
    Content,
    Exec,
    Found,
    List,
    Listing,
    MakeDir,
    MakeLink,
    OpError,
    Read,
    SetAttrs,
    Stat,
    Unpack,
    Write,
    mutates,
)
from sloth_runner.state.backends.memory import MemoryStore
from sloth_runner.state.ledger_queries import entries
from sloth_runner.state.store import Change as StoreChange
from sloth_runner.state.store import Check, Rev
from sloth_runner.transport.local import LocalTransport
from tests.modules.kit import Machine, make_tree, read_tree

if TYPE_CHECKING:
    from sloth_runner.ops import Op


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def undo(machine: Machine) -> None:
    """Bring back what was there before, as prune does: the last made first."""
    from sloth_runner.engine.solo import complete
    from sloth_runner.transport.loop import Loop

    with closing(Loop()) as loop:
        for entry in sorted(
            entries(machine.store, "local"), key=lambda e: (e.order, e.address), reverse=True
        ):
            if entry.memory is not None or not entry.touched:
                continue
            kind: Kind = kinds()[entry.kind]
            resource = Resource(entry.kind, entry.id, entry.params)
            now: Observed = complete(machine.transport, kind.observe([Look(resource)]), loop)[0]
            assert not differing(now.attributes, entry.applied)
            before = entry.before
            content = machine.ledger.content(entry.before_content) if entry.before_content else None
            options = {"undo": True, "replace": True}
            change = Change(
                resource, now, before, differing(now.attributes, before), content, options, entry.extra
            )
            complete(machine.transport, kind.converge([change]), loop)
            again: Observed = complete(machine.transport, kind.observe([Look(resource)]), loop)[0]
            assert not differing(again.attributes, before)


UNDONE: dict[str, tuple[dict[str, Any], str, dict[str, Any]]] = {
    "a new line": ({"f": "a"}, "file.line", {"path": "f", "line": "b"}),
    "a line in a new file": ({}, "file.line", {"path": "f", "line": "b", "create": True}),
    "a line in an empty file": ({"f": ""}, "file.line", {"path": "f", "line": "b"}),
    "another line": ({"f": "x=1\r\ny\r\n"}, "file.line", {"path": "f", "line": "x=2", "regexp": "^x="}),
    "a line that its pattern does not match": (
        {"f": "#x\n#x\ny"}, "file.line", {"path": "f", "line": "x", "regexp": "^#x"}
    ),
    "a block": ({"f": "a\nb"}, "file.block", {"path": "f", "block": "x\ny", "insert_after": "^a"}),
    "another block": ({"f": "# BEGIN n\nx\n# END n\nb"}, "file.block", {"path": "f", "name": "n", "block": "z"}),
    "a key": ({"f.json": '{"a": {}}'}, "file.set_key", {"path": "f.json", "key": "a.b.c", "value": 1}),
    "another value": ({"f.yaml": "a: 1  # one\n"}, "file.set_key", {"path": "f.yaml", "key": "a", "value": "x"}),
    "a date": (
        {"f.yaml": "a: 2017-01-01\nb: 1\n"}, "file.set_key", {"path": "f.yaml", "key": "a", "value": "x"}
    ),
    "a date in TOML": (
        {"f.toml": "a = 2017-01-01T10:00:00\nb = 1\n"}, "file.set_key", {"path": "f.toml", "key": "a", "value": 1}
    ),
    "a key in a new section": ({"f.ini": "[a]\nx=1\n"}, "file.set_key", {"path": "f.ini", "key": "b.y", "value": 1}),
    "a link": ({}, "file.link", {"path": "d/l", "target": "x"}),
    "a link in the place of a file": (
        {"l": {"content": "kept\n", "mode": "0600"}}, "file.link", {"path": "l", "target": "x", "replace": True}
    ),
    "a file in the place of a link": ({"l": {"link": "x"}}, "file.write", {"dest": "l", "content": "y"}),
    "a touched file": ({}, "file.touch", {"path": "d/e/f", "mode": "0600"}),
    "a mode": ({"f": "x"}, "file.attributes", {"path": "f", "mode": "0600"}),
    "modes of all": ({"d/f": "x", "d/e/g": "y"}, "file.directory", {"path": "d", "mode": "0700", "recurse": True}),
    "a folder": ({"d/b": "old"}, "file.copy", {"src": "tree", "dest": "d"}),
    "an archive": ({}, "archive", {"src": "tree/x.tgz", "dest": "d/e"}),
    "a new folder": ({}, "file.copy", {"src": "tree", "dest": "d/e"}),
}  # fmt: skip


@pytest.mark.parametrize("what", UNDONE)
def test_undone(machine: Machine, what: str) -> None:
    tree, name, args = UNDONE[what]
    make_tree(machine.root, tree)
    make_tree(machine.source, {"tree/a": "a", "tree/b": "b", "tree/sub/c": {"link": "../a"}})
    make_tree(
        machine.source, {"tree/x.tgz": {"tar": [{"name": "a/b", "content": "x"}, {"name": "l", "link": "a"}]}}
    )
    place = "dest" if "dest" in args else "path"
    args = {**args, place: f"{machine.root}/{args[place]}"}
    before = read_tree(machine.root)
    assert machine.call(name, args).changed
    assert read_tree(machine.root) != before
    undo(machine)
    assert read_tree(machine.root) == before


@pytest.mark.parametrize("how", ["undone", "absent"])
@pytest.mark.parametrize("theirs", ["", "theirs\n"])
def test_a_file_that_was_made_for_a_line_goes_with_it_unless_others_wrote_into_it(
    machine: Machine, how: str, theirs: str
) -> None:
    path = machine.root / "d" / "f"
    args = {"path": str(path), "line": "ours"}
    machine.call("file.line", {**args, "create": True})
    with path.open("a") as file:
        file.write(theirs)
    if how == "undone":
        undo(machine)
    else:
        machine.call("file.line", {**args, "state": "absent"})
    assert read_tree(machine.root) == ({"d/f": theirs} if theirs else {})


class CountingStore(MemoryStore):
    """A store that counts commits, and those of them that were made in vain."""

    commits = 0
    conflicts = 0

    def commit(self, changes: Sequence[StoreChange | Check]) -> list[Rev]:
        self.commits += 1
        try:
            return super().commit(changes)
        except Conflict:
            self.conflicts += 1
            raise


def test_a_thousand_files_are_looked_at_together_and_recorded_in_few_commits(tmp_path: Path) -> None:
    from sloth_runner.state.ledger import Ledger

    machine = Machine(tmp_path)
    store = CountingStore()
    machine.store, machine.ledger = store, Ledger(store, "local", tuple)
    make_tree(machine.source, {f"tree/{n % 10}/{n}": f"{n}\n" for n in range(1000)})
    args = {"src": "tree", "dest": f"{machine.root}/tree", "mode": "0640"}
    outcome = machine.call("file.copy", args)
    assert outcome.message == f"{machine.root}/tree: created 1,011"
    assert len(machine.jobs) == 1011
    assert store.commits <= 2 * (1 + 3 * 1011 // max(1, store.traits.max_changes - 8))
    first = len(machine.operations)
    store.commits = 0
    machine.ledger = Ledger(store, "local", tuple)
    assert not machine.call("file.copy", args).changed
    assert machine.changing() == []
    assert {type(op) for op in machine.operations} == {Stat}
    assert len(machine.operations) == 2 + 1011 < first  # and whether the folder would go into itself
    assert store.commits <= 1
    (machine.root / "tree" / "0" / "0").unlink()
    outcome = machine.call("file.copy", {**args, "mode": "0600"})
    assert outcome.message == f"{machine.root}/tree: created 1, changed 999"


@pytest.mark.parametrize(("kind", "passes"), [("missing", True), ("not-folder", True), ("denied", False)])
def test_what_can_t_be_listed_is_not_taken_for_empty(kind: str, passes: bool) -> None:
    steps = below("/d")
    assert next(steps) == List("/d", recursive=True)
    with pytest.raises(StopIteration if passes else OpError) as caught:
        steps.throw(OpError(kind, "/d", "it can't be listed"))
    assert not passes or getattr(caught.value, "value", None) == ()


def test_no_commit_is_made_in_vain_as_long_as_contents_are_new(tmp_path: Path) -> None:
    from sloth_runner.state.ledger import Ledger

    machine = Machine(tmp_path)
    store = CountingStore()
    (machine.root / "f").write_text("of others\n")
    for content in ("one\n", "one\n", "two\n", "three\n"):
        machine.store, machine.ledger = store, Ledger(store, "local", tuple)
        machine.call("file.write", {"dest": f"{machine.root}/f", "content": content})
    assert (store.commits, store.conflicts) == (6, 0)


def test_looks_travel_in_one_batch(machine: Machine) -> None:
    kind = kinds()["file"]
    resources = [Look(Resource("file", f"{machine.root}/{n}")) for n in range(3)]
    step = next(iter(kind.observe(resources)))
    assert isinstance(step, Batch)
    assert [op.path for op in step.ops if isinstance(op, Stat)] == [
        *(look.resource.id for look in resources),
        str(machine.root),
    ]
    edits = kinds()["file.line"]
    step = next(
        iter(edits.observe([Look(Resource("file.line", f"f{n}", {"path": f"/f{n}"})) for n in range(3)]))
    )
    assert isinstance(step, Batch)


def test_a_difference_is_told_by_a_plan_and_by_a_run_alike(machine: Machine) -> None:
    (machine.root / "f").write_text("a\nb\n")
    args = {"path": f"{machine.root}/f", "line": "c", "regexp": "^b"}
    machine.check("file.line", args)
    foretold = machine.jobs[0].diff
    assert foretold is not None
    assert "-b\n+c" in foretold
    assert (machine.root / "f").read_text() == "a\nb\n"
    machine.call("file.line", args)
    assert machine.jobs[0].diff == foretold


SECRETS: dict[str, tuple[str, dict[str, Any]]] = {
    "a line": ("file.line", {"path": "f", "regexp": "^key=", "line": "key=canary-4711", "create": True}),
    "a block": ("file.block", {"path": "f", "block": "canary-4711", "create": True}),
    "a key": ("file.set_key", {"path": "f.json", "key": "a", "value": "canary-4711", "create": True}),
    "a check that tells": (
        "file.write",
        {"dest": "f", "content": "canary-4711", "validate": ["sh", "-c", 'cat "$0"; exit 1', "%s"]},
    ),
}


@pytest.mark.parametrize("what", SECRETS)
def test_what_is_sensitive_is_not_told(machine: Machine, what: str) -> None:
    name, args = SECRETS[what]
    place = "dest" if "dest" in args else "path"
    args = {**args, place: f"{machine.root}/{args[place]}"}
    context = machine.context(sensitive=True)
    told = ""
    try:
        for _ in range(2):
            outcome = machine.call(name, args, context=context)
            told += f"{outcome} {[job.diff for job in machine.jobs]}"
    except SlothError as error:
        told += f"{error.document()}"
    told += "".join(str(entry.value) + entry.key for entry in machine.store.scan())
    assert told
    assert "canary" not in told


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("file.line", {"path": "/f", "line": "canary"}),
        ("file.line", {"path": "/f", "line": "canary", "regexp": "^x"}),
        ("file.replace", {"path": "/f", "regexp": "x", "replacement": "canary"}),
    ],
)
def test_what_would_have_to_be_recorded_can_t_be_sensitive(
    machine: Machine, name: str, args: dict[str, Any]
) -> None:
    with pytest.raises(BadArgument, match="can't be sensitive"):
        machine.call(name, args, context=machine.context(sensitive=True))


def test_a_check_leaves_nothing_and_is_told_as_no_change(machine: Machine) -> None:
    path = machine.root / "f"
    path.write_text("old")
    path.chmod(0o640)
    args = {
        "dest": str(path),
        "content": "new",
        "validate": ["sh", "-c", 'ls -la "$0" >&2; exit 1', "%s"],
    }
    with pytest.raises(TaskFailed, match=r"the check of .* by sh ended with exit status 1") as caught:
        machine.call("file.write", args)
    assert str(path) in (caught.value.system or "")
    assert machine.mutations == []
    assert list(read_tree(machine.root)) == ["f"]
    assert path.read_text() == "old"
    assert machine.check("file.write", args).changed, "a plan has no file to check"


def test_a_file_to_be_checked_has_one_name_whatever_is_in_it(machine: Machine) -> None:
    """So what a killed run left of another content is written over, and goes."""
    names = set()
    for content in ("one", "two"):
        args = {"dest": f"{machine.root}/f", "content": content, "validate": ["test", "-f", "%s"]}
        machine.call("file.write", args)
        names |= {op.path for op in machine.operations if isinstance(op, Write) and op.passing}
    assert len(names) == 1
    Path(*names).write_text("left")
    machine.call("file.write", {**args, "content": "three"})
    assert list(read_tree(machine.root)) == ["f"]


@pytest.mark.parametrize("src", ["c", "../source/c/", "l"])
def test_a_folder_is_not_copied_into_itself(machine: Machine, src: str) -> None:
    make_tree(machine.source, {"c/f": "x", "c/sub/g": "y", "l": {"link": "c"}})
    before = read_tree(machine.source)
    for dest in ("c/sub", "c/new/one", "l/sub"):
        args = {"src": src, "dest": f"{machine.source}/{dest}"}
        for call in (machine.check, machine.call):
            with pytest.raises(BadArgument, match="is inside the folder that is copied"):
                call("file.copy", args)
    assert read_tree(machine.source) == before
    assert machine.call("file.copy", {"src": src, "dest": f"{machine.source}/c2"}).changed
    there = machine.context(is_local=False)
    args = {"src": src, "dest": f"{machine.source}/c/sub"}
    assert machine.call("file.copy", args, context=there).changed, "that is another machine's folder"


def test_a_check_sees_the_final_mode(machine: Machine) -> None:
    path = machine.root / "f"
    path.write_text("old")
    path.chmod(0o604)
    args = {
        "path": str(path),
        "line": "new",
        "validate": ["sh", "-c", '[ "$(stat -c %a "$0")" = 604 ]', "%s"],
    }
    assert machine.call("file.line", args).changed
    args = {"dest": f"{machine.root}/g", "content": "x", "mode": "0711"}
    args["validate"] = ["sh", "-c", '[ "$(stat -c %a "$0")" = 711 ]', "%s"]
    assert machine.call("file.write", args).changed


def test_killed_during_a_check_it_is_taken_up_again(machine: Machine) -> None:
    path = machine.root / "f"
    path.write_text("old\n")
    args = {"path": str(path), "line": "new", "validate": "test -f %s"}
    machine.call("file.line", args)
    beside = next(op for op in machine.operations if isinstance(op, Write))
    assert beside.passing
    path.write_text("old\n")
    Path(beside.path).write_text("left by a run that was killed")
    machine.call("file.line", args)
    assert list(read_tree(machine.root)) == ["f"]


def test_a_backup_is_told(machine: Machine) -> None:
    path = machine.root / "f"
    path.write_text("old\n")
    args = {"dest": str(path), "content": "new\n", "backup": True}
    kept = machine.call("file.write", args).fields["backup"]
    assert isinstance(kept, str)
    assert Path(kept).read_text() == "old\n"
    assert "backup" not in machine.call("file.write", args).fields


def test_an_archive_that_was_unpacked_is_not_read_again(machine: Machine) -> None:
    make_tree(
        machine.source, {"a.tgz": {"tar": [{"name": "a/x", "content": "x"}, {"name": "a/l", "link": "x"}]}}
    )
    args = {"src": "a.tgz", "dest": f"{machine.root}/d"}
    assert machine.call("archive", args).changed
    outcome = machine.call("archive", args)
    assert (outcome.changed, outcome.fields["entries"]) == (False, 3)
    assert not any(isinstance(op, Unpack) for op in machine.operations)
    (machine.root / "d/a/x").write_text("edited")
    assert "unpacked a/x" in machine.call("archive", args).message
    (machine.root / "d/a/l").unlink()
    assert "unpacked a/l" in machine.call("archive", args).message
    make_tree(machine.source, {"a.tgz": {"tar": [{"name": "a/x", "content": "y"}]}})
    assert "unpacked a/x" in machine.call("archive", args).message
    assert (machine.root / "d/a/x").read_text() == "y"


def test_an_archive_on_the_target(machine: Machine) -> None:
    make_tree(machine.root, {"a.tgz": {"tar": [{"name": "a/x", "content": "x"}]}})
    args = {"src": f"{machine.root}/a.tgz", "dest": f"{machine.root}/d", "remote": True}
    machine.check("archive", args)
    assert machine.would_change()
    assert machine.call("archive", args).changed
    assert (machine.root / "d/a/x").read_text() == "x"
    assert not machine.call("archive", args).changed
    with pytest.raises(BadArgument, match="an absolute path on the target"):
        machine.call("archive", {**args, "src": "a.tgz"})


def test_a_large_archive_is_several_resources(machine: Machine) -> None:
    entries = [{"name": f"f{n:04d}", "content": ""} for n in range(2100)]
    make_tree(machine.source, {"a.tgz": {"tar": entries}})
    args = {"src": "a.tgz", "dest": f"{machine.root}/d"}
    machine.call("archive", args)
    assert [type(op) for op in machine.operations if mutates(op)] == [MakeDir, Unpack]
    assert len(machine.jobs) == 3
    assert not machine.call("archive", args).changed
    (machine.root / "d/f2050").unlink()
    machine.check("archive", args)
    assert [job.action for job in machine.jobs] == ["none", "none", "update"]
    machine.call("archive", args)
    undo(machine)
    assert read_tree(machine.root) == {}


def test_a_plan_says_what_it_can_t_know_of_an_archive(machine: Machine) -> None:
    from sloth_runner.engine.rehearsal import Rehearsal
    from sloth_runner.errors import Unpredictable

    make_tree(machine.root, {"a.tgz": {"tar": [{"name": "x", "content": "x"}]}, "d/x": "x"})
    rehearsal = Rehearsal(LocalTransport(os.environ))
    rehearsal.at_once(Write(f"{machine.root}/b.tgz", b"new"))
    rehearsal.at_once(MakeDir(f"{machine.root}/new", 0o755))
    look = Unpack(f"{machine.root}/d", content=(machine.root / "a.tgz").read_bytes(), look=True)
    assert rehearsal.at_once(look) is not None
    assert rehearsal.at_once(look._replace(path=f"{machine.root}/new")) is not None
    with pytest.raises(Unpredictable):
        rehearsal.at_once(look._replace(content=None, source=f"{machine.root}/b.tgz"))
    rehearsal.at_once(look._replace(path=f"{machine.root}/new", look=False))
    found = rehearsal.at_once(Stat(f"{machine.root}/new/x", digest=True))
    assert isinstance(found, Found)
    assert (found.kind, found.digest, found.mode) == ("file", hashlib.sha256(b"x").hexdigest(), 0o644)
    with pytest.raises(Unpredictable):
        rehearsal.at_once(Read(f"{machine.root}/new/x", 10))
    assert not (machine.root / "new").exists()
    rehearsal.at_once(Write(f"{machine.root}/d/y", b"new"))
    with pytest.raises(Unpredictable):
        rehearsal.at_once(look)


def test_in_a_plan_an_archive_empties_no_folder_that_is_there(machine: Machine) -> None:
    from sloth_runner.engine.rehearsal import Rehearsal
    from sloth_runner.errors import Unpredictable

    folders = [{"name": name, "folder": 0o755} for name in ("app", "new")]
    packed = {"tar": [*folders, {"name": "app/x", "content": "x"}]}
    make_tree(machine.root, {"a.tgz": packed, "d/app": {"folder": "0700"}, "d/app/x": "old", "d/app/y": "y"})
    rehearsal = Rehearsal(LocalTransport(os.environ))
    rehearsal.at_once(Unpack(f"{machine.root}/d", content=(machine.root / "a.tgz").read_bytes()))
    app = rehearsal.at_once(Stat(f"{machine.root}/d/app"))
    assert isinstance(app, Found) and (app.kind, app.mode) == ("folder", 0o755)
    assert rehearsal.at_once(Read(f"{machine.root}/d/app/y", 10)) == Content(b"y")
    assert rehearsal.at_once(List(f"{machine.root}/d/app")) == Listing((("x", "file"), ("y", "file")))
    assert rehearsal.at_once(List(f"{machine.root}/d/new")) == Listing(())
    rehearsal.at_once(SetAttrs(f"{machine.root}/d/app/x", 0o600))
    with pytest.raises(Unpredictable):
        rehearsal.at_once(Read(f"{machine.root}/d/app/x", 10))


def test_a_file_that_is_only_rehearsed_has_no_time(machine: Machine) -> None:
    from sloth_runner.engine.rehearsal import Rehearsal

    rehearsal = machine.rehearsal = Rehearsal(machine.transport)
    machine.call("file.write", {"dest": f"{machine.root}/f", "content": "xyz"})
    outcome = machine.call("file.stat", {"path": f"{machine.root}/f"})
    assert rehearsal is machine.rehearsal
    assert (outcome.fields["exists"], outcome.fields["size"]) == (True, 3)
    assert "modified" in outcome.unknown and "modified" not in outcome.fields
    assert (outcome.fields["uid"], outcome.fields["gid"]) == (os.geteuid(), os.getegid())


def test_each_family_holds_what_it_is_said_to_hold() -> None:
    from importlib import import_module

    from sloth_runner.modules import FAMILIES

    for family, (names, kinds_) in FAMILIES.items():
        file = import_module(f"sloth_runner.modules.{family}")
        assert tuple(module.name for module in getattr(file, "MODULES", ())) == names
        assert tuple(kind.name for kind in getattr(file, "KINDS", ())) == kinds_


def acl_or_skip(folder: Path) -> None:
    try:
        subprocess.run(["setfacl", "-m", "u:daemon:r", str(folder)], check=True, capture_output=True)
        subprocess.run(["setfacl", "-b", str(folder)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no ACLs here: {error}")


def acl(path: Path) -> list[str]:
    said = subprocess.run(["getfacl", "-cpE", str(path)], check=True, capture_output=True, text=True).stdout
    return [line for line in said.splitlines() if line]


def test_acl(machine: Machine) -> None:
    acl_or_skip(machine.root)
    path = machine.root / "f"
    path.write_text("x")
    path.chmod(0o640)
    before = acl(path)
    args = {"path": str(path), "acl": {"user:daemon": "rw", "group:bin": "r", "user:2": "r"}}
    machine.check("file.attributes", args)
    assert machine.would_change()
    assert acl(path) == before
    outcome = machine.call("file.attributes", args)
    assert outcome.changed
    assert f"created file.acl {path}#user:daemon" in outcome.message
    assert {"user:daemon:rw-", "group:bin:r--", "user:bin:r--"} < set(acl(path))
    assert machine.output == [], "what is read of a list is for the module alone"
    assert not machine.call("file.attributes", args).changed
    assert [op for op in machine.operations if isinstance(op, Exec) and op.mutating] == []
    machine.check("file.attributes", args)
    assert machine.would_change() is False
    machine.call("file.line", {"path": str(path), "line": "y"})
    assert "user:daemon:rw-" in acl(path), "an edit keeps it"
    args["acl"] = {"user:daemon": "r", "group:bin": False}
    assert machine.call("file.attributes", args).changed
    assert "user:daemon:r--" in acl(path)
    assert not any(line.startswith("group:bin") for line in acl(path))
    assert not machine.call("file.attributes", args).changed


def test_acl_and_mode(machine: Machine) -> None:
    acl_or_skip(machine.root)
    path = machine.root / "f"
    path.write_text("x")
    args = {"path": str(path), "mode": "0660", "acl": {"user:daemon": "rw", "user:bin": "r"}}
    for change in ({}, {"mode": "0640", "acl": {"user:daemon": "r"}}, {"mode": "0670"}):
        args.update(change)
        machine.check("file.attributes", args)
        said = [(job.address, job.action) for job in machine.jobs]
        machine.call("file.attributes", args)
        assert [(job.address, job.action) for job in machine.jobs] == said
        assert f"{path.stat().st_mode & 0o7777:04o}" == args["mode"]
        assert not machine.call("file.attributes", args).changed


def test_what_a_mode_has_taken_away_of_an_acl_is_given_back(machine: Machine) -> None:
    acl_or_skip(machine.root)
    path = machine.root / "f"
    path.write_text("x")
    args = {"path": str(path), "acl": {"user:daemon": "r"}}
    machine.call("file.attributes", args)
    path.chmod(0o600)
    machine.check("file.attributes", args)
    assert machine.would_change()
    assert "effective --- → r--" in machine.call("file.attributes", args).message
    assert path.stat().st_mode & 0o777 == 0o640
    assert not machine.call("file.attributes", args).changed
    wide = {**args, "mode": "0660"}
    path.chmod(0o600)
    machine.check("file.attributes", wide)
    said = [(job.address, job.action) for job in machine.jobs]
    machine.call("file.attributes", wide)
    assert [(job.address, job.action) for job in machine.jobs] == said


def test_default_acl_and_back(machine: Machine) -> None:
    acl_or_skip(machine.root)
    folder = machine.root / "d"
    folder.mkdir(mode=0o750)
    before = acl(folder)
    machine.call(
        "file.attributes", {"path": str(folder), "acl": {"default:user:daemon": "rwx", "group:bin": "rx"}}
    )
    assert {"default:user:daemon:rwx", "group:bin:r-x"} < set(acl(folder))
    undo(machine)
    assert acl(folder) == before


def test_acl_of_nobody(machine: Machine) -> None:
    acl_or_skip(machine.root)
    (machine.root / "f").write_text("x")
    with pytest.raises(TaskFailed, match="can't be set") as caught:
        machine.call("file.attributes", {"path": f"{machine.root}/f", "acl": {"user:no-such-user": "r"}})
    assert "make the user or group first" in caught.value.next


def test_without_the_programs_it_is_said_what_to_install(machine: Machine) -> None:
    kind = kinds()["file.acl"]
    steps = kind.observe([Look(Resource("file.acl", "x", {"path": "/etc/passwd", "entry": "user:daemon"}))])
    stats = next(iter(steps))
    assert isinstance(stats, Batch)
    steps.send(tuple(machine.transport.at_once(op) for op in stats.ops))
    with pytest.raises(TaskFailed, match="getfacl is not installed") as caught:
        steps.throw(OpError("not-found", "getfacl", "is in no folder of PATH"))
    assert 'pkg({ name = "acl" })' in caught.value.next[0]


def test_a_large_file_is_not_edited(machine: Machine) -> None:
    path = machine.root / "f"
    with path.open("wb") as file:
        file.truncate((16 << 20) + 1)
    with pytest.raises(TaskFailed, match="more than 16 MiB, and is not edited"):
        machine.call("file.line", {"path": str(path), "line": "x"})
    assert not any(isinstance(op, Read | Write) for op in machine.operations)


def test_bytes_that_are_no_text_arrive_as_they_are(machine: Machine) -> None:
    (machine.source / "t").write_text("{{ some }}")
    for name, args in (
        ("file.write", {"content": "\udcff\udcc3"}),
        ("file.template", {"src": "t", "vars": {"some": "\udcff\udcc3"}}),
    ):
        path = machine.root / name
        machine.call(name, {"dest": str(path), **args})
        assert path.read_bytes() == b"\xff\xc3"


def test_whoever_we_are_already_is_no_other_user(machine: Machine) -> None:
    for number, user in enumerate((str(os.getuid()), getpwuid(os.getuid()).pw_name)):
        path = {"path": f"{machine.root}/{number}"}
        assert machine.call("file.touch", path, context=machine.context(user=user)).changed


@pytest.mark.parametrize(
    ("kind", "results", "error", "words"),
    [
        ("denied", (), OpError, "it can't be read"),
        ("denied", (Found("file"),), OpError, "it can't be read"),
        ("too-large", (Found("file"),), TaskFailed, "/f has more than 16 MiB"),
        ("folder", (Found("folder"),), TaskFailed, "/f is a folder, not a file"),
        ("not-file", (Found("other"),), TaskFailed, "/f is a device, a pipe or a socket, not a file"),
        ("link", (Found("link", target="x"),), TaskFailed, "/f is a symbolic link to x, not a file"),
    ],
)
def test_why_a_file_is_not_edited(
    kind: str, results: tuple[Any, ...], error: type[Exception], words: str
) -> None:
    steps = load("/f")
    assert isinstance(next(steps), Batch)
    failure = OpError(kind, "/f", "it can't be read")
    failure.results = results
    with pytest.raises(error, match=words):
        steps.throw(failure)


def test_files_to_be_edited_are_looked_at_together_as_each_alone(machine: Machine, tmp_path: Path) -> None:
    from sloth_runner.engine.solo import complete
    from sloth_runner.transport.loop import Loop

    (tmp_path / "d").mkdir()
    (tmp_path / "l").symlink_to("d")
    contents = {"a": b"x\n", "b": b"", "d/c": b"\xff\nx\n", "l/e": b"y\n"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    paths = [str(tmp_path / name) for name in (*contents, "none", "d/new/none", "l/none")]
    observe = kinds()["file.line"].observe
    with closing(Loop()) as loop:
        for keys in (None, frozenset({"present"})):
            looks = [
                Look(Resource("file.line", path, {"path": path, "regexp": "^x"}), keys) for path in paths
            ]
            together = complete(machine.transport, observe(looks), loop)
            assert together == [complete(machine.transport, observe([look]), loop)[0] for look in looks]
            assert [one.attributes is not None for one in together] == [True, False, True, *[False] * 4]


def test_another_user_is_refused(machine: Machine) -> None:
    with pytest.raises(BadArgument, match="can't act as"):
        machine.call("file.touch", {"path": f"{machine.root}/f"}, context=machine.context(user="daemon"))


@pytest.mark.parametrize("depth", [1, 3])
def test_folders_that_others_make_meanwhile_are_not_in_the_way(tmp_path: Path, depth: int) -> None:
    """Another process makes them all before the first question to the machine, before the second, and so on."""
    asked, moment = 1, 0
    while asked > moment:
        path = tmp_path.joinpath(str(moment), *"abc"[:depth], "file")
        (tmp_path / str(moment)).mkdir()
        asked = _written_while_others_make_folders(path, moment)
        assert path.read_text() == "new"
        moment += 1
    assert moment > depth


def test_a_folder_that_others_make_meanwhile_gets_its_mode(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    resource, wanted = Resource("file", str(folder)), {"type": "folder", "mode": "0700"}
    steps = KIND.converge([Change(resource, Observed(None), wanted, frozenset({"present"}))])
    folder.mkdir(0o755)
    _answered(steps, perform)
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("owners", "sent"),
    [
        ({"owner": "ann", "group": "dev"}, ("ann", "dev")),
        ({"uid": 7, "gid": 8}, ("7", "8")),
        ({"owner": "ann"}, ("ann", None)),
        ({"gid": 0}, (None, "0")),
    ],
)
@pytest.mark.parametrize(
    ("there", "wanted", "op"),
    [
        (None, {"type": "folder"}, MakeDir("/d", 0o755)),
        ({"type": "folder"}, {"type": "folder"}, SetAttrs("/d")),
        (None, {"type": "link", "target": "x"}, MakeLink("/d", "x")),
        (None, {"type": "file", "content": "y"}, Write("/d", b"y")),
        ({"type": "file", "mode": "0600"}, {"type": "file", "content": "y"}, Write("/d", b"y", 0o600)),
    ],
)
def test_whose_it_is_to_be_is_said_where_it_is_made(
    there: Any, wanted: dict[str, Any], op: Any, owners: dict[str, Any], sent: tuple[str | None, str | None]
) -> None:
    differing = frozenset({"content", *owners}) if "content" in wanted else frozenset(owners)
    change = Change(Resource("file", "/d"), Observed(there), {**wanted, **owners}, differing, b"y")
    assert next(KIND.converge([change])) == op._replace(owner=sent[0], group=sent[1])


def test_a_file_of_which_only_a_mark_is_known_is_not_made_empty(tmp_path: Path) -> None:
    wanted = {"type": "file", "content": hashlib.sha256(b"x").hexdigest()}
    steps = KIND.converge(
        [Change(Resource("file", f"{tmp_path}/f"), Observed(None), wanted, frozenset({"present"}))]
    )
    with pytest.raises(TaskFailed, match="f is gone, and what was in it is not known"):
        _answered(steps, perform)
    assert list(tmp_path.iterdir()) == []


def _written_while_others_make_folders(path: Path, moment: int) -> int:
    """How many questions it took."""
    asked = 0

    def answer(op: Op) -> Any:
        nonlocal asked
        if isinstance(op, Batch):
            return tuple([answer(one) for one in op.ops])
        if asked == moment:
            path.parent.mkdir(parents=True, exist_ok=True)
        asked += 1
        return perform(op)

    kind, resource = kinds()["file"], Resource("file", str(path))
    (observed,) = _answered(kind.observe([Look(resource)]), answer)
    wanted = {"type": "file", "content": hashlib.sha256(b"new").hexdigest()}
    change = Change(resource, observed, wanted, frozenset({"present"}), b"new", {}, observed.extra)
    _answered(kind.converge([change]), answer)
    return asked


def _answered(steps: Generator[Any, Any, Any], answer: Callable[[Op], Any]) -> Any:
    result: Any = None
    while True:
        try:
            result = answer(steps.send(result))
        except StopIteration as end:
            return end.value


def test_nothing_purges_the_root(machine: Machine) -> None:
    """Only checked: else a fault would be the end of the machine."""
    make_tree(machine.source, {"d/f": "x"})
    make_tree(machine.root, {"l": {"link": "/"}})
    args = {"src": "d", "dest": f"{machine.root}/l", "follow": True, "purge": True}
    with pytest.raises(BadArgument, match="does not purge /"):
        machine.check("file.copy", args)
    with pytest.raises(BadArgument):  # a file path is never that of the root
        machine.check("file.copy", {**args, "dest": "/"})
