"""Moving a state as a user does it: the questions, the configuration, other programs, and kill -9 at any moment."""

from __future__ import annotations

import json
import os
import random
import shlex
import signal
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sloth_runner.errors import Moved
from sloth_runner.state import moved
from sloth_runner.state.backends import Options, open_store
from sloth_runner.state.backends.sqlite import SQLiteStore
from sloth_runner.state.layout import ARRIVING, KEYRING, LEASE, place, store_key
from sloth_runner.state.marks import is_own
from sloth_runner.state.store import Change, Store
from tests.cli.kit import Cli
from tests.cli.schema import check
from tests.cli.test_servers import part
from tests.linearizability.faults import behind
from tests.services import postgres
from tests.state.kit import make_state


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


@pytest.fixture
def url() -> Iterator[str]:
    with postgres.schema() as url:
        yield url


@pytest.fixture
def filled(cli: Cli) -> Cli:
    for number in range(5):
        cli.ok("state", "set", f"k{number}", f"value {number}")
    cli.ok("state", "set", "k0", "again")
    cli.ok("state", "set", "--shared", "cluster:x", "1")
    return cli


def document(cli: Cli, *argv: str, code: int = 0) -> dict[str, Any]:
    result = cli("state", "migrate", *argv, "-o", "json")
    assert result.code == code, result.shown()
    found: dict[str, Any] = json.loads(result.out)
    check(found)
    return found


def dump(store: Store) -> dict[str, bytes]:
    found = {entry.key: entry.value for entry in store.scan()}
    return {key: value for key, value in found.items() if not is_own(key) and place(key).kind != LEASE}


def test_it_is_moved_and_the_home_folders_configuration_names_it(filled: Cli, url: str) -> None:
    there = document(filled, "--to", url, "--dry-run")
    assert there["status"] == "planned" and there["config"]["switched"] is False
    assert [(row["namespace"], row["keys"], row["revisions"]) for row in there["namespaces"]] == [
        ("_shared", 1, 1),
        ("local", 5, 6),
    ]
    assert filled.ok("state", "get", "k0") == "again\n"
    assert filled("state", "migrate", "--to", url).code == 8, "nobody was asked"
    asked = filled("state", "migrate", "--to", url, tty=True, stdin="n\n")
    assert asked.code == 8 and "which takes no writes any more" in asked.err
    assert filled.ok("state", "set", "k1", "still mine") is not None
    done = document(filled, "--to", url, "--yes")
    assert done["status"] == "moved" and done["config"]["switched"] is True
    assert (filled.home / "config.toml").read_text() == f'[state]\nstore = "{url}"\n'
    assert (filled.home / "config.toml").stat().st_mode & 0o777 == 0o600
    assert filled.ok("state", "get", "k1") == "still mine\n"
    filled.ok("state", "set", "k1", "in the new home")
    assert document(filled, "--from", "sqlite", "--to", url)["status"] == "moved already"


