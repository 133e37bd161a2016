"""Why: task bodies are generators, so a test can answer their calls itself, without an engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from sloth_runner.lua.loader import Host, Limits, Loaded, load
from sloth_runner.model import Body, Call, Site, This

THIS = This("t", "local", "/srv/folder")
Reply = Callable[[Call], object]


class Desk:
    """A host that notes what is said, and a file to load."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "tasks.lua"
        self.said: list[tuple[str, str, Site | None]] = []
        self.host = Host(
            say=lambda level, text, site: self.said.append((level, text, site)),
            values={},
            strict_values=False,
            yielding={
                "cmd": "a command",
                "file.copy": "a copy",
                "cmd.script": "a script",
                "sleep": "a pause",
            },
            pure={},
            getenv={"HOME": "/home/me"}.get,
            limits=Limits(30.0, 64 << 20),
            stop=lambda: None,
        )

    def having(self, **changes: object) -> Desk:
        """The same with other things from outside."""
        self.host = self.host._replace(**changes)  # type: ignore[arg-type] # the tests name them right
        return self

    def load(self, text: str) -> Loaded:
        self.file.write_bytes(text.encode("utf-8", "surrogateescape"))
        return load(self.file, self.host)

    def body(self, code: str, *args: object) -> Body:
        """A body of the function with this code; its first line is line 1 of the file."""
        return self.load(f'task({{name="t", run=function(...) {code}\nend}})').program.tasks[0].run(*args)

    def run(self, code: str, replies: Mapping[str, Reply] | None = None, *args: object) -> object:
        """Run code to its end, answering its calls; what it returns."""
        return drive(self.body(code, *args), replies or {})[0]

    def lines(self, level: str = "print") -> list[str]:
        return [text for found, text, _ in self.said if found == level]


class Ended(NamedTuple):
    result: object
    calls: list[Call]


def drive(body: Body, replies: Mapping[str, Reply]) -> Ended:
    """Answer the calls of a body until it ends; a reply that raises is thrown into it."""
    calls: list[Call] = []
    value: object = None
    error: BaseException | None = None
    while True:
        try:
            call = body.send(value) if error is None else body.throw(error)
        except StopIteration as end:
            return Ended(end.value, calls)
        calls.append(call)
        value, error = None, None
        try:
            value = replies[call.name](call)
        except Exception as raised:
            error = raised
