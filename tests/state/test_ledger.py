"""What a ledger promises whoever is killed, refused or too slow: nothing is done that is not on record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloth_runner.errors import Corrupt, Foreign, LockLost, StoreDown, TooLarge
from sloth_runner.state import locks
from sloth_runner.state.backends.memory import MemoryStore
from sloth_runner.state.layout import CONTENT, SHARED, store_key
from sloth_runner.state.ledger import Ledger
from sloth_runner.state.ledger_queries import entries, intents, pending
from sloth_runner.state.ledger_records import (
    Entry,
    Intent,
    Pending,
    decode,
    decode_intent,
    decode_pending,
    encode,
    escaped,
)
from sloth_runner.state.locks import Held, Owner
from sloth_runner.state.store import Change, Check, Rev
from tests.state.kit import BY, Clock
from tests.state.lossy import Line

NAMESPACE = "web1"
WHO = ("ann", "host1", 7, "r1", "t")
MOST = 3000
"""Bytes of values in one commit."""


def named(content: bytes) -> str:
    return sha256(content).hexdigest()


def intent(before: bytes | None = None) -> Intent:
    kept = None if before is None else named(before)
    return Intent({"type": "file"}, {}, kept, True, ("restart",), 1.0, "r1")


def entry(
    address: str, number: int = 0, *, content: bytes | None = None, before: bytes | None = None
) -> Entry:
    kind, _, name = address.partition(":")
    there = {"type": "file", "number": number}
    return Entry(
        kind, name, {}, there, there, None, {}, True, None if content is None else named(content),
        None if before is None else named(before), 1.0, 1.0, WHO, "stack", ("line",), number, "file.copy",
    )  # fmt: skip


def call(address: str, number: int = 0) -> Pending:
    return Pending("restart", "stack", address, float(number), "r1", "t")


class Narrow(MemoryStore):
    """Takes few changes and few bytes in one commit, and after each one has somebody look."""

    def __init__(self, look: Callable[[], None]) -> None:
        super().__init__()
        self.traits = self.traits._replace(max_changes=10)
        self.look = look
        self.commits_left: int | None = None

    def commit(self, changes: Sequence[Change | Check]) -> list[Rev]:
        """See Store."""
        if sum(len(one.value or b"") for one in changes if isinstance(one, Change)) > MOST:
            raise TooLarge("a commit takes less")
        if self.commits_left is not None:
            if self.commits_left == 0:
                raise StoreDown("the server does not answer")
            self.commits_left -= 1
        revs = super().commit(changes)
        self.look()
        return revs


class Story:
    """Changes of resources, each with what the ledger was told of it, and what is on record at any moment."""

    def __init__(self) -> None:
        self.store = Narrow(self.look)
        self.ledger = Ledger(self.store, NAMESPACE, tuple)
        self.number = 0
        self.begun: dict[str, int] = {}
        self.told: dict[str, Entry | None] = {}
        self.calls: dict[str, Pending] = {}

    def look(self) -> None:
        """Whenever the process is killed, what was begun is on record: as an intent, or with all that followed."""
        intended = set(intents(self.store, NAMESPACE))
        recorded = {one.address: one for one in entries(self.store, NAMESPACE)}
        due = {one.address: one.time for one in pending(self.store, NAMESPACE, "stack")}
        for address, number in self.begun.items():
            if escaped(address) not in intended:
                assert recorded[address].line == number
        for address, one in recorded.items():
            assert due[address] >= (one.line or 0)
            for digest in (one.content, one.before_content):
                assert digest is None or self.kept(digest)
        for address in intended:
            found = Ledger(self.store, NAMESPACE, tuple).intent(address)
            assert found is not None
            assert found.before_content is None or self.kept(found.before_content)

    def kept(self, digest: str) -> bool:
        return self.store.get(store_key(NAMESPACE, CONTENT, digest)) is not None

    def content(self, size: int) -> bytes:
        self.number += 1
        return b"%d " % self.number + b"x" * size

    def flush(self, commits: int | None) -> bool:
        """Write what is due to a store that goes away after so many commits."""
        self.store.commits_left = commits
        try:
            self.ledger.flush()
        except StoreDown:
            return False
        finally:
            self.store.commits_left = None
        return True

    def change(self, address: str, size: int, commits: int | None) -> None:
        """Change a resource, once that is on record."""
        before = self.content(size)
        self.ledger.intend({address: intent(before)}, {named(before): before})
        if self.flush(commits):
            after = self.content(size)
            self.begun[address] = self.number
            made = entry(address, self.number, content=after, before=before)
            self.calls[address] = call(address, self.number)
            self.ledger.record(made, {named(after): after}, [self.calls[address]], begun=True)
            self.told[address] = made

    def check(self) -> None:
        """All that was told is true of the store and of the ledger's picture."""
        assert self.flush(None)
        assert {one.address: one for one in entries(self.store, NAMESPACE)} == self.told
        assert {one.address: one for one in pending(self.store, NAMESPACE, "stack")} == self.calls
        fresh = Ledger(self.store, NAMESPACE, tuple)
        for address, made in self.told.items():
            assert self.ledger.entry(address) == fresh.entry(address) == made
            assert self.ledger.intent(address) == fresh.intent(address)


