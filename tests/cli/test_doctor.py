"""The doctor finds what is wrong, says what to do, and is quiet where all is well."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from contextlib import closing
from typing import Any

import apsw
import pytest

from sloth_runner import processes
from sloth_runner.app import App, settings_for
from sloth_runner.engine.fitting import encode
from sloth_runner.state import lineage, tags
from sloth_runner.state.layout import RUN, SHARED, TAG, prefix_of, store_key
from sloth_runner.state.lineage import lineage_key
from sloth_runner.state.locks import Held, Owner, acquire
from sloth_runner.state.store import Change
from tests.cli.kit import Cli
from tests.cli.schema import check
from tests.cli.test_documents import settle
from tests.cli.test_history import RUN as RUN_FILE
from tests.cli.test_history import _tamper


def _app(cli: Cli) -> App:
    settings = settings_for(cli.environ, cli.work)._replace(user="ann", host="host1")
    return App(settings, clock=lambda: cli.now, new_id=lambda: "e" * 32, getenv=cli.environ.get)


def _found(cli: Cli, code: int) -> list[dict[str, Any]]:
    """What is not ok, but for encryption."""
    result = cli("state", "doctor", "-o", "json")
    assert result.code == code, result.shown()
    document = json.loads(result.out)
    check(document)
    assert document["ok"] is (code == 0)
    return [row for row in document["checks"] if row["status"] != "ok" and row["check"] != "encryption"]


def _dead_pid() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return process.pid


def unend(cli: Cli) -> None:
    """Make the last run one whose process died."""
    app = _app(cli)
    store = app.store()
    (entry,) = store.scan(prefix_of(SHARED, RUN))
    row = json.loads(entry.value)
    row |= {"status": "running", "seconds": 0.0, "process": ["host1", "another boot", 1, 1]}
    store.commit([Change(entry.key, encode(row), entry.rev)])
    app.close()


@pytest.fixture
def well(filled: Cli) -> Cli:
    """State with nothing wrong."""
    settle(filled)
    return filled


def test_all_is_well(well: Cli) -> None:
    assert _found(well, 0) == []
    result = well("state", "doctor", tty=True)
    assert result.out.splitlines()[-1] == "all is well with sqlite:///TMP/home/state"
    assert "encryption: not encrypted" in result.out
    checks = {row["check"] for row in json.loads(well.ok("state", "doctor", "-o", "json"))["checks"]}
    schema = {
        "versions", "permissions", "clock", "encryption", "integrity", "lineage", "history", "tags", "locks", "runs",
    }  # fmt: skip
    assert checks == schema - {"tags"}
    assert [line.split("\t")[0] for line in well.ok("state", "doctor").splitlines()].count("note") == 1


def test_without_state_there_is_nothing_to_complain_about(cli: Cli) -> None:
    (found,) = _found(cli, 0)
    assert "there is no state yet" in found["message"]
    assert not cli.home.exists()


def test_a_memory_store_has_no_files(cli: Cli) -> None:
    assert cli("state", "doctor", environ={"SLOTH_RUNNER_STATE__STORE": "memory"}).code == 0


def test_open_files_and_folders(well: Cli) -> None:
    folder = well.home / "state"
    (folder / "local.db").chmod(0o640)
    folder.chmod(0o755)
    found = _found(well, 7)
    assert [row["check"] for row in found] == ["permissions", "permissions"]
    for row in found:
        subprocess.run(row["next"][0].replace("/TMP", str(well.folder)), shell=True, check=True)
    assert _found(well, 0) == []


def test_a_file_that_is_a_link(well: Cli) -> None:
    folder = well.home / "state"
    (folder / "local.db").rename(folder / "other")
    (folder / "local.db").symlink_to(folder / "other")
    assert {"permissions", "integrity"} <= {row["check"] for row in _found(well, 7)}


def test_damage(well: Cli) -> None:
    _tamper(well, "UPDATE entry SET value = CAST(replace(value, 'v1.2.2', 'v1.2.1') AS BLOB)")
    settle(well)
    (found,) = _found(well, 7)
    assert found["check"] == "integrity" and found["namespace"] == "local"
    assert "1 record is not what was written" in found["message"]
    assert found["next"] == ["see all: sloth-runner state verify"]


def test_a_damaged_file(well: Cli) -> None:
    path = well.home / "state" / "_shared.db"
    with closing(apsw.Connection(str(path))) as file:  # a part that nobody reads who looks for keys
        page = file.execute("SELECT rootpage FROM sqlite_master WHERE name = 'entry_lease'").get
    data = bytearray(path.read_bytes())
    data[4096 * (page - 1) : 4096 * (page - 1) + 400] = b"\xa5" * 400
    path.write_bytes(data)
    settle(well)
    found = _found(well, 7)
    assert {(row["check"], row["namespace"]) for row in found} == {("integrity", "_shared")}


def test_a_file_of_something_else(well: Cli) -> None:
    (well.home / "state" / "_shared.db").write_bytes(b"not a database at all" * 100)
    settle(well)
    found = [row for row in _found(well, 7) if row["check"] != "permissions"]
    assert {(row["check"], row["namespace"]) for row in found} >= {("integrity", "_shared")}


def test_clocks_that_are_ahead(well: Cli) -> None:
    well.now += 7200
    well.ok("state", "set", "a", "b")
    well.now -= 7200
    os.utime(well.home / "state" / "local.db", (well.now + 3600, well.now + 3600))
    files, keys = _found(well, 7)
    assert files["check"] == keys["check"] == "clock"
    assert "local.db" in files["message"] and "1 key changed in the future: a" in keys["message"]


def test_stale_locks_and_dead_runs(well: Cli) -> None:
    well.file("r.sloth", RUN_FILE)
    well.ok("run", "r.sloth")
    unend(well)
    app = _app(well)
    boot, started = processes.identity()
    dead = app.by()._replace(pid=_dead_pid())
    for name, by in (("live", app.by()), ("dead", dead)):
        owner = Owner(f"h-{name}", name, by, boot, started)
        assert isinstance(acquire(app.store(), "local", name, owner, 300, well.now), Held)
    app.close()
    settle(well)
    lock, run = _found(well, 7)
    assert lock["check"] == "locks" and "'dead' is held by 'h-dead'" in lock["message"]
    assert lock["next"] == ["if nothing that it started still runs: sloth-runner lock break dead"]
    assert (run["check"], run["status"]) == ("runs", "note") and "never ended" in run["message"]
    well.ok("lock", "break", "dead", "--yes")
    settle(well)
    assert len(_found(well, 0)) == 1


@pytest.mark.parametrize("given", [(), ("--set", "a=1")])
def test_a_dead_run_goes_on_with_the_values_that_it_had(well: Cli, given: tuple[str, ...]) -> None:
    well.file("my tasks.sloth", RUN_FILE)
    well.ok("run", "-f", "my tasks.sloth", "web", *given)
    unend(well)
    settle(well)
    (run,) = _found(well, 0)
    line = shlex.split(run["next"][1].removeprefix("go on from there: "))
    assert line[2:5] == ["-f", "/TMP/work/my tasks.sloth", "web"]
    assert line[7:] == (["--values", "…", "--set", "…"] if given else [])


def test_a_tag_that_was_never_finished(well: Cli) -> None:
    app = _app(well)
    tags.make(app.store(), "local", "v1", app.by(), well.now)
    entry = app.store().get(store_key("local", TAG, "v1"))
    assert entry is not None
    app.store().commit([Change(entry.key, entry.value.replace(b'"done"', b'"making"'), entry.rev)])
    app.close()
    settle(well)
    (found,) = _found(well, 7)
    assert found["check"] == "tags" and "no revision is pruned" in found["message"]
    assert well("state", "rollback", "--to-tag", "v1", "--yes").code == 64
    assert "not finished" in well.ok("state", "tag")
    well.ok("state", "tag", "v1")
    settle(well)
    assert _found(well, 0) == []


def test_history_and_lineage_are_told(cli: Cli) -> None:
    cli.file("sloth.toml", "[state.history]\nkeep = 1\nmax = 2\n")
    for _ in range(4):
        cli.ok("state", "increment", "busy")
    app = _app(cli)
    app.store().commit([Change(lineage_key("local"), lineage.encode("0123abc"))])
    app.close()
    settle(cli)
    rows = {row["check"]: row for row in json.loads(cli.ok("state", "doctor", "-o", "json"))["checks"]}
    assert "of 1 key, revisions before that are compacted" in rows["history"]["message"]
    assert rows["lineage"]["message"] == "0123abc"
    assert cli("state", "doctor", "-o", "jsonl").code == 0
