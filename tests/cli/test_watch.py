"""Why: what happens is shown while it happens, once, in each form of output, and a watch ends as it was told to."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

from sloth_runner.cli.text import width
from tests.cli.kit import Cli, Result
from tests.cli.schema import check

ARGV = [sys.executable, "-m", "sloth_runner"]


def watched(
    cli: Cli, happens: Callable[[], object], *argv: str, tty: bool = False, columns: int = 80
) -> Result:
    """``state watch``; ``happens`` is called once it has begun."""
    begun: list[str] = []

    def heard(text: str) -> None:
        if not begun and "watching" in text:
            begun.append(text)
            happens()

    result = cli("state", "watch", *argv, tty=tty, columns=columns, heard=heard)
    assert begun, result.shown()
    return result


def much(cli: Cli) -> int:
    """Something of every kind; the number of changes."""
    cli.now += 1
    cli.ok("state", "set", "deployment:version", "v1.2.4")
    cli.now += 60
    cli.ok("state", "set", "config:limits", "--json", '{"cpu": [1, 2.5], "on": false, "name": "büro"}')
    cli.ok("state", "set", "db:password", "--stdin", stdin="tr0ub4dor\n")
    cli.ok(
        "state",
        "set",
        "motd",
        "first line\nsecond\tline \x1b[32mgreen\\n, which goes on and on and on and on",
    )
    cli.now += 1
    cli.ok("state", "delete", "motd", "--yes")
    cli.ok("state", "rollback", "deployment:version", "--rev", "1", "--yes")
    cli.ok("state", "set", "cluster:leader", "agent2", "--ttl", "30")
    cli.ok("state", "set", "file:/etc/a-rather-long-name/that-goes-on/and-on.conf", "short")
    cli.now += 60
    return 9


@pytest.mark.parametrize("columns", [20, 40, 59, 60, 80, 120])
def test_on_a_terminal(filled: Cli, columns: int, snapshot: SnapshotAssertion) -> None:
    result = watched(filled, lambda: much(filled), "--count", "9", tty=True, columns=columns)
    assert result.shown() == snapshot
    assert max(map(width, result.out.splitlines())) <= columns


@pytest.mark.parametrize(
    "argv", [(), ("config",), ("--all-agents",), ("--shared",), ("-o", "jsonl")], ids=" ".join
)
def test_off_a_terminal(filled: Cli, argv: tuple[str, ...], snapshot: SnapshotAssertion) -> None:
    count = {"config": "1", "--shared": "2"}.get(argv[0] if argv else "", "9")
    assert watched(filled, lambda: much(filled), *argv, "--count", count).shown() == snapshot


def test_colours(filled: Cli, snapshot: SnapshotAssertion) -> None:
    del filled.environ["NO_COLOR"]
    result = watched(filled, lambda: much(filled), "--count", "3", tty=True)
    assert result.shown() == snapshot


def test_what_is_revealed_is_recorded_once(filled: Cli) -> None:
    def happens() -> None:
        filled.ok("state", "set", "db:password", "--stdin", stdin="two\n")
        filled.ok("state", "set", "db:password", "--stdin", stdin="three\n")

    shown = watched(filled, happens, "db:", "--count", "2", "--reveal")
    assert "correct horse\ttwo" in shown.out and "two\tthree" in shown.out
    history = json.loads(filled.ok("state", "history", "db:password", "-o", "json"))
    assert len(history["reveals"]) == 1
    hidden = watched(filled, happens, "db:", "--count", "2", "-o", "jsonl")
    assert "two" not in hidden.out and "horse" not in hidden.out


def test_what_the_history_no_longer_keeps_is_said(cli: Cli) -> None:
    cli.file("sloth.toml", "[state.history]\nkeep = 2\nmax = 2\n")
    cli.ok("state", "set", "n", "0")

    def happens() -> None:
        for _ in range(6):
            cli.ok("state", "increment", "n")

    result = watched(cli, happens, "--count", "2")
    assert "warning: revisions 2 to 5 of n in local: no longer kept, and so not shown\n" in result.err
    assert [line.split("\t")[2] for line in result.out.splitlines()] == ["6", "7"]
    lines = [
        json.loads(line) for line in watched(cli, happens, "--count", "1", "-o", "jsonl").out.splitlines()
    ]
    assert lines[1] == {"event": "gap", "namespace": "local", "key": "n", "first": 8, "last": 11}


def test_keys_that_are_erased(filled: Cli, snapshot: SnapshotAssertion) -> None:
    def happens() -> None:
        filled.ok("state", "clear", "--purge", "--yes")
        filled.ok("state", "set", "motd", "new")

    assert watched(filled, happens, "motd", "--count", "1", tty=True).shown() == snapshot
    assert watched(filled, happens, "motd", "--count", "1", "-o", "jsonl").shown() == snapshot


def test_it_ends_after_a_time(filled: Cli) -> None:
    result = watched(filled, lambda: None, "--timeout", "0.05")
    assert (result.code, result.out) == (0, "")
    result = watched(filled, lambda: None, "--timeout", "0.1", "--count", "1", "-o", "jsonl")
    assert result.code == 5
    events = [json.loads(line) for line in result.out.splitlines()]
    assert [event["event"] for event in events] == ["watching", "watch.finished", "error"]
    assert events[1]["reason"] == "timeout"
    assert events[2]["error"]["message"] == "there were 0 changes of 1 after 0.1s"


def test_a_document_has_an_end(filled: Cli) -> None:
    assert filled("state", "watch", "-o", "json").code == 64
    over = threading.Event()

    def write() -> None:
        while not over.is_set():
            filled.ok("state", "increment", "n")

    thread = threading.Thread(target=write)
    thread.start()
    try:
        result = filled("state", "watch", "n", "-o", "json", "--count", "3")
    finally:
        over.set()
        thread.join()
    document = json.loads(result.out)
    check(document)
    assert document["count"] == 3 and document["reason"] == "count"
    numbers = [change["rev"] for change in document["changes"]]
    assert numbers == list(range(numbers[0], numbers[0] + 3))


def test_an_unknown_agent(cli: Cli) -> None:
    assert cli("state", "watch", "--agent", "nobody").code == 4


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts the program; what still runs at the end is killed."""
    environ = {**os.environ, "SLOTH_RUNNER_HOME": str(tmp_path), "TERM": "dumb"}
    environ.pop("PYTHONUNBUFFERED", None)
    made: list[subprocess.Popen[str]] = []

    def start(*argv: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*ARGV, *argv], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        made.append(process)
        return process

    yield start
    for process in made:
        process.kill()
        process.communicate()


def line_of(process: subprocess.Popen[str]) -> str:
    """The next line of its output, which must come soon."""
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], 30)[0]
    return process.stdout.readline()


def test_another_process_sees_each_line_at_once_and_may_interrupt(start: Start) -> None:
    assert start("state", "set", "a", "0").wait() == 0
    process = start("state", "watch", "-o", "jsonl")
    assert json.loads(line_of(process))["event"] == "watching"
    for value in "123":
        assert start("state", "set", "a", value).wait() == 0
        assert json.loads(line_of(process))["new"] == value
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert json.loads(out) == {"event": "watch.finished", "reason": "interrupted", "count": 3}
    assert (err, process.returncode) == ("", 130)


def test_a_reader_that_goes_away_ends_it(start: Start) -> None:
    process = start("state", "watch", "-o", "jsonl")
    line_of(process)
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(30) == 141
    assert process.stderr is not None and process.stderr.read() == ""
