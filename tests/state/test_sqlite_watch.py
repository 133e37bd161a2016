"""Why: what another connection or process commits is heard of, a file that comes or goes too, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from sloth_runner.state.backends.sqlite import SQLiteStore
from sloth_runner.state.layout import HEAD, prefix_of, store_key
from sloth_runner.state.store import ABSENT, ANY, Change, Doorbell


def _put(store: SQLiteStore, namespace: str, name: str) -> None:
    store.commit([Change(store_key(namespace, HEAD, name), b"x", ANY)])


def _rings(bell: Doorbell) -> bool:
    return bell(5.0) is None


def test_each_commit_rings_and_silence_does_not(tmp_path: Path) -> None:
    store, other = SQLiteStore(tmp_path), SQLiteStore(tmp_path)
    _put(store, "local", "a")
    assert store.traits.watch is not None
    with store.traits.watch("") as bell:
        assert bell(0.0) == ()
        for writer in (store, other):
            _put(writer, "local", "b")
            assert _rings(bell)
            assert bell(0.0) == ()
    store.close()
    other.close()


def test_another_process_is_heard(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path)
    _put(store, "local", "a")
    assert store.traits.watch is not None
    with store.traits.watch("") as bell:
        script = (
            "import sys; from pathlib import Path; from sloth_runner.state.backends.sqlite import SQLiteStore;"
            "from sloth_runner.state.store import Change;"
            "SQLiteStore(Path(sys.argv[1])).commit([Change('local\\x1fk\\x1fb', b'x')])"
        )
        subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)
        assert _rings(bell)
    store.close()


def test_a_namespace_that_is_new_is_heard(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path)
    assert store.traits.watch is not None
    with store.traits.watch("") as bell:
        assert bell(0.0) == ()
        _put(store, "web1", "a")
        assert _rings(bell)
    store.close()


def test_a_prefix_leaves_other_namespaces_out(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path)
    _put(store, "local", "a")
    _put(store, "web1", "a")
    assert store.traits.watch is not None
    with store.traits.watch(prefix_of("local", HEAD)) as bell:
        _put(store, "web1", "b")
        assert bell(0.2) == ()
        _put(store, "local", "b")
        assert _rings(bell)
    store.close()


def test_reading_does_not_ring(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path)
    _put(store, "local", "a")
    assert store.traits.watch is not None
    with store.traits.watch("") as bell:
        assert len(list(store.scan())) == 1
        assert store.get(store_key("local", HEAD, "b")) is None
        assert bell(0.1) == ()
        assert store.commit([Change(store_key("local", HEAD, "b"), b"y", ABSENT)])
        assert _rings(bell)
    store.close()
