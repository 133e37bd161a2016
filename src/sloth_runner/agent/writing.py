"""Why: whoever reads a file that is being written sees the old one or the new one, with its final mode and owner.

Folders are opened first, then names in them: a link put there meanwhile leads nowhere.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from sloth_runner.agent.looking import kind_of
from sloth_runner.agent.names import encode, ids, problem, raw, split, text
from sloth_runner.ops import FILE, FOLDER, LINK, OTHER, Done, OpError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sloth_runner.ops import MakeDir, MakeLink, SetAttrs, SetTimes, Write

    Sync = Callable[[int, str], None]
    """Sees to it that what was done to a path in a folder (an open descriptor) is durable, now or in time."""

FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
NEW_FILE = 0o644
CHUNK = 1 << 20
_KEPT = ("user.", "system.posix_acl_access", "security.selinux")


def open_folder(path: bytes) -> int:
    """A descriptor of a folder, in which names are looked up. Raises OpError."""
    try:
        return os.open(path or b"/", FOLDER_FLAGS)
    except OSError as error:
        raise problem(error, text(path)) from error


def sync_folder(fd: int, path: str) -> None:
    """Make what was done to ``path`` in a folder durable, where the file system knows how. Raises OpError."""
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise problem(error, path, partial=True) from error


def write(op: Write, sync: Sync = sync_folder) -> Done:
    """Put the content there."""
    return replace(op, lambda fd: write_all(fd, op.content), sync)


def replace(op: Write, fill: Callable[[int], None], sync: Sync = sync_folder) -> Done:
    """Have ``fill`` write the content into a temporary file beside ``path`` and rename it; nothing is left behind
    by a failure."""
    uid, gid = ids(op.path, op.owner, op.group)
    parent, name = split(op.path)
    folder = open_folder(parent)
    try:
        old = existing(op.path, name, folder)
        kept = old is not None and stat.S_ISREG(old.st_mode)
        mode = op.mode
        if old is not None and kept:
            mode = stat.S_IMODE(old.st_mode) if mode is None else mode
            uid = old.st_uid if uid == -1 else uid
            gid = old.st_gid if gid == -1 else gid
        try:
            fd, temporary = _temporary(folder)
        except OSError as error:
            raise problem(error, op.path) from error
        try:
            try:
                own(fd, uid, gid)
                if kept:
                    _keep_attributes(os.path.join(parent, name), fd)
                fill_file(fd, fill, NEW_FILE if mode is None else mode)
                os.fsync(fd)
                if op.over is not None:
                    refuse_other(op.path, op.over, folder, name)
                if temporary is None:
                    temporary = _link(fd, folder, name, new=old is None and op.over is None)
            finally:
                os.close(fd)
            if temporary is not None:
                os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            if temporary is not None:
                os.unlink(temporary, dir_fd=folder)
            raise
        sync(folder, op.path)
    finally:
        os.close(folder)
    return Done(True)


def refuse_other(path: str, over: str, folder: int, name: bytes) -> None:
    """Raises OpError if what is there is not what was to be replaced. From here on, until the folder is closed, no
    other writer who looks replaces it."""
    import fcntl

    fcntl.flock(folder, fcntl.LOCK_EX)
    if _digest(path, folder, name) != over:
        raise OpError("changed", path, "was changed by others meanwhile")


def _digest(path: str, folder: int, name: bytes) -> str | None:
    """The SHA-256 of a file; "" if there is none, None if it is no file. A link is none: whoever read through one may
    have read what its owner may not, and would give it to them."""
    from hashlib import sha256

    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        return ""
    except OSError as error:
        if error.errno == errno.ELOOP:
            return None
        raise problem(error, path) from error
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        found = sha256()
        for piece in iter(lambda: file.read(CHUNK), b""):
            found.update(piece)
    return found.hexdigest()


def _temporary(folder: int) -> tuple[int, bytes | None]:
    """A new file in a folder: without a name where that can be, so that nothing stays behind if we are killed."""
    fd = unnamed(folder)
    if fd is not None:
        return fd, None
    name = _random_name()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(name, flags, 0o600, dir_fd=folder), name


def unnamed(folder: int) -> int | None:
    """A new file in a folder, without a name; None where there can't be one."""
    if hasattr(os, "O_TMPFILE") and os.path.isdir("/proc/self/fd"):
        try:
            return os.open(".", os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, 0o600, dir_fd=folder)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT):
                raise
    return None


def _link(fd: int, folder: int, name: bytes, *, new: bool) -> bytes | None:
    """Give a file without a name its own at once, if that is ``new``; else one to be renamed, which is returned."""
    if new:
        try:
            os.link(f"/proc/self/fd/{fd}", name, dst_dir_fd=folder)
            return None
        except FileExistsError:
            pass  # made just now: it is replaced like one that was there
    temporary = _own_name(folder, name)
    os.link(f"/proc/self/fd/{fd}", temporary, dst_dir_fd=folder)
    return temporary


def _own_name(folder: int, name: bytes) -> bytes:
    """A name that is free for what shall replace ``name``, until the folder is closed: the same each time, so that
    what a killed writer left between making and renaming is met, and goes, at the next try."""
    import fcntl
    from hashlib import sha256

    temporary = b".sloth-" + sha256(name).hexdigest()[:16].encode()
    fcntl.flock(folder, fcntl.LOCK_EX)  # no living writer's name is taken from it
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary, dir_fd=folder)
    return temporary


def _random_name() -> bytes:
    return b".sloth-" + os.urandom(8).hex().encode()


