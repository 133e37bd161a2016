"""What export and import promise: state comes back as it was, or nothing changes."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sloth_runner.engine.fitting import encode
from sloth_runner.engine.fitting_store import fitting
from sloth_runner.errors import Conflict, Corrupt, Forbidden, Foreign, Moved, SlothError, TooLarge
from sloth_runner.model import By
from sloth_runner.state import reseal
from sloth_runner.state.backends.memory import MemoryStore
from sloth_runner.state.backends.sqlite import SQLiteStore
from sloth_runner.state.bundle import parse
from sloth_runner.state.layout import AUDIT, FENCE, HEAD, LEASE, LEDGER, RUN, SHARED, prefix_of, store_key
from sloth_runner.state.lineage import lineage_of
from sloth_runner.state.locks import Held, Owner, acquire, fence_token, release
from sloth_runner.state.record import decode_record, digest
from sloth_runner.state.reseal import status
from sloth_runner.state.sealed import Sealed
from sloth_runner.state.state import State
from sloth_runner.state.store import ABSENT, Change, Check, Rev, Store
from tests.state.bundle_kit import Blocks, contents, everything, export_bytes, import_bytes, nothing, section
from tests.state.kit import BY, Clock, key_source, make_state
from tests.state.test_value import values

KEYS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=12).filter(
    lambda key: len(key.encode()) <= 512
)
WRITES = st.lists(
    st.tuples(
        KEYS,
        st.one_of(st.none(), values),
        st.sampled_from([None, 5.0, 1000.5]),
        st.booleans(),
    ),
    max_size=12,
)
HISTORIES = st.lists(st.tuples(st.sampled_from("abc"), st.one_of(st.none(), st.integers(0, 2))), max_size=14)


def fill(state: State, clock: Clock, writes: list[Any]) -> None:
    """Sets and (None) deletions, a second apart."""
    for key, value, ttl, secret in writes:
        if value is None:
            state.delete(key)
        else:
            state.set(key, value, ttl=ttl, sensitive=secret)
        clock.now += 1


def seen(state: State) -> list[tuple[object, ...]]:
    """What a user sees of each key."""
    return [
        (row.key, row.record.text, row.record.expires, row.record.sensitive, row.record.number, row.record.by)
        for row in state.rows()
    ]


def stores(folder: str) -> list[Store]:
    """One of each kind, empty: read backwards, each in plaintext stands beside a sealed one of another kind."""
    return [
        MemoryStore(),
        SQLiteStore(Path(folder) / "plain"),
        Sealed(MemoryStore(), key_source()),
        Sealed(SQLiteStore(Path(folder) / "sealed"), key_source()),
    ]


def all_is_sealed(store: Store) -> bool:
    """Whether a store is none that seals, or has sealed everything."""
    return not isinstance(store, Sealed) or status(store.inner).plain == 0


@given(WRITES, st.booleans(), st.integers(1, 200))
def test_what_is_imported_is_what_was_exported(writes: list[Any], with_history: bool, block: int) -> None:
    with TemporaryDirectory() as folder:
        for source, target in zip(stores(f"{folder}/a"), reversed(stores(f"{folder}/b")), strict=True):
            clock = Clock()
            state = make_state(source, clock)
            fill(state, clock, writes)
            data = export_bytes(state, with_history=with_history)
            import_bytes(target, data, size=block)
            arrived = make_state(target, clock)
            assert seen(arrived) == seen(state)
            if with_history:
                assert contents(target) == contents(source)
            assert all_is_sealed(target)
            if seen(state):
                assert lineage_of(target, "local") == lineage_of(source, "local")
            again = everything(target)
            import_bytes(target, data)
            assert everything(target) == again, "importing again changes nothing"
            source.close()
            target.close()


@given(HISTORIES, HISTORIES, st.booleans())
def test_a_later_bundle_brings_a_copy_up_to_date(
    first: list[Any], more: list[Any], with_history: bool
) -> None:
    clock = Clock()
    state, copy = make_state(clock=clock), MemoryStore()
    fill(state, clock, [(key, value, None, False) for key, value in first])
    import_bytes(copy, export_bytes(state, with_history=with_history))
    fill(state, clock, [(key, value, None, False) for key, value in more])
    import_bytes(copy, export_bytes(state, with_history=with_history), replace=True, now=clock.now + 1)
    assert make_state(copy, clock).items() == state.items()
    if with_history:
        assert contents(copy) == contents(state.writer.store)
    for key in "abc":
        check_chain(make_state(copy, clock), key)


def check_chain(state: State, key: str) -> None:
    """Each revision holds the hash of the one before; the head is the last."""
    records = [revision.record for revision in reversed(state.history(key))]
    for before, after in pairwise(records):
        assert (after.number, after.previous) == (before.number + 1, digest(before))
    head = state.writer.store.get(store_key("local", HEAD, key))
    if records:
        assert head is not None
        assert digest(decode_record(head.value)) == digest(records[-1])
        assert decode_record(head.value).first == records[0].number


@pytest.fixture(scope="module")
def bundle() -> bytes:
    """A bundle with a bit of everything."""
    clock = Clock()
    state = make_state(clock=clock)
    fill(state, clock, [("a", "1", None, False), ("a", 2, None, False), ('é"', [1.5, "x"], 9.0, True)])
    state.set("long", "y" * 70_000)
    state.delete("long")
    state.shared.set("cluster:x", 1)
    lock(state)
    return export_bytes(state, ("local", SHARED), with_history=True)


def lock(state: State, times: int = 3, *, keep: bool = True) -> None:
    """Take the lock ``deploy`` and let it go, so often; the last time it is kept."""
    store = state.writer.store
    for number in range(times):
        held = acquire(store, "local", "deploy", Owner("t", str(number), BY), 60, 1.0)
        assert isinstance(held, Held)
        if number < times - 1 or not keep:
            assert release(store, held, 1.0)


def prepared() -> MemoryStore:
    """A store in which something is already."""
    state = make_state(MemoryStore())
    state.set("a", "mine")
    return state.writer.store  # type: ignore[return-value] # as it was made


@given(st.data())
def test_a_damaged_bundle_changes_nothing(bundle: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(bundle) - 1), "at")
    how = data.draw(st.sampled_from(["flip", "cut", "insert", "remove", "append"]), "how")
    if how == "flip":
        damaged = bundle[:at] + bytes([bundle[at] ^ (1 << data.draw(st.integers(0, 7)))]) + bundle[at + 1 :]
    elif how == "cut":
        damaged = bundle[:at]
    elif how == "insert":
        damaged = bundle[:at] + data.draw(st.binary(min_size=1, max_size=3)) + bundle[at:]
    elif how == "remove":
        damaged = bundle[:at] + bundle[at + data.draw(st.integers(1, 90_000)) :]
    else:
        damaged = bundle + data.draw(st.binary(min_size=1, max_size=3))
    store = prepared()
    before = everything(store)
    with pytest.raises(Corrupt):
        import_bytes(store, damaged, force=True)
    assert everything(store) == before


def test_sections_in_another_order_or_number_are_refused(bundle: bytes) -> None:
    end = bundle.index(b"\n", bundle.index(b'\n{"end":1') + 1) + 1
    for damaged in (bundle[:end], bundle[end:], bundle[end:] + bundle[:end], bundle[:end] + bundle):
        with pytest.raises(Corrupt):
            import_bytes(MemoryStore(), damaged)


def test_a_bundle_that_changes_after_it_was_verified_changes_nothing(tmp_path: Path, bundle: bytes) -> None:
    from sloth_runner.state import bundle_import
    from tests.state.bundle_kit import IMPORTER
    from tests.state.kit import ids

    store = SQLiteStore(tmp_path)
    source = Blocks(bundle)
    choice = bundle_import.Choice(IMPORTER, 1.9e9, ids())
    sections = bundle_import.survey(source)
    source.data = bundle.replace(b'"v":2,', b'"v":3,')
    with pytest.raises(Corrupt):
        bundle_import.apply(store, source, sections, choice, progress=nothing)
    assert everything(store) == []
    store.close()


def small() -> MemoryStore:
    """A store that takes records of 80,000 bytes."""
    store = MemoryStore()
    store.traits = store.traits._replace(max_changes=7, max_value=80_000)
    return store


def test_a_value_that_the_store_does_not_take_is_found_before_anything_is_changed() -> None:
    state, store = make_state(MemoryStore()), small()
    state.set("a", 1)
    state.set("large", "x" * 90_000)
    for with_history in (False, True):
        data = export_bytes(state, with_history=with_history)
        with pytest.raises(
            TooLarge, match=r"long value .* 'large' in local has a record of 90,\d+ bytes"
        ) as caught:
            import_bytes(store, data)
        assert caught.value.unchanged == ["nothing was changed"]
        assert everything(store) == []


@pytest.mark.parametrize("error", [Forbidden, Moved])
def test_who_may_only_read_takes_a_state_out_that_has_no_lineage_yet(error: type[SlothError]) -> None:
    class Reading(MemoryStore):
        closed = False

        def commit(self, changes: Sequence[Change | Check]) -> list[Rev]:
            if self.closed:
                raise error("read only")
            return super().commit(changes)

    store, target = Reading(), MemoryStore()
    state = make_state(store)
    state.set("a", 1)
    store.closed = True
    data = export_bytes(state, with_history=True)
    assert json.loads(data.splitlines()[0])["lineage"] is None
    import_bytes(target, data)
    assert contents(target) == contents(store)
    with pytest.raises(Foreign, match="another state"):
        import_bytes(target, data)


def test_what_runs_said_is_shortened_to_what_the_store_takes() -> None:
    state, store = make_state(MemoryStore()), small()
    state.set("a", 1)
    log = [{"time": None, "stream": "stdout", "text": f"line {number}"} for number in range(20_000)]
    said = store_key("local", "t", "run", 1)
    state.writer.store.commit([Change(said, encode({"log": log, "calls": [], "state": []}))])
    data = export_bytes(state, with_history=True)
    for _ in range(2):
        import_bytes(store, data, fit=fitting(80_000))
        entry = store.get(said)
        assert entry is not None and len(entry.value) <= 80_000 and b"lines are not kept" in entry.value


def test_the_first_line_says_what_it_is_and_the_last_digests_it(bundle: bytes) -> None:
    lines = [json.loads(line) for line in bundle.splitlines()]
    assert lines[0]["format"] == "sloth-runner/bundle"
    assert lines[0]["namespace"] == "local"
    assert len(lines[0]["lineage"]) == 32
    assert lines[0]["counts"] == {"keys": 2, "sensitive": 1, "deleted": 1, "revisions": 5}
    assert lines[-1]["end"] == 2 and lines[-1]["digest"].startswith("sha256:")


def test_a_bundle_that_is_behind_is_refused_unless_forced() -> None:
    clock = Clock()
    state = make_state(clock=clock)
    store = state.writer.store
    state.set("a", "1")
    state.set("b", "1")
    old = export_bytes(state)
    state.set("a", "2")
    before = everything(store)
    with pytest.raises(Conflict, match="behind") as caught:
        import_bytes(store, old)
    assert "a: revision 2 by ann@host1" in caught.value.message
    assert everything(store) == before
    (outcome,) = import_bytes(store, old, force=True)
    assert (outcome.figures.changed, outcome.figures.same, outcome.figures.behind) == (1, 1, 1)
    newest = state.history("a")[0]
    assert (newest.record.number, newest.record.op, newest.old, newest.new) == (3, "import", "2", "1")
    assert newest.record.by.user == "bob"
    check_chain(state, "a")


def test_two_copies_that_went_different_ways_are_told_apart() -> None:
    clock = Clock()
    state = make_state(clock=clock)
    state.set("a", "1")
    copy = MemoryStore()
    import_bytes(copy, export_bytes(state, with_history=True))
    theirs = make_state(copy, clock)
    theirs.set("a", "theirs")
    state.set("a", "ours")
    state.set("a", "ours again")
    with pytest.raises(Conflict):
        import_bytes(copy, export_bytes(state, with_history=True))
    import_bytes(copy, export_bytes(state, with_history=True), force=True)
    assert [(r.record.op, r.new) for r in theirs.history("a")] == [
        ("import", "ours again"), ("set", "theirs"), ("set", "1"),
    ]  # fmt: skip


def test_an_older_bundle_than_the_last_one_is_refused() -> None:
    clock = Clock()
    state, copy = make_state(clock=clock), MemoryStore()
    import_bytes(copy, export_bytes(make_state()))
    state.set("a", 1)
    import_bytes(copy, export_bytes(state))
    for number in range(5):
        clock.now += 1
        state.set("a", f"v{number}")
        if number == 3:
            old = export_bytes(state)
    clock.now += 1
    import_bytes(copy, export_bytes(state), now=clock.now)
    with pytest.raises(Conflict, match="older"):
        import_bytes(copy, old, now=clock.now)
    assert make_state(copy, clock).get("a") == "v4"


def test_another_state_is_refused_unless_forced() -> None:
    state, other = make_state(), make_state()
    state.set("a", 1)
    other.set("a", 2)
    other.set("mine", 1)
    data = export_bytes(state)
    before = everything(other.writer.store)
    with pytest.raises(Foreign, match="another state"):
        import_bytes(other.writer.store, data)
    assert everything(other.writer.store) == before
    import_bytes(other.writer.store, data, force=True)
    assert other.items() == [("a", 1), ("mine", 1)]
    assert lineage_of(other.writer.store, "local") != lineage_of(state.writer.store, "local")


def test_an_empty_store_takes_the_lineage_over() -> None:
    state, copy = make_state(), MemoryStore()
    state.set("a", 1)
    import_bytes(copy, export_bytes(state))
    assert lineage_of(copy, "local") == lineage_of(state.writer.store, "local") is not None


def test_replace_leaves_exactly_the_bundles_keys_and_all_history() -> None:
    clock = Clock()
    state = make_state(clock=clock)
    for key in "aceg":
        state.set(key, key)
    data = export_bytes(state)
    for key in "bcdh":
        state.set(key, "new")
    state.delete("a")
    import_bytes(state.writer.store, data, replace=True, force=True, now=clock.now + 1)
    assert state.items() == [(key, key) for key in "aceg"]
    assert [(r.record.op, r.new) for r in state.history("h")] == [("delete", None), ("set", "new")]
    for key in "abcdegh":
        check_chain(state, key)


@pytest.mark.parametrize("kind", range(4))
def test_what_sealing_keeps_for_itself_neither_travels_nor_is_replaced(tmp_path: Path, kind: int) -> None:
    store = stores(str(tmp_path))[kind]
    state = make_state(store)
    state.set("a", 1)
    state.shared.set("cluster:a", 1)
    data = export_bytes(state, ("local", SHARED), with_history=True)
    rows = [json.loads(line) for line in data.splitlines()]
    assert {row[0] for row in rows if isinstance(row, list)} == {"h", "k"}
    assert [row["counts"] for row in rows if isinstance(row, dict) and "end" in row] == [{"h": 1, "k": 1}] * 2
    state.set("b", 1)
    state.shared.set("cluster:b", 1)
    import_bytes(store, data, replace=True, force=True, now=state.writer.clock() + 1)
    assert state.keys() == ["a", "cluster:a"]
    assert all_is_sealed(store)
    state.set("c", 1)
    if isinstance(store, Sealed):
        assert all(store.mark(namespace).rev for namespace in ("local", SHARED))
        assert reseal.rekey(store, os.urandom, nothing).waiting == ()
        assert state.keys() == ["a", "c", "cluster:a"]
    store.close()


@pytest.mark.parametrize("namespace", ["_store", "local\x1fm", "_"])
def test_no_bundle_writes_where_sealing_keeps_its_own(namespace: str) -> None:
    store = Sealed(MemoryStore(), key_source())
    make_state(store).set("a", 1)
    before = list(store.inner.scan())
    for line in (b'["m","seal",{"epoch":99,"mode":"opening"}]\n', b'["m","keyring",{"format":1}]\n'):
        for where in ("local", namespace):
            with pytest.raises(Corrupt):
                import_bytes(store, section(where, [line], with_history=True), force=True)
    assert list(store.inner.scan()) == before


def test_replace_below_a_prefix_leaves_the_rest_alone() -> None:
    state = make_state()
    state.set("app:a", 1)
    data = export_bytes(state, prefix="app:")
    state.set("app:b", 1)
    state.set("other", 1)
    import_bytes(state.writer.store, data, replace=True, now=state.writer.clock() + 1)
    assert state.keys() == ["app:a", "other"]


def test_keys_can_be_taken_under_another_prefix() -> None:
    clock = Clock()
    state = make_state(clock=clock)
    fill(state, clock, [("stage:a", 1, None, False), ("stage:a", 2, None, False), ("x", 1, None, False)])
    data = export_bytes(state, with_history=True)
    (outcome,) = import_bytes(state.writer.store, data, mapping=(("stage:", "live:"),))
    assert outcome.figures.left_out == 1
    assert state.items() == [("live:a", 2), ("stage:a", 2), ("x", 1)]
    assert [r.new for r in state.history("live:a")] == [2, 1]
    state.set("stage:a", 3)
    import_bytes(state.writer.store, export_bytes(state), mapping=(("stage:", "live:"),))
    assert state.get("live:a") == 3
    check_chain(state, "live:a")


def test_fencing_tokens_only_rise_and_locks_stay_behind() -> None:
    state, other = make_state(), make_state()
    lock(state, 5)
    state.set("a", 1)
    data = export_bytes(state, with_history=True)
    assert not any(json.loads(line)[0] == LEASE for line in data.splitlines()[1:-1])
    fence = store_key("local", FENCE, "deploy")
    for taken, expected in ((0, 5), (2, 5), (9, 9)):
        store = MemoryStore()
        if taken:
            lock(make_state(store), taken, keep=False)
        import_bytes(store, data)
        entry = store.get(fence)
        assert entry is not None and fence_token(entry.value) == expected
    assert other.items() == []


def test_everything_else_travels_with_history() -> None:
    state = make_state()
    store = state.writer.store
    state.set("a", 1)
    strange = {
        store_key("local", LEDGER, "file:/etc/motd"): b'{"sum":"x"}',
        store_key("local", "o", "file:/etc/motd"): bytes(range(256)),
        store_key("local", "p", "reload"): b'{"pending": true}',
        store_key("local", "j", "intent"): b'{"$bytes":"no"}',
        store_key("local", RUN, "r1"): b'{"began":1}\n',
        store_key("local", "t", "r1", 7): b'{"name":"x"}',
        store_key("local", AUDIT, "a") + "\x1f000000000000001-ff": b"{}",
        store_key("local", "g", "v1") + "\x1f=a\x1fb": b"[1]",
        store_key("local", "z", "later"): b"1",
    }
    store.commit([Change(key, value, ABSENT) for key, value in strange.items()])
    copy = MemoryStore()
    import_bytes(copy, export_bytes(state, with_history=True))
    assert contents(copy) == contents(store)
    plain = MemoryStore()
    import_bytes(plain, export_bytes(state))
    assert {key.split("\x1f")[1] for key in contents(plain)} == {"h", "k"}


def test_other_records_that_differ_need_force() -> None:
    state = make_state()
    store = state.writer.store
    state.set("a", 1)
    key = store_key("local", LEDGER, "file:/x")
    (rev,) = store.commit([Change(key, b'{"sum":"1"}', ABSENT)])
    old = export_bytes(state, with_history=True)
    store.commit([Change(key, b'{"sum":"2"}', rev)])
    with pytest.raises(Conflict, match="behind"):
        import_bytes(store, old)
    import_bytes(store, old, force=True)
    assert (entry := store.get(key)) is not None and entry.value == b'{"sum":"1"}'


def test_expiry_and_sensitivity_are_brought_up_to_date() -> None:
    clock = Clock()
    state, copy = make_state(clock=clock), MemoryStore()
    state.set("a", 1)
    import_bytes(copy, export_bytes(state))
    state.set("a", 1, ttl=50, sensitive=True)
    import_bytes(copy, export_bytes(state), now=clock.now)
    theirs = make_state(copy, clock)
    row = theirs.row("a")
    assert row is not None and (row.record.expires, row.record.sensitive) == (clock.now + 50, True)
    assert len(theirs.history("a")) == 1


def test_a_damaged_store_is_not_exported(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path)
    state = make_state(store)
    state.set("good", 1)
    state.set("bad", "x")
    entry = store.get(store_key("local", HEAD, "bad"))
    assert entry is not None
    store.commit([Change(entry.key, entry.value.replace(b'"v":"x"', b'"v":"y'), entry.rev)])
    with pytest.raises(Corrupt, match="'bad'"):
        export_bytes(state)
    store.close()


def test_a_broken_chain_is_not_exported_with_its_history() -> None:
    state = make_state()
    for value in (1, 2, 3):
        state.set("a", value)
    entry = state.writer.store.get(store_key("local", "h", "a", 2))
    assert entry is not None
    state.writer.store.commit([Change(entry.key, entry.value.replace(b'"v":2', b'"v":9'), entry.rev)])
    with pytest.raises(Corrupt, match="revision 3 does not follow from revision 2"):
        export_bytes(state, with_history=True)
    assert export_bytes(state)


LINES = st.one_of(
    st.binary(max_size=40),
    st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogateescape")),
    st.builds(
        lambda kind, name, rest, value: json.dumps(
            [kind, name, *([] if rest is None else [rest]), value], ensure_ascii=False, separators=(",", ":")
        ).encode("utf-8", "surrogatepass"),
        st.sampled_from("khbfrlmz"),
        st.text(max_size=5),
        st.one_of(st.none(), st.integers(-1, 10**13), st.text(max_size=3)),
        st.recursive(
            st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
            lambda inner: st.one_of(
                st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("antfvxszcp"), inner, max_size=5)
            ),
            max_leaves=8,
        ),
    ),
)
FIELDS = st.sampled_from(
    [
        '"a":1',
        '"at":1.0',
        '"f":1',
        '"n":1',
        '"o":"set"',
        '"v":1',
        '"z":1',
        '"t":1.0',
        '"c":1.0',
        '"u":"u"',
        '"i":1',
    ]
)
BITS = st.sampled_from(
    [
        "null",
        "true",
        "-1",
        "0",
        "1e400",
        "NaN",
        '"x"',
        '"\\ud800"',
        "[]",
        "{}",
        '{"$float":"nan"}',
        "9" * 30,
        "01",
        "1.50",
    ]
)


def _record() -> bytes:
    state = make_state()
    state.set("a", 1)
    return export_bytes(state).splitlines()[1]


@given(st.lists(LINES, max_size=4), st.booleans(), st.booleans())
def test_fuzz_a_bundle_with_a_right_digest(lines: list[bytes], with_history: bool, empty: bool) -> None:
    store = MemoryStore() if empty else prepared()
    before = everything(store)
    try:
        import_bytes(
            store, section("local", [line + b"\n" for line in lines], with_history=with_history), force=True
        )
    except SlothError:
        assert everything(store) == before


@given(FIELDS, BITS, st.booleans())
def test_fuzz_one_field_of_a_record(field: str, value: str, with_history: bool) -> None:
    raw = _record()
    name = field.partition(":")[0]
    line = raw.replace(field.encode(), f"{name}:{value}".encode(), 1)
    lines = [line + b"\n"]
    if with_history:
        lines.insert(0, line.replace(b'["k","a",', b'["h","a",1,') + b"\n")
    for store in (MemoryStore(), prepared()):
        before = everything(store)
        try:
            import_bytes(store, section("local", lines, with_history=with_history), force=True)
        except SlothError:
            assert everything(store) == before
        else:
            state = make_state(store)
            assert {row.key for row in state.rows() if row.value is not None} <= {"a"}
            assert state.history("a")


def test_a_bomb_is_refused_before_it_is_understood() -> None:
    for value in (b"[" * 2_000_000, b'{"a":' * 100_000, b"[" + b"{}," * 600_000 + b"{}]", b"9" * 3_000_000):
        with pytest.raises(Corrupt):
            import_bytes(MemoryStore(), section("local", [b'["r","x",' + value + b"]\n"], with_history=True))
    with pytest.raises(Corrupt, match="longer than"):
        import_bytes(MemoryStore(), section("local", [b'["r","x","' + b"x" * (25 << 20) + b'"]\n']))


def test_a_line_has_one_form_only() -> None:
    good = b'["t","r",7,{"a":1}]'
    assert parse(good).rest == 7
    for bad in (
        b'["t", "r",7,{"a":1}]', b'["t","r",07,{"a":1}]', b'["t","r","000000000007",{"a":1}]',
        b'["t","\\u0072",7,{"a":1}]',
        b'["t","r",7,{"a":1} ]', b'["t","r",7,{"$bytes":"eyJhIjoxfQ=="}]', b'["tt","r",{"a":1}]', b'["t","",{"a":1}]',
        b'["l","r",{"a":1}]', b'["m","r",{"a":1}]', b'["t","r\\u001f",{"a":1}]', b"",
    ):  # fmt: skip
        with pytest.raises(Corrupt):
            parse(bad)


@pytest.mark.parametrize("name", [b"\\ud800", b"\\u006eamespace", b"name space"])
def test_a_header_has_one_form_only(name: bytes) -> None:
    good = section("local", [])
    assert good.count(b'"namespace"') == 1
    with pytest.raises(Corrupt, match="header"):
        import_bytes(MemoryStore(), good.replace(b'"namespace"', b'"' + name + b'"'))


def test_by_is_kept(tmp_path: Path) -> None:
    state = make_state()
    state.by = By('o"hara', "hüst", 3, "r", None)
    state.set("a", 1)
    store = SQLiteStore(tmp_path)
    import_bytes(store, export_bytes(state))
    row = make_state(store).row("a")
    assert row is not None and row.record.by == state.by
    store.close()


def test_a_store_with_small_commits_takes_a_key_with_a_long_history() -> None:
    class Small(MemoryStore):
        traits = MemoryStore.traits._replace(max_changes=3)

    state = make_state()
    for number in range(20):
        state.set("a", number)
        state.set("b", "x" * 70_000 + str(number % 3))
    data = export_bytes(state, with_history=True)
    store = Small()
    import_bytes(store, data)
    assert contents(store) == contents(state.writer.store)


@settings(max_examples=30)
@given(st.integers(0, 60))
def test_an_import_by_small_commits_goes_on_where_it_stopped(stop: int) -> None:
    class Failing(MemoryStore):
        traits = MemoryStore.traits._replace(max_changes=3)
        left = stop

        def commit(self, changes: Any) -> list[int]:
            self.left -= 1
            if self.left < 0:
                raise OSError("gone")
            return super().commit(changes)

    state = make_state()
    for number in range(20):
        state.set("a", number)
        state.set(f"k{number}", number)
    data = export_bytes(state, with_history=True)
    store = Failing()
    try:
        import_bytes(store, data)
    except OSError:
        store.left = 10**9
        assert all(decode_record(e.value) for e in store.scan(prefix_of("local", HEAD)))
        import_bytes(store, data, force=True)
    assert contents(store) == contents(state.writer.store)
