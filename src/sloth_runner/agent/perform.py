"""Why: file operations are done here, on this machine, the same way for every transport.

Nothing follows a symbolic link by accident: folders are opened first, then names in them, so that a link put
there meanwhile leads nowhere. Standard library only; runs on Python 3.8.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, cast

from sloth_runner.agent import removing, writing
from sloth_runner.agent.names import (
    encode,
    group_name,
    ids,
    owner_name,
    problem,
    split,
    text,
)
from sloth_runner.ops import (
    ABSENT,
    FILE,
    FOLDER,
    LINK,
    OTHER,
    Batch,
    Content,
    Done,
    Found,
    Glob,
    Identity,
    MakeDir,
    Matches,
    OpError,
    Read,
    Remove,
    SetAttrs,
    Stat,
    Write,
)

if TYPE_CHECKING:
    from sloth_runner.ops import FileOp, MachineOp, Result

CHUNK = 1 << 20


def perform(op: FileOp) -> Result:
    """Do one file operation. Raises OpError."""
    try:
        if isinstance(op, Stat):
            return look(op)
        if isinstance(op, Read):
            return Content(read(op))
        if isinstance(op, Write):
            return writing.write(op)
        if isinstance(op, MakeDir):
            return make_dir(op)
        if isinstance(op, SetAttrs):
            return set_attrs(op)
        if isinstance(op, Remove):
            return removing.remove(op)
        if isinstance(op, Glob):
            return glob(op)
        return who_am_i()
    except OSError as error:
        raise problem(error, getattr(op, "path", "")) from error


def perform_all(op: MachineOp) -> Result:
    """Do a file operation, or a Batch of nothing else, in order up to the first that fails. Raises OpError
    with ``done`` set."""
    if not isinstance(op, Batch):
        return perform(cast("FileOp", op))
    results: list[Result] = []
    for inner in op.ops:
        try:
            results.append(perform_all(inner))
        except OpError as error:
            error.done = len(results)
            raise
    return tuple(results)


def look(op: Stat) -> Found:
    """What a path names; ABSENT also if a folder on the way is missing."""
    path = encode(op.path)
    try:
        if op.follow:
            real = os.path.realpath(path)
            found = _look(real, op.digest)
            return found._replace(real=text(real))
        return _look(path, op.digest)
    except (FileNotFoundError, NotADirectoryError):
        return Found(ABSENT, real=text(os.path.realpath(path)) if op.follow else None)


def _look(path: bytes, digest: bool) -> Found:
    status = os.lstat(path)
    value = target = None
    if digest and stat.S_ISREG(status.st_mode):
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(fd)  # of the very file that is read
            value = _digest(fd) if stat.S_ISREG(status.st_mode) else None
        finally:
            os.close(fd)
    elif stat.S_ISLNK(status.st_mode):
        target = text(os.readlink(path))
    return Found(
        kind_of(status.st_mode),
        stat.S_IMODE(status.st_mode),
        status.st_uid,
        status.st_gid,
        owner_name(status.st_uid),
        group_name(status.st_gid),
        status.st_size,
        value,
        target,
    )


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


def read(op: Read) -> bytes:
    """A regular file's content."""
    fd = os.open(encode(op.path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise OpError("not-file", op.path, "is not a regular file")
        pieces, size = [], 0
        while size <= op.limit:
            piece = os.read(fd, min(CHUNK, op.limit + 1 - size))
            if not piece:
                return b"".join(pieces)
            pieces.append(piece)
            size += len(piece)
    finally:
        os.close(fd)
    raise OpError("too-large", op.path, f"has more than {op.limit:,} bytes")


def make_dir(op: MakeDir) -> Done:
    """Make one folder; its owner is set before its mode lets others in."""
    uid, gid = ids(op.path, op.owner, op.group)
    parent, name = split(op.path)
    folder = writing.open_folder(parent)
    try:
        try:
            os.mkdir(name, 0o700, dir_fd=folder)
        except FileExistsError:
            if stat.S_ISDIR(os.lstat(name, dir_fd=folder).st_mode) if False else _is_folder(name, folder):
                return Done(False)
            raise OpError("not-folder", op.path, "is there already, and is no folder") from None
        fd = os.open(name, writing.FOLDER_FLAGS | os.O_NOFOLLOW, dir_fd=folder)
        try:
            if uid is not None or gid is not None:
                os.fchown(fd, -1 if uid is None else uid, -1 if gid is None else gid)
            os.fchmod(fd, op.mode)
        except OSError:
            os.rmdir(name, dir_fd=folder)
            raise
        finally:
            os.close(fd)
        os.fsync(folder)
        return Done(True)
    finally:
        os.close(folder)


def _is_folder(name: bytes, folder: int) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)


def set_attrs(op: SetAttrs) -> Done:
    """Set attributes of what is opened, not of what a name may mean a moment later."""
    uid, gid = ids(op.path, op.owner, op.group)
    path = encode(op.path)
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode):
        raise OpError("link", op.path, "is a symbolic link")
    if kind_of(status.st_mode) == OTHER:
        raise OpError("not-file", op.path, "is neither a file nor a folder")
    fd, via = _open_any(path)
    try:
        now = os.fstat(fd)
        if (now.st_dev, now.st_ino) != (status.st_dev, status.st_ino):
            raise OpError("system", op.path, "was replaced by something else just now")
        new_uid = -1 if uid is None or uid == now.st_uid else uid
        new_gid = -1 if gid is None or gid == now.st_gid else gid
        chown = (new_uid, new_gid) != (-1, -1)
        mode = stat.S_IMODE(now.st_mode) if op.mode is None else op.mode
        if chown:
            os.chown(via, new_uid, new_gid)
        if chown or mode != stat.S_IMODE(now.st_mode):  # chown clears setuid and setgid
            _chmod(via, mode, op.path, partial=chown)
            return Done(True)
        return Done(False)
    finally:
        os.close(fd)


