"""Why: what several calls say of one resource is recorded as one, and what no call says any more is forgotten."""

from __future__ import annotations

import os
from pathlib import Path
from pwd import getpwuid
from typing import Any

import pytest

from sloth_runner.engine.joint import forget_unnamed, of_others
from sloth_runner.state.ledger import Ledger
from sloth_runner.state.ledger_queries import entries
from sloth_runner.state.ledger_records import Entry
from tests.modules.kit import Machine

UID, ME = str(os.getuid()), getpwuid(os.getuid()).pw_name
WRITE = ("file.write", {"dest": "f", "content": "ours"})
MODE = ("file.attributes", {"path": "f", "mode": "0600"})
OTHER_MODE = ("file.attributes", {"path": "f", "mode": "0640"})
GROUP = ("file.attributes", {"path": "f", "group": str(os.getgid())})
ABSENT = ("file.absent", {"path": "f"})
LINK = ("file.link", {"path": "f", "target": "x", "replace": True})
Call = tuple[str, dict[str, Any]]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    (machine.root / "f").write_text("theirs")
    (machine.root / "f").chmod(0o644)
    return machine


def run(
    machine: Machine, *calls: Call, stack: str = "stack", sensitive: bool = False, ends: bool = True
) -> Entry:
    """A run of these calls, to its end unless others fail; what is known of the file then."""
    machine.ledger = Ledger(machine.store, "local", tuple)
    for name, args in calls:
        paths = {
            key: f"{machine.root}/f" if key in ("dest", "path") else value for key, value in args.items()
        }
        machine.call(name, paths, stack=stack, context=machine.context(sensitive=sensitive))
    if ends:
        forget_unnamed(machine.ledger, stack)
        assert machine.ledger.surplus == set()
    (entry,) = entries(machine.store, "local")
    return entry


def said(entry: Entry) -> set[str]:
    """The attributes that are wanted."""
    return set(entry.wanted or ())


@pytest.mark.parametrize("again", [1, 2])
@pytest.mark.parametrize("calls", [(WRITE, MODE), (MODE, WRITE), (MODE, WRITE, MODE)])
def test_what_several_calls_say_is_recorded_together(
    machine: Machine, calls: tuple[Call, ...], again: int
) -> None:
    for _ in range(again):
        entry = run(machine, *calls)
        assert said(entry) == {"type", "content", "mode"}
        assert entry.applied is not None and entry.applied["mode"] == "0600"
        assert entry.before is not None and entry.before["mode"] == "0644"
        assert entry.left == {}


def test_the_last_word_of_one_attribute_counts(machine: Machine) -> None:
    entry = run(machine, WRITE, MODE, OTHER_MODE)
    assert said(entry) == {"type", "content", "mode"} and (entry.wanted or {})["mode"] == "0640"
    numbers = run(machine, WRITE, ("file.attributes", {"path": "f", "owner": UID}))
    assert said(numbers) == {"type", "content", "uid"}
    if not ME.isdigit():
        names = run(machine, WRITE, *(("file.attributes", {"path": "f", "owner": who}) for who in (UID, ME)))
        assert said(names) == {"type", "content", "owner"}, "uid and owner say one thing"


def test_what_is_said_of_another_thing_in_its_place_is_no_part_of_it(machine: Machine) -> None:
    assert said(run(machine, WRITE, MODE, LINK)) == {"type", "target"}
    assert run(machine, ABSENT).wanted is None
    assert said(run(machine, ABSENT, WRITE)) == {"type", "content"}
    entry = run(machine, WRITE, MODE, ABSENT)
    assert (entry.wanted, entry.applied) == (None, None)
    run(machine, WRITE, MODE)
    (machine.root / "f").unlink()
    (machine.root / "f").symlink_to("x")
    assert said(run(machine, LINK, ends=False)) == {"type", "target"}


def test_what_was_made_anew_is_as_this_run_says(machine: Machine) -> None:
    run(machine, WRITE, MODE)
    (machine.root / "f").unlink()
    assert said(run(machine, WRITE, ends=False)) == {"type", "content"}


def test_what_is_secret_stands_for_itself(machine: Machine) -> None:
    run(machine, WRITE)
    assert said(run(machine, MODE, sensitive=True, ends=False)) == {"type", "mode"}
    assert said(run(machine, WRITE)) == {"type", "content"}
    secret = run(machine, WRITE, MODE, sensitive=True)
    assert secret.salt and said(secret) == {"type", "content", "mode"}


def test_a_run_that_does_not_end_forgets_nothing(machine: Machine) -> None:
    run(machine, WRITE, MODE)
    assert said(run(machine, WRITE, ends=False)) == {"type", "content", "mode"}


@pytest.mark.parametrize(("still", "gone"), [(WRITE, "mode"), (MODE, "content")])
def test_what_no_call_says_any_more_is_not_wanted_and_can_still_be_undone(
    machine: Machine, still: Call, gone: str
) -> None:
    whole = run(machine, WRITE, MODE)
    for _ in range(2):
        entry = run(machine, still)
        assert said(entry) == {"type", "content", "mode"} - {gone}
        assert gone not in (entry.applied or {})
        assert entry.left == {gone: (whole.applied or {})[gone]}
        assert (entry.before, entry.before_content) == (whole.before, whole.before_content)
        assert bool(entry.content) is (gone != "content")


def test_of_what_was_new_only_its_content_is_left(machine: Machine) -> None:
    (machine.root / "f").unlink()
    run(machine, WRITE, MODE)
    assert run(machine, WRITE).left == {}
    (machine.root / "f").unlink()
    run(machine, WRITE, MODE)
    entry = run(machine, MODE)
    assert set(entry.left) == {"content"} and entry.before is None


def test_what_was_met_as_it_should_be_leaves_nothing(machine: Machine) -> None:
    (machine.root / "f").write_text("ours")
    (machine.root / "f").chmod(0o600)
    assert run(machine, WRITE, MODE).touched is False
    entry = run(machine, WRITE)
    assert (said(entry), entry.left, entry.touched) == ({"type", "content"}, {}, False)


def test_what_another_stack_wants_is_kept(machine: Machine) -> None:
    run(machine, WRITE, GROUP)
    both = run(machine, MODE, stack="other")
    assert said(both) == {"type", "content", "gid", "mode"}
    assert of_others(both, "other") >= {"content", "gid"} and "mode" not in of_others(both, "other")
    assert "mode" in of_others(both, "stack") and "content" not in of_others(both, "stack")
    less = run(machine, WRITE)
    assert said(less) == {"type", "content", "mode"}
    assert set(less.shares) == {"stack", "other"} and "gid" not in less.shares["stack"]
    assert said(run(machine, OTHER_MODE, stack="other")) == {"type", "content", "mode"}
