"""Why: one line of a file that others own too is a resource of its own: "this line is there", or "none like it".

Attributes of kind "file.line": ``line``, the last line that matches, and ``lines``, all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sloth_runner.errors import Conflict
from sloth_runner.modules.files.lines import insert, join, place, remove, replaced, split
from sloth_runner.plain import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sloth_runner.modules.base import Attributes, Change
    from sloth_runner.modules.files.lines import Line


def matching(lines: Sequence[Line], params: Mapping[str, Any]) -> list[int]:
    """The numbers of the lines that are ``line``; without one, or if there are none, of those that ``regexp``
    matches."""
    return _equal(lines, params) or _matched(lines, params)


def _equal(lines: Sequence[Line], params: Mapping[str, Any]) -> list[int]:
    wanted = params.get("line")
    return [number for number, line in enumerate(lines) if line.text == wanted]


def _matched(lines: Sequence[Line], params: Mapping[str, Any]) -> list[int]:
    if "regexp" not in params:
        return []
    import re

    pattern = re.compile(params["regexp"])
    return [number for number, line in enumerate(lines) if pattern.search(line.text)]


def read(text: str, params: Mapping[str, Any]) -> tuple[Attributes | None, dict[str, Any]]:
    """The lines that match, and where they stand."""
    lines = split(text)
    found = matching(lines, params)
    if not found:
        return None, {}
    texts = [lines[number].text for number in found]
    return {"line": texts[-1], "lines": texts}, {"at": found}


def edit(text: str, change: Change) -> str:
    """The last matching line becomes the wanted one, or that is put in; or all that match go. What ``read`` found
    once comes back line by line."""
    lines = split(text)
    found = matching(lines, change.resource.params)
    if change.wanted is None:
        if change.options.get("undo") and len(found) > 1:
            why = f"the line is there {len(found)} times, and one of them is ours, which is not known"
            raise Conflict(why, keys=[change.resource.address])
        return join(remove(lines, found))
    if "lines" in change.wanted:
        found = sorted({*_equal(lines, change.resource.params), *_matched(lines, change.resource.params)})
        return join(_restored(lines, found, change.wanted["lines"], change.extra.get("at")))
    line = str(change.wanted["line"])
    if found:
        return join(replaced(lines, found[-1], line))
    return join(insert(lines, place(lines, change.options), [line]))


def _restored(lines: list[Line], found: list[int], texts: Sequence[str], at: object) -> list[Line]:
    surplus = max(0, len(found) - len(texts))
    missing = max(0, len(texts) - len(found))
    for number, text in zip(found[surplus:], texts[missing:], strict=True):
        lines = replaced(lines, number, text)
    lines = remove(lines, found[:surplus])
    places = at if isinstance(at, list) and len(at) == len(texts) else [len(lines)] * len(texts)
    for number, text in zip(places[:missing], texts[:missing], strict=True):
        lines = insert(lines, min(int(number), len(lines)), [text])
    return lines
