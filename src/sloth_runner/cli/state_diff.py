"""Why: two revisions are compared as people read them: text line by line, tables as spread-out JSON."""

from __future__ import annotations

from sloth_runner.cli import text
from sloth_runner.cli.shell import Shell
from sloth_runner.documents.differences import Side, compare, difference
from sloth_runner.documents.keys import missing
from sloth_runner.errors import UsageError
from sloth_runner.plain import TYPE_CHECKING
from sloth_runner.state.layout import check_key

if TYPE_CHECKING:
    from sloth_runner.state.record import Record
    from sloth_runner.state.state import State


def print_diff(shell: Shell, view: State, first: str, second: str | None, *, reveal: bool) -> None:
    """Print the difference of two revisions. Raises KeyMissing, Compacted, UsageError."""
    left, right = _sides(view, first, second)
    pair = compare(view, left, right, reveal=reveal)
    if shell.structured:
        shell.document("state.diff", difference(shell.app(), view, pair))
        return
    if not pair.differ:
        shell.say(f"no difference between {left.name} and {right.name}")
    elif pair.hidden:
        shell.say(f"{left.name} and {right.name} differ, and are sensitive: --reveal shows how")
    for line in pair.lines:
        shell.print(_colored(text.pictures(line), shell.color))


def _sides(view: State, first: str, second: str | None) -> tuple[Side, Side]:
    key, rev = _split(first)
    if second is not None:
        if rev is None:
            raise UsageError("two revisions are compared as KEY@3 KEY@5")
        other, other_rev = _split(second if not second.startswith("@") else key + second)
        if other_rev is None:
            raise UsageError(f"{second!r} names no revision: write {second}@5")
        return Side(key, view.revision(key, rev)), Side(other, view.revision(other, other_rev))
    last = _last(view, key)
    if rev is None:
        before = view.revision(key, last.number - 1) if last.number > max(1, last.first) else None
        return Side(key, before), Side(key, last)
    return Side(key, view.revision(key, rev)), Side(key, last)


def _split(text_: str) -> tuple[str, int | None]:
    key, at, rev = text_.rpartition("@")
    return (key, int(rev)) if at and key and rev.isascii() and rev.isdigit() else (text_, None)


def _last(view: State, key: str) -> Record:
    from sloth_runner.state.history import head

    found = head(view.writer.store, view.home(check_key(key)), key)
    if found is None:
        raise missing(view, key)
    return found


def _colored(line: str, color: bool) -> str:
    style = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1])
    return text.styled(line, style, color) if style else line
