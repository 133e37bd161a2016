"""Files that are wrong, places that are full, neighbours that don't let go: a clear error, and nothing changed."""

from __future__ import annotations

import hashlib
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import apsw
import pytest

from sloth_runner.errors import BadName, Busy, Conflict, Corrupt, Foreign, SlothError, StoreDown
from sloth_runner.state.backends.sqlite import SQLiteStore
from sloth_runner.state.backends.sqlite_file import APPLICATION, FORMAT, SCHEMA
from sloth_runner.state.backends.turn import Turn
from sloth_runner.state.layout import store_key
from sloth_runner.state.store import ABSENT, Change, Check

KEY = store_key("local", "k", "a")


def fill(folder: Path) -> Path:
    store = SQLiteStore(folder)
    store.commit([Change(KEY, b'{"v":1}')])
    store.close()
    return folder / "local.db"


def digest(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir() if p.suffix == ".db"}


def refused(folder: Path, kind: type[SlothError], match: str) -> None:
    """Reading and writing are both refused, and the files are as before."""
    before = digest(folder)
    for action in ("get", "commit", "scan"):
        store = SQLiteStore(folder)
        with pytest.raises(kind, match=match) as caught:
            if action == "get":
                store.get(KEY)
            elif action == "commit":
                store.commit([Change(KEY, b"2")])
            else:
                list(store.scan(store_key("local", "k", "")))
        assert caught.value.unchanged
        store.close()
    assert digest(folder) == before


def test_reading_makes_nothing(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "state")
    assert store.get(KEY) is None
    assert list(store.scan()) == []
    assert list(store.scan(KEY)) == []
    assert store.namespaces() == []
    assert store.file_bytes("local") == 0
    store.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("at", ["home", "home/state"])
def test_a_file_where_the_folder_should_be_is_not_an_empty_state(tmp_path: Path, at: str) -> None:
    (tmp_path / at).parent.mkdir(exist_ok=True)
    (tmp_path / at).write_text("x")
    store = SQLiteStore(tmp_path / "home" / "state")

    def snapshot() -> None:
        assert store.traits.snapshot is not None
        with store.traits.snapshot("local"):
            raise AssertionError

    def watch() -> None:
        assert store.traits.watch is not None
        with store.traits.watch(""):
            raise AssertionError

    for action in (
        lambda: store.get(KEY),
        lambda: list(store.scan()),
        lambda: list(store.scan(KEY)),
        store.namespaces,
        lambda: store.file_bytes("local"),
        lambda: store.integrity("local"),
        snapshot,
        watch,
        lambda: store.commit([Change(KEY, b"1")]),
    ):
        with pytest.raises(StoreDown, match="can't be used") as caught:
            action()
        assert "choose another SLOTH_RUNNER_HOME" in caught.value.next[0]
    store.close()
    assert (tmp_path / at).read_text() == "x"


