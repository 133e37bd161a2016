"""Why: two revisions are compared as people read them: text line by line, tables as spread-out JSON."""

from __future__ import annotations

import json

from sloth_runner.state.value import decode, type_name


def unified(old: str | None, new: str | None, old_name: str, new_name: str) -> list[str]:
    """The lines of a unified diff of two values (canonical texts; None: nothing there), without newlines."""
    from difflib import unified_diff

    found = unified_diff(_lines(old), _lines(new), old_name, new_name, lineterm="")
    return [line.rstrip("\n") for line in found]


def _lines(text: str | None) -> list[str]:
    if text is None:
        return []
    value = decode(text)
    if isinstance(value, str):
        return value.split("\n")
    if type_name(value) == "table":
        return json.dumps(json.loads(text), ensure_ascii=False, indent=2).split("\n")
    return [str(value) if isinstance(value, float) and text[0] == "{" else text]