def _chmod(via: int | str, mode: int, path: str, *, partial: bool) -> None:
    try:
        os.chmod(via, mode)
    except OSError as error:
        raise problem(error, path, partial=partial) from error


def _open_any(path: bytes) -> tuple[int, int | str]:
    """A descriptor, and what chmod and chown take for it: also of a file that we own but may not read."""
    flags = os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | flags)
        return fd, fd
    except PermissionError:
        if not hasattr(os, "O_PATH") or not os.path.isdir("/proc/self/fd"):
            raise
        fd = os.open(path, os.O_PATH | flags)
        return fd, f"/proc/self/fd/{fd}"


def glob(op: Glob) -> Matches:
    """All files that the patterns name, each once."""
    import glob as globbing

    base = globbing.escape(encode(op.base))
    digests: dict[bytes, str] = {}
    empty: list[str] = []
    for pattern in op.patterns:
        raw = encode(pattern)
        count = 0
        for path in _named(globbing, base, raw):
            count += 1
            if path not in digests:
                digests[path] = _digest_of(path)
        if not count:
            empty.append(pattern)
    return Matches(tuple((text(path), digests[path]) for path in sorted(digests)), tuple(empty))


def _named(globbing: object, base: bytes, pattern: bytes) -> list[bytes]:
    import glob as globbing_

    if globbing_.has_magic(pattern):
        found = globbing_.glob(os.path.join(base, pattern), recursive=True)
        return [os.path.normpath(p) for p in found if os.path.isfile(p)]
    return []


def _digest_of(path: bytes) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return _digest(fd)
    finally:
        os.close(fd)


def who_am_i() -> Identity:
    """The user we are."""
    import pwd

    uid = os.geteuid()
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return Identity(str(uid), uid, "/")
    return Identity(entry.pw_name, uid, entry.pw_dir)
