"""Why: an error in a configuration file must point at its line; the TOML parser keeps no positions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from sloth_runner.errors import BadConfig, FileMissing
from sloth_runner.names import did_you_mean
from sloth_runner.plain import Any, NamedTuple

_AT = r"\(at line (\d+), column (\d+)\)"
_HEADER = r"\s*\[\[?([^\]]+)\]"
_KEY = r"""\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*="""
_PART = r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'"""

Path_ = tuple[str, ...]


class Origin(NamedTuple):
    """Where a setting comes from. ``label`` is ``default``, a variable's name, or ``file:line``."""

    label: str
    file: str | None = None
    line: int | None = None
    column: int | None = None
    source: str | None = None

    def problem(self, message: str, *next_steps: str) -> BadConfig:
        """The error that blames this place."""
        where = f"{self.label}: " if self.file is None else ""
        return BadConfig(
            where + message,
            file=self.file,
            line=self.line,
            column=self.column,
            source=self.source,
            unchanged=["nothing was run, read or written"],
            next=next_steps,
        )


DEFAULT = Origin("default")


class ConfigFile(NamedTuple):
    """A configuration file: its tables, and where each key stands."""

    path: Path
    data: Mapping[str, Any]
    lines: tuple[str, ...]
    places: Mapping[Path_, tuple[int, int]]

    def origin(self, *path: str) -> Origin:
        """The place of a key; for one inside an inline table, the word in its line."""
        known = next((path[:n] for n in range(len(path), 0, -1) if path[:n] in self.places), ())
        if not known:
            return Origin(str(self.path), str(self.path))
        line, column = self.places[known]
        source = self.lines[line - 1]
        for word in path[len(known) :]:
            found = re.search(rf"(?<![A-Za-z0-9_-]){re.escape(word)}(?![A-Za-z0-9_-])", source[column:])
            column += found.start() if found else 0
        return Origin(f"{self.path}:{line}", str(self.path), line, column + 1, source)


def read_config(path: Path, *, required: bool = False) -> ConfigFile | None:
    """The file, or None if there is none. Raises FileMissing if it is ``required``, BadConfig if it can't be
    read or is no TOML."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        if not required:
            return None
        siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise FileMissing(
            f"there is no configuration file {path}", next=did_you_mean(path.name, siblings)
        ) from None
    except NotADirectoryError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        what = "a byte in it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise BadConfig(
            f"the configuration file can't be read: {what}",
            file=str(path),
            unchanged=["nothing was run, read or written"],
        ) from error
    import tomllib

    lines = tuple(text.splitlines())
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _syntax(path, lines, str(error)) from error
    return ConfigFile(path, data, lines, _places(lines))


def _syntax(path: Path, lines: tuple[str, ...], message: str) -> BadConfig:
    found = re.search(_AT, message)
    line, column = (int(found[1]), int(found[2])) if found else (max(1, len(lines)), None)
    what = re.sub(_AT, "", message).strip().replace("(at end of document)", "at the end of the file")
    source = lines[line - 1] if 0 < line <= len(lines) else None
    origin = Origin(f"{path}:{line}", str(path), line, column, source)
    return origin.problem(f"this is not TOML: {what}", *_meant(source or ""))


def _meant(source: str) -> list[str]:
    """What to write instead of a line that is not TOML, as the ``next`` of an error."""
    if re.match(r"\s*[\w-]+\s*:", source):
        return ["this is how YAML is written; TOML: [table] for what holds others, and key = value"]
    bare = re.match(r"\s*([\w-]+)\s*=\s*([A-Za-z~/][^\s\"'\[{]*)\s*(#|$)", source)
    return [f'texts stand in quotes: {bare[1]} = "{bare[2]}"'] if bare else []


def _places(lines: tuple[str, ...]) -> dict[Path_, tuple[int, int]]:
    """Line (from 1) and column (from 0) of each table and key; the text is known to be TOML."""
    places: dict[Path_, tuple[int, int]] = {}
    table: Path_ = ()
    quote = ""
    for number, line in enumerate(lines, 1):
        if quote:
            quote = "" if line.count(quote) % 2 else quote
            continue
        header, key = re.match(_HEADER, line), re.match(_KEY, line)
        if key:
            places.setdefault(table + _parts(key[1]), (number, key.start(1)))
        elif header:
            table = _parts(header[1])
            places.setdefault(table, (number, header.start(1)))
        quote = next((mark for mark in ('"""', "'''") if line.count(mark) % 2), "")
    return places


def _parts(dotted: str) -> Path_:
    return tuple(part.strip("\"'") for part in re.findall(_PART, dotted))
