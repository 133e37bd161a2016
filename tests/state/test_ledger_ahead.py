"""Why: a ledger is read ahead so that a second run asks little; what it tells must be what asking would have told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloth_runner.state.backends.memory import MemoryStore
from sloth_runner.state.layout import LEDGER, prefix_of, store_key
from sloth_runner.state.ledger import Ledger
from sloth_runner.state.ledger_ahead import ENOUGH, FEW, MOST
from sloth_runner.state.ledger_records import Entry, Intent
from sloth_runner.state.store import Change, Check
from sloth_runner.state.store import Entry as StoreEntry

BY = ("ann", "host", 1, "run", "task")
NAMESPACE = "local"
INTENT = Intent(None, {}, None, True, (), 1.0, "run", False)


class Counted(MemoryStore):
    """A store that counts what is asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.gets = 0
        self.scans: list[tuple[str, int | None]] = []

    def get(self, key: str) -> StoreEntry | None:
        self.gets += 1
        return super().get(key)

    def scan(
        self, prefix: str = "", *, after: str = "", limit: int | None = None, reverse: bool = False
    ) -> Iterator[StoreEntry]:
        if prefix == prefix_of(NAMESPACE, LEDGER):
            self.scans.append((after, limit))
        asked = self.gets
        found = list(super().scan(prefix, after=after, limit=limit, reverse=reverse))
        self.gets = asked  # this store's own
        return iter(found)

    def commit(self, changes: Sequence[Change | Check]) -> list[int]:
        asked = self.gets
        revs = super().commit(changes)
        self.gets = asked
        return revs


def entry(name: str, *, seen: str = "1,2,3,4,5;") -> Entry:
    return Entry(
        "file", f"/{name}", {}, {"type": "file"}, {"type": "file"}, None, {}, True, None, None, 1.0, 1.0, BY,
        "stack", ("line",), 1, "file.copy", seen=seen, call=f"{name:>032}".replace(" ", "0"),
    )  # fmt: skip


def filled(count: int) -> Counted:
    """A store with entries ``/000000``, ``/000001``, …"""
    store = Counted()
    ledger = Ledger(store, NAMESPACE, tuple)
    for number in range(count):
        ledger.record(entry(f"{number:06}"), {}, (), begun=False)
    ledger.flush()
    store.gets, store.scans = 0, []
    return store


def test_what_is_new_is_written_without_asking_for_it_first() -> None:
    store = filled(3)
    ledger = Ledger(store, NAMESPACE, tuple)
    assert ledger.entry("file:/new") is None
    store.gets = 0
    ledger.begin({"file:/new": INTENT}, {})
    ledger.record(entry("new"), {"digest": b"content"}, (), begun=True)
    ledger.begin({"file:/next": INTENT}, {})
    assert store.gets == 0


def test_what_turns_out_to_be_there_is_asked_for_and_written_over() -> None:
    store = filled(3)
    other = Ledger(store, NAMESPACE, tuple)
    ledger = Ledger(store, NAMESPACE, tuple)
    assert ledger.entry("file:/new") is None
    other.begin({"file:/new": INTENT._replace(run="other")}, {})
    other.record(entry("new", seen="1;"), {"digest": b"content"}, (), begun=False)
    other.flush()
    store.gets = 0
    ledger.begin({"file:/new": INTENT}, {})
    ledger.record(entry("new"), {"digest": b"content"}, (), begun=True)
    ledger.flush()
    assert store.gets > 0
    after = Ledger(store, NAMESPACE, tuple)
    assert after.intent("file:/new") is None
    assert after.entry("file:/new") == entry("new")


def test_a_ledger_with_few_entries_is_read_with_the_first_question() -> None:
    store = filled(FEW - 1)
    ledger = Ledger(store, NAMESPACE, tuple)
    for number in range(FEW - 1):
        found = ledger.entry(f"file:/{number:06}")
        assert found is not None and found.id == f"/{number:06}"
    assert store.scans == [("", FEW)]
    assert store.gets == 1, "the first question asked for its own entry, too"


