"""Why: a run may say more of itself than one record of a store holds; then it is shortened, and says so, not lost.

What is least missed goes first: long differences and values, the middle of long logs, in the end calls beyond the
first.
What the run prints and gives as a document at its end is never shortened.
"""

from __future__ import annotations

import json

from sloth_runner.plain import Any, Final

Document = dict[str, Any]
LOG_LIMIT: Final = 256 * 1024
"""Bytes of one task's log that its record keeps: the first and the last half."""
ROOMS: Final = (64 << 10, 8 << 10, 1 << 10, 128)
"""Bytes that a task's log, and each difference and value, may have; the first that is enough is taken."""
COUNTS: Final = (1000, 100, 10, 0)
"""And so many calls, changes of state and tasks that wait."""


def encode(document: Document) -> bytes:
    """A document as bytes."""
    return json.dumps(document, ensure_ascii=True, separators=(",", ":")).encode()


def fitted(document: Document, most: int) -> bytes:
    """A document as bytes, shortened to ``most`` of them if it has more."""
    data = encode(document)
    for room in ROOMS:
        if len(data) <= most:
            return data
        data = encode(_shortened(document, room))
    for count in COUNTS:
        if len(data) <= most:
            return data
        data = encode(_thinned(_shortened(document, ROOMS[-1]), count))
    return data


def cut_log(lines: list[Document], limit: int = LOG_LIMIT) -> list[Document]:
    """A task's log within ``limit``: the middle makes way for a line that says how much is missing."""
    total = sum(len(str(line["text"])) for line in lines)
    if total <= limit:
        return lines
    first: list[Document] = []
    last: list[Document] = []
    size = 0
    for line in lines:
        size += len(str(line["text"]))
        if size > limit // 2:
            break
        first.append(line)
    size = 0
    for line in reversed(lines[len(first) :]):
        size += len(str(line["text"]))
        if size > limit // 2:
            break
        last.append(line)
    return [
        *first,
        _note(lines, f"… {len(lines) - len(first) - len(last)} lines are not kept …"),
        *reversed(last),
    ]


def _shortened(document: Document, room: int) -> Document:
    """The same with long parts replaced by what says how long they were; of a task, or of those under way."""
    out = dict(document)
    if "log" in out:
        out["log"] = cut_log(out["log"], room)
    if "calls" in out:
        out["calls"] = [{**call, "diff": _diff(call["diff"], room)} for call in out["calls"]]
    if "state" in out:
        out["state"] = [
            {**change, "old": _value(change["old"], room), "new": _value(change["new"], room)}
            for change in out["state"]
        ]
    if out.get("result") is not None and len(encode(out["result"])) > room:
        out["result"] = None  # who resumes runs the task again
    if "tasks" in out:
        out["tasks"] = [_shortened(task, room) for task in out["tasks"]]
    return out


def _thinned(document: Document, count: int) -> Document:
    """The same with no more than ``count`` of what there may be many of."""
    out = dict(document)
    for field, words in (("calls", "calls"), ("state", "changes of state"), ("tasks", "tasks")):
        rows = out.get(field, [])
        if len(rows) > count:
            out[field] = rows[:count]
            if "log" in out:
                out["log"] = [*out["log"], _note(out["log"], f"… {len(rows) - count} {words} are not kept …")]
    return out


def _diff(diff: str | None, room: int) -> str | None:
    if diff is None or len(diff) <= room:
        return diff
    return f"… a difference of {len(diff):,} characters is not kept …\n"


def _value(value: object, room: int) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    size = len(json.dumps(value))
    return value if size <= room else {"$cut": size}


def _note(lines: list[Document], text: str) -> Document:
    return {"time": lines[-1]["time"] if lines else None, "stream": "warn", "text": text}
