"""Why: everything that is ever done to a machine is one of these few operations.

Modules yield them, transports carry them, ``agent.perform`` does them. This file imports the standard library
alone and runs on Python 3.8, so that it can be sent to a bare machine.
"""

from __future__ import annotations

from typing import Dict, NamedTuple, Optional, Tuple, Union


class Stat(NamedTuple):
    """What is at ``path``; with ``digest`` also the SHA-256 of a regular file. Links are not followed."""

    path: str
    digest: bool = False


class Read(NamedTuple):
    """The content of a regular file of at most ``limit`` bytes. Links are not followed."""

    path: str
    limit: int


class Write(NamedTuple):
    """Put a file in place in one step, whatever was there (but no folder); mode and owner come before content."""

    path: str
    content: bytes
    mode: int
    owner: Optional[str] = None
    group: Optional[str] = None


class MakeDir(NamedTuple):
    """Make one folder, whose parent is there."""

    path: str
    mode: int
    owner: Optional[str] = None
    group: Optional[str] = None


class SetAttrs(NamedTuple):
    """Change mode, owner or group of a file or folder; None leaves it. Links are not followed."""

    path: str
    mode: Optional[int] = None
    owner: Optional[str] = None
    group: Optional[str] = None


class Remove(NamedTuple):
    """Remove a file, a link, an empty folder, or with ``recursive`` a folder and all that is in it."""

    path: str
    recursive: bool = False


class Glob(NamedTuple):
    """The regular files that match the patterns (relative to ``base``), with their SHA-256, in order of path."""

    patterns: Tuple[str, ...]
    base: str


class Exec(NamedTuple):
    """Run a program, or with ``shell`` a line of ``/bin/sh``. ``env`` is added to the transport's own.

    ``timeout`` in seconds; ``limit`` is how many bytes of each output are kept (head and tail). ``asks`` says
    that the command only looks (``unless``, ``only_if``) and counts as no change.
    """

    argv: Tuple[str, ...]
    shell: bool
    cwd: Optional[str]
    env: Dict[str, str]
    user: Optional[str] = None
    timeout: Optional[float] = None
    limit: int = 1 << 20
    asks: bool = False


class Source(NamedTuple):
    """A file on the controller, relative to the task file."""

    path: str


class Recall(NamedTuple):
    """What a module remembered under this name the last time it succeeded on this target."""

    name: str


Op = Union[Stat, Read, Write, MakeDir, SetAttrs, Remove, Glob, Exec, Source, Recall]
MUTATING = (Write, MakeDir, SetAttrs, Remove)


class Seen(NamedTuple):
    """The answer to Stat. ``kind``: absent, file, dir, link or other; ``digest`` in hex; ``target`` of a link."""

    kind: str
    mode: int = 0
    uid: int = 0
    gid: int = 0
    owner: str = ""
    group: str = ""
    size: int = 0
    digest: str = ""
    target: str = ""


class Matches(NamedTuple):
    """The answer to Glob: pairs of path and SHA-256."""

    files: Tuple[Tuple[str, str], ...]


class Ran(NamedTuple):
    """The answer to Exec. ``exit_code`` is 128 + n after signal n; ``cut`` says that output was left out."""

    exit_code: int
    stdout: bytes
    stderr: bytes
    signal: Optional[str] = None
    cut: bool = False


class OpError(Exception):
    """An operation that could not be done: on ``path``, for ``reason`` (the system's own words)."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


def describe(op: Op) -> str:
    """An operation in a few words, for what was changed."""
    if isinstance(op, Write):
        return f"wrote {op.path}"
    if isinstance(op, MakeDir):
        return f"made {op.path}/"
    if isinstance(op, SetAttrs):
        return f"set mode or owner of {op.path}"
    if isinstance(op, Remove):
        return f"removed {op.path}"
    if isinstance(op, Exec):
        return "ran " + (op.argv[0] if op.shell else " ".join(op.argv))
    return f"looked at {op[0]}"
