"""Why: what every command needs: the app made once, output in the form asked for, questions asked one way."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from sloth_runner.cli import text
from sloth_runner.cli.world import World
from sloth_runner.errors import Declined, OutputLost, SlothError, UsageError
from sloth_runner.plain import TYPE_CHECKING, Any, NamedTuple, TextIO

if TYPE_CHECKING:
    from sloth_runner.app import App
    from sloth_runner.state.state import State

Document = dict[str, Any]


class Where(NamedTuple):
    """Which namespace: an agent's, the shared one, or all."""

    agent: str | None = None
    shared: bool = False
    all_agents: bool = False


class Shell:
    """One invocation. ``mode`` is table, plain, json or jsonl; ``words`` the command as it was typed."""

    def __init__(self, world: World, mode: str, words: Sequence[str]) -> None:
        self.world = world
        self.mode = mode
        self.words = tuple(words)
        self.directory: Path | None = None
        self.config: Path | None = None
        self.debug = False
        self.running = False
        self.give_up: Callable[[SlothError], None] | None = None
        """Tells an error from any thread and ends the process."""
        self._app: App | None = None
        quiet = world.environ.get("NO_COLOR") or world.environ.get("TERM") == "dumb"
        self.color = world.stdout_tty and not quiet
        self.error_color = world.stderr_tty and not quiet

    @property
    def cwd(self) -> Path:
        """The folder that relative paths start from."""
        return self.world.cwd if self.directory is None else self.world.cwd / self.directory

    @property
    def columns(self) -> int:
        """The terminal's width."""
        return max(20, self.world.columns())

    @property
    def human(self) -> bool:
        """Whether output is a table for a terminal."""
        return self.mode == "table" and self.world.stdout_tty

    @property
    def structured(self) -> bool:
        """Whether output is JSON of either form."""
        return self.mode in ("json", "jsonl")

    def app(self, file: Path | None = None) -> App:
        """The app, for a task file or for the current folder; made once."""
        if self._app is None:
            from sloth_runner.app import App, settings_for

            world = self.world
            folder = None if file is None else (self.cwd / file).absolute().parent
            settings = settings_for(world.environ, self.cwd, file_folder=folder, config=self.config)
            if world.who is not None:
                settings = settings._replace(user=world.who[0], host=world.who[1])
            self._app = App(
                settings,
                clock=world.clock,
                new_id=world.new_id,
                getenv=world.environ.get,
                environ=world.environ,
                cwd=self.cwd,
                ask=self.ask_secret,
                sleep=world.sleep,
                give_up=self.give_up,
            )
            self._app.stores.notice = self.warn
        return self._app

    def view(self, where: Where) -> State:
        """The one namespace that ``where`` names. Raises AgentUnknown, UsageError."""
        app = self.app()
        if where.agent is not None:
            app.require_agent(where.agent)
        return app.state(where.agent, shared=where.shared)

    def print(self, line: str = "") -> None:
        """A line of the result."""
        self.write(line + "\n")

    def write(self, piece: str) -> None:
        """A piece of the result, as it is."""
        _write(self.world.stdout, piece)

    def write_bytes(self, data: bytes) -> None:
        """Bytes of the result, as they are."""
        self.flush()
        raw = getattr(self.world.stdout, "buffer", None)
        if raw is None:
            self.write(data.decode("utf-8", "backslashreplace"))
            return
        try:
            left = memoryview(data)
            while left:  # an unbuffered stream may take a part
                left = left[raw.write(left) :]
            raw.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise _lost(error) from error

    def say(self, line: str = "") -> None:
        """A line that is no result: a note, a question, progress."""
        _write(self.world.stderr, line + "\n")

    def warn(self, line: str) -> None:
        """A warning."""
        self.say(f"{text.styled('warning', 'yellow', self.error_color)}: {line}")

    def document(self, name: str, body: Mapping[str, Any]) -> None:
        """A document of this format, as JSON on one line (jsonl) or indented."""
        if self.mode == "jsonl":
            self.record(name, {"format": f"sloth-runner/{name}", "version": 1, **body})
            return
        from sloth_runner.documents import pieces

        for piece in pieces(name, body, ascii_only=not self._unicode):
            self.write(piece)
        self.print()

    def record(self, event: str, body: Mapping[str, Any]) -> None:
        """A line of JSON Lines."""
        self.print(json.dumps({"event": event, **body}, ensure_ascii=not self._unicode, allow_nan=False))

    def table(
        self,
        headers: Sequence[str],
        rows: Sequence[Sequence[str]],
        flexible: Iterable[int] = (),
    ) -> None:
        """Rows: as a table on a terminal; else tab-separated, whole and without a header."""
        if not self.human:
            for row in rows:
                self.print("\t".join(text.plain(cell) for cell in row))
        elif rows:
            for line in text.table(headers, rows, self.columns, flexible, self.color):
                self.print(line)

    def fields(self, title: str, pairs: Sequence[tuple[str, str]]) -> None:
        """Names and values of one thing."""
        if self.human:
            self.print(text.styled(text.pictures(title), "bold", self.color))
            for line in text.fields(pairs, self.color):
                self.print(line)
        else:
            for name, value in pairs:
                self.print(f"{name}\t{text.plain(value)}")

    def moment(self, at: float | None) -> str:
        """A time: as a distance on a terminal, else ISO 8601 in UTC; ``-`` for none."""
        if at is None:
            return "-"
        if self.human:
            return text.ago(at, self.world.clock())
        from sloth_runner.moments import iso

        return iso(at)

    def confirm(self, lines: Sequence[str], question: str, *, yes: bool, typed: str | None = None) -> None:
        """Ask before something is taken away; ``typed`` is what must be typed instead of y.

        Raises Declined when the answer is no, or when nobody can be asked.
        """
        if yes:
            return
        if not (self.world.stdin_tty and self.world.stderr_tty):
            import shlex

            raise Declined(
                "\n".join(["this must be confirmed, and there is no terminal to ask on", *lines]),
                unchanged=["nothing was changed"],
                next=[f"{shlex.join(self.words)} --yes"],
            )
        for line in lines:
            self.say(text.pictures(line))
        hint = "[y/N]" if typed is None else f"Type {typed} to go on:"
        self.world.stderr.write(f"{question} {hint} ")
        self.world.stderr.flush()
        answer = self.world.stdin.readline()
        if not answer:
            self.say()
        given = answer.strip()
        if given != typed if typed is not None else given.lower() not in ("y", "yes"):
            raise Declined("not confirmed", unchanged=["nothing was changed"])

    def ask_secret(self, question: str, twice: bool) -> str:
        """Ask for something that is not shown while it is typed. Raises BadConfig when nobody can be asked, Declined
        when nothing was typed or, asked twice, it was not the same."""
        from sloth_runner.cli.asking import ask_secret

        return ask_secret(self.world, question, twice)

    def flush(self) -> None:
        """Let everything written so far go out."""
        flush(self.world.stdout)

    def close(self) -> None:
        """Give the store back."""
        if self._app is not None:
            self._app.close()

    @property
    def _unicode(self) -> bool:
        return (self.world.stdout.encoding or "utf-8").lower().replace("-", "") == "utf8"


def one_namespace(where: Where, why: str) -> Where:
    """Refuse --all-agents, saying why."""
    if where.all_agents:
        raise UsageError(
            f"--all-agents: {why}", unchanged=["nothing was changed"], next=["--agent NAME, or --shared"]
        )
    return where


def flush(stream: TextIO) -> None:
    """Let everything written to a stream go out. Raises OutputLost, BrokenPipeError."""
    try:
        stream.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _lost(error) from error


def _write(stream: TextIO, piece: str) -> None:
    try:
        stream.write(piece)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _lost(error) from error


def _lost(error: OSError) -> OutputLost:
    return OutputLost(f"the output can't be written: {error.strerror or error}", system=repr(error))
