"""Why: what happens to keys is shown while it happens, to people and to the next program in a pipe."""

from __future__ import annotations

import time
from collections.abc import Iterator

from sloth_runner.cli import text
from sloth_runner.cli.base import COUNT, DURATION, complete_key, output_option, reveal_option, where_options
from sloth_runner.cli.shell import Shell, Where
from sloth_runner.cli.state_keys import views
from sloth_runner.cli.state_watch_lines import Lines
from sloth_runner.cli.words import argument, command, option
from sloth_runner.documents import reveals, watched
from sloth_runner.errors import Bug, TimedOut, UsageError
from sloth_runner.plain import TYPE_CHECKING, TextIO
from sloth_runner.state.watching import LONG, Change, Gap, Scope, follow, scopes_of

if TYPE_CHECKING:
    from sloth_runner.state.state import State
    from sloth_runner.state.watching import Item

LOOK = 2.0
"""Seconds after which it is noticed that nobody reads any more what we would write."""
INTERRUPTED = 130


@command("watch")
@argument("prefix", default="", complete=complete_key)
@where_options(everywhere=True)
@option("--count", type=COUNT, metavar="N", help="End after N changes.")
@option(
    "--timeout",
    type=DURATION,
    metavar="TIME",
    help="End after TIME; an error if there were fewer than --count changes by then.",
)
@reveal_option
@output_option
def watch(
    shell: Shell, prefix: str, where: Where, count: int | None, timeout: float | None, reveal: bool
) -> int:
    """Show changes of keys as they are made, from now on: all keys or those below PREFIX, own and shared ones.

    Each revision is shown once, and of each key in order. Ctrl-C ends it.
    """
    if shell.mode == "json" and count is None and timeout is None:
        raise UsageError(
            "-o json gives one document, when it ends: give --count or --timeout",
            next=["a line for each change: -o jsonl"],
        )
    seen = views(shell, where)
    namespace = None if where.all_agents else seen[0].home(prefix)
    telling = _Telling(shell, seen[0], prefix, namespace, reveal=reveal)
    end = None if timeout is None else time.monotonic() + timeout
    shell.app().stores.trouble = lambda error: shell.warn(f"{error.message}; it is tried again")
    reason = "error"
    try:
        reason = _tell(telling, _items(shell, where, prefix, end), count, end)
    except KeyboardInterrupt:
        reason = "interrupted"
    finally:
        telling.end(reason)
    if reason == "timeout" and count is not None:
        from sloth_runner.durations import human

        raise TimedOut(
            f"there were {telling.count} changes of {count} after {human(timeout or 0.0)}",
            next=["wait for longer: --timeout"],
        )
    return INTERRUPTED if reason == "interrupted" else 0


def _items(shell: Shell, where: Where, prefix: str, end: float | None) -> Iterator[Item | None]:
    app = shell.app()
    most = LONG if shell.world.stdout_tty else LOOK
    fixed = None if where.all_agents else _scopes(shell, where, prefix)
    return follow(
        app.store(),
        lambda: _scopes(shell, where, prefix) if fixed is None else fixed,
        app.clock,
        lambda: most if end is None else max(0.0, min(most, end - time.monotonic())),
    )


def _scopes(shell: Shell, where: Where, prefix: str) -> list[Scope]:
    return [scope for view in views(shell, where) for scope in scopes_of(view, prefix)]


def _tell(telling: _Telling, items: Iterator[Item | None], count: int | None, end: float | None) -> str:
    """Tell what comes; returns why it ended."""
    for item in items:
        if item is not None:
            telling.tell(item)
            if telling.count == count:
                return "count"
        else:
            telling.pause()
        if end is not None and time.monotonic() >= end:
            return "timeout"
    raise Bug("following keys has no end")


class _Telling:
    """Writes what is told, in the form asked for. ``count``: changes so far."""

    def __init__(
        self, shell: Shell, view: State, prefix: str, namespace: str | None, *, reveal: bool
    ) -> None:
        self.count = 0
        self._shell = shell
        self._view = view
        self._where = watched.place(shell.app(), namespace, prefix)
        self._reveal = reveal
        self._revealed: set[tuple[str, str]] = set()
        self._items: list[Item] = []
        self._begun = False
        self._lines = Lines(shell, everywhere=namespace is None)

    def pause(self) -> None:
        """All was told. Raises BrokenPipeError if nobody reads it any more."""
        if not self._begun:
            self._begun = True
            if self._shell.mode == "jsonl":
                self._shell.record("watching", self._where)
                self._shell.flush()
            elif self._shell.mode != "json":
                place, prefix = self._where["namespace"], self._where["prefix"]
                below = f", keys below {prefix!r}" if prefix else ""
                self._shell.say(f"watching {place or 'all namespaces'}{below}: Ctrl-C ends it")
                self._shell.world.stderr.flush()
        if not self._shell.world.stdout_tty and _is_unread(self._shell.world.stdout):
            raise BrokenPipeError

    def tell(self, item: Item) -> None:
        """One more; it is out when this returns."""
        shell = self._shell
        if isinstance(item, Change):
            self.count += 1
            self._record_reveal(item)
        if shell.mode == "json":
            self._items.append(item)
        elif shell.mode == "jsonl":
            row = (
                watched.change(item, reveal=self._reveal) if isinstance(item, Change) else watched.other(item)
            )
            shell.record(type(item).__name__.lower(), row)
        elif isinstance(item, Gap):
            shell.warn(_gap(item))
        else:
            for line in self._lines.of(item, reveal=self._reveal):
                shell.print(line)
        shell.flush()

    def end(self, reason: str) -> None:
        """Nothing more will come."""
        shell = self._shell
        if shell.mode == "json":
            shell.document(
                "state.watch", watched.watched(self._where, self._items, reason, reveal=self._reveal)
            )
        elif shell.mode == "jsonl":
            shell.record("watch.finished", {"reason": reason, "count": self.count})
        elif shell.human and reason == "interrupted":
            shell.say()  # the terminal has written ^C

    def _record_reveal(self, item: Change) -> None:
        where, revision = (item.namespace, item.key), item.revision
        if self._reveal and where not in self._revealed and (revision.secret or revision.old_secret):
            self._revealed.add(where)
            reveals.record_key(self._view, *where)


def _gap(item: Gap) -> str:
    which = f"revision {item.first}" if item.first == item.last else f"revisions {item.first} to {item.last}"
    return text.pictures(f"{which} of {item.key} in {item.namespace}: no longer kept, and so not shown")


def _is_unread(stream: TextIO) -> bool:
    """Whether whoever read a pipe has gone."""
    import select

    try:
        poll = select.poll()
        poll.register(stream.fileno(), 0)
        return any(found & (select.POLLERR | select.POLLNVAL) for _, found in poll.poll(0))
    except (OSError, ValueError):
        return False  # no real stream
