"""Why: a command line is tested as it is used: arguments in, text and status out, with a clock that stands still."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from sloth_runner.__main__ import main
from sloth_runner.cli.world import World

NOW = 1_790_000_000.0
FIELDS = {"pid": r'("pid": )\d+', "text": r"(\bpid[ \t]+)\d+"}


class Result(NamedTuple):
    """What a command came to."""

    code: int
    out: str
    err: str

    def shown(self) -> str:
        """All of it, for a snapshot."""
        return f"exit {self.code}\n--- stdout\n{self.out}--- stderr\n{self.err}"


class Stream(io.TextIOWrapper):
    """A stream in memory that keeps its text when it is closed. ``heard`` is told what is written."""

    def __init__(
        self, text: str = "", encoding: str = "utf-8", heard: Callable[[str], None] = lambda text: None
    ) -> None:
        self.heard = heard
        self.memory = io.BytesIO(text.encode("utf-8", "surrogateescape"))
        super().__init__(
            self.memory, encoding=encoding, errors="backslashreplace", newline="", write_through=True
        )

    def write(self, text: str) -> int:
        """See TextIOWrapper."""
        count = super().write(text)
        self.heard(text)
        return count

    def text(self) -> str:
        """What was written."""
        self.flush()
        return self.memory.getvalue().decode("utf-8", "backslashreplace")


class Cli:
    """A user at a terminal (``tty``) or a script, in a folder of its own; the clock moves only by ``now``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.work = folder / "work"
        self.work.mkdir()
        self.now = NOW
        self._ids = (f"{number:06x}{number:026x}" for number in itertools.count(0xA0))
        self.environ: dict[str, str] = {"SLOTH_RUNNER_HOME": str(self.home), "NO_COLOR": "1", "TERM": "xterm"}

    def __call__(
        self,
        *argv: str,
        stdin: str = "",
        tty: bool = False,
        columns: int = 80,
        environ: Mapping[str, str] | None = None,
        encoding: str = "utf-8",
        heard: Callable[[str], None] = lambda text: None,
    ) -> Result:
        out, err = Stream(encoding=encoding, heard=heard), Stream(heard=heard)
        world = World(
            stdin=Stream(stdin),
            stdout=out,
            stderr=err,
            environ={**self.environ, **(environ or {})},
            cwd=self.work,
            clock=lambda: self.now,
            new_id=lambda: next(self._ids),
            sleep=self._sleep,
            columns=lambda: columns,
            stdin_tty=tty,
            stdout_tty=tty,
            stderr_tty=tty,
            who=("ann", "host1"),
        )
        code = main(argv, world)
        return Result(code, self.steady(out.text()), self.steady(err.text()))

    def steady(self, text: str) -> str:
        """Without what differs from machine to machine."""
        text = text.replace(str(self.folder), "/TMP")
        text = re.sub(r'("pid": )\d+', r"\g<1>1", text)
        return re.sub(r"(\bpid[ \t]+)\d+", r"\g<1>1", text)

    def ok(self, *argv: str, stdin: str = "") -> str:
        """Run a command that must succeed; returns its output."""
        result = self(*argv, stdin=stdin)
        assert result.code == 0, result.shown()
        return result.out

    def file(self, name: str, text: str) -> Path:
        """A file in the working folder."""
        path = self.work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def _sleep(self, seconds: float) -> None:
        self.now += seconds
