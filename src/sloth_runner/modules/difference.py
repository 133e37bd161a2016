"""Why: what a module does to a file is shown as people read it: lines of a text, sizes of anything else."""

from __future__ import annotations

from collections.abc import Iterable

LIMIT = 64 * 1024
"""Characters that a difference may have; the rest is left out."""
COMPARED = 1 << 20
"""Bytes up to which two texts are compared line by line."""
HIDDEN = "(not shown: sensitive)"


def difference(path: str, old: bytes | None, new: bytes | None) -> str:
    """A unified diff of two texts (None: there is nothing), or the sizes of what is no text, or too long."""
    if max(len(old or b""), len(new or b"")) > COMPARED:
        return sizes(len(old or b""), len(new or b""))
    before, after = _text(old or b""), _text(new or b"")
    if before is None or after is None:
        return f"binary, {len(old or b''):,} → {len(new or b''):,} bytes"
    was = path if old is not None else "/dev/null"
    now = path if new is not None else "/dev/null"
    kept: list[str] = []
    size = 0
    for line in _unified(_lines(before), _lines(after), was, now):
        size += len(line) + 1
        if size > LIMIT:
            kept.append("… the rest is left out")
            break
        kept.append(line)
    return "\n".join(kept)


def _unified(before: list[str], after: list[str], was: str, now: str) -> Iterable[str]:
    """The lines of a unified diff. Where one side has none, as for each new file, nothing is to be compared: half of
    what a small file's difference costs."""
    if before and after:
        from difflib import unified_diff

        return unified_diff(before, after, was, now, lineterm="")
    if not before and not after:
        return ()
    sign = "-" if before else "+"
    head = [f"--- {was}", f"+++ {now}", f"@@ -{_range(before)} +{_range(after)} @@"]
    return [*head, *[sign + line for line in before or after]]


def _range(lines: list[str]) -> str:
    """All of a text in the head of a hunk."""
    return "0,0" if not lines else "1" if len(lines) == 1 else f"1,{len(lines)}"


def sizes(old: int | None, new: int | None) -> str:
    """What is said of contents that are not compared (None: of unknown size, but large)."""
    was, now = (f"{size:,}" if size is not None else "many" for size in (old, new))
    return f"large, {was} → {now} bytes"


def _lines(text: str) -> list[str]:
    """Lines without their ends; a last line without one says so, as diff does."""
    lines = text.split("\n")
    last = lines.pop()
    return [*lines, last + "\n\\ No newline at end of file"] if last else lines


def _text(content: bytes) -> str | None:
    if b"\0" in content:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None
