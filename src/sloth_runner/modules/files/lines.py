"""Why: lines of a file are edited so that everything else stays byte for byte: CRLF, bytes that are no UTF-8, a
missing newline at the end.

Texts stand for bytes as UTF-8 with ``surrogateescape``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sloth_runner.plain import Any, NamedTuple

FULL = ("\n", "\r\n")


class Line(NamedTuple):
    """A line, and how it ends: a newline, or CR and newline; the last one perhaps without (or with a lone CR)."""

    text: str
    end: str


def split(text: str) -> list[Line]:
    """The lines of a text. ``join`` gives the text again."""
    *pieces, last = text.split("\n")
    lines = [_line(piece, "\n") for piece in pieces]
    return [*lines, _line(last, "")] if last else lines


def _line(piece: str, end: str) -> Line:
    return Line(piece[:-1], "\r" + end) if piece.endswith("\r") else Line(piece, end)


def join(lines: Iterable[Line]) -> str:
    """The text that lines make."""
    return "".join([line.text + line.end for line in lines])


def insert(lines: Sequence[Line], at: int, texts: Sequence[str]) -> list[Line]:
    """Lines with others put before the one numbered ``at``. They end as their neighbours do; does the last line of
    all end in no newline, the new last one does so too."""
    if not texts:
        return list(lines)
    end = _style(lines, at)
    new = [Line(text, end) for text in texts]
    head, tail = list(lines[:at]), list(lines[at:])
    if head and not tail and head[-1].end not in FULL:
        new[-1] = Line(new[-1].text, head[-1].end)
        head[-1] = Line(head[-1].text, "\r\n" if head[-1].text.endswith("\r") else end)
    return [*head, *new, *tail]


def _style(lines: Sequence[Line], at: int) -> str:
    near = [*lines[max(0, at - 1) : at + 1], *lines[:1]]
    return next((line.end for line in near if line.end in FULL), "\n")


def remove(lines: Sequence[Line], which: Iterable[int]) -> list[Line]:
    """Lines without those numbered ``which``. Does the last line of all end in no newline, the new last one does so
    too."""
    gone = set(which)
    left = [line for number, line in enumerate(lines) if number not in gone]
    if left and lines and len(lines) - 1 in gone and lines[-1].end not in FULL:
        last = Line(left[-1].text, lines[-1].end)
        left[-1] = last if last.text or last.end else left[-1]  # an empty line is one only by its newline
    return left


def replaced(lines: Sequence[Line], at: int, text: str) -> list[Line]:
    """Lines with another text in the one numbered ``at``."""
    return [Line(text, line.end) if number == at else line for number, line in enumerate(lines)]


def place(lines: Sequence[Line], options: Mapping[str, Any]) -> int:
    """Where new lines go: after the last line that matches ``insert_after``, before the last one that matches
    ``insert_before`` (with ``first_match`` the first one), at the start for "BOF", else at the end."""
    import re

    after, before = options.get("insert_after"), options.get("insert_before")
    if before == "BOF":
        return 0
    pattern = before if before is not None else after
    if pattern is None or pattern == "EOF":
        return len(lines)
    found = [number for number, line in enumerate(lines) if re.search(pattern, line.text)]
    if not found:
        return len(lines)
    number = found[0] if options.get("first_match") else found[-1]
    return number if before is not None else number + 1
