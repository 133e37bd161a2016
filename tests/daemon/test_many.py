"""Why: a run waits for many agents at once, and one that is lost is told of in time, while the others go on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.daemon.kit import Agent, many
from tests.program.kit import Home

COUNT = 20
PROGRAM = (
    "echo $$ > {marks}/$0.new; mv {marks}/$0.new {marks}/$0; until test -e {marks}/go; do sleep 0.1; done"
)
"""Leaves its number, and waits until it may end. ``$0``: the agent's name."""


class Site:
    """A project on these agents. ``marks``: where their programs say that they have begun."""

    def __init__(self, folder: Path, agents: list[Agent]) -> None:
        self.marks = folder / "marks"
        self.agents = agents
        self.home = Home(folder / "user", {"SLOTH_RUNNER_HOME": str(folder / "home")})
        lines = [f'{agent.name} = {{ url = "{agent.url}", groups = ["all"] }}' for agent in agents]
        self.home.file("sloth.toml", "\n".join(["[agents]", *lines, ""]))

    @contextmanager
    def run(self, target: str = "@all", call: str = "", task: str = "") -> Iterator[Any]:
        """A run of the program; ``call`` and ``task`` are further fields of these."""
        shutil.rmtree(self.marks, ignore_errors=True)
        self.marks.mkdir()
        argv = f'{{ "sh", "-c", "{PROGRAM.format(marks=self.marks)}", this.agent }}'
        body = f"cmd({{ argv = {argv}, {call} }})"
        text = f'task({{ name = "t", delegate_to = "{target}", {task} run = function(this) {body} end }})'
        with self.home.start("run", str(self.home.file("t.sloth", text)), "-o", "json", "-k") as run:
            try:
                yield run
            finally:
                (self.marks / "go").touch()
                run.kill()
                run.communicate()

    def wait(self, run: Any, *names: str) -> None:
        """Return when these have begun."""
        end = time.monotonic() + 60
        while not all((self.marks / name).exists() for name in names):
            assert run.poll() is None and time.monotonic() < end, run.communicate()
            time.sleep(0.01)

    def ended(self, run: Any) -> dict[str, Any]:
        """The tasks of a run that is over, by agent."""
        out, err = run.communicate(timeout=120)
        assert out, err
        return {task["agent"]: task for task in json.loads(out)["tasks"]}


def test_many_at_once_of_which_some_are_killed(tmp_path: Path) -> None:
    """One test, because to start so many takes a while."""
    with many(tmp_path, COUNT) as agents:
        site = Site(tmp_path, agents)
        all_at_work_at_once(site)
        killed(site, "@all", agents[3], "E-INDETERMINATE", "it was done is not known", call=AMONG_OTHERS)
        killed(
            site, agents[5].name, agents[5], "E-TIMEOUT", "has stopped is not known", task='timeout = "10s",'
        )


AMONG_OTHERS = 'timeout = this.agent == "web003" and "10s" or "300s"'


def all_at_work_at_once(site: Site) -> None:
    with site.run() as run:
        site.wait(run, *(agent.name for agent in site.agents))
        (site.marks / "go").touch()
        tasks = site.ended(run)
        assert (run.returncode, len(tasks)) == (0, COUNT)
    assert {task["status"] for task in tasks.values()} == {"changed"}


def killed(
    site: Site, target: str, gone: Agent, code: str, words: str, *, call: str = "", task: str = ""
) -> None:
    """It is told of when its time is over, which is not as long as connections are tried for; the others go on."""
    with site.run(target, call, task) as run:
        site.wait(run, gone.name)
        os.kill(gone.pid, signal.SIGKILL)
        (site.marks / "go").touch()
        tasks = site.ended(run)
    lost = tasks.pop(gone.name)
    assert {one["status"] for one in tasks.values()} <= {"changed"}
    assert (lost["status"], lost["error"]["code"]) == ("failed", code)
    assert words in json.dumps(lost["error"])
