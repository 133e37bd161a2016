"""Why: a task file's text is prepared so that Lua keeps the line of every call."""

from __future__ import annotations

import re

_TOKEN = re.compile(
    r"""--\[(=*)\[.*?\]\1\]|--[^\n]*              # comments
      | \[(=*)\[.*?\]\2\]                        # long strings
      | "(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*'    # strings
      | (?<![\w])function\b[^(]*\([^)]*\)        # the head of a function
    """,
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