WITHOUT = """
import sys
sys.modules["tomlkit"] = None
from sloth_runner.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


def test_a_configuration_that_can_not_be_edited_is_known_before(filled: Cli, tmp_path: Path) -> None:
    filled.file("sloth.toml", '# ours\n[state]\nstore = "sqlite"\n')
    filled.file(
        "t.sloth",
        f"""task({{name = "t", run = function()
      file.set_key({{path = "{tmp_path}/a.toml", key = "a.x", value = 2}})
    end}})""",
    )
    (tmp_path / "a.toml").write_text("[a]\n")
    environ = {**os.environ, **filled.environ}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-c", WITHOUT, *words]
        return subprocess.run(argv, env=environ, cwd=filled.work, capture_output=True, text=True, check=False)

    to = f"sqlite://{tmp_path}/new"
    for words in (("--dry-run",), ("--yes",)):
        refused = run("state", "migrate", "--to", to, *words)
        assert refused.returncode == 5 and "pip install 'sloth-runner[toml]'" in refused.stderr, refused
        assert "--no-switch" in refused.stderr
    filled.ok("state", "set", "k1", "still here")
    for command in ("plan", "run"):
        failed = run(command, "t.sloth")
        assert failed.returncode != 70 and "pip install 'sloth-runner[toml]'" in failed.stderr + failed.stdout
    assert run("state", "migrate", "--to", to, "--yes", "--no-switch").returncode == 0


def test_who_does_not_know_yet_is_told(filled: Cli, url: str) -> None:
    old = SQLiteStore(filled.home / "state")  # a program that had it open before
    filled.ok("state", "migrate", "--to", url, "--yes", "--no-switch")
    assert not (filled.home / "config.toml").exists()
    with pytest.raises(Moved):
        old.commit([Change(store_key("local", "k", "x"), b"{}")])
    old.close()
    refused = filled("state", "set", "k1", "lost?")
    assert refused.code == 7 and "error[E-MOVED]" in refused.err, refused.shown()
    assert url in refused.err
    read = filled("state", "get", "k1")
    assert read.code == 0 and read.out == "value 1\n"
    assert "warning: this state was moved to" in read.err
    filled.file("deploy.sloth", 'task({name = "a", run = function() state.set("a", 1) end})')
    run = filled("run", "deploy.sloth")
    assert run.code == 7 and "E-MOVED" in run.err, run.shown()
    environ = {"SLOTH_RUNNER_STATE__STORE": url}
    assert filled("run", "deploy.sloth", environ=environ).code == 0
    again = filled("state", "migrate", "--to", url, "--yes")
    assert again.code == 0 and "was moved already" in again.err
    assert filled.ok("state", "get", "a") == "1\n"


def test_what_was_moved_is_not_sealed_either(filled: Cli, url: str) -> None:
    filled.ok("state", "migrate", "--to", url, "--yes", "--no-switch")
    filled.file("sloth.toml", '[state.encryption]\nsource = "env"\nvariable = "KEY"\n')
    filled.environ["KEY"] = b64encode(bytes(32)).decode()
    for words in (("encrypt",), ("rekey",), ("decrypt",)):
        refused = filled("state", *words)
        assert refused.code == 7 and "error[E-MOVED]" in refused.err, refused.shown()
    old = SQLiteStore(filled.home / "state")
    assert old.get(KEYRING) is None
    old.close()


def test_what_is_arriving_is_not_sealed_meanwhile(filled: Cli) -> None:
    store = SQLiteStore(filled.home / "state")
    note = moved.Note("1" * 32, "etcd://there", "sqlite", "ann", "host1", 1_800_000_000.0)
    store.commit([Change(ARRIVING, moved.encode(note))])
    filled.file("sloth.toml", '[state.encryption]\nsource = "env"\nvariable = "KEY"\n')
    filled.environ["KEY"] = b64encode(bytes(32)).decode()
    refused = filled("state", "encrypt")
    assert refused.code == 7 and "is being copied here" in refused.err, refused.shown()
    assert store.get(KEYRING) is None
    store.close()


def test_the_projects_file_keeps_everything_else(filled: Cli, url: str) -> None:
    before = '# ours\n[state]   # where\nstore = "sqlite"  # the default\npassword_env = "GONE"\n\n[run]\njobs = 2\n'
    file = filled.file("sloth.toml", before)
    file.chmod(0o640)
    filled.environ["GONE"] = "x"
    filled.ok("state", "migrate", "--to", url, "--yes")
    after = file.read_text()
    assert after.splitlines()[0] == "# ours" and "jobs = 2" in after and "# where" in after
    assert f'store = "{url}"' in after and "password_env" not in after
    assert file.stat().st_mode & 0o777 == 0o640
    assert filled.ok("state", "get", "k0") == "again\n"


def test_a_variable_is_left_to_its_user(filled: Cli, url: str) -> None:
    filled.environ["SLOTH_RUNNER_STATE__STORE"] = "sqlite"
    result = filled("state", "migrate", "--to", url, "--yes")
    assert result.code == 0
    assert shlex.split(result.err.splitlines()[-1]) == ["export", f"SLOTH_RUNNER_STATE__STORE={url}"]
    assert not (filled.home / "config.toml").exists()


def test_a_configuration_that_names_another_store_is_left_alone(filled: Cli, url: str) -> None:
    before = f'[state]\nstore = "sqlite://{filled.folder}/elsewhere"\n'
    filled.file("sloth.toml", before)
    result = filled("state", "migrate", "--from", f"sqlite://{filled.home}/state", "--to", url, "--yes")
    assert result.code == 0, result.shown()
    assert (filled.work / "sloth.toml").read_text() == before
    assert f'[state] store = "{url}"' in result.err


def test_a_file_that_cant_be_written_is_not_the_end(filled: Cli, url: str) -> None:
    file = filled.file("sloth.toml", '[state]\nstore = "sqlite"\n')
    (filled.work / f".sloth.toml~{os.getpid()}.part").mkdir()
    result = filled("state", "migrate", "--to", url, "--yes")
    assert result.code == 0, result.shown()
    assert "the configuration could not be changed" in result.err and f'store = "{url}"' in result.err
    assert file.read_text() == '[state]\nstore = "sqlite"\n'


def test_a_password_comes_from_its_variable_and_is_shown_nowhere(filled: Cli, url: str) -> None:
    import psycopg

    with psycopg.connect(url.partition("?")[0].replace("sloth@", "postgres@"), autocommit=True) as admin:
        admin.execute(f"CREATE SCHEMA {url.partition('schema=')[2]} AUTHORIZATION scram")
    filled.environ["DB_PASSWORD"] = postgres.PASSWORD
    to = url.replace("sloth@", "scram@")
    assert filled("state", "migrate", "--to", to, "--yes").code == 6
    argv = ("state", "migrate", "--to", to, "--to-password-env", "DB_PASSWORD", "--yes")
    result = filled(*argv)
    assert result.code == 0 and postgres.PASSWORD not in result.shown()
    assert (
        filled.home / "config.toml"
    ).read_text() == f'[state]\nstore = "{to}"\npassword_env = "DB_PASSWORD"\n'
    assert filled.ok("state", "get", "k0") == "again\n"
    back = filled("state", "migrate", "--to", f"sqlite://{filled.home}/state", "--yes")
    assert back.code == 0, back.shown()
    assert "password_env" not in (filled.home / "config.toml").read_text()
    filled.ok("state", "set", "k0", "home again")


def test_a_sealed_state_is_sealed_there_under_a_key_of_its_own(cli: Cli, url: str) -> None:
    cli.file("sloth.toml", '[state.encryption]\nsource = "env"\nvariable = "KEY"\n')
    cli.environ["KEY"] = "ab" * 32
    cli.ok("state", "set", "a", "canary")
    cli.ok("state", "migrate", "--to", url, "--yes")
    assert cli.ok("state", "get", "a") == "canary\n"
    store = open_store(url, Options(cli.folder, 10.0))
    data = b"".join(entry.value for entry in store.scan())
    store.close()
    old = SQLiteStore(cli.home / "state")
    keyring = [entry.value for entry in old.scan("_store\x1fm\x1fkeyring")]
    old.close()
    assert b"canary" not in data and keyring[0] not in data


def test_nothing_is_begun_while_somebody_works(filled: Cli, url: str) -> None:
    from tests.cli.test_documents import hold

    hold(filled, "deploy")
    result = filled("state", "migrate", "--to", url, "--dry-run")
    assert result.code == 3 and "'deploy' in local" in result.err, result.shown()
    filled.ok("state", "set", "k1", "1")


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        ((), 64, "--to is needed"),
        (("--to", "sqlite"), 64, "both source and target"),
        (("--to", "memory://"), 64, "ends with its process"),
        (("--to", "postgres://h/d?nix=1"), 5, "unknown parameter 'nix'"),
        (("--to", "x", "--abort", "--dry-run"), 64, "exclude each other"),
        (("--to", "postgres://u@127.0.0.1:1/d", "--yes"), 6, "127.0.0.1"),
        (("--to", "sqlite:///TMP/b", "--to-password-env", "NIX"), 5, "NIX"),
        (("--to", "sqlite:///TMP/b", "--abort", "--yes"), 64, "no migration was begun"),
    ],
)
def test_what_is_refused(filled: Cli, argv: tuple[str, ...], code: int, words: str) -> None:
    result = filled("state", "migrate", *(word.replace("/TMP", str(filled.folder)) for word in argv))
    assert result.code == code and words in result.err, result.shown()
    filled.ok("state", "set", "k1", "1")


@pytest.mark.parametrize("name", ["consul", "etcd", "postgres", "s3"])
def test_through_every_store_and_home_again(filled: Cli, name: str) -> None:
    """From the default files to a server and back into them; everything written on the way is there."""
    long = "x" * 70_000
    filled.ok("state", "set", "long", long)
    home = f"sqlite://{filled.home}/state"
    filled.ok("state", "migrate", "--to", part(name), "--yes")
    filled.ok("state", "set", "k1", "on the server")
    filled.ok("state", "delete", "k2", "--yes")
    filled.ok("state", "verify", "--all-agents")
    filled.ok("state", "migrate", "--to", home, "--yes")
    assert (filled.home / "config.toml").read_text() == f'[state]\nstore = "{home}"\n'
    assert filled.ok("state", "get", "k1") == "on the server\n"
    assert filled.ok("state", "get", "long") == long + "\n"
    assert filled("state", "exists", "k2").code == 1
    assert len(filled.ok("state", "history", "k0").splitlines()) == 2
    filled.ok("state", "verify", "--all-agents")
    filled.ok("state", "set", "k1", "at home")


def ended(running: subprocess.Popen[bytes], seconds: float) -> tuple[int, str]:
    """How a process ended, and what it said; after so many seconds it is killed."""
    try:
        running.wait(seconds)
    except subprocess.TimeoutExpired:
        os.kill(running.pid, signal.SIGKILL)
    assert running.stderr is not None
    said = running.stderr.read().decode()
    running.stderr.close()
    return running.wait(60), said


def process(cli: Cli, *argv: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "sloth_runner", "state", "migrate", *argv, "--yes"],
        cwd=cli.work,
        env={**os.environ, **cli.environ},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize("way", ["there", "back"])
def test_killed_at_any_moment_it_is_finished_by_the_next_one(cli: Cli, url: str, way: str) -> None:
    seed = int(os.environ.get("SEED") or random.randrange(1 << 32))
    print(f"SEED={seed}")
    rng = random.Random(seed)
    ends = [f"sqlite://{cli.folder}/a", url]
    source, target = ends if way == "there" else ends[::-1]
    opened = [open_store(one, Options(cli.folder, 20.0)) for one in (source, target)]
    state = make_state(opened[0])
    for namespace in ("local", "web1", "web2"):
        state = make_state(opened[0], namespace=namespace)
        state.writer.apply([state.edit(f"k{n}", _put(f"{n}" * 20)) for n in range(400)])
        state.writer.apply([state.edit(f"k{n}", _put(f"{n}" * 30)) for n in range(400)])
    before = dump(opened[0])
    argv = ("--from", source, "--to", target)
    began = time.monotonic()
    assert ended(process(cli, *argv, "--dry-run"), 120)[0] == 0
    usual = time.monotonic() - began
    killed = 0
    for turn in range(8):
        running = process(cli, *argv)
        late = rng.uniform(0.4, 0.8 + 0.3 * turn) * usual if turn < 7 else 120
        if turn == 0:  # what it takes may be less than what the other took: this once it is surely under way
            begun(opened[0], running)
            late = rng.uniform(0.0, 0.05)
        code, said = ended(running, late)
        killed += code == -signal.SIGKILL
        assert code in (0, -signal.SIGKILL), said
        assert dump(opened[0]) == before
        gone = moved.left(opened[0])
        if gone is not None and gone.done:
            assert dump(opened[1]) == before
        if code == 0:
            break
    assert killed >= 1 and code == 0
    assert dump(opened[1]) == before and moved.coming(opened[1]) is None
    with pytest.raises(Moved):
        opened[0].commit([Change(store_key("local", "k", "x"), b"{}")])
    opened[1].commit([Change(store_key("local", "k", "x"), b"{}")])
    for store in opened:
        store.close()


def begun(source: Store, running: subprocess.Popen[bytes]) -> None:
    """Wait until a migration has said in its source that it has begun, or has ended."""
    end = time.monotonic() + 60
    while moved.left(source) is None and running.poll() is None and time.monotonic() < end:
        time.sleep(0.005)


def _put(value: str) -> Any:
    from sloth_runner.state import edits

    return edits.put(value)


def test_interrupted_by_the_user_the_source_lives_on(cli: Cli, url: str) -> None:
    store = SQLiteStore(cli.home / "state")
    for namespace in ("local", "web1"):
        state = make_state(store, namespace=namespace)
        state.writer.apply([state.edit(f"k{n}", _put("x" * 200)) for n in range(6000)])
    with behind(url, random.Random()) as (slow, proxies):
        for proxy in proxies:
            proxy.arm("slow", 0.03)  # else it may have ended before this process is told that it has begun
        running = process(cli, "--to", slow)
        begun(store, running)
        os.kill(running.pid, signal.SIGINT)
        code, said = ended(running, 60)
    assert code == 130, said
    store.commit([Change(store_key("local", "k", "x"), b"{}")])
    store.close()
