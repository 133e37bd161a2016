"""Why: a task waits for what others write, on every store; a watcher at the command line is told when it is lost."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

from tests.program.kit import ENCRYPTION, Home
from tests.services import make, shared_url
from tests.services.s3 import part

LONG = 60.0
"""Seconds after which a test that waits for something has failed."""


def url_of(kind: str, own: str) -> str:
    """A part of the server of this kind that is one's own."""
    if kind == "postgres":
        return f"{shared_url(kind)}?schema=s{own}"
    return part(shared_url(kind), own) if kind == "s3" else f"{shared_url(kind)}/{own}"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Someone with an empty state."""
    return Home(tmp_path)


@pytest.fixture(params=["sqlite", "sealed", "postgres", "etcd", "consul", "s3"])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> Home:
    """The same, in a store of each kind."""
    if request.param == "sqlite":
        return Home(tmp_path)
    if request.param == "sealed":
        return Home(tmp_path, ENCRYPTION)
    return Home(tmp_path, {"SLOTH_RUNNER_STATE__STORE": url_of(request.param, uuid.uuid4().hex)})


class Told:
    """A process that tells of events, line by line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._lines: Queue[str] = Queue()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def next(self) -> dict[str, Any]:
        """The next event, which must come soon."""
        found: dict[str, Any] = json.loads(self._lines.get(timeout=LONG))
        return found

    def until(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first event that is meant."""
        while not holds(event := self.next()):
            pass
        return event

    def rest(self) -> list[dict[str, Any]]:
        """All that comes until the process has ended."""
        found = [json.loads(line) for line in iter(lambda: self._lines.get(timeout=LONG), "")]
        assert self.process.stderr is not None
        assert "Traceback" not in self.process.stderr.read()
        self.process.wait(LONG)
        return found


@contextmanager
def told(home: Home, *argv: str) -> Iterator[Told]:
    """A process, which is killed if it goes on for too long."""
    with home.start(*argv, "-o", "jsonl") as process:
        try:
            yield Told(process)
        finally:
            process.kill()


def text_of(event: dict[str, Any]) -> str:
    """What a task says."""
    return str(event.get("text", ""))


def waiting(event: dict[str, Any]) -> bool:
    """Whether a task says that it waits."""
    return text_of(event).startswith("waiting for a change of")


WAIT = """
task({ name = "wait", run = function()
  local value, change = state.watch("stage", "ready", { timeout = "60s" })
  print("stage", value, change.old, change.rev)
  local seen = {}
  local count = state.watch("n", function(n) seen[#seen + 1] = n or "none" return n == 3 end)
  print("n", count, table.concat(seen, " "))
end })
task({ name = "other", run = function() state.set("other", "went on") end })
"""


def test_a_task_waits_for_what_another_process_writes(anywhere: Home) -> None:
    anywhere.file("wait.sloth", WAIT)
    with told(anywhere, "run", "wait.sloth", "-j", "2") as run:
        run.until(waiting)
        assert anywhere.value("other") == "went on"
        anywhere.run("state", "set", "stage", "almost")
        anywhere.run("state", "set", "stage", "ready")
        assert text_of(run.until(lambda event: "stage\t" in text_of(event))) == "stage\tready\talmost\t2"
        run.until(waiting)
        for _ in range(3):
            anywhere.run("state", "increment", "n")
        rest = run.rest()
    assert "n\t3\tnone 1 2 3" in map(text_of, rest)
    assert rest[-1]["event"] == "run.finished"
    assert run.process.returncode == 0


def test_the_second_run_waits_for_nothing(home: Home) -> None:
    home.file("t.sloth", 'task({ name = "t", run = function() print(state.watch("a", { 1, "x" })[2]) end })')
    home.run("state", "set", "a", "--json", '[1, "x"]')
    assert "[local] t | x\n" in home.run("run", "t.sloth").out


ENDS = """
task({ name = "t", run = function()
  local ok, err = pcall(state.watch, "a", nil, { timeout = 0.05 })
  print(ok, err.code)
  print(pcall(state.watch, "a", function() error("odd", 0) end))
  state.watch("b", true, { timeout = 0.05 })
end })
"""


def test_it_ends_by_an_error_that_names_the_line(home: Home) -> None:
    home.file("t.sloth", ENDS)
    said = home.run("run", "t.sloth", code=1)
    assert "false\tE-TIMEOUT" in said.out.replace("   ", "\t")
    assert "odd" in said.out
    assert (
        "error[E-TIMEOUT]: state.watch: 'b' did not get the value that is waited for within 0.1s" in said.out
    )
    assert "t.sloth:6" in said.out


def test_a_task_of_which_the_time_is_over(home: Home) -> None:
    home.file("t.sloth", 'task({ name = "t", timeout = 0.2, run = function() state.watch("a") end })')
    assert "took longer than its timeout" in home.run("run", "t.sloth", code=1).out


@pytest.mark.parametrize("way", ["state.watch", "state.shared.watch", 'state.agent("web1").watch'])
def test_an_interrupt_ends_it(home: Home, way: str) -> None:
    home.file("t.sloth", f'task({{ name = "t", run = function() {way}("a") end }})')
    home.file("sloth.toml", '[agents]\nweb1 = "local://"\n')
    with told(home, "run", "t.sloth") as run:
        run.until(waiting)
        run.process.send_signal(signal.SIGINT)
        assert run.rest()[-1]["event"] == "run.finished"
    assert run.process.returncode == 130


def test_other_namespaces(home: Home) -> None:
    home.file("sloth.toml", '[agents]\nweb1 = "local://"\n')
    home.file(
        "t.sloth",
        """
task({ name = "t", run = function()
  print("web1", state.agent("web1").watch("a"))
  print("shared", state.shared.watch("a"))
  print("below", state.watch("cluster:", function(v) return v == 3 end, { prefix = true }))
end })
""",
    )
    with told(home, "run", "t.sloth") as run:
        for argv in (("a", "1", "--agent", "web1"), ("a", "2", "--shared"), ("cluster:x", "3")):
            run.until(waiting)
            home.run("state", "set", argv[0], "--json", *argv[1:])
        texts = [text_of(event).partition("\ttable")[0] for event in run.rest()]
    assert "below\t3" in texts


def test_what_is_sensitive_stays_covered(home: Home) -> None:
    home.file("t.sloth", 'task({ name = "t", run = function() print("it is", (state.watch("a"))) end })')
    with told(home, "run", "t.sloth") as run:
        run.until(waiting)
        home.run("state", "set", "a", "tr0ub4dor&3", "--sensitive")
        out = str(run.rest())
    assert run.process.returncode == 0
    assert "it is" in out and "tr0ub4dor" not in out


PLAN = """
task({ name = "value", run = function()
  state.watch("stage", "ready")
  print("then", state.get("stage"))
  local value, change = state.watch("stage", "ready")
  state.set("after", value)
  print(change.user)
end })
task({ name = "unknown", run = function()
  local _, change = state.watch("stage3", 1)
  print(change.user)
end })
task({ name = "judge", run = function()
  print("at once", (state.watch("there", function(v) return v == "yes" end)))
  state.watch("stage2", function(v) return v ~= nil end)
  state.set("never", 1)
end })
"""


def test_a_plan_waits_for_nothing_and_invents_nothing(home: Home) -> None:
    home.file("t.sloth", PLAN)
    home.run("state", "set", "there", "yes")
    plan = home.run("plan", "t.sloth", "-o", "json").json
    value, unknown, judge = plan["tasks"]
    texts = [line["text"] for line in value["log"]]
    assert texts == ["would wait for a change of 'stage'", "then\tready"]
    assert [change["key"] for change in value["state"]] == ["after"]
    assert value["stopped_at"]["reason"] == "its user is not known before it was made", (
        "also of what is assumed"
    )
    assert judge["log"][0]["text"] == "at once\tyes"
    assert judge["stopped_at"] == {
        "line": 15, "reason": "what 'stage2' will hold is not known before it has changed",
    }  # fmt: skip
    assert unknown["stopped_at"]["reason"] == "its user is not known before it was made"
    assert not plan["complete"]
    home.run("state", "get", "stage", code=4)


@pytest.fixture(params=["postgres", "etcd"])
def hurt(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Home, Any]]:
    """A home whose store is a server that may be hurt."""
    server = make(request.param, tmp_path / "server")
    server.start()
    home = Home(tmp_path / "home")
    home.env |= {
        "SLOTH_RUNNER_STATE__STORE": server.url,
        "SLOTH_RUNNER_STATE__REQUEST_TIMEOUT": "2s",
    }
    yield home, server
    server.stop()


def test_a_store_that_is_away_is_waited_for_and_then_told_of(hurt: tuple[Home, Any]) -> None:
    home, server = hurt
    home.env["SLOTH_RUNNER_STATE__REQUEST_TIMEOUT"] = "20s"
    with told(home, "state", "watch") as watch:
        assert watch.next()["event"] == "watching"
        server.kill()
        server.start()
        home.run("state", "set", "a", "1")
        assert watch.next()["new"] == "1"
    home.env["SLOTH_RUNNER_STATE__REQUEST_TIMEOUT"] = "2s"
    with told(home, "state", "watch") as watch:
        assert watch.next()["event"] == "watching"
        server.kill()
        events = watch.rest()
    assert watch.process.returncode == 6
    assert [event["event"] for event in events] == ["watch.finished", "error"]
    assert events[0]["reason"] == "error"
    assert events[1]["error"]["code"] == "E-STORE-DOWN"
