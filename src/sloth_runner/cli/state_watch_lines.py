"""Why: lines that come one by one stand below each other like a table, though nobody knows the next one.

Each column is as wide as the widest that came so far, as far as there is room; where there is little, a change takes
several lines.
"""

from __future__ import annotations

import time

from sloth_runner import documents
from sloth_runner.cli import text
from sloth_runner.moments import iso
from sloth_runner.plain import TYPE_CHECKING
from sloth_runner.state.watching import Change

if TYPE_CHECKING:
    from sloth_runner.cli.shell import Shell
    from sloth_runner.state.watching import Purged

NARROW = 60
"""Columns below which a change takes several lines."""
NOTHING = "-"
ARROW = " → "


class Lines:
    """The lines of changes; ``everywhere``: of all namespaces, which are named."""

    def __init__(self, shell: Shell, *, everywhere: bool) -> None:
        self._shell = shell
        self._everywhere = everywhere
        self._key = 0
        self._change = 0

    def of(self, item: Change | Purged, *, reveal: bool) -> list[str]:
        """The lines of one change."""
        at = item.revision.record.time if isinstance(item, Change) else self._shell.world.clock()
        if not self._shell.human:
            return ["\t".join(text.plain(cell) for cell in [iso(at), *_cells(item, reveal=reveal)])]
        key, _, op, old, new, by, run, task, namespace = _cells(item, reveal=reveal)
        moment = time.strftime("%H:%M:%SZ", time.gmtime(at))
        key = text.pictures(f"{namespace}  {key}" if self._everywhere else key)
        who = text.pictures(by + "".join(f", {what}" for what in (task, run) if what != NOTHING))
        ending = "" if op == "set" else f" ({op})"
        pair = (text.pictures(old), text.pictures(new), ending)
        if self._shell.columns < NARROW:
            return self._apart(moment, key, pair, "" if who == NOTHING else who)
        return [self._beside(moment, key, pair, "" if who == NOTHING else who)]

    def _apart(self, moment: str, key: str, pair: tuple[str, str, str], who: str) -> list[str]:
        columns, color = self._shell.columns, self._shell.color
        head = text.clip(key, columns - text.width(moment) - 2)
        lines = [f"{text.styled(moment, 'dim', color)}  {text.styled(head, 'bold', color)}"]
        lines.append("  " + _change(*pair, columns - 2))
        return [*lines, "  " + text.clip(who, columns - 2)] if who else lines

    def _beside(self, moment: str, key: str, pair: tuple[str, str, str], who: str) -> str:
        color = self._shell.color
        room = self._shell.columns - text.width(moment) - 3 * 2
        key = text.clip(key, room // 3)
        self._key = min(max(self._key, text.width(key)), room // 3)
        room -= self._key
        change = _change(*pair, room - min(text.width(who), room // 3))
        self._change = min(max(self._change, text.width(change)), room - room // 3)
        change = text.pad(change, self._change)
        who = text.clip(who, room - text.width(change))
        key = text.styled(key, "bold", color) + " " * (self._key - text.width(key))
        return f"{text.styled(moment, 'dim', color)}  {key}  {change}  {who}".rstrip()


def _change(old: str, new: str, ending: str, room: int) -> str:
    """``old → new``, each of which gives way where there is not enough room for both."""
    room -= text.width(ending) + len(ARROW)
    half = room // 2
    old = text.clip(old, max(half, room - text.width(new)))
    return f"{old}{ARROW}{text.clip(new, room - text.width(old))}{ending}"


def _cells(item: Change | Purged, *, reveal: bool) -> list[str]:
    """Key, revision, operation, old, new, by, run, task and namespace; ``-`` for what there is not."""
    if not isinstance(item, Change):
        return [item.key, NOTHING, "purge", *[NOTHING] * 5, item.namespace]
    revision = item.revision
    record, by = revision.record._replace(sensitive=revision.secret), revision.record.by
    who = [f"{by.user}@{by.host}", by.run or NOTHING, by.task or NOTHING] if item.written else [NOTHING] * 3
    number = str(record.number) if item.written else NOTHING
    values = [documents.old_shown(revision, reveal=reveal), documents.shown(record, reveal=reveal)]
    return [item.key, number, record.op, *values, *who, item.namespace]
