"""Why: what Lua asks of Python in place, without the scheduler; all of it in scalars (see bridge.py)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path

from sloth_runner.errors import BadArgument, BadField, BadValues, TimedOut
from sloth_runner.lua.bridge import CHUNK, flatten, to_bytes, to_text, unflatten
from sloth_runner.model import Site
from sloth_runner.names import did_you_mean
from sloth_runner.plain import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sloth_runner.lua.definitions import Definitions
    from sloth_runner.lua.host import Host
    from sloth_runner.lua.runtime import Runtime


class Callbacks:
    """The Python functions behind the prelude. ``folder`` is the task file's; ``clock`` counts seconds."""

    def __init__(
        self,
        host: Host,
        pure: Mapping[str, Callable[..., object]],
        folder: Path,
        definitions: Definitions,
        read: Callable[[str], tuple[str, str]],
        clock: Callable[[], float],
    ) -> None:
        self.values = host.values
        self.pure_names = list(pure)
        self.runtime: Runtime | None = None
        self._host = host
        self._functions = list(pure.values())
        self._folder = folder
        self._definitions = definitions
        self._read = read
        self._clock = clock
        self._pushed: list[Any] = []
        self._pulled: Iterator[Any] = iter(())
        self._warned: set[tuple[str | None, int | None, str]] = set()
        self._seen = -1
        self._since = 0.0

    def functions(self) -> dict[str, Callable[..., tuple[Any, ...]]]:
        """All of them by the names the prelude uses."""
        calls = (
            *(
                self.poll,
                self.say,
                self.missing,
                self.unset,
                self.getenv,
                self.path,
                self.module,
                self.syntax,
            ),
            *(self.push, self.pull, self.pure, self.define, self.method, self.unbuilt),
        )
        return {call.__name__: call for call in calls}

    def poll(self) -> tuple[Any, ...]:
        """Called every few thousand instructions: raises what the running body must end with."""
        error = self._host.stop()
        if error is not None:
            raise error
        resumed = self.runtime.resumed if self.runtime else 0
        now = self._clock()
        if resumed != self._seen:
            self._seen, self._since = resumed, now
        elif now - self._since > self._host.limits.seconds:
            self._seen = -1
            raise TimedOut(
                f"Lua code ran for more than {self._host.limits.seconds:g} s without calling anything",
                next=["is there an endless loop? if it only takes long: [run] lua_time"],
            )
        return ()

    def say(
        self, level: bytes, text: bytes, file: bytes | None = None, line: int | None = None
    ) -> tuple[Any, ...]:
        """A line of print or log."""
        self._host.say(to_text(level), to_text(text), site_of(file, line))
        return ()

    def missing(
        self, path: bytes, name: bytes, known: bytes, file: bytes | None = None, line: int | None = None
    ) -> tuple[Any, ...]:
        """Something was read that ``values`` lacks: warn once for each place, or refuse."""
        text, site = to_text(path), site_of(file, line)
        help_ = did_you_mean(to_text(name), to_text(known).split("\n"))
        given = help_ or self._giving(text)
        if self._host.strict_values:
            raise BadValues(f"{text} is missing", next=given)
        if self.runtime is not None and site is not None:
            self.runtime.sources.missed[site] = [f"{text} is missing: {given[0]}"]
        place = (site.file if site else None, line, text)
        if place not in self._warned:
            self._warned.add(place)
            where = "" if site is None else f" ({os.path.relpath(site.file, self._folder)}:{site.line})"
            self._host.say("warn", "; ".join([f"{text} is missing: nil is used", *help_]) + where, site)
        return ()

    def unset(self, name: bytes, file: bytes | None = None, line: int | None = None) -> tuple[Any, ...]:
        """A global was read that nobody has set: warn once for each place in the task file itself, unless the line
        fails by it at once, or expects that; what other languages write for nil, true and false is refused."""
        from sloth_runner.lua.meant import LITERALS, expected, fails_by

        word, site = to_text(name), site_of(file, line)
        assert self.runtime is not None
        sources = self.runtime.sources
        if site is None or site.file != sources.first:
            return ()
        if word in LITERALS:
            error = BadArgument(f"there is no {word} in Lua", next=[f"write {LITERALS[word]}"])
            sources.place(error, site.file, site.line, word)
            raise error
        place = (site.file, site.line, word)
        source = sources.line(site.file, site.line) or ""
        if place not in self._warned and not fails_by(word, source) and not expected(word, source):
            self._warned.add(place)
            where = f"({os.path.relpath(site.file, self._folder)}:{site.line})"
            said = "; ".join([f"{word} is not set: nil is used", *sources.like(word)])
            self._host.say("warn", f"{said} {where}", site)
        return ()

    def _giving(self, path: str) -> list[str]:
        """How to give what ``values`` lacks; a file of values beside the task file may only not have been named."""
        names = [f"values.{ending}" for ending in ("yaml", "yml", "toml", "json")]
        beside = [name for name in names if (self._folder / name).is_file()]
        files = f"--values {beside[0]}, which lies beside this file" if beside else "--values FILE"
        return [f"give it: --set {path.removeprefix('values.')}=…, or {files}"]

    def getenv(self, name: bytes) -> tuple[Any, ...]:
        """A variable of the controller's environment, or nil."""
        value = self._host.getenv(to_text(name))
        return (None if value is None else to_bytes(value),)

    def path(self, name: bytes) -> tuple[Any, ...]:
        """A path of a task file that is about to be read, which is relative to the file's folder."""
        self._host.before_reading()
        return (to_bytes(str(self._folder / to_text(name))),)

    def module(self, name: bytes) -> tuple[Any, ...]:
        """The text and the chunk name of a module."""
        self._host.before_reading()
        path, text = self._read(to_text(name))
        return (to_bytes(text), b"@" + to_bytes(path))

    def syntax(self, problem: bytes, name: bytes) -> tuple[Any, ...]:
        """A module does not compile."""
        assert self.runtime is not None
        raise self.runtime.sources.syntax(to_text(problem), to_text(name).removeprefix("@"))

    def push(self, *scalars: Any) -> tuple[Any, ...]:
        """Scalars that come before those of the next call."""
        self._pushed.extend(scalars)
        return ()

    def pull(self) -> tuple[Any, ...]:
        """The next scalars of a result that did not fit into one."""
        return tuple(islice(self._pulled, CHUNK))

    def _arguments(self, pushed: int, scalars: tuple[Any, ...]) -> list[Any]:
        """The values of the last ``pushed`` scalars and these; more are left of a call that was cut short."""
        everything, self._pushed = [*self._pushed[len(self._pushed) - pushed :], *scalars], []
        return unflatten(everything)

    def pure(self, number: int, pushed: int, *scalars: Any) -> tuple[Any, ...]:
        """Call a pure function: nil and a scalar, or the numbers of pieces to pull and of scalars in them."""
        result = self._functions[number - 1](*self._arguments(pushed, scalars))
        flat = flatten([result], self.pure_names[number - 1])
        if len(flat) == 1:
            return (None, flat[0])
        self._pulled = iter(flat)
        return (-(-len(flat) // CHUNK), len(flat))

    def define(self, pushed: int, *scalars: Any) -> tuple[Any, ...]:
        """A task or a workflow: kind, file, line, numbers of its functions, then its fields."""
        kind, file, line, functions, *rest = self._arguments(pushed, scalars)
        site = Site(file.removeprefix("@"), line)
        fields = dict(zip(rest[::2], rest[1::2], strict=True))
        return (to_bytes(self._definitions.define(kind, site, functions, fields)),)

    def method(self, kind: bytes, name: bytes) -> tuple[Any, ...]:
        """A builder was asked for a method it does not have."""
        word, of = to_text(name), to_text(kind)
        raise BadField(f"a {of} has no :{word}(…)", next=did_you_mean(word, self._definitions.methods(of)))

    def unbuilt(self, name: bytes, file: bytes, line: int) -> tuple[Any, ...]:
        """A task was begun with task("name") and never built."""
        error = BadField(
            f"the task {to_text(name)!r} is begun and never built, so it would not exist",
            next=["end it with :build(), or give it to the workflow's tasks"],
        )
        if self.runtime is not None:
            self.runtime.sources.place(error, to_text(file).removeprefix("@"), line, "task")
        raise error


def site_of(file: bytes | None, line: int | None) -> Site | None:
    """A place as Lua tells it."""
    return None if file is None or line is None else Site(to_text(file).removeprefix("@"), line)
