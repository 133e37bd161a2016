"""Why: the truth of an S3 store is its log; this file knows what one object of it looks like.

``log/000000000042`` holds one or more commits that were made as one: a line of JSON (who, which keys, how long
the values), then the values. It is created once and never deleted: a writer that slept would take a number that
is free for the next one. When a checkpoint covers it, it is overwritten by a marker that says which.

A put's Rev is made of the object's number and the place of the put in it.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence

from sloth_runner.errors import Corrupt, Foreign
from sloth_runner.plain import Any, Final, NamedTuple
from sloth_runner.state.store import Rev

FORMAT: Final = 1
MOST_PUTS: Final = 1 << 16
"""Puts and deletes in one object: a Rev has 16 bits for them."""


class Put(NamedTuple):
    """One put, or (``value`` None) one delete; ``lease`` in seconds."""

    key: str
    value: bytes | None
    lease: float | None = None


class Commit(NamedTuple):
    """Changes that were made together, under the id by which their writer knows them again."""

    id: str
    puts: tuple[Put, ...]


class Official(NamedTuple):
    """The newest checkpoint that the log itself knows of: the manifest's name, and the number of the last log
    object that is in it. ``shrunk``: up to where log objects were made markers."""

    manifest: str
    at: int
    shrunk: int


class Marker(NamedTuple):
    """What is left of a log object that a checkpoint covers."""

    manifest: str
    at: int


class Written(NamedTuple):
    """A log object: its commits in order, or a step of the store's own: a checkpoint that becomes official."""

    commits: tuple[Commit, ...]
    official: Official | None = None


def log_name(number: int) -> str:
    """The name of a log object."""
    return f"log/{number:012d}"


def rev_of(number: int, index: int) -> Rev:
    """The Rev of the put that stands at ``index`` in the log object ``number``."""
    return number * MOST_PUTS + index


def number_of(rev: Rev) -> int:
    """The log object in which a Rev was made."""
    return rev // MOST_PUTS


def encode(written: Written) -> bytes:
    """The object's bytes."""
    values = b"".join(put.value for commit in written.commits for put in commit.puts if put.value)
    head: dict[str, Any] = {"format": FORMAT, "crc": zlib.crc32(values)}
    head["commits"] = [[commit.id, [_row(put) for put in commit.puts]] for commit in written.commits]
    if written.official is not None:
        head["official"] = list(written.official)
    return _line(head) + values


def encode_marker(marker: Marker) -> bytes:
    """The bytes of what is left."""
    return _line({"format": FORMAT, "manifest": marker.manifest, "at": marker.at})


def decode(name: str, body: bytes) -> Written | Marker:
    """The object ``name`` as it was read. Raises Foreign (of a later version), Corrupt."""
    line, _, values = body.partition(b"\n")
    try:
        head = json.loads(line)
        if head["format"] != FORMAT:
            raise Foreign(
                f"{name} is of format {head['format']}; this version reads {FORMAT}",
                next=["use a newer version of sloth-runner for this store"],
            )
        if "manifest" in head:
            return Marker(head["manifest"], head["at"])
        if zlib.crc32(values) != head["crc"]:
            raise Corrupt(f"{name} is damaged: its checksum differs")
        official = Official(*head["official"]) if "official" in head else None
        return Written(tuple(_commits(head["commits"], values)), official)
    except (ValueError, KeyError, TypeError) as error:
        raise Corrupt(f"{name} can't be read: {error!r}") from error


def _row(put: Put) -> list[object]:
    size = None if put.value is None else len(put.value)
    return [put.key, size] if put.lease is None else [put.key, size, put.lease]


def _commits(rows: Sequence[Any], values: bytes) -> list[Commit]:
    commits, start = [], 0
    for commit, row in rows:
        puts = []
        for key, size, *lease in row:
            value = None if size is None else values[start : start + size]
            start += size or 0
            puts.append(Put(key, value, lease[0] if lease else None))
        commits.append(Commit(commit, tuple(puts)))
    return commits


def _line(head: dict[str, Any]) -> bytes:
    return json.dumps(head, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
