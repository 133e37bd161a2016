"""Why: whatever is done with a task file, loading it, its values and its targets comes first, in one manner."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from sloth_runner.engine.mask import Mask
from sloth_runner.engine.plan import Plan, Selection, make_plan
from sloth_runner.engine.secrets import Secrets
from sloth_runner.errors import AgentUnknown, FileMissing, FileProblem
from sloth_runner.model import Program, Site, TaskDef
from sloth_runner.modules.sources import read_source
from sloth_runner.names import choice, did_you_mean
from sloth_runner.plain import TYPE_CHECKING, Any, NamedTuple
from sloth_runner.state.layout import LOCAL
from sloth_runner.values import load_values, merge

if TYPE_CHECKING:
    from sloth_runner.app import App
    from sloth_runner.execution.watchdog import Watchdog
    from sloth_runner.lua.loader import Loaded


class RunOptions(NamedTuple):
    """What the user asked for on the command line; durations in seconds. ``every_call``: a call that changed nothing
    is an event, too."""

    file: Path
    stack: str | None = None
    jobs: int = 1
    tasks: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    skip_tags: tuple[str, ...] = ()
    limit: tuple[str, ...] = ()
    keep_going: bool = False
    resume: str | None = None
    timeout: float | None = None
    lock_timeout: float = 0.0
    strict_values: bool = False
    values_files: tuple[Path, ...] = ()
    sets: tuple[str, ...] = ()
    set_strings: tuple[str, ...] = ()
    delegate_to: tuple[str, ...] = ()
    paranoid: bool = False
    forks: int = 100
    every_call: bool = True


class Loading:
    """A loaded file. Until a run takes over, what its top level says is kept in ``said``."""

    def __init__(self, app: App, options: RunOptions) -> None:
        self.app = app
        self.options = options
        self.file = _existing(options.file)
        self.said: list[tuple[str, str, Site | None]] = []
        self.say: Callable[[str, str, Site | None], None] = lambda *line: self.said.append(line)
        self._asked: set[str] = set()
        self._told: set[str] = set()
        self.stop: Callable[[], BaseException | None] = lambda: None
        self.before_reading: Callable[[], None] = lambda: None
        self.watchdog = self._watched()
        self.mask = Mask()
        folder = str(self.file.parent)
        self.secrets = Secrets(self.mask, app.getenv, lambda path: read_source(folder, path), folder)
        try:
            with self.mask.shielding():
                self.loaded = self._load()
        except BaseException:
            self._unwatch()
            raise
        self.program: Program = self.loaded.program
        if not self.program.tasks:
            from sloth_runner.lua.foreign import NO_TASK

            self.said.append(("warn", NO_TASK, Site(str(self.file), 1)))

    def _watched(self) -> Watchdog | None:
        from sloth_runner.execution.watchdog import Watchdog
        from sloth_runner.lua.runtime import computes

        end = self.app.give_up
        return None if end is None else Watchdog(self.app.settings.lua_time, computes, end)

    def _unwatch(self) -> None:
        if self.watchdog is not None:
            self.watchdog.close()

    def _stopping(self) -> BaseException | None:
        if self.watchdog is not None:
            self.watchdog.polls += 1
        return self.stop()

    def _load(self) -> Loaded:
        from sloth_runner.lua.loader import Host, Limits, load
        from sloth_runner.modules import modules, pure_functions

        options, settings = self.options, self.app.settings
        pure = {**pure_functions(self.file.parent), "secret": self.secrets.read}
        pure |= {name: self._reading(pure[name]) for name in ("template.render", "secret")}
        self.values = load_values(options.values_files, options.sets, options.set_strings)
        host = Host(
            say=lambda level, text, site: self.say(level, text, site),
            values=self.values,
            strict_values=options.strict_values,
            yielding=modules(),
            pure=pure,
            getenv=self.app.getenv,
            limits=Limits(settings.lua_time, settings.lua_memory),
            stop=self._stopping,
            before_reading=lambda: self.before_reading(),
        )
        return load(self.file, host)

    def _reading(self, function: Callable[..., object]) -> Callable[..., object]:
        """A function that reads files here."""

        def read(*args: object) -> object:
            self.before_reading()
            return function(*args)

        return read

    def plan(self) -> Plan:
        """The plan of what was selected; every target is known."""
        options = self.options
        try:
            limit = self.app.inventory.limit(options.limit)
            selection = Selection(options.tasks, options.tags, options.skip_tags, limit)
            plan = make_plan(self._program(), selection, self._targets)
        except (FileProblem, AgentUnknown) as error:
            self.loaded.show(error, "delegate_to" if isinstance(error, AgentUnknown) else "depends_on")
            raise
        self.said += [("warn", text, None) for text in self.twins(plan.targets)]
        return plan

    def twins(self, agents: Sequence[str]) -> list[str]:
        """What is wrong where one of these is a machine that another name means, too, if it was not told yet."""
        new = [agent for agent in agents if agent not in self._asked]
        found = [text for text in self.app.inventory.twins(new) if text not in self._told] if new else []
        self._asked.update(new)
        self._told.update(found)
        return found

    def warnings(self) -> list[str]:
        """What was to be said before anything began."""
        return [self.mask.cover(text) for level, text, _ in self.said if level == "warn"]

    def _program(self) -> Program:
        """The program, each task with what the workflow says of batches and failures where it says nothing itself."""
        program, flow = self.program, self.program.workflow
        if not flow.serial and flow.max_failures is None:
            return program
        tasks = tuple(
            [
                task._replace(
                    serial=task.serial or flow.serial,
                    max_failures=flow.max_failures if task.max_failures is None else task.max_failures,
                )
                for task in program.tasks
            ]
        )
        return program._replace(tasks=tasks)

    def _targets(self, task: TaskDef) -> Sequence[str]:
        names = self.options.delegate_to or task.delegate_to or self.program.workflow.delegate_to
        if not names:
            return (LOCAL,)
        try:
            return self.app.expand_agents(*names)
        except AgentUnknown as error:
            if self.options.delegate_to:
                raise
            error.exit_code = 5
            error.file, error.line = task.site.file, task.site.line
            raise

    def use_values(self, below: dict[str, Any]) -> None:
        """Make ``values`` what the user gave over ``below``."""
        from copy import deepcopy

        merged = deepcopy(below)
        merge(merged, deepcopy(self.values))
        self.loaded.use_values(merged)

    def close(self) -> None:
        """Give the Lua state back."""
        try:
            self.loaded.close()
        finally:
            self._unwatch()


def _existing(file: Path) -> Path:
    path = file.absolute()
    if path.is_file():
        return path
    nothing = ["nothing was run"]
    if path.is_dir():
        found = sorted(p.name for p in path.glob("*.sloth") if p.is_file())
        named = f"in it: {', '.join(found[:8])}{' …' if len(found) > 8 else ''}"
        begin = f"sloth-runner init {file} begins a project there"
        raise FileMissing(
            f"{file} is a folder; a task file is needed",
            unchanged=nothing,
            next=[named if found else begin],
        )
    if re.search(r"(^|/)[a-z][a-z0-9+]*:/+", str(file)):
        raise FileMissing(
            f"{path.name}: an address is no task file; it has to be a file on this machine",
            unchanged=nothing,
            next=["fetch it and read it first: curl -O, git clone; then run the file"],
        )
    if path.exists() or file.name == "-":
        raise FileMissing(
            f"{file.name} can be read only once; a task file is read again by every run, plan and --resume",
            unchanged=nothing,
            next=["write what it gives into a file, and name that"],
        )
    if path.is_symlink():
        raise FileMissing(
            f"{file} is a link to {path.readlink()}, which is not there",
            unchanged=nothing,
            next=["correct the link"],
        )
    folder = path.parent
    if not folder.is_dir():
        raise FileMissing(f"there is no file {file}: there is no folder {folder}", unchanged=nothing)
    siblings = [p.name for p in folder.iterdir() if p.is_file()]
    raise FileMissing(f"there is no file {file}", unchanged=nothing, next=_meant(path.name, siblings))


def _meant(name: str, siblings: list[str]) -> list[str]:
    """The file beside it that was meant: the same name with the ending of task files, the nearest one, or a task
    file at all."""
    whole = f"{name}.sloth"
    near = did_you_mean(whole if whole in siblings else name, siblings)
    return near or choice(name, [one for one in siblings if one.endswith(".sloth")], "task files there")