def test_everything_is_private(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store = SQLiteStore(tmp_path / "home" / "state")
        store.commit([Change(KEY, b"1")])
        for path in (tmp_path / "home").rglob("*"):
            assert stat.S_IMODE(path.parent.stat().st_mode) & 0o077 == 0, path.parent
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
        store.close()
    finally:
        os.umask(before)


def test_a_file_that_others_may_read_is_closed_to_them(tmp_path: Path) -> None:
    file = fill(tmp_path)
    file.chmod(0o644)
    store = SQLiteStore(tmp_path)
    assert store.get(KEY) is not None
    store.close()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_damage(tmp_path: Path) -> None:
    file = fill(tmp_path)
    content = bytearray(file.read_bytes())
    content[:100] = b"\xff" * 100
    file.write_bytes(content)
    refused(tmp_path, Corrupt, "damaged")


def test_damage_further_in(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path)
    store.commit([Change(store_key("local", "k", f"{i:04}"), b"x" * 500) for i in range(200)])
    store.close()
    file = tmp_path / "local.db"
    content = bytearray(file.read_bytes())
    content[8192:] = b"\x5a" * (len(content) - 8192)
    file.write_bytes(content)
    store = SQLiteStore(tmp_path)
    with pytest.raises(Corrupt):
        list(store.scan(store_key("local", "k", "")))
    assert store.integrity("local") != []
    store.close()


def test_not_a_database(tmp_path: Path) -> None:
    (tmp_path / "local.db").write_text("just some text, " * 100)
    refused(tmp_path, Corrupt, "no database")


def test_another_programs_database(tmp_path: Path) -> None:
    other = apsw.Connection(str(tmp_path / "local.db"))
    other.execute("CREATE TABLE songs (name)")
    other.close()
    refused(tmp_path, Foreign, "another program")


def test_a_newer_format(tmp_path: Path) -> None:
    fill(tmp_path)
    newer = apsw.Connection(str(tmp_path / "local.db"))
    newer.pragma("user_version", 99)
    newer.close()
    refused(tmp_path, Foreign, "format 99")


def test_an_empty_file_is_a_new_one(tmp_path: Path) -> None:
    (tmp_path / "local.db").touch()
    store = SQLiteStore(tmp_path)
    assert store.get(KEY) is None
    store.commit([Change(KEY, b"1")])
    store.close()
    assert SQLiteStore(tmp_path).get(KEY) is not None


def test_many_processes_may_make_a_file_at_once(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from sloth_runner.state.backends.sqlite import SQLiteStore\n"
        "from sloth_runner.state.store import Change\n"
        "sys.stdin.readline()\n"
        "for i in range(30):\n"
        "    s = SQLiteStore(Path(sys.argv[1]) / str(i))\n"
        "    if int(sys.argv[2]) % 2: s.get('local\\x1fk\\x1fa')\n"
        "    else: s.commit([Change('local\\x1fk\\x1fa' + sys.argv[2], b'1')])\n"
        "    s.close()\n"
    )
    pipe = subprocess.PIPE
    argv = [sys.executable, "-c", code, str(tmp_path)]
    processes = [subprocess.Popen([*argv, str(i)], stdin=pipe, stderr=pipe, text=True) for i in range(6)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    real = tmp_path / "real"
    fill(real)
    folder = tmp_path / "state"
    folder.mkdir()
    (folder / "local.db").symlink_to(real / "local.db")
    with pytest.raises(Foreign, match="no regular file"):
        SQLiteStore(folder).get(KEY)


@pytest.mark.parametrize("name", ["../evil", "a/b", "..", "", "LOCAL", "x" * 64])
def test_names_never_become_paths_unchecked(tmp_path: Path, name: str) -> None:
    store = SQLiteStore(tmp_path / "state")
    with pytest.raises(BadName):
        store.get(store_key(name, "k", "a"))
    with pytest.raises((BadName, Conflict)):
        store.commit([Change(store_key(name, "k", "a"), b"1", ABSENT)])
    assert [p for p in tmp_path.rglob("*") if p.suffix == ".db"] == []


def test_a_database_that_a_shell_holds(tmp_path: Path) -> None:
    fill(tmp_path)
    code = (
        "import apsw, sys; c = apsw.Connection(sys.argv[1]); c.execute('BEGIN EXCLUSIVE'); "
        "print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "local.db")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as shell:
        assert shell.stdout is not None
        shell.stdout.readline()
        store = SQLiteStore(tmp_path, patience=0.1)
        with pytest.raises(Busy, match="locked by another program") as caught:
            store.commit([Change(KEY, b"2")])
        assert caught.value.unchanged == ["nothing was changed"]
        entry = store.get(KEY)
        assert entry is not None
        assert entry.value == b'{"v":1}'
        store.close()


def test_a_stopped_writer_is_named(tmp_path: Path) -> None:
    fill(tmp_path)
    code = (
        "import sys; from pathlib import Path; from sloth_runner.state.backends.turn import Turn\n"
        "t = Turn(Path(sys.argv[1]), 'local', 1); t.__enter__(); print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / ".locks")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        other.send_signal(signal.SIGSTOP)
        store = SQLiteStore(tmp_path, patience=0.1)
        with pytest.raises(Busy, match=f"process {other.pid}"):
            store.commit([Change(KEY, b"2")])
        assert store.get(KEY) is not None
        other.send_signal(signal.SIGCONT)
        other.communicate()
        store.commit([Change(KEY, b"2")])
        store.close()


def test_turns_are_taken_in_order_by_many_threads(tmp_path: Path) -> None:
    inside: list[int] = []
    most = 0

    def work() -> None:
        nonlocal most
        turn = Turn(tmp_path / "locks", "local", 30)
        for _ in range(50):
            with turn:
                inside.append(1)
                most = max(most, len(inside))
                inside.pop()
        turn.close()

    (tmp_path / "locks").mkdir()
    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_a_fork_is_refused(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path\n"
        "from sloth_runner.state.backends.sqlite import SQLiteStore\n"
        "from sloth_runner.state.store import Change\n"
        "s = SQLiteStore(Path(sys.argv[1])); s.commit([Change('local\\x1fk\\x1fa', b'1')])\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    try: s.commit([Change('local\\x1fk\\x1fa', b'2')])\n"
        "    except Exception as e: os.write(1, str(e).encode())\n"
        "    os._exit(0)\n"
        "os.waitpid(pid, 0)"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert "forked" in out.stdout


WRITER = """
import sys; from pathlib import Path
from sloth_runner.errors import SlothError
from sloth_runner.state.backends.sqlite import SQLiteStore
from sloth_runner.state.store import Change
s = SQLiteStore(Path(sys.argv[1]))
n = 0
try:
    for n in range(400):
        s.commit([Change('local\\x1fk\\x1fb', bytes(100_000 + n)), Change(f'local\\x1fh\\x1fb{n}', bytes(9_000))])
except SlothError as e: print(e.code, e.message, e.unchanged)
try:
    entry = s.get('local\\x1fk\\x1fb')
    print('last', n, entry and len(entry.value) - 100_000)
except SlothError as e: print(e.code, e.message)
"""


def in_namespace(script: str, *args: str) -> str:
    """Run a shell script with a mount namespace of its own."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    argv = ["unshare", "--mount", "--", "sh", "-ec", script, "sh", *args]
    out = subprocess.run(argv, capture_output=True, text=True, check=False)
    if "Operation not permitted" in out.stderr or "permission denied" in out.stderr.lower():
        pytest.skip(f"no mount namespaces here: {out.stderr.strip()}")
    assert out.returncode == 0, out.stderr
    return out.stdout


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_a_read_only_file_system(tmp_path: Path, mode: int) -> None:
    fill(tmp_path)
    for file in tmp_path.glob("*.db"):
        file.chmod(mode)
    script = 'mount --bind "$1" "$1"; mount -o remount,ro,bind "$1"; exec "$2" -c "$3" "$1"'
    before = digest(tmp_path)
    out = in_namespace(script, str(tmp_path), sys.executable, WRITER)
    assert "E-STORE-DOWN" in out
    assert "can't be" in out
    assert digest(tmp_path) == before


def test_an_empty_folder_that_nobody_may_write_to(tmp_path: Path) -> None:
    script = 'mount --bind "$1" "$1"; mount -o remount,ro,bind "$1"; exec "$2" -c "$3" "$1"'
    out = in_namespace(script, str(tmp_path), sys.executable, WRITER)
    assert "E-STORE-DOWN" in out
    assert "Read-only file system" in out
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_was_full_before(tmp_path: Path) -> None:
    file = fill(tmp_path / "made")
    script = (
        'mkdir "$1"; mount -t tmpfs -o size=200k tmpfs "$1"; mkdir -p "$1/state/.locks"; cp "$4" "$1/state"; '
        'dd if=/dev/zero of="$1/rest" bs=4k 2>/dev/null || exec "$2" -c "$3" "$1/state"'
    )
    out = in_namespace(script, str(tmp_path / "small"), sys.executable, WRITER, str(file))
    assert "E-STORE-DOWN" in out
    assert "is full" in out


def test_a_full_disk(tmp_path: Path) -> None:
    script = 'mount -t tmpfs -o size=3m tmpfs "$1"; exec "$2" -c "$3" "$1/state"'
    out = in_namespace(script, str(tmp_path), sys.executable, WRITER)
    assert "E-STORE-DOWN" in out
    assert "full" in out
    last = out.splitlines()[-1].split()
    assert int(last[2]) == int(last[1]) - 1, out


def test_a_check_alone_writes_nothing(tmp_path: Path) -> None:
    fill(tmp_path)
    store = SQLiteStore(tmp_path)
    entry = store.get(KEY)
    assert entry is not None
    assert store.commit([Check(KEY, entry.rev)]) == [entry.rev]
    with pytest.raises(Conflict):
        store.commit([Check(KEY, entry.rev + 1)])
    store.close()


def test_the_views_can_be_read_by_people(tmp_path: Path) -> None:
    from tests.crash.worker import open_state

    state = open_state(str(tmp_path))
    state.set("plain", {"a": [1, "x"]})
    state.set("plain", 5)
    state.set("secret", "hidden", sensitive=True)
    state.set("gone", 1)
    state.delete("gone")
    state.writer.store.close()
    shell = apsw.Connection(str(tmp_path / "local.db"))
    rows = shell.execute("SELECT key, revision, value, user FROM state_keys ORDER BY key").fetchall()
    assert rows == [("plain", 2, "5", "t"), ("secret", 1, "(sensitive)", "t")]
    rows = shell.execute(
        "SELECT key, revision, operation, value FROM state_history ORDER BY key, revision"
    ).fetchall()
    assert rows[:2] == [("gone", 1, "set", "1"), ("gone", 2, "delete", None)]
    assert ("plain", 1, "set", '{"a":[1,"x"]}') in rows
    shell.close()


def bytes_read() -> int:
    """All that this process has read so far, from whatever file."""
    return int(Path("/proc/self/io").read_text().partition("rchar: ")[2].split()[0])


def test_a_key_is_found_without_reading_the_values_beside_it(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path)
    store.commit([Change(store_key("web1", "o", f"{i:03}"), bytes(1 << 18), ABSENT) for i in range(64)])
    store.close()
    store = SQLiteStore(tmp_path)
    before = bytes_read()
    assert store.get(store_key("web1", "o", "031a")) is None
    assert bytes_read() - before < 1 << 18, "less than one of these values"
    store.close()


def test_a_file_without_rowids_goes_on(tmp_path: Path) -> None:
    """As files were made before."""
    key = store_key("web1", "k", "a")
    old = SCHEMA.replace("lease_until REAL\n)", "lease_until REAL\n) WITHOUT ROWID")
    assert old != SCHEMA
    file = apsw.Connection(str(tmp_path / "web1.db"))
    file.pragma("journal_mode", "wal")
    file.execute(old)
    file.pragma("application_id", APPLICATION)
    file.pragma("user_version", FORMAT)
    file.close()
    store = SQLiteStore(tmp_path)
    assert store.commit([Change(key, b"one", ABSENT)]) == [1]
    assert store.commit([Change(key, b"two", 1), Change(key + "b", b"three", ABSENT)]) == [2, 1]
    assert [(one.key, one.value, one.rev) for one in store.scan()] == [
        (key, b"two", 2),
        (key + "b", b"three", 1),
    ]
    assert store.commit([Change(key, None, 2)]) == [ABSENT]
    assert store.commit([Change(key, b"four", ABSENT)]) == [3]
    assert store.integrity("web1") == []
    store.close()
