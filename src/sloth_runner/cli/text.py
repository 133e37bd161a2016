"""Why: whatever a value holds, it must neither move the cursor nor break a table or a script that reads it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sloth_runner.documents.words import PICTURES, ago, bytes_shown, count, lease_end, pictures, size, took

__all__ = (
    "ago", "clip", "count", "fields", "lease_end", "pad", "pictures", "plain", "size", "styled", "table",
    "took", "width",
)  # fmt: skip

ELLIPSIS = "…"
_PLAIN = PICTURES | {9: "\\t", 10: "\\n", 92: "\\\\"}
STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34", "cyan": "36"}


def plain(text: str) -> str:
    """A cell of the plain form: tab, newline and backslash escaped, other control characters as pictures."""
    return bytes_shown(text.translate(_PLAIN))


def width(text: str) -> int:
    """Columns that ``text`` takes on a terminal."""
    if text.isascii():
        return len(text)
    from unicodedata import category, east_asian_width

    total = 0
    for char in text:
        if category(char) in ("Mn", "Me", "Cf"):
            continue
        total += 2 if east_asian_width(char) in ("W", "F") else 1
    return total


def clip(text: str, most: int) -> str:
    """``text`` in at most ``most`` columns; what is cut shows as …"""
    if width(text) <= most:
        return text
    out, used = [], 0
    for char in text:
        used += width(char)
        if used > most - 1:
            break
        out.append(char)
    return "".join(out) + ELLIPSIS if most > 0 else ""


def clip_inside(text: str, most: int) -> str:
    """``text`` in at most ``most`` columns with both of its ends: long names often differ in the last part only."""
    if width(text) <= most:
        return text
    end = max(0, most) // 2
    tail = clip(text[::-1], end + 1)[:-1][::-1]
    return clip(text, most - width(tail)) + tail


def pad(text: str, columns: int) -> str:
    """``text`` filled up with blanks."""
    return text + " " * (columns - width(text))


def styled(text: str, style: str, color: bool) -> str:
    """``text`` in a style of ``STYLES`` where colour is wanted."""
    return f"\x1b[{STYLES[style]}m{text}\x1b[0m" if color and text else text


NAME = 16
"""Columns that a name has at least before it is cut."""


def table(
    headers: Sequence[str], rows: Sequence[Sequence[str]], columns: int, flexible: Iterable[int], color: bool
) -> list[str]:
    """The lines of a table that fits ``columns``: the ``flexible`` columns give way, the widest first, and what names
    a row (the first one) only down to ``NAME``, and in its middle; where that is not enough, each row is shown as
    names and values below each other."""
    cells = [[pictures(cell) for cell in row] for row in rows]
    widths = [max(width(row[i]) for row in [list(headers), *cells]) for i in range(len(headers))]
    spare = columns - sum(widths) - 2 * (len(widths) - 1)
    can = [i for i in flexible if i < len(widths)]
    while spare < 0 and can:
        widest = max(can, key=lambda i: widths[i])
        floor = max(NAME if widest == 0 else 6, width(headers[widest]))
        if widths[widest] <= floor:
            can.remove(widest)
            continue
        widths[widest] -= 1
        spare += 1
    if spare < 0:
        return [line for row in rows for line in _standing(headers, row, color)]
    lines = [styled(_row(list(headers), widths), "bold", color)]
    return lines + [_row(row, widths) for row in cells]


def fields(pairs: Sequence[tuple[str, str]], color: bool) -> list[str]:
    """Names and values, aligned; a value of several lines goes on below itself."""
    most = max(width(name) for name, _ in pairs)
    out: list[str] = []
    for name, value in pairs:
        first, *rest = pictures(value, lines=True).expandtabs(4).split("\n")
        out.append(f"  {styled(pad(name, most), 'dim', color)}  {first}".rstrip())
        out.extend(" " * (most + 4) + line for line in rest)
    return out


def _standing(headers: Sequence[str], row: Sequence[str], color: bool) -> list[str]:
    names = [header.lower() for header in headers[1:]]
    return [styled(pictures(row[0]), "bold", color), *fields(list(zip(names, row[1:], strict=True)), color)]


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    clipped = [(clip if i else clip_inside)(cells[i], widths[i]) for i in range(len(widths))]
    return "  ".join(pad(cell, w) for cell, w in zip(clipped, widths, strict=True)).rstrip()
