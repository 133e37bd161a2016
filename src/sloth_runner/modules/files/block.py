"""Why: lines between two markers belong to us in a file that others own too.

Attribute of kind "file.block": ``lines``, what stands between the markers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sloth_runner.errors import TaskFailed
from sloth_runner.modules.files.lines import insert, join, place, remove, split
from sloth_runner.plain import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sloth_runner.modules.base import Attributes, Change
    from sloth_runner.modules.files.lines import Line


def wanted_lines(block: str) -> list[str]:
    """The lines of a block as a task file gives it: with a newline at its end, or without."""
    return [line.text for line in split(block)]


def _found(lines: Sequence[Line], params: Mapping[str, Any]) -> tuple[int, int] | None:
    """The numbers of the lines with the markers. Raises TaskFailed if they are no pair."""
    begins = [number for number, line in enumerate(lines) if line.text == params["begin"]]
    ends = [number for number, line in enumerate(lines) if line.text == params["end"]]
    if not begins and not ends:
        return None
    if len(begins) == len(ends) == 1 and begins[0] < ends[0]:
        return begins[0], ends[0]
    said = [f"{params[name]!r} in {_numbers(where)}" for name, where in (("begin", begins), ("end", ends))]
    raise TaskFailed(
        f"the markers in {params['path']} are not one pair: {', '.join(said)}",
        unchanged=[str(params["path"])],
        next=["put one line with each there, the first one first, or take them away"],
    )


def _numbers(where: Sequence[int]) -> str:
    return "line " + ", ".join(str(number + 1) for number in where) if where else "no line"


def read(text: str, params: Mapping[str, Any]) -> tuple[Attributes | None, dict[str, Any]]:
    """The lines between the markers, and where the first marker stands."""
    lines = split(text)
    found = _found(lines, params)
    if found is None:
        return None, {}
    begin, end = found
    return {"lines": [line.text for line in lines[begin + 1 : end]]}, {"at": begin}


def edit(text: str, change: Change) -> str:
    """The lines between the markers become the wanted ones; without wanted ones all go, the markers too."""
    params = change.resource.params
    lines = split(text)
    found = _found(lines, params)
    if change.wanted is None:
        return join(remove(lines, range(found[0], found[1] + 1))) if found else text
    block = [str(line) for line in change.wanted["lines"]]
    if found is not None:
        begin, end = found
        return join(insert(remove(lines, range(begin + 1, end)), begin + 1, block))
    at = change.extra.get("at") if change.options.get("undo") else None
    number = min(at, len(lines)) if isinstance(at, int) else place(lines, change.options)
    return join(insert(lines, number, [params["begin"], *block, params["end"]]))
