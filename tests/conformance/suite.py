"""Why: one suite that every store passes unchanged; a store's own file only says how to open it.

``Opener`` makes handles on one store. What needs several handles, several processes or a lease clock that can be
moved asks for it, and is left out (visibly) where a store can't have it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from sloth_runner.errors import Bug, Conflict, TooLarge
from sloth_runner.state.layout import store_key
from sloth_runner.state.store import ABSENT, ANY, PRESENT, Change, Check, Entry, Store
from tests.conformance.bulk import BulkLaws
from tests.conformance.watching import WatchingLaws


class Opener(NamedTuple):
    """How to get at one fresh store: ``open`` another handle on it; ``advance`` its lease clock by seconds (or wait
    for as long, where it is a server's); ``url`` and ``folder`` with which other processes open it (None: they
    can't); ``ttl``: seconds of the shortest lease worth testing; ``lag``: for how many an ended one may be there."""

    open: Callable[[], Store]
    advance: Callable[[float], None] | None
    url: str | None
    folder: str
    leases: bool = True
    ttl: float = 10.0
    lag: float = 0.0


def key(name: str, namespace: str = "local") -> str:
    """A store key for tests."""
    return store_key(namespace, "k", name)


class Conformance(WatchingLaws):
    """The laws. A subclass gives the fixture ``opener``."""

    @pytest.fixture
    def opener(self) -> Iterator[Opener]:
        raise AssertionError("a store's test says how to open it")

    @pytest.fixture
    def store(self, opener: Opener) -> Iterator[Store]:
        store = opener.open()
        yield store
        store.close()

    def test_who_offers_bulk_changes_is_held_to_their_laws(self, store: Store) -> None:
        assert isinstance(self, BulkLaws) == (store.traits.bulk is not None), "add BulkLaws to its bases"

    def test_what_was_put_is_there(self, store: Store) -> None:
        assert store.get(key("a")) is None
        (rev,) = store.commit([Change(key("a"), b"1")])
        assert rev >= 1
        assert store.get(key("a")) == Entry(key("a"), b"1", rev)

    def test_revs_grow_and_never_return(self, store: Store) -> None:
        seen: list[int] = []
        for number in range(5):
            (rev,) = store.commit([Change(key("a"), b"x")])
            seen.append(rev)
            if number % 2:
                assert store.commit([Change(key("a"), None)]) == [ABSENT]
                assert store.get(key("a")) is None
        assert seen == sorted(set(seen))

    @pytest.mark.parametrize(
        ("there", "expect", "good"),
        [
            (False, ABSENT, True), (False, ANY, True), (False, PRESENT, False), (False, 1, False),
            (True, ABSENT, False), (True, ANY, True), (True, PRESENT, True),
        ],
    )  # fmt: skip
    @pytest.mark.parametrize("kind", ["change", "check", "delete"])
    def test_expectations(self, store: Store, there: bool, expect: int, good: bool, kind: str) -> None:
        before = [Change(key("a"), b"old")] if there else [Change(key("other"), b"x")]
        store.commit(before)
        subject: Change | Check = Check(key("a"), expect)
        if kind != "check":
            subject = Change(key("a"), b"new" if kind == "change" else None, expect)
        if good:
            store.commit([subject, Change(key("b"), b"1")])
        else:
            with pytest.raises(Conflict) as caught:
                store.commit([Change(key("b"), b"1"), subject])
            assert caught.value.keys == {key("a")}
        assert (store.get(key("b")) is not None) is good

    def test_compare_and_set_by_rev(self, store: Store) -> None:
        (rev,) = store.commit([Change(key("a"), b"1")])
        store.commit([Change(key("a"), b"2", rev)])
        with pytest.raises(Conflict):
            store.commit([Change(key("a"), b"3", rev)])
        entry = store.get(key("a"))
        assert entry is not None
        assert entry.value == b"2"

    def test_a_check_gives_the_rev_it_found(self, store: Store) -> None:
        (rev,) = store.commit([Change(key("a"), b"1")])
        assert store.commit([Check(key("a"), rev), Check(key("b"), ABSENT)]) == [rev, ABSENT]

    def test_checks_may_lie_in_other_namespaces(self, store: Store) -> None:
        (rev,) = store.commit([Change(key("f", "web1"), b"fence")])
        store.commit([Change(key("a"), b"1"), Check(key("f", "web1"), rev), Check(key("g", "db1"), ABSENT)])
        store.commit([Change(key("f", "web1"), b"taken")])
        with pytest.raises(Conflict) as caught:
            store.commit([Change(key("a"), b"2"), Check(key("f", "web1"), rev)])
        assert caught.value.keys == {key("f", "web1")}
        entry = store.get(key("a"))
        assert entry is not None
        assert entry.value == b"1"

    def test_what_no_store_accepts(self, store: Store) -> None:
        with pytest.raises(Bug, match="twice"):
            store.commit([Change(key("a"), b"1"), Check(key("a"), ABSENT)])
        with pytest.raises(Bug, match="puts into"):
            store.commit([Change(key("a"), b"1"), Change(key("a", "web1"), b"1")])
        assert list(store.scan()) == []

    def test_limits_are_refused_with_their_number(self, store: Store) -> None:
        most = store.traits.max_value
        with pytest.raises(TooLarge, match=f"{most:,}"):
            store.commit([Change(key("a"), bytes(most + 1))])
        with pytest.raises(TooLarge, match=str(store.traits.max_changes)):
            store.commit([Change(key(str(i)), b"") for i in range(store.traits.max_changes + 1)])
        assert list(store.scan()) == []

    @pytest.mark.parametrize("value", [b"", bytes(range(256)), bytes(range(256)) * 6_000, "é𝄞".encode()])
    def test_values_come_back_byte_for_byte(self, store: Store, value: bytes) -> None:
        value = value[: store.traits.max_value]
        store.commit([Change(key("a"), value)])
        entry = store.get(key("a"))
        assert entry is not None
        assert entry.value == value

    def test_order_is_by_code_point(self, store: Store) -> None:
        names = [
            "a",
            "B",
            "ä",
            "a b",
            "a/b",
            "aa",
            "\ue000",
            "\U0001d11e",
            "é",
            "e\u0301",
            "z",
            "_",
            "%",
            "0",
        ]
        store.commit([Change(key(name), name.encode()) for name in names])
        assert [e.value.decode() for e in store.scan()] == sorted(names)
        assert [e.value.decode() for e in store.scan(reverse=True)] == sorted(names, reverse=True)

    def test_namespaces_are_scanned_in_order(self, store: Store) -> None:
        for namespace in ("web-1", "web", "_shared", "web.1", "a"):
            store.commit([Change(key("x", namespace), b"")])
        keys = [e.key for e in store.scan()]
        assert keys == sorted(keys)
        assert len(keys) == 5
        assert [e.key for e in store.scan(key("", "web"))] == [key("x", "web")]

    def test_prefix_after_limit_reverse(self, store: Store) -> None:
        names = ["a", "a_b", "axb", "a%b", "b", "ab", "a_"]
        store.commit([Change(key(name), b"") for name in names])

        def scan(prefix: str, **how: Any) -> list[str]:
            return [e.key.rpartition("\x1f")[2] for e in store.scan(key(prefix), **how)]

        assert scan("a_") == ["a_", "a_b"]
        assert scan("a%") == ["a%b"]
        assert scan("", after=key("a_")) == ["a_b", "ab", "axb", "b"]
        assert scan("", limit=2) == ["a", "a%b"]
        assert scan("a", reverse=True, limit=2) == ["axb", "ab"]
        assert scan("", after=key("ab"), reverse=True) == ["a_b", "a_", "a%b", "a"]
        assert scan("", after=key("ab\0"), reverse=True) == ["ab", "a_b", "a_", "a%b", "a"]
        assert scan("", after=key("ab\0")) == ["axb", "b"]
        assert scan("a\0") == []
        assert scan("a", limit=0) == []

    def test_a_scan_is_not_moved_by_writes(self, store: Store) -> None:
        count = min(50, store.traits.max_changes)
        store.commit([Change(key(f"{i:03}"), b"") for i in range(count)])
        seen = 0
        for entry in store.scan(key("")):
            store.commit([Change(entry.key, None), Change(key(f"1{seen:03}"), b"")])
            seen += 1
        assert seen == count

    def test_leased_entries_vanish_by_the_stores_clock(self, opener: Opener, store: Store) -> None:
        if not opener.leases:
            with pytest.raises(Bug, match="lease"):
                store.commit([Change(key("l"), b"", ABSENT, 10)])
            return
        assert opener.advance is not None
        ttl = opener.ttl
        store.commit([Change(key("stays"), b"")])
        entry = _renewed(opener.advance, store, ttl)
        assert entry.value == b"2"
        opener.advance(0.6 * ttl + opener.lag)
        assert store.get(key("l")) is None
        assert [e.key for e in store.scan()] == [key("stays")]
        with pytest.raises(Conflict):
            store.commit([Check(key("l"), PRESENT)])
        with pytest.raises(Conflict):
            store.commit([Change(key("l"), b"3", entry.rev, ttl)])
        assert _kept(store, ttl) > entry.rev
        opener.advance(1.2 * ttl + opener.lag)
        assert store.get(key("l")) is not None

    def test_handles_see_each_other_at_once(self, opener: Opener, store: Store) -> None:
        if opener.url is None:
            pytest.skip("this store has one handle")
        other = opener.open()
        for number in range(20):
            value = str(number).encode()
            store.commit([Change(key("a"), value)])
            entry = other.get(key("a"))
            assert entry is not None
            assert entry.value == value
            assert [e.value for e in other.scan(key(""))] == [value]
            store, other = other, store
        (other if store is not other else store).close()

    def test_it_is_a_dict(self, opener: Opener) -> None:
        run_state_machine_as_test(
            lambda: Machine(opener),  # type: ignore[arg-type] # a factory is welcome, says its documentation settings=settings(max_examples=25, stateful_step_count=40, deadline=None)
        )

    def test_processes_count_exactly(self, opener: Opener) -> None:
        results = run_workers(opener, "count", 4, 50)
        assert sum(r["done"] for r in results) == 200
        store = opener.open()
        entry = store.get(key("counter"))
        store.close()
        assert entry is not None
        assert int(entry.value) == 200

    def test_checks_across_namespaces_leave_no_gap(self, opener: Opener) -> None:
        """Two registers in two namespaces, each may be set only while the other is not: never both."""
        results = run_workers(opener, "skew", 4, 60)
        assert sum(r["both"] for r in results) == 0
        assert sum(r["done"] for r in results) > 0

    def test_a_reader_sees_commits_whole(self, opener: Opener) -> None:
        results = run_workers(opener, "whole", 4, 60)
        assert sum(r["torn"] for r in results) == 0


def _renewed(advance: Callable[[float], None], store: Store, ttl: float) -> Entry:
    """A leased entry that is there longer than its first lease. Where the machine stood still for so long that a
    lease may have ended, another is made."""
    while True:
        began = time.monotonic()
        try:
            store.commit([Change(key("l"), b"1", ABSENT, ttl)])
            advance(0.6 * ttl)
            renewed = time.monotonic()
            store.commit([Change(key("l"), b"2", PRESENT, ttl)])
        except Conflict:
            assert time.monotonic() - began >= ttl, "it ended early"
            continue
        advance(0.6 * ttl)
        entry = store.get(key("l"))
        if entry is not None:
            return entry
        assert time.monotonic() - renewed >= ttl, "it ended early"


def _kept(store: Store, ttl: float) -> int:
    """The first revision of a leased entry that was made to last; again where the machine stood still meanwhile."""
    while True:
        began = time.monotonic()
        (rev,) = store.commit([Change(key("l"), b"3", ABSENT, ttl)])
        try:
            store.commit([Change(key("l"), b"for ever", rev)])
            return rev
        except Conflict:
            assert time.monotonic() - began >= ttl, "it ended early"


class Machine(RuleBasedStateMachine):
    """Any order of commits and scans agrees with a dict."""

    names = st.sampled_from(["a", "ab", "b", "ä", "a_"])
    spaces = st.sampled_from(["local", "web1"])
    puts = st.one_of(st.none(), st.binary(max_size=8))
    expects = st.sampled_from(["any", "absent", "present", "right", "wrong"])

    def __init__(self, opener: Opener) -> None:
        super().__init__()
        self.store = opener.open()
        for entry in list(self.store.scan()):
            self.store.commit([Change(entry.key, None)])
        self.model: dict[str, tuple[bytes, int]] = {}

    def expected(self, name: str, how: str) -> tuple[int, bool]:
        rev = self.model[name][1] if name in self.model else ABSENT
        return {
            "any": (ANY, True),
            "absent": (ABSENT, rev == ABSENT),
            "present": (PRESENT, rev != ABSENT),
            "right": (rev, True),
            "wrong": (rev + 1_000_000, False),
        }[how]

    @rule(
        space=spaces,
        rows=st.lists(st.tuples(names, puts, expects), min_size=1, max_size=4, unique_by=lambda row: row[0]),
        checked=st.tuples(spaces, names, expects),
    )
    def commit(
        self, space: str, rows: list[tuple[str, bytes | None, str]], checked: tuple[str, str, str]
    ) -> None:
        changes: list[Change | Check] = []
        good = True
        for name, value, how in rows:
            expect, holds = self.expected(key(name, space), how)
            good = good and holds
            changes.append(Change(key(name, space), value, expect))
        where = key(checked[1], checked[0])
        if where not in {c.key for c in changes}:
            expect, holds = self.expected(where, checked[2])
            good = good and holds
            changes.append(Check(where, expect))
        if not good:
            with pytest.raises(Conflict):
                self.store.commit(changes)
            return
        revs = self.store.commit(changes)
        for change, rev in zip(changes, revs, strict=True):
            if isinstance(change, Check):
                continue
            if change.value is None:
                assert rev == ABSENT
                self.model.pop(change.key, None)
            else:
                assert rev > self.model.get(change.key, (b"", 0))[1]
                self.model[change.key] = (change.value, rev)

    @rule(
        space=spaces,
        prefix=st.sampled_from(["", "a", "ä", "a_"]),
        limit=st.one_of(st.none(), st.integers(0, 3)),
    )
    def scan(self, space: str, prefix: str, limit: int | None) -> None:
        keys = sorted(k for k in self.model if k.startswith(key(prefix, space)))
        assert [e.key for e in self.store.scan(key(prefix, space), limit=limit)] == keys[:limit]

    @invariant()
    def agrees(self) -> None:
        assert {e.key: (e.value, e.rev) for e in self.store.scan()} == self.model

    def teardown(self) -> None:
        self.store.close()


def run_workers(opener: Opener, work: str, count: int, rounds: int) -> list[dict[str, int]]:
    """Run ``count`` processes of ``worker.py`` on the store, all at once; what each reported."""
    import json

    if opener.url is None:
        pytest.skip("this store lives in one process")
    argv = [sys.executable, "-m", "tests.conformance.worker", opener.url, opener.folder, work]
    processes = [
        subprocess.Popen(
            [*argv, str(index), str(rounds)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ
        )
        for index in range(count)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.close()
    results = []
    for process in processes:
        assert process.stdout is not None
        results.append(json.loads(process.stdout.read()))
        process.stdout.close()
        assert process.wait(60) == 0
    return results
