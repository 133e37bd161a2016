"""Why: text and bytes, names and numbers of owners, errno and words are turned into each other in one place."""

from __future__ import annotations

import errno
import os
import sys

from sloth_runner.ops import OpError

_KINDS = {
    errno.ENOENT: ("missing", "there is no such file or folder"),
    errno.EACCES: ("denied", "permission denied"),
    errno.EPERM: ("denied", "the system does not permit it"),
    errno.EROFS: ("read-only", "is on a read-only file system"),
    errno.EEXIST: ("exists", "is there already"),
    errno.EISDIR: ("folder", "is a folder"),
    errno.ENOTDIR: ("not-folder", "a part of the path is no folder"),
    errno.ENOTEMPTY: ("not-empty", "is a folder that is not empty"),
    errno.ELOOP: ("link", "symbolic links lead in a circle, or there is one where none may be"),
    errno.ENAMETOOLONG: ("bad-path", "a name in the path is too long"),
    errno.EBUSY: ("mount", "is in use by the system: a file system is mounted there"),
    errno.ENOSPC: ("full", "no space is left on the device"),
    errno.EDQUOT: ("quota", "the disk quota is used up"),
    errno.EMFILE: ("files", "as many files are open as the system allows"),
    errno.EFBIG: ("too-large", "is too large for the file system"),
}


def problem(error: OSError, path: str, *, partial: bool = False) -> OpError:
    """The OpError that tells of an operating system's error."""
    number = error.errno or 0
    kind, words = _KINDS.get(number, ("system", error.strerror or str(error)))
    if number == errno.EPERM:
        kind, words = _flagged(path) or (kind, words)
    return OpError(kind, path, words, partial=partial)


_GET_FLAGS = 0x80086601 if sys.maxsize > 1 << 32 else 0x80046601
"""FS_IOC_GETFLAGS: ioctl_iflags(2). Where it has another number it fails, and nothing is said of flags."""
_FLAGS = ((0x10, "i", "immutable"), (0x20, "a", "for appending only"))


def _flagged(path: str) -> tuple[str, str] | None:
    """The kind and the words of an error, if what is at a path, or the folder it is in, is marked by chattr."""
    for place in (path, os.path.dirname(path.rstrip("/"))):
        flags = _flags(place)
        for bit, letter, meaning in _FLAGS:
            if flags & bit:
                own = "is" if place == path else f"is in {place}, which is"
                return "flagged", f"{own} marked as {meaning} (chattr +{letter})"
    return None


def _flags(path: str) -> int:
    """The flags of a file or a folder; 0 if they can't be told."""
    import fcntl
    import stat
    import struct

    try:
        if stat.S_IFMT(os.lstat(encode(path)).st_mode) not in (stat.S_IFREG, stat.S_IFDIR):
            return 0
        fd = os.open(encode(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except (OSError, OpError):
        return 0
    try:
        (flags,) = struct.unpack("I", fcntl.ioctl(fd, _GET_FLAGS, bytes(8))[:4])
        return int(flags)
    except OSError:
        return 0
    finally:
        os.close(fd)


def encode(path: str) -> bytes:
    """A path as bytes. Raises OpError ``bad-path`` unless it is absolute and without NUL."""
    if not path.startswith("/") or "\0" in path:
        raise OpError("bad-path", path, "is no absolute path")
    return raw(path)


def raw(words: str) -> bytes:
    """Text as the bytes it stands for. Raises OpError for what no bytes can stand for."""
    try:
        return words.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise OpError("bad-path", ascii(words), "holds text that is no UTF-8") from None


def text(path: bytes) -> str:
    """Bytes as text that stands for them."""
    return path.decode("utf-8", "surrogateescape")


def split(path: str) -> tuple[bytes, bytes]:
    """Folder and name. Raises OpError ``bad-path`` for what names no entry of a folder: /, a/.., a/."""
    folder, name = os.path.split(encode(path).rstrip(b"/"))
    if name in (b"", b".", b".."):
        raise OpError("bad-path", path, "names no entry of a folder")
    return folder, name


def ids(path: str, owner: str | None, group: str | None) -> tuple[int, int]:
    """Numbers of owner and group as chown takes them: -1 for None. Raises OpError for unknown names."""
    return (
        -1 if owner is None else user_id(path, owner),
        -1 if group is None else group_id(path, group),
    )


def user_id(path: str, owner: str) -> int:
    """The number of a user given by name or number."""
    import pwd

    if owner.isdigit():
        return int(owner)
    try:
        return pwd.getpwnam(owner).pw_uid
    except (KeyError, ValueError):
        raise OpError("no-user", path, f"there is no user {owner!r} on this machine") from None


def group_id(path: str, group: str) -> int:
    """The number of a group given by name or number."""
    import grp

    if group.isdigit():
        return int(group)
    try:
        return grp.getgrnam(group).gr_gid
    except (KeyError, ValueError):
        raise OpError("no-group", path, f"there is no group {group!r} on this machine") from None


def owner_name(uid: int) -> str:
    """The name of a user, or the number."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_name(gid: int) -> str:
    """The name of a group, or the number."""
    import grp

    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
