"""Why: a pattern must name the same files in a plan, which knows paths only, and in a run, which walks folders.

Patterns are those of Python's ``glob``: ``*``, ``?`` and ``[…]`` stop at ``/``; ``**`` as a whole name stands for any
number of folders, at the end for all that is in them; none of them means a name that starts with a dot, unless the
pattern's does. ``**`` goes through no link, so that links in a circle have no walk without end.
"""

from __future__ import annotations

import os
import re
from fnmatch import translate

from sloth_runner.agent.names import raw, text
from sloth_runner.plain import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import TypeAlias

    Part: TypeAlias = "str | re.Pattern[str] | None"
    """A name as it is; one with wildcards; None for ``**``."""

_MAGIC = re.compile(r"[*?\[]")
_VISIBLE = r"(?!\.)"


class Pattern(NamedTuple):
    """The names from / on. ``magic``: there are wildcards; without them a folder means all files in it, also those
    whose names start with a dot. ``folder``: it ends with a slash, or one and a dot: it names no file itself."""

    parts: tuple[Part, ...]
    magic: bool
    folder: bool


def compiled(pattern: str, base: str) -> Pattern:
    """A pattern, which starts at the folder ``base`` unless it is absolute."""
    parts: list[Part] = [] if pattern.startswith("/") else [name for name in base.split("/") if name]
    for name in pattern.split("/"):
        if name == "..":
            del parts[-1:]
        elif name == "**":
            parts.append(None)
        elif name not in ("", "."):
            parts.append(_part(name))
    if parts and parts[-1] is None:
        parts.append(_part("*"))
    return Pattern(tuple(parts), _MAGIC.search(pattern) is not None, pattern.endswith(("/", "/.")))


def _part(name: str) -> Part:
    if _MAGIC.search(name) is None:
        return name
    return re.compile(("" if name.startswith(".") else _VISIBLE) + translate(name))


def fits(pattern: Pattern, path: str) -> bool:
    """Whether a pattern names the file at an absolute path."""
    end, at = len(pattern.parts), _skipping(pattern, (0,))
    for name in path.strip("/").split("/"):
        if end in at and not pattern.magic:
            return True
        at = _after(pattern, at, name)
    return end in at and not pattern.folder


def named(pattern: Pattern) -> Iterator[bytes]:
    """The paths of the regular files that a pattern names, each once; a folder that can't be read holds none."""
    end = len(pattern.parts)
    waiting = [(b"/", _skipping(pattern, (0,)))]
    while waiting:
        folder, at = waiting.pop()
        if end in at and not pattern.magic:
            yield from _all_below(folder)
            continue
        for name in _candidates(pattern, folder, at):
            path = os.path.join(folder, name)
            after = _after(pattern, at, text(name))
            if end in after and not pattern.folder and os.path.isfile(path):
                yield path
            elif after and os.path.isdir(path):
                if os.path.islink(path):
                    after = _after(pattern, at, text(name), link=True)
                waiting.append((path, after))


def _skipping(pattern: Pattern, at: Iterable[int]) -> frozenset[int]:
    """Places between the parts, and those behind each ``**``, which may stand for no folder at all."""
    out = set()
    for place in at:
        out.add(place)
        while place < len(pattern.parts) and pattern.parts[place] is None:
            place += 1
            out.add(place)
    return frozenset(out)


def _after(pattern: Pattern, at: frozenset[int], name: str, *, link: bool = False) -> frozenset[int]:
    """Where in the pattern we may be once ``name`` was met; ``link``: it is one."""
    out = set()
    for place in at:
        part = pattern.parts[place] if place < len(pattern.parts) else ""
        if part is None:
            if not link and not name.startswith("."):
                out.add(place)
        elif part == name if isinstance(part, str) else part.match(name):
            out.add(place + 1)
    return _skipping(pattern, out)


def _candidates(pattern: Pattern, folder: bytes, at: frozenset[int]) -> list[bytes]:
    """Names that may come next in a folder, which is not read if the pattern gives them."""
    parts = [pattern.parts[place] for place in at if place < len(pattern.parts)]
    names = [part for part in parts if isinstance(part, str)]
    if len(names) == len(parts):
        return [raw(name) for name in dict.fromkeys(names)]
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _all_below(folder: bytes) -> Iterator[bytes]:
    for above, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(above, name)
            if os.path.isfile(path):
                yield path
