"""Why: the store's server may go away while a run goes on: what is said is true, and a later run finishes.

Each test has servers of its own, of each kind that the engine is to survive the loss of, and hurts them for real.
"""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.program.kit import Home
from tests.services import make, postgres
from tests.services.base import Server

LIMIT = 3.0
"""Seconds of ``request_timeout`` here."""


class Site:
    """A home whose store is a server that a task waits to be hurt: at ``hurt()`` in a task file the test acts."""

    server: Server
    """Its own; where there is none, the one that all tests share."""

    def __init__(self, folder: Path, url: str) -> None:
        self.home = Home(folder / "home")
        self.home.env |= {
            "SLOTH_RUNNER_STATE__STORE": url,
            "SLOTH_RUNNER_STATE__REQUEST_TIMEOUT": f"{LIMIT:g}s",
        }
        self.flag = folder / "flag"
        self.out = folder / "out"
        self.out.mkdir()

    def file(self, text: str) -> None:
        """A task file; HURT is a shell command during which the test acts, OUT a folder."""
        script = self.home.file("hurt", f"touch {self.flag}; while [ -e {self.flag} ]; do sleep 0.02; done")
        self.home.file("site.sloth", text.replace("HURT", f"sh {script}").replace("OUT", str(self.out)))

    def run(self, act: Callable[[], None], *args: str) -> tuple[int, Any, str]:
        """Run it, acting when the moment has come; exit status, document and errors. It must not wait for ever."""
        import json

        def watch() -> None:
            while not self.flag.exists() and not over.is_set():
                time.sleep(0.01)
            act()
            self.flag.unlink(missing_ok=True)

        over = threading.Event()
        actor = threading.Thread(target=watch)
        actor.start()
        with self.home.start("run", "site.sloth", "-o", "json", *args) as process:
            out, err = process.communicate(timeout=100)
        over.set()
        actor.join()
        return process.returncode, json.loads(out), err


