"""Why: agents are added and removed by commands, in a file of their own, of which every other line stays as it is."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

from sloth_runner.errors import BadConfig
from sloth_runner.folders import make_private
from sloth_runner.plain import Any

HEAD = "# Agents; see docs/agents.md. `sloth-runner agent add` and `remove` change this file.\n"


def added(text: str, name: str, table: Mapping[str, Any]) -> str:
    """The text of a file of agents with one more at its end."""
    lines = [f"[agents.{toml_key(name)}]"] + [
        f"{toml_key(key)} = {_value(value)}" for key, value in table.items()
    ]
    before = text or HEAD
    made = before + ("" if before.endswith("\n") else "\n") + "\n" + "\n".join(lines) + "\n"
    _check(made, {**_agents(text), name: dict(table)})
    return made


def removed(text: str, name: str) -> str:
    """The same without one. Raises BadConfig where it stands so that it can't be taken out alone."""
    wanted = {key: value for key, value in _agents(text).items() if key != name}
    key = rf"(?:{re.escape(name)}|\"{re.escape(name)}\"|'{re.escape(name)}')"
    lines = text.splitlines(keepends=True)
    kept: list[str] = []
    section, taking = "", False
    for line in lines:
        header = re.match(r"\s*\[+([^\]]*)\]", line)
        if header:
            section = header[1].strip()
            taking = re.match(rf"agents\s*\.\s*{key}\s*(\.|$)", section) is not None
        own = section == "agents" and re.match(rf"\s*{key}\s*(\.[^=]*)?=", line) is not None
        if not taking and not own:
            kept.append(line)
    made = re.sub(r"\n{3,}", "\n\n", "".join(kept))
    _check(made, wanted)
    return made


def write(path: Path, text: str) -> None:
    """Put the file in place, atomically, with the mode that it had (0644 for a new one)."""
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
    make_private(path.parent)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(fd)
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def _agents(text: str) -> dict[str, Any]:
    return dict(tomllib.loads(text).get("agents", {}))


def _check(text: str, wanted: Mapping[str, Any]) -> None:
    """It must say what it should, whatever it looked like before."""
    try:
        good = _agents(text) == wanted
    except tomllib.TOMLDecodeError:
        good = False
    if not good:
        raise BadConfig(
            "the file can't be changed by a command: it is written in a form that is not understood well enough",
            unchanged=["nothing was written"],
            next=["change it by hand"],
        )


def toml_key(name: str) -> str:
    """A name as a key of TOML; one with dots stands in quotes."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _text(name)


def _text(text: str) -> str:
    """A basic string: TOML's escapes are JSON's, but for DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        return (
            "{ " + ", ".join(f"{toml_key(str(key))} = {_value(item)}" for key, item in value.items()) + " }"
        )
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, int | float):
        return repr(value)
    raise BadConfig(f"{value!r} can't be written as TOML", unchanged=["nothing was written"])