def test_a_longer_one_is_read_on_where_it_was_left_once_enough_is_asked_for() -> None:
    store = filled(FEW + 5)
    ledger = Ledger(store, NAMESPACE, tuple)
    last = f"file:/{FEW + 4:06}"
    for _ in range(ENOUGH - 1):
        assert ledger.entry(last) is not None
    assert store.scans == [("", FEW)]
    assert store.gets == ENOUGH - 1, "it lies beyond what was read"
    assert ledger.entry(last) is not None
    assert store.scans[1:] == [(store_key(NAMESPACE, LEDGER, f"file:/{FEW - 1:06}"), MOST - FEW)]
    asked = store.gets
    for number in range(FEW + 5):
        assert ledger.entry(f"file:/{number:06}") is not None
    assert (store.gets, len(store.scans)) == (asked, 2)
    assert ledger.is_ahead


def test_what_was_written_since_stands_over_what_is_read_later() -> None:
    store = filled(FEW + 5)
    ledger = Ledger(store, NAMESPACE, tuple)
    first, last = "file:/000000", f"file:/{FEW + 4:06}"
    for address in (first, last):
        found = ledger.entry(address)
        assert found is not None
        ledger.record(found._replace(line=7), {}, (), begun=False)
    ledger.flush()
    for _ in range(ENOUGH):
        ledger.entry(f"file:/{FEW + 3:06}")
    assert len(store.scans) == 2
    for address in (first, last):
        found = ledger.entry(address)
        assert found is not None and found.line == 7
        ledger.record(found._replace(line=8), {}, (), begun=False)
    before = store.gets
    ledger.flush()
    assert store.gets == before, "the Revs that it knows are those of its own writes"
    assert Ledger(store, NAMESPACE, tuple).entry(first) == entry("000000")._replace(line=8)


@given(st.sets(st.integers(0, 40)), st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=60))
def test_it_tells_what_the_store_would(there: set[int], asked: list[tuple[int, bool]]) -> None:
    store = Counted()
    ledger = Ledger(store, NAMESPACE, tuple)
    for number in there:
        ledger.record(entry(f"{number:06}"), {}, (), begun=False)
    ledger.flush()
    ledger = Ledger(store, NAMESPACE, tuple)
    model = {number: entry(f"{number:06}") for number in there}
    for step, (number, writes) in enumerate(asked):
        name = f"{number:06}"
        assert ledger.entry(f"file:/{name}") == model.get(number)
        settled = ledger.settled(entry(name).call)
        if settled is not None:
            assert model[number].call and settled == (f"/{name}", model[number].seen)
        if writes:
            model[number] = entry(name)._replace(line=step + 2, seen="", call="")
            ledger.record(model[number], {}, (), begun=False)
            if step % 3 == 0:
                ledger.flush()


@pytest.mark.parametrize("count", [0, 3, FEW + 1])
def test_all_of_it_can_be_asked_for_at_once(count: int) -> None:
    store = filled(count)
    ledger = Ledger(store, NAMESPACE, tuple)
    ledger.reading_ahead().answered(store)
    assert ledger.is_ahead and store.scans == [("", MOST)]
    assert len(ledger.of_task("stack", "task")) == count


@pytest.mark.parametrize("far", [False, True], ids=["near", "far"])
def test_what_this_run_wrote_is_known_once_it_is_the_store_s_to_tell(far: bool) -> None:
    store = Counted()
    store.traits = store.traits._replace(embedded=not far)
    ledger = Ledger(store, NAMESPACE, tuple)
    assert ledger.entry("file:/new") is None
    ledger.record(entry("new"), {}, (), begun=False)
    ledger.flush()
    for _ in range(3):
        assert ledger.entry("file:/new") == entry("new")
    ledger.drop("file:/new")
    ledger.flush()
    for _ in range(3):
        assert ledger.entry("file:/new") is None