@pytest.fixture(params=["postgres", "etcd"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """A home whose store can be hurt."""
    server = make(request.param, tmp_path / "server")
    server.start()
    made = Site(tmp_path, server.url)
    made.server = server
    yield made
    try:
        made.server.signal(signal.SIGCONT)
    except (AssertionError, ProcessLookupError):
        pass  # it was killed
    made.server.stop()


def back(site: Site, how: str) -> None:
    """The server is there again."""
    if how == "kill":
        site.server.start()
    else:
        site.server.signal(signal.SIGCONT)
        site.server.wait_until_ready()


TASKS = """
task({ name = "first", run = function()
  state.set("first", "done")
  file.write({ dest = "OUT/first", content = "1" })
end })
task({ name = "hurt", depends_on = "first", run = function()
  state.lock("left", 600)
  file.write({ dest = "OUT/between", content = "2", validate = [[HURT %s]] })
  state.set("after", "done")
end })
task({ name = "last", depends_on = "hurt", run = function() state.set("last", "done") end })
"""


@pytest.mark.parametrize(("how", "jobs"), [("kill", "1"), ("stop", "4")])
def test_the_run_says_so_keeps_what_was_acknowledged_and_a_later_one_finishes(
    site: Site, how: str, jobs: str, soak: bool
) -> None:
    site.file(TASKS)
    server = site.server
    act = server.kill if how == "kill" else lambda: server.signal(signal.SIGSTOP)
    code, document, err = site.run(act, "-j", jobs)
    assert code == document["exit_code"] == 6, err
    statuses = {task["name"]: task["status"] for task in document["tasks"]}
    assert statuses == {"first": "changed", "hurt": "failed", "last": "skipped"}
    lost = document["lost"]
    assert lost["error"]["code"] in ("E-STORE-DOWN", "E-INDETERMINATE")
    assert "127.0.0.1" in lost["error"]["message"]
    between = f"file:{site.out}/between on local"
    assert lost["unrecorded"] == [between]
    assert set(lost["locks"]) == {"left", "stack:site"}
    assert (site.out / "between").read_text() == "2"
    assert "the store is lost" in err
    assert f"--resume {document['run']}" in err
    assert between in err

    back(site, how)
    assert site.home.value("first") == "done"
    site.home.run("state", "get", "after", code=4)
    plan = site.home.run("plan", "site.sloth", "-o", "json").json
    (entry,) = site.home.run("runs", "list", "-o", "json").json["runs"]
    assert entry["status"] == "died"
    assert plan["complete"]
    site.home.run("lock", "break", "left", "--yes")
    if not soak and (site.server.name, how) != (
        "postgres",
        "kill",
    ):  # the others wait for the lease of a minute
        site.home.run("lock", "break", "--shared", "stack:site", "--yes")
    code, document, err = site.run(lambda: None, "--resume", document["run"], "-j", jobs)
    assert code == 0, err
    statuses = {task["name"]: task["status"] for task in document["tasks"]}
    assert statuses["last"] == "ok"
    assert site.home.value("last") == "done"
    shown = site.home.run("resource", "show", f"file:{site.out}/between", "-o", "json").json
    assert shown["resource"]["before"] is None or shown["resource"]["before"] == "absent"


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_an_outage_shorter_than_the_time_out_is_survived(site: Site, how: str) -> None:
    """The server is away for a moment; a lock is renewed all the same, and what was on its way is done once."""
    site.home.env["SLOTH_RUNNER_STATE__REQUEST_TIMEOUT"] = "60s"
    site.file("""
task({ name = "holder", run = function()
  state.with_lock("l", 9, function() cmd({ command = "sleep 6" }) state.increment("held") end)
end })
for i = 1, 4 do
  task({ name = "t" .. i, run = function()
    for n = 1, 100 do state.increment("n" .. i) state.get("n" .. i) sleep(0.01) end
  end })
end
task({ name = "hurt", run = function() cmd([[HURT]]) state.set("after", true) end })
""")

    def act() -> None:
        if how == "kill":
            site.server.kill()
        else:
            site.server.signal(signal.SIGSTOP)
            time.sleep(LIMIT / 3)
        back(site, how)

    code, document, err = site.run(act, "-j", "9")
    assert code == 0, (err, document)
    assert [site.home.value(f"n{i}") for i in range(1, 5)] == ["100"] * 4
    assert site.home.value("held") == "1"


def test_ctrl_c_ends_a_run_whose_store_does_not_answer(site: Site) -> None:
    site.file("""
task({ name = "hurt", run = function() cmd([[HURT]]) state.set("a", 1) end })
task({ name = "other", run = function() sleep(600) end })
""")
    process: list[subprocess.Popen[str]] = []
    start = site.home.start

    def started(*args: str) -> subprocess.Popen[str]:
        process.append(start(*args))
        return process[0]

    def act() -> None:
        site.server.signal(signal.SIGSTOP)
        threading.Timer(0.5, process[0].send_signal, [signal.SIGINT]).start()

    site.home.start = started  # type: ignore[method-assign] # to know its pid
    code, document, err = site.run(act, "-j", "2")
    assert code == 130, err
    assert document["status"] == "interrupted"
    assert {task["name"]: task["status"] for task in document["tasks"]} == {
        "hurt": "failed",
        "other": "failed",
    }


def test_a_store_that_lets_the_run_in_no_more_is_lost_as_well(tmp_path: Path) -> None:
    with postgres.schema() as url:
        site = Site(tmp_path, url)
        site.file(TASKS)
        schema = url.partition("schema=")[2]

        def act() -> None:
            with psycopg.connect(url.partition("?")[0], user="postgres", autocommit=True) as admin:
                admin.execute(f"REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM sloth")

        code, document, err = site.run(act)
    assert code == document["exit_code"] == 6, err
    assert document["lost"]["error"]["code"] == "E-STORE-DOWN"
    assert "stack:site" in document["lost"]["locks"]
    assert f"--resume {document['run']}" in err
    statuses = {task["name"]: task["status"] for task in document["tasks"]}
    assert statuses == {"first": "changed", "hurt": "failed", "last": "skipped"}
