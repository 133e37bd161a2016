"""The overlay passes the part for one process, and nothing reaches what lies below."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from sloth_runner.errors import Conflict
from sloth_runner.state import reseal
from sloth_runner.state.backends.memory import MemoryStore
from sloth_runner.state.overlay import Overlay
from sloth_runner.state.sealed import Sealed
from sloth_runner.state.store import ABSENT, Change, Check
from tests.conformance.suite import Conformance, Opener, key
from tests.state.kit import key_source


class TestOverlay(Conformance):
    @pytest.fixture
    def opener(self) -> Iterator[Opener]:
        inner = MemoryStore()
        yield Opener(lambda: Overlay(inner), None, None, "", leases=False)
        assert list(inner.scan()) == []


class TestOverlayOverSealed(Conformance):
    @pytest.fixture
    def opener(self) -> Iterator[Opener]:
        inner = Sealed(MemoryStore(), key_source())
        yield Opener(lambda: Overlay(inner), None, None, "", leases=False)
        assert list(inner.inner.scan()) == []


def test_what_lies_on_top_of_a_sealed_store_reaches_it_sealed() -> None:
    inner = Sealed(MemoryStore(), key_source())
    inner.commit([Change(key("a"), b"canary 1"), Change(key("b"), b"canary 2")])
    overlay = Overlay(inner)
    reseal.rekey(inner, os.urandom, lambda count: None)
    assert [e.value for e in overlay.scan()] == [b"canary 1", b"canary 2"]
    overlay.commit([Change(key("a"), b"canary 3"), Change(key("c"), b"canary 4", ABSENT)])
    reseal.rekey(inner, os.urandom, lambda count: None)
    inner.commit(overlay.changes())
    assert [e.value for e in inner.scan()] == [b"canary 3", b"canary 2", b"canary 4"]
    assert b"canary" not in b"".join(e.value for e in inner.inner.scan())


def test_own_writes_lie_on_top_and_what_was_read_is_asserted() -> None:
    inner = MemoryStore()
    (one, _, _) = inner.commit([Change(key("a"), b"1"), Change(key("b"), b"2"), Change(key("c"), b"3")])
    overlay = Overlay(inner)
    overlay.commit([Change(key("a"), b"new", one), Change(key("d"), b"4", ABSENT)])
    assert [e.value for e in overlay.scan()] == [b"new", b"2", b"3", b"4"]
    assert [e.value for e in overlay.scan(reverse=True, limit=3)] == [b"4", b"3", b"2"]
    assert [e.value for e in inner.scan()] == [b"1", b"2", b"3"]
    inner.commit(overlay.changes())
    assert [e.value for e in inner.scan()] == [b"new", b"2", b"3", b"4"]


def test_a_change_below_of_what_was_read_is_a_conflict() -> None:
    inner = MemoryStore()
    overlay = Overlay(inner)
    assert overlay.get(key("a")) is None
    overlay.commit([Change(key("b"), b"1", ABSENT)])
    inner.commit([Change(key("a"), b"sudden")])
    with pytest.raises(Conflict):
        inner.commit(overlay.changes())


def test_keys_that_a_scan_did_not_return_may_appear() -> None:
    inner = MemoryStore()
    inner.commit([Change(key("a"), b"1")])
    overlay = Overlay(inner)
    assert len(list(overlay.scan(key("")))) == 1
    overlay.commit([Change(key("z"), b"1", ABSENT)])
    inner.commit([Change(key("b"), b"new")])
    inner.commit(overlay.changes())
    assert Check(key("a"), 1) in overlay.changes()
