"""Why: whatever a value holds, it must neither move the cursor nor break a table or a script that reads it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

ELLIPSIS = "…"
_C0 = {code: chr(0x2400 + code) for code in range(32)} | {127: "␡"}
_HEX = {code: f"\\x{code:02x}" for code in range(0x80, 0xA0)}
# Marks that reorder or hide text: they could make one value look like another.
_BIDI = {
    code: f"\\u{code:04x}"
    for code in (0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xFEFF)
}
_PICTURES = _C0 | _HEX | _BIDI
_KEEP_LINES = {code: text for code, text in _PICTURES.items() if code not in (9, 10)}
_PLAIN = _PICTURES | {9: "\\t", 10: "\\n", 92: "\\\\"}
STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34", "cyan": "36"}


def pictures(text: str, *, lines: bool = False) -> str:
    """``text`` with control characters as pictures (␛), lone bytes as ``\\xff``; ``lines`` keeps tab and newline."""
    if text.isascii() and text.isprintable():
        return text
    return _bytes_shown(text.translate(_KEEP_LINES if lines else _PICTURES))


def plain(text: str) -> str:
    """A cell of the plain form: tab, newline and backslash escaped, other control characters as pictures."""
    return _bytes_shown(text.translate(_PLAIN))


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


def pad(text: str, columns: int) -> str:
    """``text`` filled up with blanks."""
    return text + " " * (columns - width(text))


def styled(text: str, style: str, color: bool) -> str:
    """``text`` in a style of ``STYLES`` where colour is wanted."""
    return f"\x1b[{STYLES[style]}m{text}\x1b[0m" if color and text else text


def table(
    headers: Sequence[str], rows: Sequence[Sequence[str]], columns: int, flexible: Iterable[int], color: bool
) -> list[str]:
    """The lines of a table that fits ``columns``: the ``flexible`` columns give way, the widest first; where that is
    not enough, each row is shown as names and values below each other."""
    cells = [[pictures(cell) for cell in row] for row in rows]
    widths = [max(width(row[i]) for row in [list(headers), *cells]) for i in range(len(headers))]
    spare = columns - sum(widths) - 2 * (len(widths) - 1)
    can = [i for i in flexible if i < len(widths)]
    while spare < 0 and can:
        widest = max(can, key=lambda i: widths[i])
        floor = max(6, width(headers[widest]))
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


def ago(moment: float, now: float) -> str:
    """How long ago, or in how long: ``12s ago``, ``in 2h 5m``, ``just now``."""
    from sloth_runner.durations import human

    distance = now - moment
    if -1 < distance < 1:
        return "just now"
    length = f"{abs(distance):.0f}s" if abs(distance) < 59.5 else human(abs(distance))
    return f"{length} ago" if distance > 0 else f"in {length}"


def took(seconds: float) -> str:
    """A length of time: ``6ms``, ``0.4s``, ``3m 20s``."""
    from sloth_runner.durations import human

    return f"{round(seconds * 1000)}ms" if seconds < 0.095 else human(seconds)


def count(number: int, word: str, words: str | None = None) -> str:
    """``1 key``, ``2 keys``."""
    return f"{number:,} {word if number == 1 else words or word + 's'}"


def size(number: int) -> str:
    """Bytes for people: ``12 B``, ``3.4 KiB``."""
    if number < 1024:
        return f"{number} B"
    units = ("KiB", "MiB", "GiB", "TiB")
    power = min(len(units), (number.bit_length() - 1) // 10)
    return f"{number / (1 << 10 * power):.1f} {units[power - 1]}"


def _standing(headers: Sequence[str], row: Sequence[str], color: bool) -> list[str]:
    names = [header.lower() for header in headers[1:]]
    return [styled(pictures(row[0]), "bold", color), *fields(list(zip(names, row[1:], strict=True)), color)]


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(pad(clip(cell, w), w) for cell, w in zip(cells, widths, strict=True)).rstrip()


def _bytes_shown(text: str) -> str:
    if text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text):
        return text
    return "".join(f"\\x{ord(c) - 0xDC00:02x}" if "\udc80" <= c <= "\udcff" else c for c in text)