STEPS = st.tuples(
    st.sampled_from(["file:/a", "file:/b", "file:/c"]),
    st.sampled_from([10, 1200, 2000]),
    st.sampled_from([None, None, 0, 1, 2]),
)


@given(st.lists(STEPS, max_size=8))
def test_whenever_it_is_killed_what_was_done_is_on_record(steps: list[tuple[str, int, int | None]]) -> None:
    story = Story()
    for address, size, commits in steps:
        story.change(address, size, commits)
    story.check()


def test_a_content_that_the_store_can_not_hold_is_not_kept_and_keeps_nothing_else_back() -> None:
    store = Narrow(lambda: None)
    ledger = Ledger(store, NAMESPACE, tuple)
    large, small = b"x" * (MOST + 1), b"x"
    made = [entry("file:/a", content=large), entry("file:/b", content=small)]
    ledger.record(made[0], {named(large): large}, [], begun=False)
    ledger.record(made[1], {named(small): small}, [], begun=False)
    ledger.flush()
    assert list(entries(store, NAMESPACE)) == made
    assert ledger.content(named(large)) is None and ledger.content(named(small)) == small


def test_an_entry_that_the_store_can_not_hold_is_told() -> None:
    store = Narrow(lambda: None)
    ledger = Ledger(store, NAMESPACE, tuple)
    ledger.record(entry("file:/" + "x" * MOST), {}, [], begun=False)
    with pytest.raises(TooLarge):
        ledger.flush()


@pytest.mark.parametrize("how", ["broken", "ended", "taken by another"])
@pytest.mark.parametrize("step", ["begin", "record", "done", "drop", "let go"])
def test_who_has_lost_the_lock_of_the_stack_writes_nothing(how: str, step: str) -> None:
    clock = Clock()
    store = MemoryStore(clock)
    held = locks.acquire(store, SHARED, "stack:s", Owner("s", "s", BY), 60, clock.now)
    assert isinstance(held, Held)
    ledger = Ledger(store, NAMESPACE, lambda: [held.fence])
    content = b"before"
    ledger.begin({"file:/a": intent(content)}, {named(content): content})
    ledger.call_for([call("file:/a")])
    ledger.flush()
    if how == "broken":
        shown = locks.info(store, SHARED, "stack:s")
        assert shown is not None and locks.break_lock(store, shown, BY, "it is stuck", clock.now)
    else:
        clock.now += 61
    if how == "taken by another":
        locks.acquire(store, SHARED, "stack:s", Owner("other", "other", BY), 60, clock.now)
    was = list(store.scan())
    if step == "begin":
        ledger.intend({"file:/b": intent()}, {})
    elif step == "record":
        ledger.record(entry("file:/a"), {}, [call("file:/a")], begun=True)
    elif step == "done":
        ledger.done([call("file:/a")]).answered(store)
    else:
        ledger.drop("file:/a")
        if step == "let go":
            ledger.let_go()
    with pytest.raises(LockLost, match="it is stuck" if how == "broken" else "its lease ended"):
        ledger.flush()
    assert list(store.scan()) == was


