"""Why: what a machine would be like is a picture that agents share which are one machine under several names."""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING

from sloth_runner.ops import Found
from sloth_runner.plain import NamedTuple

if TYPE_CHECKING:
    from sloth_runner.modules.base import Observed

UNKNOWN = -1.0
"""When something was modified that is only rehearsed."""


class Node(NamedTuple):
    """What the rehearsal has put at a path: like Found, with the content of a file. ``unknown`` says by whom it
    would be made, if nothing else is known of it; ``packed``: the content is in an archive, only its digest known."""

    found: Found
    content: bytes | None = None
    unknown: str = ""
    packed: bool = False


class Picture:
    """What one machine would be like."""

    __slots__ = ("nodes", "opaque", "predicted")

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.predicted: dict[str, Observed] = {}
        self.opaque: str | None = None


def pattern(path: str) -> re.Pattern[str]:
    """A glob pattern as a regular expression: ``*`` stops at ``/``, ``**`` doesn't; a folder means all in it."""
    out = ""
    for part in re.split(r"(\*\*/?|\*|\?|\[[^]]*\])", posixpath.normpath(path)):
        if part.startswith("**"):
            out += "(?:.*/)?" if part.endswith("/") else ".*"
        elif part in ("*", "?"):
            out += "[^/]*" if part == "*" else "[^/]"
        elif part.startswith("[") and part.endswith("]"):
            out += part.replace("[!", "[^")
        else:
            out += re.escape(part)
    return re.compile(out + "(?:/.*)?")
