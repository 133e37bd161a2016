"""Why: what went wrong in Lua is told in the terms of the user's file: its line, a caret, and what was meant."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from sloth_runner.errors import (
    BadArgument,
    BadDependency,
    BadField,
    BadValue,
    Bug,
    Duplicate,
    SlothError,
    SyntaxProblem,
    TaskFailed,
)
from sloth_runner.lua.source import hidden_lines
from sloth_runner.names import did_you_mean
from sloth_runner.plain import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from sloth_runner.model import Site

_MISSING = r"a nil value \((global|field|method) '([^']+)'\)"
_CALLED = r"^attempt to call a table value \(global '([^']+)'\)"
_INDEXED = r"^attempt to index a function value \(global '([^']+)'\)"
_NAMED = r"\((?:global|local|field|method|upvalue|constant) '([^']+)'\)"
_NEAR = r"near '(.+)'$"
_LACKING = r"\bnil\b|^[\w.]+ (needs|takes either) "
_OWN = r"^\[sloth\]:\d+: "
_NUMBERED = r"\A:(\d+): "
_BOUNDARY = "attempt to yield across a C-call boundary"
_CODES: dict[str, type[SlothError]] = {
    cls.code: cls for cls in (BadArgument, BadDependency, BadField, BadValue, Bug, Duplicate, TaskFailed)
}


class Raised(NamedTuple):
    """An error as Lua describes it: the Python exception behind it if any, its Lua type and code, its text,
    where it was raised, what to do next, and the name of the last call that failed in that body."""

    origin: BaseException | None
    kind: str
    code: str | None
    message: str
    file: str | None
    line: int | None
    help: str | None
    call: str | None = None


def short_name(path: str) -> str:
    """The path as Lua shows it in messages: at most 59 bytes, cut in front."""
    raw = path.encode("utf-8", "surrogateescape")
    return path if len(raw) <= 59 else "..." + raw[-56:].decode("utf-8", "surrogateescape")


class Sources:
    """The texts of the Lua files of one program, to show their lines. ``names`` gives the names in a global table
    (or, for the empty name, all globals)."""

    def __init__(self, names: Callable[[str], Iterable[str]]) -> None:
        self._names = names
        self._lines: dict[str, list[str]] = {}
        self._hidden: dict[str, frozenset[int]] = {}
        self.missed: dict[Site, list[str]] = {}
        """Where something was read that ``values`` lacks, and how to give it."""

    def add(self, path: str, text: str) -> None:
        """Remember a file's text."""
        self._lines[path] = text.split("\n")
        self._hidden.pop(path, None)

    @property
    def all(self) -> dict[str, list[str]]:
        """The lines of every file."""
        return self._lines

    @property
    def first(self) -> str | None:
        """The task file itself."""
        return next(iter(self._lines), None)

    def like(self, name: str) -> list[str]:
        """The variable of the task file or the global that was meant by a name that is none."""
        from sloth_runner.lua.meant import declared

        return did_you_mean(name, {*self._names(""), *declared(self._lines.get(self.first or "", ()))})

    def line(self, path: str | None, line: int | None) -> str | None:
        """The text of a line (from 1)."""
        lines = self._lines.get(path or "", [])
        return lines[line - 1].rstrip("\r") if line and 0 < line <= len(lines) else None

    def hides(self, path: str | None, line: int | None) -> bool:
        """Whether a line may hold a secret: then it is not to be shown or kept as text."""
        if path not in self._lines:
            return False
        if path not in self._hidden:
            self._hidden[path] = hidden_lines("\n".join(self._lines[path]))
        return line in self._hidden[path]

    def place(self, error: SlothError, file: str | None, line: int | None, *words: str | None) -> None:
        """Fill in where an error stands, with a caret at the first of ``words`` that its line holds. A line that may
        hold a secret is not shown: what a call that has not begun hides is not known yet."""
        error.file, error.line = file, line
        source = self.line(file, line)
        error.source = None if self.hides(file, line) else source
        error.column = None if error.source is None else column(error.source, *words)

    def field_line(self, site: Site, field: str) -> int:
        """The line on which a definition that begins at ``site`` gives ``field``; else that of the site."""
        pattern = re.compile(rf"(?<![\w.]){re.escape(field)}\s*=(?!=)|:\s*{re.escape(field)}\s*[({{\"']")
        lines = self._lines.get(site.file, [])
        for number in range(site.line, len(lines) + 1):
            text = lines[number - 1]
            if number > site.line and re.match(
                r"\s*(local\s+\w+\s*=\s*)?(task|workflow\.define)\s*[({\"']", text
            ):
                break
            if pattern.search(text):
                return number
        return site.line

    def failure(self, raised: Raised) -> BaseException:
        """The exception that a body ends with."""
        error = self._failure(raised)
        if isinstance(error, SlothError) and re.search(_LACKING, error.message):
            missed = [said for site, said in self.missed.items() if _reaches(error, site)]
            error.next = (missed[-1] if missed else []) or error.next
        return error

    def _failure(self, raised: Raised) -> BaseException:
        if raised.origin is not None:
            error = raised.origin
            if isinstance(error, SlothError) and error.file is None:
                self.place(error, raised.file, raised.line, raised.call, (raised.call or "").split(".")[-1])
            elif isinstance(error, SlothError) and raised.file and error.operation == raised.call is not None:
                error.operation = f"{raised.call}, called at {raised.file}:{raised.line}"
            return error
        if raised.kind == "error":
            return self._known(raised)
        message, file, line = self._split(raised)
        found = TaskFailed(message, next=self._advice(message, self.line(file, line) or ""))
        named = re.search(_NAMED, message)
        word = named.group(1) if named else None
        self.place(found, file, line, f".{word}", word)
        return found

    def syntax(self, message: str, path: str) -> SyntaxProblem:
        """The error for a text that Lua could not compile."""
        from sloth_runner.lua.meant import meant

        text, file, line = self._split(Raised(None, "string", None, message, path, None, None))
        near = re.search(_NEAR, text, re.DOTALL)
        error = SyntaxProblem(text, unchanged=["nothing was run"])
        self.place(error, file, line, near.group(1) if near else None)
        if self._foreign(error, path):
            return error
        self._stray(error)
        if not error.next:
            error.next = meant(text, near.group(1) if near else "", error.source or "")
        if near is None or near.group(1) == "<eof>":
            error.column = len(error.source) + 1 if error.source else None
        return error

    def _foreign(self, error: SyntaxProblem, path: str) -> bool:
        """Whether a text that does not compile is something else than Lua; then ``error`` says what."""
        from sloth_runner.lua.foreign import SMALLEST, what_else

        name = path.rpartition("/")[2]
        found = what_else(name, "\n".join(self._lines.get(path, ())))
        if found is None:
            return False
        error.message = f"this is {found.what}; a task file is Lua"
        error.args = (error.message,)
        error.next = [
            f"the smallest task file: {SMALLEST}",
            *found.next,
            "sloth-runner init DIR begins a project",
        ]
        return True

    def _stray(self, error: SyntaxProblem) -> None:
        """Point at a character that Lua knows only inside texts: word processors and web pages put them into code."""
        from sloth_runner.lua.meant import stray

        found = stray(error.source or "") if "near '<\\" in error.message else None
        if found is not None:
            at, error.message, advice = found
            error.args, error.column, error.next = (error.message,), at + 1, [advice]

    def _known(self, raised: Raised) -> SlothError:
        error = _CODES.get(raised.code or "", TaskFailed)(
            raised.message, next=raised.help.split("\n") if raised.help else ()
        )
        word = raised.message.split(" ")[0].rstrip(":")
        self.place(error, raised.file, raised.line, word, word.split(".")[-1])
        return error

    def _split(self, raised: Raised) -> tuple[str, str | None, int | None]:
        """The message without the place that Lua wrote before it, and that place."""
        message, file, line = re.sub(_OWN, "", raised.message), raised.file, raised.line
        known = sorted(self._lines, key=lambda path: path != file)
        for path in known:
            short = short_name(path)
            numbered = re.match(_NUMBERED, message[len(short) :]) if message.startswith(short) else None
            if numbered and raised.kind == "string":
                return message[len(short) + numbered.end() :], path, int(numbered.group(1))
        return message, file, line

    def _advice(self, message: str, source: str) -> list[str]:
        from sloth_runner.lua.meant import advice
        from sloth_runner.modules.habits import called

        if _BOUNDARY in message:
            return [
                "functions given to table.sort, string.gsub, __tostring or __gc can't wait for state or modules: "
                "ask before, keep the answers in a table, and let the function look them up",
                "instead of string.gsub with a function, loop over string.gmatch",
            ]
        if message == "not enough memory":
            return ["handle less at a time, or raise the limit: [run] lua_memory"]
        if used := re.search(_CALLED, message):
            return self._offer(used.group(1))
        if used := re.search(_INDEXED, message):
            return [f"{used.group(1)} is a function: {used.group(1)}(…)"]
        if said := advice(message, source):
            return said
        missing = re.search(_MISSING, message)
        if missing is None:
            return []
        kind, name = missing.groups()
        if kind == "global":
            known = called(name, variables=not message.startswith("attempt to call"))
            return known or self.like(name)
        owner = re.search(rf"(\w+)\s*[.:]\s*{re.escape(name)}\b", source)
        return self._offer(owner.group(1), name) if owner else []

    def instead(self, owner: str, field: str = "") -> list[str]:
        """What may have been meant by a global function that is not there."""
        from sloth_runner.modules.habits import called

        return self._offer(owner, field) if field else called(owner, variables=False) or self.like(owner)

    def _offer(self, owner: str, wanted: str = "") -> list[str]:
        """What a global table has that may have been meant, and whether it can be called itself."""
        from sloth_runner.modules.habits import called

        known = list(self._names(owner))
        names = sorted(name for name in known if name != "()")
        offered = called(f"{owner}.{wanted}" if wanted else owner)
        if not offered and wanted:
            offered = did_you_mean(wanted, names)
        if not offered and 0 < len(names) <= 30:
            offered = [f"{owner} has: {', '.join(names)}"]
        return offered + ([f"{owner} itself is called: {owner}({{ … }})"] if "()" in known else [])


def _reaches(error: SlothError, site: Site) -> bool:
    """Whether an error's call, told by its first line, may go on to ``site``."""
    return error.file == site.file and error.line is not None and 0 <= site.line - error.line < 20


def column(source: str, *words: str | None) -> int:
    """Where to put the caret: the first of ``words`` that occurs as a word (one with a dot before it: as a
    field), else the first character."""
    for word in words:
        before, name = (r"(?<=[.:])", word[1:]) if word and word[0] == "." else (r"(?<!\w)", word or "")
        found = name and re.search(rf"{before}{re.escape(name)}(?!\w)", source)
        if found:
            return found.start() + 1
    return len(source) - len(source.lstrip()) + 1
