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

import pytest

from tests.daemon.kit import Agent, many
from tests.program.kit import Home

COUNT = 20
PROGRAM = (
    "echo $$ > {marks}/$0.new; mv {marks}/$0.new {marks}/$0; until test -e {marks}/go; do sleep 0.1; done"
)
"""Leaves its number, and waits until it may end. ``$0``: the agent's name."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[Agent]]]:
    """The controller's folder, and running agents."""
    folder = tmp_path_factory.mktemp("many")
    with many(folder, COUNT) as agents:
        yield folder, agents


class Site:
    """A project on these agents. ``marks``: where their programs say that they have begun."""

    def __init__(self, folder: Path, authority: Path, agents: list[Agent]) -> None:
        self.marks = folder / "marks"
        self.marks.mkdir()
        self.agents = agents
        self.home = Home(folder / "user")
        shutil.copytree(authority, self.home.folder / ".sloth-runner" / "agents")
        lines = [f'{agent.name} = {{ url = "{agent.url}", groups = ["all"] }}' for agent in agents]
        self.home.file("sloth.toml", "\n".join(["[agents]", *lines, ""]))

    @contextmanager
    def run(self, call: str = "", task: str = "") -> Iterator[Any]:
        """A run of the program on all of them; ``call`` and ``task`` are further fields of these."""
        argv = f'{{ "sh", "-c", "{PROGRAM.format(marks=self.marks)}", this.agent }}'
        body = f"cmd({{ argv = {argv}, {call} }})"
        text = f'task({{ name = "t", delegate_to = "@all", {task} run = function(this) {body} end }})'
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


@pytest.fixture
def site(place: tuple[Path, list[Agent]], tmp_path: Path) -> Site:
    folder, agents = place
    return Site(tmp_path, folder / "home" / "agents", [agent for agent in agents if alive(agent)])


def alive(agent: Agent) -> bool:
    """Whether it was not killed by another test."""
    try:
        return bool(Path(f"/proc/{agent.pid}/exe").readlink())
    except FileNotFoundError:  # it waits to be buried
        return False


def test_all_are_at_work_at_once(site: Site) -> None:
    with site.run() as run:
        site.wait(run, *(agent.name for agent in site.agents))
        (site.marks / "go").touch()
        tasks = site.ended(run)
        assert (run.returncode, len(tasks)) == (0, len(site.agents))
    assert {task["status"] for task in tasks.values()} == {"changed"}


@pytest.mark.parametrize(
    ("call", "task", "code", "words"),
    [
        ('timeout = this.agent == "{}" and "5s" or "300s"', "", "E-INDETERMINATE", "it was done is not known"),
        ("", 'timeout = "10s",', "E-TIMEOUT", "has stopped is not known"),
    ],
    ids=["a call's timeout", "a task's timeout"],
)  # fmt: skip
def test_one_that_is_killed_in_the_middle_is_told_of_in_time(
    site: Site, call: str, task: str, code: str, words: str
) -> None:
    gone = site.agents[-1]
    with site.run(call.format(gone.name), task) as run:
        site.wait(run, gone.name)
        os.kill(gone.pid, signal.SIGKILL)
        (site.marks / "go").touch()
        tasks = site.ended(run)
    lost = tasks.pop(gone.name)
    assert {one["status"] for one in tasks.values()} == {"changed"}
    assert (lost["status"], lost["error"]["code"]) == ("failed", code)
    assert words in json.dumps(lost["error"])
