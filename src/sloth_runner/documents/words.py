"""Why: times, amounts and text that nobody vouches for read alike on the terminal and in the browser."""

from __future__ import annotations

_C0 = {code: chr(0x2400 + code) for code in range(32)} | {127: "␡"}
_HEX = {code: f"\\x{code:02x}" for code in range(0x80, 0xA0)}
# Marks that reorder or hide text: they could make one value look like another.
_BIDI = {
    code: f"\\u{code:04x}"
    for code in (0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xFEFF)
}
PICTURES = _C0 | _HEX | _BIDI
"""Control characters, and marks that reorder or hide text, as what is shown in their place."""
_KEEP_LINES = {code: text for code, text in PICTURES.items() if code not in (9, 10)}


def pictures(text: str, *, lines: bool = False) -> str:
    """``text`` with control characters as pictures (␛), lone bytes as ``\\xff``; ``lines`` keeps tab and newline."""
    if text.isascii() and text.isprintable():
        return text
    return bytes_shown(text.translate(_KEEP_LINES if lines else PICTURES))


def ago(moment: float, now: float) -> str:
    """How long ago, or in how long: ``12s ago``, ``in 2h 5m``, ``just now``."""
    from sloth_runner.durations import human

    distance = now - moment
    if -1 < distance < 1:
        return "just now"
    length = f"{abs(distance):.0f}s" if abs(distance) < 59.5 else human(abs(distance))
    return f"{length} ago" if distance > 0 else f"in {length}"


def lease_end(expires: float, now: float) -> str:
    """When a lease ends. Its holder's clock has said so, and the store's decides: an end that has passed by the clock
    here has not come yet there."""
    if expires > now:
        return f"ends by itself {ago(expires, now)}"
    return f"should have ended {ago(expires, now)} by the clock here; the store's clock decides"


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


def bytes_shown(text: str) -> str:
    """``text`` with the bytes that are no UTF-8 as ``\\xff``."""
    if text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text):
        return text
    return "".join(f"\\x{ord(c) - 0xDC00:02x}" if "\udc80" <= c <= "\udcff" else c for c in text)
