"""Why: an example says at once how something is meant; each is Lua that tests load and call, so it stays true."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

_HEAD = re.compile(r"^-- \[([\w.]+)\]\n", re.MULTILINE)


@cache
def examples() -> dict[str, str]:
    """The example of each function that has one, as lines of a task file."""
    text = files("sloth_runner.reference").joinpath("examples.lua").read_text(encoding="utf-8")
    _, *parts = _HEAD.split(text)
    return {name: code.strip("\n") for name, code in zip(parts[::2], parts[1::2], strict=True)}
