"""Why: a command under a lock really is alone, is stopped when it no longer is, and keeps its own status."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from sloth_runner.app import App, settings_for
from sloth_runner.state import locks
from tests.cli.kit import Cli
from tests.cli.test_documents import hold

ARGV = [sys.executable, "-m", "sloth_runner", "lock", "run", "deploy"]


def _environ(cli: Cli) -> dict[str, str]:
    return {**os.environ, "SLOTH_RUNNER_HOME": str(cli.home)}


def _run(cli: Cli, *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*ARGV, *argv], env=_environ(cli), capture_output=True, text=True, timeout=60)


def _begun(cli: Cli, *argv: str) -> subprocess.Popen[str]:
    """A command under the lock that has said a line."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [*ARGV, *argv], env=_environ(cli), stdin=pipe, stdout=pipe, stderr=pipe, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def test_the_status_is_the_command_s(cli: Cli) -> None:
    assert _run(cli, "--", "true").returncode == 0
    assert _run(cli, "--", "sh", "-c", "exit 7").returncode == 7
    assert _run(cli, "--", "sh", "-c", "kill -9 $$").returncode == 128 + 9
    missing = _run(cli, "--", "/no/such/program")
    assert missing.returncode == 64 and "was not run" in missing.stderr
    assert cli.ok("lock", "list") == ""


def test_the_command_knows_its_lock(cli: Cli) -> None:
    script = 'echo "$SLOTH_LOCK_NAME $SLOTH_LOCK_TOKEN"; cat'
    done = subprocess.run(
        [*ARGV, "--", "sh", "-c", script], env=_environ(cli), input="input\n", capture_output=True, text=True
    )
    assert done.stdout == "deploy 1\ninput\n"


def test_held_by_another(cli: Cli) -> None:
    process = _begun(cli, "--", "sh", "-c", "echo begun; exec sleep 60")
    try:
        second = _run(cli, "--", "echo", "never")
        assert second.returncode == 3 and second.stdout == ""
        assert "held by 'sh'" in second.stderr
        assert _run(cli, "--wait", "0.2s", "--", "echo", "never").returncode == 3
        assert "\tsh\t" in cli.ok("lock", "list")
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    assert _run(cli, "--", "true").returncode == 0


def test_waiting_gets_it(cli: Cli) -> None:
    process = _begun(cli, "--", "sh", "-c", "echo begun; read line; exit 0")
    process.communicate()
    assert _run(cli, "--wait", "30s", "--", "echo", "mine").stdout == "mine\n"


def test_a_lost_lock_stops_the_command_and_what_it_started(cli: Cli) -> None:
    script = "sleep 1000 & echo begun; wait"
    process = _begun(cli, "--ttl", "3s", "--", "sh", "-c", script)
    broken = subprocess.run(
        [sys.executable, "-m", "sloth_runner", "lock", "break", "deploy", "--yes"], env=_environ(cli)
    )
    assert broken.returncode == 0
    _, err = process.communicate(timeout=60)  # ends only when the grandchild has let go of the pipe
    assert process.returncode == 5 and "E-LOCK-LOST" in err and "was stopped" in err


def test_a_lock_that_was_broken_behind_a_short_command_is_told(cli: Cli) -> None:
    process = _begun(cli, "--ttl", "60s", "--", "sh", "-c", "echo begun; read line")
    assert cli.ok("lock", "break", "deploy", "--yes", "--reason", "it hangs")
    _, err = process.communicate(input="", timeout=60)
    assert process.returncode == 5 and "ran to its end" in err
    assert "it was broken by ann@host1 at 2026-" in err and "it hangs" in err


def test_break_shows_the_holder_and_asks(cli: Cli) -> None:
    hold(cli, "deploy", "night-job")
    result = cli("lock", "break", "deploy", tty=True, stdin="n\n")
    assert result.code == 8 and "'night-job': bob@host1" in result.err
    assert cli("lock", "break", "deploy").code == 8
    assert cli.ok("lock", "show", "deploy").startswith("name\tdeploy\nholder\tnight-job\n")
    assert "broken: deploy" in cli.ok("lock", "break", "deploy", "--yes")
    assert cli("lock", "break", "deploy", "--yes").code == 4


def test_a_lease_of_a_holder_whose_clock_is_slow_has_not_ended(cli: Cli) -> None:
    hold(cli, "deploy", "night-job")
    assert "; ends by itself in " in cli("lock", "break", "deploy").err
    cli.now += 24 * 3600
    late = " ago by the clock here; the store's clock decides"
    assert late in cli("lock", "break", "deploy").err
    refused = cli("lock", "run", "deploy", "--", "true")
    assert refused.code == 3 and late in refused.err


def test_how_a_lock_was_broken_is_shown_until_it_is_taken_again(cli: Cli) -> None:
    hold(cli, "deploy", "night-job")
    cli.ok("lock", "break", "deploy", "--yes", "--reason", "it hangs\x1b[1m")
    for mode in ("table", "json"):
        result = cli("lock", "show", "deploy", "-o", mode)
        assert result.code == 4
        assert "it was broken by ann@host1 at 2026-09-21T14:13:20.000Z: it hangs" in result.err
        assert "('night-job' held it)" in result.err and "\x1b" not in result.out + result.err
    assert "it hangs" in json.loads(cli("lock", "show", "deploy", "-o", "json").out)["error"]["message"]
    hold(cli, "deploy", "day-job")
    assert "it hangs" not in cli.ok("lock", "show", "deploy")
    cli.ok("lock", "break", "deploy", "--yes")
    assert "no reason was given ('day-job' held it)" in cli("lock", "show", "deploy").err


def test_a_dead_holder_is_told_apart(cli: Cli) -> None:
    settings = settings_for(cli.environ, cli.work)._replace(user="ann", host="host1")
    app = App(settings, clock=lambda: cli.now, new_id=lambda: "0" * 32, getenv=cli.environ.get)
    owner = app.owner("dead", "1")._replace(started=1)
    locks.acquire(app.store(), "_shared", "stack:web", owner, 300, cli.now)
    app.close()
    assert cli.ok("lock", "list").rstrip().endswith("stale")
    wrong = cli("lock", "show", "stack:web")
    assert wrong.code == 4 and "--shared" in wrong.err
    assert "stale: its process is gone" in cli.ok("lock", "show", "stack:web", "--shared")


def test_at_a_terminal_the_command_is_in_the_foreground(cli: Cli) -> None:
    import pty

    child, terminal = pty.fork()
    if child == 0:
        script = 'read line; echo "got $line"; stty -a >/dev/null && echo tty'
        os.execve(sys.executable, [*ARGV, "--", "sh", "-c", script], _environ(cli))
    os.write(terminal, b"hello\n")
    seen = b""
    try:
        while piece := os.read(terminal, 4096):
            seen += piece
    except OSError:
        pass  # Linux's way to say that the other end has closed
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert b"got hello" in seen and seen.rstrip().endswith(b"tty")


def test_unneeded_files_are_not_left(cli: Cli, tmp_path: Path) -> None:
    _run(cli, "--", "true")
    assert {path.name for path in (cli.home / "state").iterdir()} <= {"local.db", ".locks"}
