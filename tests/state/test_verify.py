"""What was tampered with is found and named; what was not is never suspected, also while others write."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sloth_runner.state import tags
from sloth_runner.state.backends.memory import MemoryStore
from sloth_runner.state.backends.sqlite import SQLiteStore
from sloth_runner.state.batch import Retention
from sloth_runner.state.chain import Finding
from sloth_runner.state.layout import BLOB, HEAD, HISTORY, TAG, place, prefix_of, store_key
from sloth_runner.state.record import decode_record, encode_record
from sloth_runner.state.state import State
from sloth_runner.state.store import Change, Entry, Store
from sloth_runner.state.verify import Report, verify
from tests.state.kit import BY, Clock, make_state, memory

ROOT = Path(__file__).resolve().parents[2]
LONG = "long " * 20_000


def _fill(state: State, clock: Clock) -> None:
    """Five revisions of one key, three of another, a long value, a deleted key, one that expired."""
    for value in range(5):
        clock.now += 1
        state.set("app:version", f"v{value}")
        if value < 3:
            state.set("db:port", 5000 + value)
    state.set("long", LONG)
    state.set("gone", 1)
    state.delete("gone")
    state.set("brief", 1, ttl=1)
    clock.now += 2
    state.set("brief", 2, ttl=1)
    clock.now += 2


def _of(report: Report) -> list[tuple[str | None, int | None, str]]:
    return [(found.key, found.revision, found.problem) for found in report.findings]


class Files:
    """A folder with a filled database that nobody has open."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = Clock()
        self.path = folder / "local.db"
        self.with_state(lambda state: _fill(state, self.clock))

    def with_state(self, do: Callable[[State], object], retention: Retention | None = None) -> None:
        store = SQLiteStore(self.folder)
        do(make_state(store, self.clock, retention=retention))
        store.close()

    def tag(self, name: str) -> str:
        made: list[tags.Tag] = []
        self.with_state(lambda s: made.append(tags.make(s.writer.store, "local", name, BY, self.clock.now)))
        return made[0].digest

    def tamper(self, *statements: str) -> None:
        argv = [sys.executable, "-m", "tests.state.tamper", str(self.path), *statements]
        subprocess.run(argv, check=True, cwd=ROOT)

    def verify(self, head: str | None = None) -> Report:
        store = SQLiteStore(self.folder)
        try:
            return verify(store, "local", head)
        finally:
            store.close()


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def _key(kind: str, name: str, revision: int | None = None) -> str:
    key = store_key("local", kind, name, revision).partition("\x1f")[2]
    return "'" + key.replace("\x1f", "' || char(31) || '") + "'"


def _edit(old: str, new: str, where: str) -> str:
    return f"UPDATE entry SET value = CAST(replace(value, '{old}', '{new}') AS BLOB) WHERE key {where}"


def _history(revision: int, name: str = "app:version") -> str:
    return _key(HISTORY, name, revision)


def test_what_is_whole_is_found_whole(files: Files) -> None:
    report = files.verify()
    assert report.ok and report.findings == ()
    assert (report.keys, report.revisions, report.compacted) == (5, 5 + 3 + 1 + 2 + 3, 0)
    assert report.head == files.verify().head
    digest = files.tag("now")
    assert digest == report.head
    assert files.verify(digest).ok
    files.with_state(lambda state: state.set("db:port", 1))
    later = files.verify(digest)
    assert later.ok and later.head != digest
    assert [(one.verified, one.compacted) for one in later.tags] == [(5, 0)]


