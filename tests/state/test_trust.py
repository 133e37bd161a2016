"""A store whose server does not do what state relies on is found out, and nothing is written to it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from sloth_runner.errors import Conflict, StoreDown, Unfit
from sloth_runner.state import reseal
from sloth_runner.state.backends.memory import MemoryStore
from sloth_runner.state.layout import KEYRING, META, PROVEN, STORE, store_key
from sloth_runner.state.proofs import common
from sloth_runner.state.sealed import Sealed
from sloth_runner.state.store import ABSENT, Change, Check, Entry, Proof, Rev
from sloth_runner.state.trust import PLACES, Trust, Trusting
from tests.conformance.suite import Conformance, Opener, key
from tests.state.kit import Clock, key_source

PROBE = store_key(STORE, META, "probe-0")
URL = "consul://h/p"


class Served:
    """A store that can be tried, as one on a server; counts what it is asked."""

    def __init__(self) -> None:
        self.memory = MemoryStore(Clock())
        self.tried = self.asked = 0
        self.traits = self.memory.traits._replace(
            embedded=False, max_changes=20, max_value=100_000, probe=self.probe
        )

    def probe(self) -> list[Proof]:
        self.tried += 1
        return common(self, PROBE, lambda: self)

    def get(self, key: str) -> Entry | None:
        self.asked += 1
        return self.memory.get(key)

    def scan(self, *args: Any, **how: Any) -> Iterator[Entry]:
        self.asked += 1
        return self.memory.scan(*args, **how)

    def commit(self, changes: Sequence[Change | Check]) -> list[Rev]:
        return self.memory.commit(changes)

    def close(self) -> None:
        pass


class NoCondition(Served):
    """Creates what is there a second time."""

    def commit(self, changes: Sequence[Change | Check]) -> list[Rev]:
        return super().commit([c._replace(expect=-1) if c.expect == ABSENT else c for c in changes])


class NoCompare(Served):
    """Does not compare revisions."""

    def commit(self, changes: Sequence[Change | Check]) -> list[Rev]:
        return super().commit([c._replace(expect=-1) if c.expect > 0 else c for c in changes])


class NoChecks(Served):
    """Leaves checks out."""

    def commit(self, changes: Sequence[Change | Check]) -> list[Rev]:
        return super().commit([c._replace(expect=-1) if isinstance(c, Check) else c for c in changes])


class Torn(Served):
    """Applies what it can of a commit."""

    def commit(self, changes: Sequence[Change | Check]) -> list[Rev]:
        try:
            return super().commit(changes)
        except Conflict as conflict:
            self.memory.commit([c for c in changes if c.key not in conflict.keys])
            raise


class Stale(Served):
    """Reads what was before the last write."""

    def __init__(self) -> None:
        super().__init__()
        self.before: dict[str, Entry | None] = {}

    def commit(self, changes: Sequence[Change | Check]) -> list[Rev]:
        before = {c.key: self.memory.get(c.key) for c in changes}
        revs = super().commit(changes)
        self.before = before
        return revs

    def get(self, key: str) -> Entry | None:
        return self.before[key] if key in self.before else super().get(key)


class Lazy(Served):
    """An equal value is no write."""

    def commit(self, changes: Sequence[Change | Check]) -> list[Rev]:
        old = self.memory.get(changes[0].key)
        if old is not None and len(changes) == 1 and changes == [Change(old.key, old.value)]:
            return [old.rev]
        return super().commit(changes)


class Racy(Served):
    """Looks first, and writes then."""

    def commit(self, changes: Sequence[Change | Check]) -> list[Rev]:
        self.memory.commit([Check(c.key, c.expect) for c in changes])
        time.sleep(0.05)
        return self.memory.commit([c._replace(expect=-1) for c in changes])


class Small(Served):
    """Takes less than it says."""

    def commit(self, changes: Sequence[Change | Check]) -> list[Rev]:
        if len(changes) > 10:
            return [1] * len(changes)
        return super().commit(changes)


BROKEN = [
    (NoCondition, "create once"), (NoCompare, "compare and set"), (NoChecks, "atomic"), (Torn, "atomic"),
    (Stale, "compare and set"), (Lazy, "revisions"), (Small, "limits"), (Racy, "one winner"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "name"), BROKEN)
def test_a_broken_server_is_refused_and_nothing_is_written(kind: type[Served], name: str) -> None:
    store = kind()
    trusting = Trusting(store, Trust(URL, Clock()))
    for change in (Change(key("a"), b"1"), Check(key("a"), ABSENT)):
        with pytest.raises(Unfit, match=f"does not do what state relies on: .*{name}: ") as caught:
            trusting.commit([change])
        assert caught.value.unchanged == ["nothing was stored"]
        assert URL in caught.value.message
        assert caught.value.exit_code == 7
    assert list(store.memory.scan()) == []
    assert trusting.get(key("a")) is None  # reading is not kept from it
    assert list(trusting.scan()) == []


def test_a_good_one_is_tried_once_by_each_url() -> None:
    store = Served()
    clock = Clock()
    first = Trusting(store, Trust(URL, clock))
    assert first.get(KEYRING) is None
    first.commit([Change(key("a"), b"1")])
    first.commit([Change(key("a"), b"2")])
    assert store.tried == 1
    later = Trusting(store, Trust(URL, clock))
    store.asked = 0
    assert later.get(KEYRING) is None
    later.commit([Change(key("a"), b"3")])
    assert (store.tried, store.asked) == (1, 1)  # the read that is made in any case
    other = Trusting(store, Trust("consul://proxy/p", clock))
    other.commit([Change(key("a"), b"4")])
    assert store.tried == 2
    entry = store.get(PROVEN)
    assert entry is not None
    assert json.loads(entry.value)["proven"] == {URL: clock(), "consul://proxy/p": clock()}
    assert [e.key for e in store.scan()] == [PROVEN, key("a")]


def test_handles_of_one_process_share_what_they_know() -> None:
    store, trust = Served(), Trust(URL, Clock())
    Trusting(store, trust).commit([Change(key("a"), b"1")])
    store.asked = 0
    other = Trusting(store, trust)
    other.commit([Change(key("a"), b"2")])
    assert (store.tried, store.asked) == (1, 0)


@pytest.mark.parametrize(
    "value", [b"", b"{}", b'{"format": 2, "proven": {"consul://h/p": 1}}', b'{"format": 1, "proven": 3}']
)
def test_another_versions_word_is_not_taken(value: bytes) -> None:
    store = Served()
    store.memory.commit([Change(PROVEN, value)])
    Trusting(store, Trust(URL, Clock())).commit([Change(key("a"), b"1")])
    assert store.tried == 1
    Trusting(store, Trust(URL, Clock())).commit([Change(key("a"), b"1")])
    assert store.tried == 1


def test_the_latest_urls_are_remembered() -> None:
    store, clock = Served(), Clock()
    for number in range(PLACES + 5):
        clock.now += 1
        Trusting(store, Trust(f"consul://{number}/p", clock)).commit([Change(key("a"), b"1")])
    entry = store.get(PROVEN)
    assert entry is not None
    assert list(json.loads(entry.value)["proven"]) == [f"consul://{n}/p" for n in range(5, PLACES + 5)]


def test_two_that_prove_at_once() -> None:
    store = Served()

    one, two = Trusting(store, Trust(URL, Clock())), Trusting(store, Trust(URL, Clock()))
    one.get(KEYRING), two.get(KEYRING)
    probe = store.traits.probe
    assert probe is not None

    def slow() -> list[Proof]:
        store.traits = store.traits._replace(probe=probe)
        two.commit([Change(key("two"), b"1")])
        return probe()

    store.traits = store.traits._replace(probe=slow)
    one.commit([Change(key("one"), b"1")])
    assert store.tried == 2
    assert [e.key for e in store.scan()] == [PROVEN, key("one"), key("two")]


def test_a_server_that_is_away_has_proven_nothing() -> None:
    store = Served()
    away = [True]

    def probe() -> list[Proof]:
        if away:
            raise StoreDown("away")
        return common(store, PROBE, lambda: store)

    store.traits = store.traits._replace(probe=probe)
    trusting = Trusting(store, Trust(URL, Clock()))
    with pytest.raises(StoreDown, match="away"):
        trusting.commit([Change(key("a"), b"1")])
    assert list(store.scan()) == []
    away.clear()
    trusting.commit([Change(key("a"), b"1")])


def test_what_is_only_worth_knowing_refuses_nothing() -> None:
    store = Served()
    store.traits = store.traits._replace(probe=lambda: [Proof("access", False, "in clear", vital=False)])
    Trusting(store, Trust(URL, Clock())).commit([Change(key("a"), b"1")])


def test_a_sealed_store_begins_on_a_server_that_was_proven() -> None:
    store = Served()
    for number in range(3):
        sealed = Sealed(Trusting(store, Trust(URL, Clock())), key_source())
        sealed.ready()
        sealed.commit([Change(key("a"), b"%d" % number)])
        assert [e.key for e in sealed.scan()] == [key("a")]
        assert sealed.get(PROVEN) is None
    reseal.rekey(sealed, lambda count: bytes(range(count)), lambda count: None)
    assert [e.value for e in sealed.scan()] == [b"2"]
    assert store.tried == 1


def test_a_store_that_was_only_proven_can_still_be_sealed() -> None:
    store = Served()
    Trusting(store, Trust(URL, Clock())).commit([Check(key("a"), ABSENT)])
    sealed = Sealed(Trusting(store, Trust(URL, Clock())), key_source())
    sealed.ready()
    sealed.commit([Change(key("a"), b"canary")])
    assert b"canary" not in b"".join(e.value for e in store.scan())


class TestTrusting(Conformance):
    """It is a store."""

    @pytest.fixture
    def opener(self) -> Opener:
        clock = Clock()

        def advance(seconds: float) -> None:
            clock.now += seconds

        def opened() -> Hidden:
            return Hidden(MemoryStore(clock), Trust(URL, clock))

        return Opener(opened, advance, None, "")


class Hidden(Trusting):
    """Without its record, which a store of one test has to itself."""

    def scan(self, *args: Any, **how: Any) -> Iterator[Entry]:
        limit = how.pop("limit", None)
        found = [e for e in self.inner.scan(*args, **how) if e.key != PROVEN]
        return iter(found if limit is None else found[:limit])