def test_of_two_stacks_that_name_one_resource_the_last_is_believed() -> None:
    store = MemoryStore()
    one, two = Ledger(store, NAMESPACE, tuple), Ledger(store, NAMESPACE, tuple)
    content = b"the same"
    assert one.entry("file:/a") is two.entry("file:/a") is None
    for number, ledger in enumerate((one, two, one, two, two, one)):
        made = entry("file:/a", number, content=content)
        ledger.begin({"file:/a": intent(content)}, {named(content): content})
        ledger.record(made, {named(content): content}, [], begun=True)
        ledger.flush()
        assert list(entries(store, NAMESPACE)) == [made]
        assert list(intents(store, NAMESPACE)) == []


def test_a_content_that_others_let_go_of_at_this_moment_is_kept() -> None:
    line = Line(sealed=False)
    content = b"the same"
    one, two = (Ledger(store, NAMESPACE, tuple) for store in (line.direct, line.store))
    one.begin({"file:/a": intent(content)}, {named(content): content})

    def sweep() -> None:
        one.withdraw("file:/a")
        one.let_go()
        one.flush()
        assert one.content(named(content)) is None

    line.suffer(["rival"], sweep)
    two.begin({"file:/b": intent(content)}, {named(content): content})
    assert two.content(named(content)) == content


@pytest.mark.parametrize("fails", [False, True])
def test_what_is_let_go_is_deleted_and_nothing_that_is_referred_to(fails: bool) -> None:
    store = Narrow(lambda: None)
    ledger = Ledger(store, NAMESPACE, tuple)
    contents = {named(one): one for one in (b"content", b"before", b"of an intent", b"of nobody")}
    ledger.intend({"file:/b": intent(b"of an intent")}, contents)
    ledger.record(entry("file:/a", content=b"content", before=b"before"), {}, [], begun=False)
    ledger.flush()
    assert all(ledger.content(digest) == content for digest, content in contents.items())
    ledger.let_go()
    if fails:
        store.commits_left = 0
        ledger.withdraw("file:/none")
        ledger.record(entry("file:/a", 2, content=b"content", before=b"before"), {}, [], begun=False)
        with pytest.raises(StoreDown):
            ledger.flush()
        store.commits_left = None
    ledger.flush()
    left = {content for digest, content in contents.items() if ledger.content(digest) is not None}
    assert left == {b"content", b"before", b"of an intent"}
    ledger.record(
        entry("file:/c", content=b"of nobody"), {named(b"of nobody"): b"of nobody"}, [], begun=False
    )
    ledger.flush()
    assert ledger.content(named(b"of nobody")) == b"of nobody"  # it is not taken to be there still


def test_a_damaged_content_is_not_given_for_a_good_one() -> None:
    store = MemoryStore()
    store.commit([Change(store_key(NAMESPACE, CONTENT, named(b"good")), b"bad")])
    with pytest.raises(Corrupt, match="damaged"):
        Ledger(store, NAMESPACE, tuple).content(named(b"good"))


def test_a_handler_that_was_called_for_again_meanwhile_stays_due() -> None:
    store = MemoryStore()
    ledger = Ledger(store, NAMESPACE, tuple)
    done, again = call("file:/a", 1), call("file:/a", 2)
    ledger.call_for([done, call("file:/b", 1)])
    ledger.flush()
    ledger.call_for([again])
    ledger.done([done, call("file:/b", 1)]).answered(store)
    ledger.flush()
    assert pending(store, NAMESPACE, "stack") == [again]


RECORDS = [(decode, entry("file:/a")), (decode_intent, intent()), (decode_pending, call("file:/a"))]


