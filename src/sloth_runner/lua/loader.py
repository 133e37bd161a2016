"""Why: a task file becomes a Program: tasks whose bodies are generators of calls. The engine sees nothing of Lua."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from sloth_runner.errors import BadArgument, FileMissing, SlothError, SyntaxProblem
from sloth_runner.lua import data
from sloth_runner.lua.body import starter
from sloth_runner.lua.callbacks import Callbacks
from sloth_runner.lua.definitions import Definitions
from sloth_runner.lua.host import Host, Limits
from sloth_runner.lua.runtime import Runtime
from sloth_runner.lua.source import with_frames
from sloth_runner.model import Program, Site, Start
from sloth_runner.names import did_you_mean
from sloth_runner.state.ledger_records import covered_line

__all__ = ["Host", "Limits", "Loaded", "load"]

_MODULE = r"[A-Za-z0-9_-]+([./][A-Za-z0-9_-]+)*"


_WRITTEN = {
    "secret": "secret({ command = … })",
    "state.lock_enter": "state.with_lock",
    "state.txn_begin": "state.transaction",
    "state.watch_enter": "state.watch",
}
"""Calls that a task file writes in another way."""


_OPEN = frozenset(("values", "env", "facts"))
"""Tables whose fields are looked up when they are read."""


class Loaded:
    """A program and the Lua state it lives in."""

    def __init__(self, program: Program, runtime: Runtime) -> None:
        self.program = program
        self._runtime = runtime

    def use_values(self, values: Mapping[str, object]) -> None:
        """What ``values`` holds from now on: the running body's target may have its own."""
        self._runtime.set_values(values)

    def text(self, site: Site) -> str:
        """The source text of a line, without the space around it; a digest of one that may hold a secret."""
        sources = self._runtime.sources
        text = (sources.line(site.file, site.line) or "").strip()
        return covered_line(text) if sources.hides(site.file, site.line) else text

    def lines(self) -> Mapping[str, Sequence[str]]:
        """The text of all Lua files of this program, line by line."""
        return self._runtime.sources.all

    def show(self, error: SlothError, word: str) -> None:
        """Give an error that knows its line the text of it, with a caret at ``word`` if that is there."""
        if error.source is None:
            self._runtime.sources.place(error, error.file, error.line, word)

    def lacks(self, name: str) -> list[str] | None:
        """What to do where a global function of this name (dotted) is called and there is none; None: there is one,
        or it is known only when it is called."""
        root, _, field = name.partition(".")
        if root not in self._runtime.names(""):
            return self._runtime.sources.instead(root)
        known = [] if root in _OPEN else self._runtime.names(root)
        if not field or not known or field.partition(".")[0] in known:
            return None
        return self._runtime.sources.instead(root, field.partition(".")[0])

    def close(self) -> None:
        """End all bodies that are still under way; their clean-up runs, but its calls raise."""
        self._runtime.close()


def load(path: Path, host: Host, clock: Callable[[], float] = time.monotonic) -> Loaded:
    """Load a task file: run its top level, which defines tasks.

    Raises FileMissing, SyntaxProblem, BadField, BadArgument, Duplicate, BadDependency, BadValues, TaskFailed (the
    top level failed), TimedOut (it computed too long), each with file, line and source.
    """
    file = path.absolute()  # not resolve(): messages show the path as the user knows it
    definitions = Definitions()
    reader = _Reader(file.parent)
    pure = data.functions() | dict(host.pure)
    callbacks = Callbacks(host, pure, file.parent, definitions, reader.module, clock)
    runtime = Runtime(host.limits, callbacks, host.yielding)
    callbacks.runtime = reader.runtime = runtime
    definitions.sources = runtime.sources
    definitions.starter = lambda number: starter(runtime, number)
    definitions.span = runtime.span
    text = read_source(file)
    number = runtime.load(str(file), text, with_frames(text))
    _run_top(starter(runtime, number))
    return Loaded(definitions.program(str(file)), runtime)


def _run_top(start: Start) -> None:
    """Run a file's top level, where nothing can be performed yet."""
    body = start()
    error: SlothError | None = None
    while True:
        try:
            call = body.send(None) if error is None else body.throw(error)
        except StopIteration:
            return
        what = _WRITTEN.get(call.name, call.name)
        error = BadArgument(
            f"{what} can't be called at the top level of the file, which only defines tasks",
            unchanged=["nothing was run"],
            next=["move it into a task's run function"],
        )


def read_source(file: Path) -> str:
    """The text of a Lua file. Raises FileMissing, SyntaxProblem (it is no text)."""
    try:
        raw = file.read_bytes()
    except FileNotFoundError:
        siblings = [p.name for p in file.parent.glob("*.lua")] if file.parent.is_dir() else []
        raise FileMissing(f"there is no file {file}", next=did_you_mean(file.name, siblings)) from None
    except OSError as error:
        raise FileMissing(f"the file {file} can't be read", system=error.strerror) from error
    if raw.startswith(b"\x1bLua"):
        raise SyntaxProblem(f"{file} is compiled Lua; task files are text", file=str(file))
    text = raw.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    return "--" + text if text.startswith("#") else text


class _Reader:
    """Finds the modules of ``require`` below a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.runtime: Runtime | None = None

    def module(self, name: str) -> tuple[str, str]:
        """Path and prepared text of a module, ``a.b`` or ``a/b``. Raises BadArgument, FileMissing."""
        if not re.fullmatch(_MODULE, name):
            raise BadArgument(
                f"require({name!r}): a module is named by letters, digits, _ and -, with dots for folders",
                next=["modules lie below the task file's folder"],
            )
        relative = name.replace(".", "/")
        for candidate in (self._folder / f"{relative}.lua", self._folder / relative / "init.lua"):
            if candidate.is_file():
                if not candidate.resolve().is_relative_to(self._folder.resolve()):
                    raise BadArgument(f"require({name!r}): {candidate} leads out of the task file's folder")
                text = read_source(candidate)
                assert self.runtime is not None
                self.runtime.sources.add(str(candidate), text)
                return str(candidate), with_frames(text)
        found = [
            ".".join(p.relative_to(self._folder).with_suffix("").parts) for p in self._folder.rglob("*.lua")
        ]
        raise FileMissing(
            f"require({name!r}): there is no {relative}.lua or {relative}/init.lua below {self._folder}",
            next=did_you_mean(name, found),
        )
