"""Why: a line that a text lost may look like the head of a difference (``-- a comment`` becomes ``--- a comment``):
only the counts of a hunk say which is which."""

from __future__ import annotations

import re

_HUNK = re.compile(r"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")
_TONES = {"+": "plus", "-": "minus"}


def tones(diff: str) -> list[tuple[str, str]]:
    """The lines of a difference, each with what it is: plus, minus, hunk, file or "". The names of files are left out
    where there is one only: they stand beside it."""
    found, old, new = list[tuple[str, str]](), 0, 0
    for line in diff.rstrip("\n").split("\n"):
        hunk = _HUNK.match(line)
        if old > 0 or new > 0:
            old, new = old - (line[:1] not in "+\\"), new - (line[:1] not in "-\\")
            found.append((_TONES.get(line[:1], ""), line))
        elif hunk is not None:
            old, new = (int(count or "1") for count in hunk.groups())
            found.append(("hunk", line))
        else:
            found.append(("file" if line.startswith(("--- ", "+++ ")) else "", line))
    one = sum(tone == "file" for tone, _ in found) <= 2 and any(tone == "hunk" for tone, _ in found)
    return [row for row in found if row[0] != "file"] if one else found