CASES = {
    "a byte of an old value": (
        [_edit('"v1"', '"v7"', f"= {_history(2)}")],
        [("app:version", 2, "changed")],
    ),
    "a byte of the newest value": (
        [_edit('"v4"', '"v7"', f"= {_history(5)}")],
        [("app:version", 5, "head-differs")],
    ),
    "a byte of the head": (
        [_edit('"v4"', '"v7"', f"= {_key(HEAD, 'app:version')}")],
        [("app:version", 5, "head-differs")],
    ),
    "who did it": (
        [_edit('"ann"', '"bob"', f"= {_history(3)}")],
        [("app:version", 3, "changed")],
    ),
    "a secret's mark": (
        [_edit('"f":1', '"s":1,"f":1', f"= {_key(HEAD, 'db:port')}")],
        [("db:port", 3, "head-differs")],
    ),
    "a revision deleted": (
        [f"DELETE FROM entry WHERE key = {_history(3)}"],
        [("app:version", 3, "missing")],
    ),
    "the oldest deleted": (
        [f"DELETE FROM entry WHERE key = {_history(1)}"],
        [("app:version", 1, "missing")],
    ),
    "the newest deleted": (
        [f"DELETE FROM entry WHERE key = {_history(5)}"],
        [("app:version", 5, "missing")],
    ),
    "several deleted": (
        [f"DELETE FROM entry WHERE key IN ({_history(2)}, {_history(3)}, {_history(4)})"],
        [("app:version", 2, "missing")],
    ),
    "a head deleted": (
        [f"DELETE FROM entry WHERE key = {_key(HEAD, 'app:version')}"],
        [("app:version", None, "head-missing")],
    ),
    "an old head put back": (
        [
            f"UPDATE entry SET value = (SELECT value FROM entry WHERE key = {_history(3)}) "
            f"WHERE key = {_key(HEAD, 'app:version')}"
        ],
        [("app:version", 3, "head-old")],
    ),
    "two revisions swapped": (
        [
            f"UPDATE entry SET key = 'x' WHERE key = {_history(2)}",
            f"UPDATE entry SET key = {_history(2)} WHERE key = {_history(4)}",
            f"UPDATE entry SET key = {_history(4)} WHERE key = 'x'",
        ],
        [("app:version", 2, "misplaced"), ("app:version", 4, "misplaced")],
    ),
    "a revision of another key": (
        [
            f"UPDATE entry SET value = (SELECT value FROM entry WHERE key = {_history(2, 'db:port')}) "
            f"WHERE key = {_history(2)}"
        ],
        [("app:version", 1, "changed"), ("app:version", 2, "changed")],
    ),
    "a record that is none": (
        [f"UPDATE entry SET value = CAST('x' AS BLOB) WHERE key = {_history(3)}"],
        [("app:version", 3, "unreadable")],
    ),
    "text in place of bytes": (
        [f"UPDATE entry SET value = CAST(value AS TEXT) WHERE key IN ({_history(3)}, {_key(BLOB, 'long', 1)})"],
        [("app:version", 3, "unreadable"), ("long", 1, "value")],
    ),
    "a record cut off": (
        [f"UPDATE entry SET value = substr(value, 1, 40) WHERE key = {_key(HEAD, 'db:port')}"],
        [("db:port", None, "unreadable")],
    ),
    "a long value": (
        [_edit("long long", "long l0ng", f"= {_key(BLOB, 'long', 1)}")],
        [("long", 1, "value")],
    ),
    "a long value deleted": (
        [f"DELETE FROM entry WHERE key = {_key(BLOB, 'long', 1)}"],
        [("long", 1, "value")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_tampering_is_found_and_named(files: Files, name: str) -> None:
    statements, findings = CASES[name]
    files.tamper(*statements)
    assert _of(files.verify()) == findings


TAG_CASES = {
    "a whole key deleted": (
        "DELETE FROM entry WHERE key LIKE '_' || char(31) || 'db:port%'",
        [("db:port", 3, "missing")],
    ),
    "a key set back to an older revision": (
        f"DELETE FROM entry WHERE key = {_history(3, 'db:port')}; "
        f"UPDATE entry SET value = (SELECT value FROM entry WHERE key = {_history(2, 'db:port')}) "
        f"WHERE key = {_key(HEAD, 'db:port')}",
        [("db:port", 2, "rolled-back")],
    ),
    "both copies of the newest changed alike": (
        _edit("5002", "5003", "LIKE '_' || char(31) || 'db:port%'"),
        [("db:port", 3, "changed")],
    ),
    "a tag's row": (
        _edit('"db:port",3', '"db:port",2', f"LIKE '{TAG}' || char(31) || 'v1' || char(31) || '%'"),
        [("db:port", 2, "changed"), (None, None, "tag")],
    ),
    "a tag's rows unreadable": (
        f"UPDATE entry SET value = substr(value, 2) WHERE key LIKE '{TAG}' || char(31) || 'v1' || char(31) || '%'",
        [(None, None, "tag")],
    ),
    "a tag's digest": (
        _edit('"digest": "', '"digest": "0', f"= {_key(TAG, 'v1')}"),
        [(None, None, "tag"), (None, None, "checkpoint")],
    ),
    "a tag's record": (
        f"UPDATE entry SET value = 'x' WHERE key = {_key(TAG, 'v1')}",
        [(None, None, "tag"), (None, None, "checkpoint")],
    ),
    "a tag deleted": (
        f"DELETE FROM entry WHERE key LIKE '{TAG}' || char(31) || 'v1%'",
        [(None, None, "checkpoint")],
    ),
}


@pytest.mark.parametrize("name", TAG_CASES)
def test_tampering_with_what_a_tag_saw(files: Files, name: str) -> None:
    digest = files.tag("v1")
    files.with_state(lambda state: state.set("app:version", "v9"))
    statement, findings = TAG_CASES[name]
    assert files.verify(digest).ok
    files.tamper(statement)
    assert _of(files.verify(digest)) == findings


def test_an_older_copy_of_the_file_is_found_by_a_pinned_digest_only(files: Files, tmp_path: Path) -> None:
    shutil.copy(files.path, tmp_path / "older")
    files.with_state(lambda state: state.set("app:version", "v9"))
    digest = files.tag("pinned")
    shutil.copy(tmp_path / "older", files.path)
    assert files.verify().ok, "by itself it is whole: this is what a pin is for"
    report = files.verify(digest)
    assert _of(report) == [(None, None, "checkpoint")]
    assert "replaced by an older copy" in report.findings[0].message


def test_a_truncated_file_is_found(files: Files) -> None:
    files.with_state(lambda state: [state.set(f"fill{n}", "x" * 500) for n in range(300)])
    size = files.path.stat().st_size
    with files.path.open("r+b") as file:
        file.truncate(size // 2)
    report = files.verify()
    assert [found[2] for found in _of(report)][-1] == "damaged"
    assert "damaged" in report.findings[-1].message


def test_compacted_is_not_verified_and_said_so(files: Files) -> None:
    digest = files.tag("v1")
    busy = Retention(1, 90, 3)
    files.with_state(lambda state: [state.increment("db:port") for _ in range(20)], busy)
    report = files.verify(digest)
    assert report.ok and report.compacted == 1
    assert [(one.tag.name, one.verified, one.compacted) for one in report.tags] == [("v1", 4, 1)]
    files.tamper(f"DELETE FROM entry WHERE key = {_history(3, 'db:port')}")
    found = files.verify().findings
    assert _of(files.verify()) == [("db:port", 3, "missing")]
    assert found[0].message == "revision 3 is missing; the tag 'v1' keeps it"


def test_findings_are_listed_up_to_a_bound(tmp_path: Path) -> None:
    state = make_state()
    for number in range(1200):
        state.set(f"k{number}", 1)
    store = state.writer.store
    store.commit([Change(e.key, None, e.rev) for e in store.scan(prefix_of("local", HISTORY))])
    report = verify(store, "local")
    assert (len(report.findings), report.more) == (1000, 200)


def test_nothing_is_held_in_memory() -> None:
    class Watching(MemoryStore):
        most = 0

        def scan(self, prefix="", *, after="", limit=None, reverse=False):  # type: ignore[no-untyped-def] # as above
            assert limit is not None and limit <= 500
            return super().scan(prefix, after=after, limit=limit, reverse=reverse)

    state = make_state(Watching())
    for number in range(700):
        state.set(f"k{number}", 1)
    tags.make(state.writer.store, "local", "t", BY, 1.0)
    assert verify(state.writer.store, "local").ok


def _core(entry: Entry) -> int:
    return entry.value.index(b'"f":')


@settings(max_examples=150, deadline=None)
@given(where=st.integers(0, 10_000), at=st.integers(0, 10_000), bit=st.integers(0, 7), sealed=st.booleans())
def test_any_flipped_bit_of_what_the_chain_covers_is_found(
    where: int, at: int, bit: int, sealed: bool
) -> None:
    """In a sealed state by someone who has the key."""
    clock = Clock()
    state = make_state(memory(clock, sealed=sealed), clock)
    _fill(state, clock)
    store = state.writer.store
    entries = [e for kind in (HEAD, HISTORY, BLOB) for e in store.scan(prefix_of("local", kind))]
    entry = entries[where % len(entries)]
    start = 0 if place(entry.key).kind == BLOB else _core(entry)
    index = start + at % (len(entry.value) - start)
    data = bytearray(entry.value)
    data[index] ^= 1 << bit
    store.commit([Change(entry.key, bytes(data), entry.rev)])
    report = verify(store, "local")
    assert {found.key for found in report.findings} == {place(entry.key).name}


def _rewritten(record_of: Callable[[bytes], bytes], store: Store, key: str) -> None:
    entry = store.get(key)
    assert entry is not None
    store.commit([Change(key, record_of(entry.value), entry.rev)])


@settings(max_examples=60, deadline=None)
@given(number=st.integers(1, 5), sealed=st.booleans())
def test_a_chain_made_to_fit_again_is_found_by_a_tag(number: int, sealed: bool) -> None:
    """A forger who recomputes every later hash, but can't change the digest that is kept elsewhere."""
    from sloth_runner.state.record import digest

    clock = Clock()
    store = memory(clock, sealed=sealed)
    state = make_state(store, clock)
    _fill(state, clock)
    pinned = tags.make(store, "local", "t", BY, clock.now).digest
    previous = ""
    for n in range(1, 6):

        def forge(raw: bytes, n: int = n, before: str = previous) -> bytes:
            record = decode_record(raw)
            text = '"forged"' if n == number else record.text
            return encode_record(record._replace(text=text, previous=before or record.previous, core=""))

        key = store_key("local", HISTORY, "app:version", n)
        _rewritten(forge, store, key)
        entry = store.get(key)
        assert entry is not None
        previous = digest(decode_record(entry.value)) if n >= number else ""
    newest = store.get(store_key("local", HISTORY, "app:version", 5))
    assert newest is not None
    forged = newest.value
    _rewritten(lambda _: forged, store, store_key("local", HEAD, "app:version"))
    found = verify(store, "local", pinned).findings
    assert (
        Finding("app:version", 5, "changed", "revision 5 is not the one that the tag 't' recorded") in found
    )
    tags.drop(store, "local", "t")
    assert verify(store, "local").ok, "without a tag a forged chain is whole"
    tags.make(store, "local", "t", BY, clock.now)
    assert _of(verify(store, "local", pinned)) == [(None, None, "checkpoint")]


def test_those_who_write_meanwhile_are_not_suspected(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "tests.crash.worker", str(tmp_path)]
    pipe = subprocess.PIPE
    writers = [subprocess.Popen([*argv, name], stdout=pipe, cwd=ROOT) for name in ("one", "two")]
    try:
        for writer in writers:
            assert writer.stdout is not None and writer.stdout.readline()
        store = SQLiteStore(tmp_path)
        seen = 0
        for round_ in range(60):
            report = verify(store, "local")
            assert report.findings == ()
            assert report.revisions >= seen or report.compacted
            seen = report.revisions
            if round_ % 20 == 0:
                made = tags.make(store, "local", f"t{round_}", BY, 1.0)
                assert verify(store, "local", made.digest).ok
            if round_ % 20 == 19:
                tags.drop(store, "local", f"t{round_ - 19}")
        store.close()
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
            assert writer.stdout is not None
            writer.stdout.close()
