"""Why: a task file's text is prepared so that Lua keeps the line of every call, and read for lines that are not to be
shown."""

from __future__ import annotations

import re

TEXTS = r"""--\[(=*)\[.*?(?:\]\1\]|\Z)|--[^\n]*                 # comments
      | \[(=*)\[.*?(?:\]\2\]|\Z)                             # long strings
      | "(?:\\.|[^"\\])*(?:"|\\?\Z) | '(?:\\.|[^'\\])*(?:'|\\?\Z)  # strings
"""
"""What is no code. One that nothing ends goes on to the end, so that no text is read again and again."""
_TOKEN = re.compile(
    TEXTS + r"| (?<![\w])function\b[^(]{0,1000}\([^)]{0,10000}\)  # the head of a function",
    re.DOTALL | re.VERBOSE,
)
_KEEP = " local _ <close> = nil;"


def with_frames(text: str) -> str:
    """``text`` with its lines unchanged, but no call in it replaces its caller's stack frame.

    ``return cmd("…")`` is a tail call: Lua forgets the line it stood on, and an error could not show it. A
    to-be-closed variable (nil: nothing to close) in each function keeps the frame.
    """
    if text.startswith("#"):
        text = "--" + text
    return _KEEP[1:] + _TOKEN.sub(_keep, text)


def _keep(token: re.Match[str]) -> str:
    found = token.group()
    return found + _KEEP if found.startswith("function") else found


_PIECE = re.compile(TEXTS + r"| \w+ | [()\[\]{}]", re.DOTALL | re.VERBOSE)
_OPENING, _CLOSING = "([{", ")]}"
_BLOCKS = ("function", "if", "do", "repeat")


class _Group:
    """Brackets, or a block of statements, that are open: since which line, and whether they are not to be shown."""

    def __init__(self, line: int, *, block: bool) -> None:
        self.line = line
        self.block = block
        self.hidden = False


def hidden_lines(text: str) -> frozenset[int]:
    """The lines (from 1) that may hold a secret: those that say ``sensitive``, and all of a call that says it on one
    of them, for the secret may stand on another."""
    found = {number for number, line in enumerate(text.split("\n"), 1) if "sensitive" in line}
    if not found:
        return frozenset()
    groups: list[_Group] = []
    number, at = 1, 0
    for piece in _PIECE.finditer(text):
        number += text.count("\n", at, piece.start())
        at = piece.start()
        word = piece.group()
        if word in _BLOCKS or word in _OPENING:
            groups.append(_Group(number, block=word in _BLOCKS))
        elif groups and (word in _CLOSING or word in ("end", "until")):
            ended = groups.pop()
            if ended.hidden:
                found.update(range(ended.line, number + 1))
        elif word == "sensitive":
            _hide(groups)
    for left in groups:  # a text that does not compile
        if left.hidden:
            found.update(range(left.line, text.count("\n") + 2))
    return frozenset(found)


def _hide(groups: list[_Group]) -> None:
    """Hide the outermost brackets of the statement that is being read."""
    outermost = None
    for group in reversed(groups):
        if group.block:
            break
        outermost = group
    if outermost is not None:
        outermost.hidden = True