def existing(path: str, name: bytes, folder: int) -> os.stat_result | None:
    """What is at a path that a file may take the place of, if anything. Raises OpError for what can't give way."""
    try:
        old = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if kind_of(old.st_mode) == FOLDER:
        raise OpError("folder", path, "is a folder, and is not replaced by a file")
    if kind_of(old.st_mode) == OTHER:
        raise OpError("not-file", path, "is a device, pipe or socket, and is not replaced by a file")
    return old


def own(fd: int, uid: int, gid: int) -> None:
    """Give a file to whom it shall belong (-1: as it is)."""
    now = os.fstat(fd)
    uid = -1 if uid == now.st_uid else uid
    gid = -1 if gid == now.st_gid else gid
    if (uid, gid) != (-1, -1):
        os.fchown(fd, uid, gid)


def _keep_attributes(old: bytes, fd: int) -> None:
    """Carry the ACL, label and user attributes of the file that is replaced over to the new one."""
    if not hasattr(os, "listxattr"):
        return
    try:
        names = os.listxattr(old, follow_symlinks=False)
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.ENOENT):
            return
        raise
    have = os.listxattr(fd) if names else []
    for name in names:
        if name.startswith(_KEPT):
            value = os.getxattr(old, name, follow_symlinks=False)
            if name not in have or os.getxattr(fd, name) != value:
                os.setxattr(fd, name, value)


def write_all(fd: int, content: bytes) -> None:
    """All of ``content``, however often the system has to be asked."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(fd, rest) :]


def fill_file(fd: int, fill: Callable[[int], None], mode: int) -> None:
    """Give a file its content and its mode, whoever we are."""
    os.fchmod(fd, mode)
    fill(fd)
    if stat.S_IMODE(os.fstat(fd).st_mode) != mode:  # a write by others than root clears setuid and setgid
        os.fchmod(fd, mode)


def make_dir(op: MakeDir, sync: Sync = sync_folder) -> Done:
    """Make one folder. It opens to others only once it belongs to whom it should."""
    uid, gid = ids(op.path, op.owner, op.group)
    parent, name = split(op.path)
    folder = open_folder(parent)
    try:
        try:
            os.mkdir(name, op.mode & 0o777 if (uid, gid) == (-1, -1) else 0o700, dir_fd=folder)
        except FileExistsError:
            if kind_of(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode) == FOLDER:
                return Done(False)
            raise OpError("not-folder", op.path, "is there already, and is no folder") from None
        try:
            fd = os.open(name, FOLDER_FLAGS | os.O_NOFOLLOW, dir_fd=folder)
            try:
                own(fd, uid, gid)
                os.fchmod(fd, op.mode)
            finally:
                os.close(fd)
        except BaseException:
            os.rmdir(name, dir_fd=folder)
            raise
        sync(folder, op.path)
    finally:
        os.close(folder)
    return Done(True)


def make_link(op: MakeLink, sync: Sync = sync_folder) -> Done:
    """Make a link beside ``path`` and rename it, so that there is always either the old thing or the new."""
    uid, gid = ids(op.path, op.owner, op.group)
    parent, name = split(op.path)
    target = raw(op.target)
    folder = open_folder(parent)
    try:
        existing(op.path, name, folder)
        temporary = _own_name(folder, name)
        os.symlink(target, temporary, dir_fd=folder)
        try:
            if (uid, gid) != (-1, -1):
                os.chown(temporary, uid, gid, dir_fd=folder, follow_symlinks=False)
            os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            os.unlink(temporary, dir_fd=folder)
            raise
        sync(folder, op.path)
    finally:
        os.close(folder)
    return Done(True)


def set_times(op: SetTimes) -> Done:
    """Set the times of a file or folder; a link is refused."""
    fd, handle = _open_plain(op.path)
    try:
        now = os.fstat(fd)
        modified = now.st_mtime if op.modified is None else op.modified
        read = now.st_atime if op.read is None else op.read
        if (read, modified) == (now.st_atime, now.st_mtime):
            return Done(False)
        os.utime(handle, (read, modified))
        return Done(True)
    finally:
        os.close(fd)


def set_attrs(op: SetAttrs) -> Done:
    """Set attributes of what was opened, not of what its name may mean a moment later."""
    uid, gid = ids(op.path, op.owner, op.group)
    fd, handle = _open_plain(op.path)
    try:
        now = os.fstat(fd)
        mode = stat.S_IMODE(now.st_mode) if op.mode is None else op.mode
        uid = -1 if uid == now.st_uid else uid
        gid = -1 if gid == now.st_gid else gid
        owned = (uid, gid) != (-1, -1)
        if owned:
            os.chown(handle, uid, gid)
        if not owned and mode == stat.S_IMODE(now.st_mode):
            return Done(False)
        try:
            os.chmod(handle, mode)  # also after chown, which clears setuid and setgid
        except OSError as error:
            raise problem(error, op.path, partial=owned) from error
        return Done(True)
    finally:
        os.close(fd)


def _open_plain(path: str) -> tuple[int, int | str]:
    """The same of a file or a folder, and of nothing that took its place meanwhile."""
    whole = encode(path)
    kind = kind_of(os.lstat(whole).st_mode)
    if kind not in (FILE, FOLDER):
        raise OpError("link" if kind == LINK else "not-file", path, "is neither a file nor a folder")
    fd, handle = _open_any(whole)
    if kind_of(os.fstat(fd).st_mode) != kind:
        os.close(fd)
        raise OpError("system", path, "was replaced by something else just now")
    return fd, handle


def _open_any(path: bytes) -> tuple[int, int | str]:
    """A descriptor, and what chmod and chown take for it: also for a file that we own but may not read."""
    flags = os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | flags)
    except PermissionError:
        if not hasattr(os, "O_PATH") or not os.path.isdir("/proc/self/fd"):
            raise
        fd = os.open(path, os.O_PATH | flags)
        return fd, f"/proc/self/fd/{fd}"
    return fd, fd
