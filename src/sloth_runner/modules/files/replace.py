"""Why: all occurrences of a pattern in a file are replaced, once: a file in which nothing is left to replace is as
wanted.

Attribute of kind "file.replace": ``left``, how many occurrences would still be replaced by something else.
"""

from __future__ import annotations

from collections.abc import Mapping

from sloth_runner.errors import TaskFailed
from sloth_runner.plain import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sloth_runner.modules.base import Attributes, Change


def _section(text: str, params: Mapping[str, Any]) -> tuple[int, int]:
    """Where ``after`` and ``before`` let replacing take place; nowhere if one of them isn't found."""
    import re

    start, stop = 0, len(text)
    if params.get("after") is not None:
        found = re.compile(params["after"], re.MULTILINE).search(text)
        if found is None:
            return 0, 0
        start = found.end()
    if params.get("before") is not None:
        found = re.compile(params["before"], re.MULTILINE).search(text, start)
        if found is None:
            return 0, 0
        stop = found.start()
    return start, stop


def _replaced(text: str, params: Mapping[str, Any]) -> tuple[str, int]:
    """The new text, and how many occurrences differ from what replaces them."""
    import re

    start, stop = _section(text, params)
    differing = 0

    def by(match: re.Match[str]) -> str:
        nonlocal differing
        new = match.expand(params["replacement"])
        differing += new != match[0]
        return new

    section = re.compile(params["regexp"], re.MULTILINE).sub(by, text[start:stop])
    return text[:start] + section + text[stop:], differing


def read(text: str, params: Mapping[str, Any]) -> tuple[Attributes | None, dict[str, Any]]:
    """How much is left to replace."""
    return {"left": _replaced(text, params)[1]}, {}


def edit(text: str, change: Change) -> str:
    """All occurrences replaced. Raises TaskFailed if that would have no end."""
    params = change.resource.params
    new, _ = _replaced(text, params)
    if _replaced(new, params)[1]:
        raise TaskFailed(
            f"in {params['path']}, what {params['regexp']!r} is replaced by would be replaced again by every run",
            unchanged=[str(params["path"])],
            next=["make regexp match only what is still to be replaced"],
        )
    return new
