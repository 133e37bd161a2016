"""Why: operations that only look: they must describe what is there, of whatever kind, without touching it."""

from __future__ import annotations

import os
import stat
import time

from sloth_runner.agent.names import encode, group_name, ids, owner_name, raw, text
from sloth_runner.ops import (
    ABSENT,
    FILE,
    FOLDER,
    LINK,
    OTHER,
    Content,
    Found,
    Glob,
    Identity,
    List,
    Listing,
    Matches,
    OpError,
    Owned,
    Read,
    Stat,
    Whose,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sloth_runner.ops import Stamp

CHUNK = 1 << 20
TICK = 20_000_000
"""Nanoseconds within which a file system may give two changes the same time: kernels count in ticks of 1-10 ms."""
COARSE = 2_000_000_000
"""The same for file systems that keep whole seconds."""


def look(op: Stat) -> Found:
    """What a path names; ABSENT also if a folder on the way is missing."""
    path = encode(op.path)
    try:
        if not op.follow:
            return _look(path, op)
        real = _real(path)
        return _look(real, op)._replace(real=text(real))
    except (FileNotFoundError, NotADirectoryError):
        return Found(ABSENT, real=text(os.path.realpath(path)) if op.follow else None)


def _real(path: bytes) -> bytes:
    """The path without links on its way. Where the kernel can tell it, it is asked: to follow each part is slow."""
    if not hasattr(os, "O_PATH"):
        return os.path.realpath(path)
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return os.path.realpath(path)
    try:
        real = os.readlink(b"/proc/self/fd/%d" % fd)
        # One that was removed meanwhile, or lies outside our root, is told with a remark.
        return real if os.path.samestat(os.lstat(real), os.fstat(fd)) else os.path.realpath(path)
    except OSError:
        return os.path.realpath(path)
    finally:
        os.close(fd)


def _look(path: bytes, op: Stat) -> Found:
    status = os.lstat(path)
    kind = kind_of(status.st_mode)
    value = target = stamp = None
    if kind == FILE and op.digest:
        status, value = _content_of(path, status, op)
        kind, stamp = kind_of(status.st_mode), steady(status)
    elif kind == LINK:
        target = text(os.readlink(path))
    elif kind == FILE:
        stamp = stamp_of(status)
    return Found(
        kind,
        stat.S_IMODE(status.st_mode),
        status.st_uid,
        status.st_gid,
        owner_name(status.st_uid) if op.names else "",
        group_name(status.st_gid) if op.names else "",
        status.st_size,
        value,
        target,
        None,
        status.st_mtime,
        stamp,
    )


def _content_of(path: bytes, status: os.stat_result, op: Stat) -> tuple[os.stat_result, str | None]:
    """The digest of a file, and the status of the very file that it was taken of."""
    if op.known is not None and tuple(op.known[0]) == stamp_of(status):
        return status, op.known[1]
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        before = os.fstat(fd)
        if not stat.S_ISREG(before.st_mode):
            return before, None
        value = _digest(fd)
        return (before if stamp_of(os.fstat(fd)) == stamp_of(before) else status), value
    finally:
        os.close(fd)


def stamp_of(status: os.stat_result) -> Stamp:
    """What tells one content of a file from another without reading it."""
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def steady(status: os.stat_result) -> Stamp | None:
    """The stamp, if a later change must show in it; None for a file that was changed just now: a change within
    the same tick of the file system's clock would leave the stamp as it is (git: "racy" entries)."""
    last = max(status.st_mtime_ns, status.st_ctime_ns)
    coarse = status.st_mtime_ns % 1_000_000_000 == 0 and status.st_ctime_ns % 1_000_000_000 == 0
    if time.time_ns() - last <= (COARSE if coarse else TICK):
        return None
    return stamp_of(status)


def kind_of(mode: int) -> str:
    """FILE, FOLDER, LINK or OTHER."""
    if stat.S_ISREG(mode):
        return FILE
    if stat.S_ISDIR(mode):
        return FOLDER
    return LINK if stat.S_ISLNK(mode) else OTHER


def _digest(fd: int) -> str:
    import hashlib

    total = hashlib.sha256()
    while True:
        piece = os.read(fd, CHUNK)
        if not piece:
            return total.hexdigest()
        total.update(piece)


def read(op: Read) -> Content:
    """A regular file's content; a device or a pipe is refused rather than waited for: some do something when they are
    opened."""
    path = encode(op.path)
    refusal = OpError("not-file", op.path, "is not a regular file")
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise refusal
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise refusal
        pieces: list[bytes] = []
        size = 0
        while size <= op.limit:
            piece = os.read(fd, min(CHUNK, op.limit + 1 - size))
            if not piece:
                return Content(b"".join(pieces))
            pieces.append(piece)
            size += len(piece)
    finally:
        os.close(fd)
    raise OpError("too-large", op.path, f"has more than {op.limit:,} bytes")


def glob(op: Glob) -> Matches:
    """All files that the patterns name, each once."""
    from sloth_runner.agent.matching import compiled, named  # few calls need it

    encode(op.base)
    digests: dict[bytes, str] = {}
    empty: list[str] = []
    for pattern in op.patterns:
        raw(pattern)
        paths = list(named(compiled(pattern, op.base)))
        for path in paths:
            if path not in digests:
                digests[path] = _digest_of(path)
        if not paths:
            empty.append(pattern)
    return Matches(tuple((text(path), digests[path]) for path in sorted(digests)), tuple(empty))


def list_folder(op: List) -> Listing:
    """What is in a folder, links not followed."""
    top = encode(op.path)
    found: list[tuple[str, str]] = []
    waiting = [b""]
    while waiting:
        below = waiting.pop()
        with os.scandir(os.path.join(top, below) if below else top) as entries:
            for entry in entries:
                name = os.path.join(below, os.fsencode(entry.name))
                kind = kind_of(entry.stat(follow_symlinks=False).st_mode)
                found.append((text(name), kind))
                if op.recursive and kind == FOLDER:
                    waiting.append(name)
    return Listing(tuple(sorted(found)))


def _digest_of(path: bytes) -> str:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        error.filename = text(path)
        raise
    try:
        return _digest(fd)
    finally:
        os.close(fd)


def who_am_i() -> Identity:
    """The user we are."""
    import grp
    import pwd

    uid, gid = os.geteuid(), os.getegid()
    try:
        group = grp.getgrgid(gid).gr_name
    except KeyError:
        group = str(gid)
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return Identity(str(uid), uid, "/", gid, group)
    return Identity(entry.pw_name, uid, entry.pw_dir, gid, group)


def whose(op: Whose) -> Owned:
    """Who is meant by an owner and a group."""
    uid, gid = ids(op.path, op.owner, op.group)
    owner = "" if op.owner is None else owner_name(uid)
    return Owned(uid, gid, owner, "" if op.group is None else group_name(gid))
