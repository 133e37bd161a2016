"""Why: one Lua state for each program, with its limits; every task body is a coroutine in it.

Lua calls Python only through guarded functions that take and return scalars and never raise: an exception that
crossed lupa would show Python's frames to the task file. Python calls Lua only through the prelude's few functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from sloth_runner.errors import Bug, Interrupted, SlothError, TaskFailed
from sloth_runner.lua.bridge import CHUNK, flatten, pieces, to_bytes, to_text, unflatten
from sloth_runner.lua.failures import Raised, Sources
from sloth_runner.plain import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from types import FrameType

    from sloth_runner.lua.callbacks import Callbacks
    from sloth_runner.lua.host import Limits
    from sloth_runner.model import Site

RESERVE: Final = 1 << 20
"""Bytes kept free so that handing a value to Lua never meets its memory limit: there it could not be caught."""
_PRELUDE: Final = ("errors", "values", "core", "sandbox", "state", "api", "define")
_NAME: Final = b"=[sloth]"

Got = Sequence[Any]
"""What a body asks for or ends with, in scalars; core.lua says how."""


def _no_attributes(_object: object, name: object, _setting: bool) -> object:
    raise AttributeError(f"{name!r} can't be reached from Lua")


class Runtime:
    """A Lua state with the prelude loaded. ``callbacks`` answers what Lua asks of Python in place."""

    def __init__(self, limits: Limits, callbacks: Callbacks, yielding: Iterable[str]) -> None:
        from lupa import lua54

        self.limits = limits
        self.error: type[Exception] = lua54.LuaError
        self.lua = lua54.LuaRuntime(
            encoding=None,
            source_encoding="utf-8",
            unpack_returned_tuples=True,
            register_eval=False,
            register_builtins=False,
            attribute_filter=_no_attributes,
            max_memory=limits.memory + RESERVE,
        )
        self._used: Callable[[], int] = self.lua.get_memory_used
        self.resumed = 0
        self.sources = Sources(self.names)
        self._stretched = False
        self.live: set[int] = set()
        self.sites: dict[tuple[bytes, int], Site] = {}
        """Places that calls stood at, by chunk name and line."""
        core = self._load_prelude(callbacks, sorted(yielding))
        self._start, self._step, self._drop = core[b"start"], core[b"step"], core[b"drop"]
        self._fetch, self._feed, self._names = core[b"fetch"], core[b"feed"], core[b"names"]
        self._load = core[b"load_file"]
        self.span: Callable[[int], tuple[int, int]] = core[b"span"]
        self._set_values = core[b"set_values"]
        self.set_values(callbacks.values)

    def set_values(self, values: Mapping[str, object]) -> None:
        """Make ``values`` this table from now on."""
        self._set_values(*pieces(flatten([dict(values)], "values"), self._feed))

    def _load_prelude(self, callbacks: Callbacks, yielding: list[str]) -> Any:
        table = self.lua.table_from
        python = {name.encode(): self.guard(call) for name, call in callbacks.functions().items()}
        opened = self.lua.execute(b"python = nil; package.loaded.python = nil; return load")
        chunks = {}
        for name in _PRELUDE:
            text = Path(__file__).with_name(f"{name}.lua").read_bytes()
            chunks[name] = opened(text, _NAME, b"t")
            if isinstance(chunks[name], tuple):
                raise Bug(f"the prelude's {name}.lua does not compile: {chunks[name][1]!r}")
        core = chunks["errors"](table(python))
        chunks["values"](core)
        chunks["core"](core)
        env = chunks["sandbox"](core)
        state, parallel = chunks["state"](core)
        names = [table([name.encode() for name in group]) for group in (yielding, callbacks.pure_names)]
        levels = table([level.encode() for level in ("debug", "info", "warn", "error")])
        chunks["api"](core, env, state, parallel, *names, levels)
        chunks["define"](core, env)
        return core

    def guard(self, call: Callable[..., tuple[Any, ...]]) -> Callable[..., tuple[Any, ...]]:
        """``call`` as Lua may call it: returns true and its results, or false and the error's description."""

        def guarded(*args: Any) -> tuple[Any, ...]:
            try:
                result = call(*args)
                if not self._fits(sum(len(item) for item in result if type(item) is bytes)):
                    raise self._too_much()
                return (True, *result)
            except BaseException as error:
                return (False, *self._told(error))

        return guarded

    def _told(self, error: BaseException) -> tuple[Any, ...]:
        """An error from a callback as Lua learns of it; one of memory if there is none left even for that."""
        if not self._fits(0):
            error = self._too_much()
            self._stretched = True
            self.lua.set_max_memory(self._used() + RESERVE)
        return (error, *describe(error, final=is_final(error, Exception)))

    def _fits(self, size: int) -> bool:
        """Whether so many bytes can be handed to Lua within its limit, after a collection if need be."""
        if self._used() + size <= self.limits.memory:
            return True
        self.lua.gccollect()
        return self._used() + size <= self.limits.memory

    def _too_much(self) -> TaskFailed:
        error = TaskFailed(
            f"the task file needs more memory than its limit of {self.limits.memory >> 20} MiB",
            next=["handle less at a time, or raise the limit: [run] lua_memory"],
        )
        error.final = True
        return error

    def start(self, number: int, values: Iterable[object]) -> tuple[int, Got]:
        """Begin the registered function with ``values``: the body's number, and what it asks for first."""
        self.resumed += 1
        first = pieces(flatten(values, "an argument"), self._feed)
        try:
            body, *got = self._start(number, *first)
        except self.error as error:
            raise self._too_much() from error
        self.live.add(body)
        return body, got

    def answer(self, body: int, values: Sequence[object], unknown: str | None = None) -> Got:
        """Resume a body with values. What Lua can't hold is thrown into it instead. ``unknown`` names the fields of a
        table that can't be read (one name a line)."""
        try:
            flat = flatten(values, "the result")
        except SlothError as error:
            return self.throw(body, error)
        size = 64 * len(flat)
        for item in flat:
            if type(item) is bytes:
                size += len(item)
        if size > RESERVE // 2 and not self._fits(size):
            return self.throw(body, self._too_much())
        if unknown is not None:
            return self.step(body, 0, to_bytes(unknown), *pieces(flat, self._feed))
        return self.step(body, None, *pieces(flat, self._feed))

    def throw(self, body: int, error: BaseException) -> Got:
        """Resume a body with an error."""
        return self.step(body, False, error, *describe(error, final=is_final(error, SlothError)))

    def step(self, body: int, *scalars: Any) -> Got:
        """Resume a body; returns what it asks for, or how it ended."""
        self.resumed += 1
        try:
            got: Got = self._step(body, *scalars)
        except self.error as error:
            raise self._too_much() from error
        if self._used() > self.limits.memory - RESERVE:
            return self._tight(body, got)
        return got

    def _tight(self, body: int, got: Got) -> Got:
        """Memory is nearly used up: a body that holds that much is ended while there is room to tell it."""
        self.lua.gccollect()
        if self._stretched:
            self._stretched = False
            self.lua.set_max_memory(self.limits.memory + RESERVE)
        if got[0] <= 0 or self._used() + RESERVE // 2 <= self.limits.memory:
            return got
        self.resumed += 1
        error = self._too_much()
        told: Got = self._step(body, False, error, *describe(error, final=True))
        return told

    def abandon(self, body: int) -> None:
        """End a body that nobody will answer any more: its clean-up runs, and calls in it raise."""
        if body not in self.live:
            return
        error = TaskFailed("the task has been ended: nothing can be called any more")
        for _ in range(CHUNK):
            if self.step(body, False, error, *describe(error, final=True))[0] <= 0:
                self.live.discard(body)
                return
        self.drop(body)

    def drop(self, body: int) -> None:
        """Forget a body, wherever it stands."""
        if body in self.live:
            self.live.discard(body)
            self._drop(body)

    def values(self, rest: int, scalars: Sequence[Any]) -> list[Any]:
        """The values of scalars that came with a call or a result, fetching the ``rest`` that did not fit."""
        if rest:
            scalars = list(scalars)
            while len(scalars) < rest:
                more = self._fetch(len(scalars) + 1, min(rest, len(scalars) + CHUNK))
                scalars.extend(more if isinstance(more, tuple) else (more,))
        return unflatten(scalars)

    def ended(self, got: Got, failed: tuple[BaseException, str] | None) -> BaseException:
        """The exception of a body that ended with an error; ``failed`` is the last one thrown into it, and the
        call that it answered."""
        origin, kind, code, message, file, line, help_ = (*got[1:], *(None,) * 7)[:7]
        texts = [None if item is None else to_text(item) for item in (code, file, help_)]
        message, kind = to_text(message), to_text(kind)
        path = texts[1].removeprefix("@") if texts[1] else None
        if kind == "string" and message == "not enough memory":
            too_much = self._too_much()
            self.sources.place(too_much, path, line)
            return too_much
        call = failed[1] if failed and failed[0] is origin else None
        return self.sources.failure(Raised(origin, kind, texts[0], message, path, line, texts[2], call))

    def names(self, table: str) -> list[str]:
        """The names in a global table, or of the globals."""
        found = self._names(to_bytes(table))
        return to_text(found).split("\n") if found else []

    def load(self, path: str, original: str, text: str) -> int:
        """Register a file's function; returns its number. Raises SyntaxProblem, told from the original text."""
        self.sources.add(path, original)
        name = b"@" + to_bytes(path)
        found = self._load(to_bytes(original), to_bytes(text), name)
        if isinstance(found, bytes):
            raise self.sources.syntax(to_text(found), path)
        return int(found)

    def close(self) -> None:
        """End all bodies. Nothing can be called afterwards."""
        for body in sorted(self.live):
            self.abandon(body)


def computes(frame: FrameType) -> bool:
    """Whether a frame is one of those from which Lua is called."""
    return frame.f_globals is globals()


def is_final(error: BaseException, catchable: type[BaseException]) -> bool:
    """Whether no pcall of a task file may swallow ``error``: a request to stop. Errors marked ``final`` are, and
    what is no ``catchable`` at all."""
    if isinstance(error, SlothError):
        return isinstance(error, Interrupted) or error.final
    return not isinstance(error, catchable)


def describe(error: BaseException, *, final: bool) -> tuple[bytes, bytes, bool, bool]:
    """What Lua learns of an exception: code, message, whether it is final, whether it is a cancellation."""
    cancelled = final and not isinstance(error, SlothError)
    code = error.code if isinstance(error, SlothError) else "E-CANCELLED" if cancelled else "E-BUG"
    text = error.message if isinstance(error, SlothError) else str(error) or type(error).__name__
    return code.encode(), text.encode("utf-8", "replace"), final, cancelled