@pytest.mark.parametrize(("read", "record"), RECORDS, ids=["entry", "intent", "pending"])
def test_what_a_later_version_wrote_is_told_as_that_and_what_is_damaged_as_damaged(
    read: Callable[[bytes], Any], record: Entry | Intent | Pending
) -> None:
    data = encode(record)
    assert read(data) == record
    with pytest.raises(Foreign, match=r"a later version of sloth-runner: this one does not know .*'pledge'"):
        read(data[:-1] + b',"pledge":1}')
    spoilt = (
        data.replace(b'"notify"', b'"notifi"').replace(b'"module"', b'"modula"').replace(b'"run"', b'"ran"')
    )
    for damaged in (data[:-2], b"[]", b"7", b"\xff", b'{"pledge":1}', spoilt):
        with pytest.raises(Corrupt, match="of the ledger can't be read"):
            read(damaged)


@pytest.mark.parametrize("touched", [False, True])
def test_what_another_stack_has_recorded_meanwhile_stays_known(touched: bool) -> None:
    store = MemoryStore()
    mine, theirs = Ledger(store, NAMESPACE, tuple), Ledger(store, NAMESPACE, tuple)
    assert mine.entry("file:/f") is None
    theirs.record(entry("file:/f", 1)._replace(stack="other"), {}, (), begun=False)
    theirs.flush()
    for number in (2, 3):
        met = entry("file:/f", number)._replace(touched=touched, before={"type": "file"})
        mine.record(met, {}, (), begun=False)
        mine.flush()
        (found,) = entries(store, NAMESPACE)
        assert (found.stack, found.line, list(found.others)) == ("stack", number, ["other"])
        assert found.touched and found.before is None, "the other has made it"
    theirs.record(
        entry("file:/f", 4)._replace(stack="other", others={"stack": ["t", "", []]}), {}, (), begun=False
    )
    theirs.flush()
    (found,) = entries(store, NAMESPACE)
    assert (found.stack, found.line, list(found.others)) == ("other", 4, ["stack"])


SEEN: dict[str, dict[str, Any] | None] = {
    "nothing": None,
    "orig": {"type": "file", "content": "o", "mode": "0600"},
    "x": {"type": "file", "content": "x", "mode": "0644"},
    "y": {"type": "file", "content": "y", "mode": "0644"},
}
MADE: dict[str, dict[str, Any] | None] = {
    "nothing": None,
    "x": {"type": "file", "content": "x"},
    "y": {"type": "file", "content": "y"},
    "o": {"type": "file", "content": "o"},
}


@pytest.mark.parametrize(
    ("first", "second", "was"),
    [
        (("orig", "nothing"), ("nothing", "x"), "orig"),
        (("nothing", "x"), ("x", "nothing"), "nothing"),
        (("nothing", "x"), ("x", "y"), "nothing"),
        (("orig", "x"), ("x", "nothing"), "orig"),
        (("orig", "x"), ("x", "y"), "orig"),
        (("orig", "nothing"), ("orig", "x"), "orig"),
        (("nothing", "x"), ("nothing", "y"), "nothing"),
        (("nothing", "x"), ("orig", "y"), "nothing"),
        (("orig", "nothing"), ("nothing", "o"), "orig"),
    ],
)
@pytest.mark.parametrize("swapped", [False, True])
def test_of_two_that_changed_a_thing_the_first_knows_what_was_there(
    first: tuple[str, str], second: tuple[str, str], was: str, swapped: bool
) -> None:
    store = MemoryStore()
    ledgers = {name: Ledger(store, NAMESPACE, tuple) for name in ("one", "two")}
    for ledger in ledgers.values():
        assert ledger.entry("file:/f") is None
    both = [("one", 1.0, *first), ("two", 2.0, *second)]
    for stack, time, seen, made in reversed(both) if swapped else both:
        changed = entry("file:/f")._replace(stack=stack, time=time, before=SEEN[seen], applied=MADE[made])
        ledgers[stack].record(changed, {}, (), begun=False)
        ledgers[stack].flush()
    (found,) = entries(store, NAMESPACE)
    assert found.before == SEEN[was] and len(found.others) == 1
