"""Why: programs say at length what went wrong; one line of it says it best, and heads the error."""

from __future__ import annotations

from collections.abc import Sequence

MARKS = frozenset(" ^~")
"""What a line is made of that points at something in the line above it."""
REFERENCES = ('See "', "See '")


def headline(lines: Sequence[str]) -> str:
    """The line that tells what went wrong: the last one, without what follows a message: a quoted line with a mark
    below it, lines that begin with space because they go on, how a program is used, and where more is told (See "…").
    One that ends with a colon brings the next."""
    end = len(lines)
    usage = next((n for n, line in enumerate(lines) if line.lower().startswith("usage:")), 0)
    while end:
        last = lines[end - 1]
        if last.strip() and MARKS.issuperset(last):
            end = max(end - 2, 0)
        elif not last.strip() or last[0].isspace() or (end > 1 and last.startswith(REFERENCES)):
            end -= 1
        elif usage and end > usage and (end == usage + 1 or last.endswith(":")):
            end = usage
        else:
            more = lines[end : end + 1] if last.endswith(":") else ()
            return " ".join(line.strip() for line in (last, *more))
    return lines[-1].strip() if lines else ""
