"""Why: who resumes a run may have changed its files or values meanwhile: that is how a fault is mended. It is named,
since tasks that are done keep the results that they had."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from sloth_runner.digests import blake
from sloth_runner.plain import Any

MadeOf = dict[str, Any]


def made_of(
    run: str, folder: Path, files: Mapping[str, Sequence[str]], values: Mapping[str, object]
) -> MadeOf:
    """What a run is made of, as digests: of each file of its program, by its path from the task file, and of the
    values that the user gave. Values may be secret, so each run's digests are its own."""
    return {
        "files": {
            _name(path, folder): _digest(run, "\n".join(lines)) for path, lines in sorted(files.items())
        },
        "values": _digest(run, json.dumps(values, sort_keys=True, default=repr)),
    }


def had_values(run: str, before: Mapping[str, Any]) -> bool:
    """Whether the user gave a run values."""
    return before.get("values", "") not in ("", _digest(run, "{}"))


def changes(before: Mapping[str, Any], now: MadeOf) -> list[str]:
    """What is not as it was, in words; both are of the same run."""
    if not before:
        return []
    files, others = before["files"], now["files"]
    names = sorted(name for name in {*files, *others} if files.get(name) != others.get(name))
    return [*names, *(["the values"] if before["values"] != now["values"] else [])]


def _name(path: str, folder: Path) -> str:
    inside = Path(path)
    return str(inside.relative_to(folder)) if inside.is_relative_to(folder) else path


def _digest(run: str, text: str) -> str:
    return str(blake(f"{run}\0{text}").hexdigest())
