"""Stores that take little at once: what comes in bulk is cut to their measure. Tried on one that is as strict."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloth_runner.errors import TooLarge
from sloth_runner.state import reseal
from sloth_runner.state.backends.memory import TRAITS, MemoryStore
from sloth_runner.state.layout import CONTENT, store_key
from sloth_runner.state.ledger_batch import Batch, write
from sloth_runner.state.ledger_queries import sweep
from sloth_runner.state.sealed import Sealed
from sloth_runner.state.store import Change, Check, Traits, parts
from tests.state.bundle_kit import export_bytes, import_bytes
from tests.state.kit import key_source, make_state


class Narrow(MemoryStore):
    """As strict as Consul: some changes, some bytes altogether."""

    traits = TRAITS._replace(max_changes=30, max_value=360 << 10, max_bytes=320 << 10)

    def commit(self, changes: Sequence[Change | Check]) -> list[int]:
        size = sum(len(c.key) + len(c.value or b"") for c in changes if isinstance(c, Change))
        if size > 384 << 10:
            raise TooLarge(f"{size:,} bytes at once")
        return super().commit(changes)


@given(
    st.lists(st.tuples(st.text(max_size=3), st.one_of(st.none(), st.binary(max_size=30)))),
    st.integers(1, 6), st.one_of(st.none(), st.integers(1, 60)), st.integers(0, 3),
)  # fmt: skip
def test_parts_are_as_large_as_they_may_be(
    rows: list[tuple[str, bytes | None]], most: int, room: int | None, beside: int
) -> None:
    traits = Traits(True, 1, most, 1 << 20, max_bytes=room)
    found = list(parts(rows, traits, beside=beside))
    assert [row for part in found for row in part] == rows
    sizes = [[len(key) + len(value or b"") for key, value in part] for part in found]
    count = max(1, most - beside)
    for part in sizes:
        assert len(part) == 1 or (len(part) <= count and (room is None or sum(part) <= room))
    for one, after in pairwise(sizes):
        assert len(one) == count or (room is not None and sum(one) + after[0] > room)


@pytest.mark.parametrize("sealed", [False, True])
def test_an_import(sealed: bool) -> None:
    source = make_state()
    for number in range(40):
        source.set(f"k{number}", "x" * (200_000 if number % 4 == 0 else 50_000))
        source.increment("many")
    data = export_bytes(source, with_history=True)
    store = Sealed(Narrow(), key_source()) if sealed else Narrow()
    import_bytes(store, data)
    state = make_state(store)
    assert {row.key: row.record.text for row in state.rows()} == {
        row.key: row.record.text for row in source.rows()
    }
    assert len(state.history("many")) == 40


def test_encrypting_decrypting_and_turning_keys_over() -> None:
    inner = Narrow()
    state = make_state(inner)
    for number in range(60):
        state.set(f"k{number}", "x" * (200_000 if number % 9 == 0 else 30_000))
    store = Sealed(inner, key_source())
    assert reseal.encrypt(store, os.urandom, lambda count: None).changed > 120
    assert len(make_state(store).get("k9") or "") == 200_000
    reseal.rekey(store, os.urandom, lambda count: None)
    assert len(make_state(store).get("k59") or "") == 30_000
    reseal.decrypt(store, os.urandom, lambda count: None)
    assert len(make_state(inner).get("k54") or "") == 200_000


def kept(*sizes: int) -> Batch:
    """Contents of which no entry tells, as a ledger has them written."""
    contents = {f"{number:064x}": os.urandom(size) for number, size in enumerate(sizes)}
    items = {store_key("local", CONTENT, digest): content for digest, content in contents.items()}
    return Batch(dict(items), {}, (), False)


def test_contents_that_a_ledger_keeps() -> None:
    """More of them than a commit takes, each as large as a value may be; and one that is larger is not kept."""
    store = Narrow()
    batch = kept(10, 300_000, 300_000, 360 << 10, 1_000_000, *[100_000] * 10)
    assert len(write(store, "local", batch)) == 14
    assert [e.value for e in store.scan()] == [v for v in batch.items.values() if v and len(v) < 1_000_000]


def test_more_leftovers_than_a_commit_takes() -> None:
    store = Narrow()
    write(store, "local", kept(*[1] * 100))
    assert len(sweep(store, "local")) == 100
    assert list(store.scan()) == []
