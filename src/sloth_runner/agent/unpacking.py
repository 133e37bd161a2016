"""Why: unpacking must not put anything outside its folder, whatever the archive says and whatever is in the folder.

First the whole archive is read and judged, and compared with what is there; only then is anything written. Folders
are opened one in another without following links, so that neither an entry nor anybody else can lead a write
elsewhere; symbolic links are made last.
"""

from __future__ import annotations

import contextlib
import io
import os
import posixpath
import stat

from sloth_runner.agent.archives import HARD, Budget, members
from sloth_runner.agent.looking import kind_of
from sloth_runner.agent.names import encode, ids, problem, raw
from sloth_runner.agent.writing import FOLDER_FLAGS, open_folder, sync_folder
from sloth_runner.ops import FILE, FOLDER, LINK, OpError, Unpacked
from sloth_runner.plain import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import BinaryIO

    from sloth_runner.agent.archives import Member
    from sloth_runner.ops import Unpack

KEPT = 0o755
"""Bits of a mode in an archive that count."""
CHUNK = 1 << 20


class Entry(NamedTuple):
    """One thing to be unpacked. ``detail`` is the SHA-256 of a file, or a link's target; ``source`` the name of the
    file that a hard link is one with; ``implied``: the archive does not name this folder itself. ``number`` is its
    place in the archive."""

    path: str
    kind: str
    mode: int
    detail: str = ""
    source: str = ""
    implied: bool = False
    number: int = 0


def unpack(op: Unpack) -> Unpacked:
    """Compare an archive with a folder, and unpack what differs. Raises OpError; what it tells of the archive itself
    is found out before anything is written."""
    owner = ids(op.path, op.owner, op.group)
    name = op.source or "the archive"
    with _opened(op) as (file, size):
        entries = _survey(op, name, members(file, Budget(name, size, op.size, op.ratio)))
    root = _root(op)
    try:
        differing = (
            list(entries) if root is None else [e for e in entries if not _is_there(root, op, e, owner)]
        )
        if differing and not op.look:
            if root is None:
                raise OpError("missing", op.path, "there is no such folder")
            _Writing(op, root, owner).all(differing)
    finally:
        if root is not None:
            os.close(root)
    return Unpacked(tuple(map(_listed, entries)), tuple(e.path for e in differing))


def _listed(entry: Entry) -> tuple[str, str, str, str]:
    mode = "" if entry.implied or entry.kind == LINK else f"{entry.mode:04o}"
    return entry.path, entry.kind, mode, entry.detail


@contextlib.contextmanager
def _opened(op: Unpack) -> Iterator[tuple[BinaryIO, int]]:
    if op.content is not None:
        yield io.BytesIO(op.content), len(op.content)
        return
    fd = os.open(encode(op.source or ""), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise OpError("not-file", op.source or "", "is not a regular file")
        yield file, status.st_size


def _root(op: Unpack) -> int | None:
    try:
        return open_folder(encode(op.path))
    except OpError as error:
        if error.kind == "missing" and op.look:
            return None
        raise


def _survey(op: Unpack, name: str, found: Iterable[Member]) -> list[Entry]:
    """All entries, judged. Folders stand before what is in them."""
    import hashlib

    entries: dict[str, Entry] = {}
    for count, member in enumerate(found, 1):
        if count > op.most:
            raise OpError("too-large", name, f"has more than {op.most:,} entries")
        path = _path(name, member.name, op.strip)
        if member.kind not in (FILE, FOLDER, LINK, HARD):
            raise OpError("not-file", name, f"holds {member.name!r}, which is neither file, folder nor link")
        if not path:
            continue
        entry = Entry(path, member.kind, member.mode & KEPT, number=count)
        if member.kind == FILE:
            total = hashlib.sha256()
            for piece in member.pieces():
                total.update(piece)
            entry = entry._replace(detail=total.hexdigest())
        elif member.kind == FOLDER:
            entry = entry._replace(mode=entry.mode | 0o700)
        elif member.kind == LINK:
            entry = entry._replace(mode=0o777, detail=_inside(name, path, member))
        else:
            entry = _hard(entries, name, entry, _path(name, member.target, op.strip), member)
        _add(entries, name, entry)
    for entry in entries.values():
        if entry.source and entries[entry.source].detail != entry.detail:
            what = f"{entry.path!r}, a hard link to the first of two things called {entry.source!r}"
            raise OpError("link", name, f"holds {what}")
    return sorted(entries.values())


def _path(name: str, given: str, strip: int) -> str:
    """A path in an archive as one below the folder; "" for the folder itself, and for what ``strip`` leaves out."""
    parts = [part for part in given.split("/") if part not in ("", ".")]
    if given.startswith("/") or ".." in parts or "\0" in given:
        raise OpError("bad-path", name, f"holds {given!r}, which leads outside the folder")
    return "/".join(parts[strip:])


def _inside(name: str, path: str, member: Member) -> str:
    """The target of a link, if it can't lead outside: ``..`` only at its start, and no more often than there are
    folders above the link. (With ``..`` behind a name, that name may be a link, and lead anywhere.)"""
    parts = [part for part in member.target.split("/") if part not in ("", ".")]
    up = 0
    while up < len(parts) and parts[up] == "..":
        up += 1
    if (
        not member.target
        or member.target.startswith("/")
        or "\0" in member.target
        or ".." in parts[up:]
        or up > path.count("/")
    ):
        raise OpError(
            "link",
            name,
            f"holds {member.name!r}, a link to {member.target!r}, which may lead outside the folder",
        )
    return member.target


def _hard(entries: dict[str, Entry], name: str, entry: Entry, target: str, member: Member) -> Entry:
    first = entries.get(target)
    if first is None or first.kind != FILE:
        raise OpError(
            "link",
            name,
            f"holds {member.name!r}, a hard link to {member.target!r}, which is no file before it",
        )
    if target == entry.path:
        return first
    return entry._replace(kind=FILE, mode=first.mode, detail=first.detail, source=first.source or target)


def _add(entries: dict[str, Entry], name: str, entry: Entry) -> None:
    """Note an entry, and the folders above it. Of two of one name the later counts, as tar has it; but a folder takes
    no other thing's place, and none takes a folder's. Raises OpError for that."""
    above = ""
    for part in entry.path.split("/")[:-1]:
        above = f"{above}/{part}" if above else part
        if entries.setdefault(above, Entry(above, FOLDER, 0o755, implied=True)).kind != FOLDER:
            raise OpError("bad-path", name, f"holds {entry.path!r} below {above!r}, which is no folder")
    before = entries.get(entry.path)
    if before is not None and (before.kind == FOLDER) is not (entry.kind == FOLDER):
        raise OpError("bad-path", name, f"holds {entry.path!r} twice")
    entries[entry.path] = entry


def _is_there(root: int, op: Unpack, entry: Entry, owner: tuple[int, int]) -> bool:
    """Whether an entry is as it should be. Raises OpError for what stands in its way."""
    with _folder(root, op, entry.path) as folder:
        if folder is None:
            return False
        leaf = raw(entry.path.rsplit("/", 1)[-1])
        try:
            status = os.stat(leaf, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return False
        kind = kind_of(status.st_mode)
        if kind != entry.kind:
            if FOLDER in (kind, entry.kind) or kind not in (FILE, LINK):
                raise OpError(
                    "exists", f"{op.path}/{entry.path}", f"is there already, and is no {entry.kind}"
                )
            return False
        if entry.implied:
            return True
        if any(wanted not in (-1, have) for wanted, have in zip(owner, (status.st_uid, status.st_gid))):  # noqa: B905
            return False
        if kind == LINK:
            return os.readlink(leaf, dir_fd=folder) == raw(entry.detail)
        if stat.S_IMODE(status.st_mode) != entry.mode:
            return False
        return kind == FOLDER or _digest(folder, leaf) == entry.detail


def _digest(folder: int, name: bytes) -> str:
    import hashlib

    total = hashlib.sha256()
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    with os.fdopen(fd, "rb") as file:
        while True:
            piece = file.read(CHUNK)
            if not piece:
                return total.hexdigest()
            total.update(piece)


@contextlib.contextmanager
def _folder(root: int, op: Unpack, path: str) -> Iterator[int | None]:
    """The folder in which a path stands, opened without following any link below ``root``; None if it is missing."""
    fd = os.dup(root)
    try:
        for part in path.split("/")[:-1]:
            try:
                inner = os.open(raw(part), FOLDER_FLAGS | os.O_NOFOLLOW, dir_fd=fd)
            except FileNotFoundError:
                yield None
                return
            except OSError as error:
                raise problem(error, f"{op.path}/{path}") from error
            os.close(fd)
            fd = inner
        yield fd
    finally:
        os.close(fd)


class _Writing:
    """Unpacks entries that differ; ``begun`` once something was written."""

    def __init__(self, op: Unpack, root: int, owner: tuple[int, int]) -> None:
        self._op = op
        self._root = root
        self._owner = owner
        self._begun = False

    def all(self, differing: list[Entry]) -> None:
        """Folders, files, hard links, symbolic links."""
        due = {entry.path: entry for entry in differing}
        try:
            for entry in differing:
                if entry.kind == FOLDER:
                    self._make_folder(entry)
            own = {path: e for path, e in due.items() if e.kind == FILE and not e.source}
            if own:
                self._files(own)
            for entry in differing:
                if entry.source:
                    self._copy(entry)
            for entry in differing:
                if entry.kind == LINK:
                    self._make_link(entry)
            for parent in sorted({posixpath.dirname(entry.path) for entry in differing}):
                with _folder(self._root, self._op, f"{parent}/." if parent else ".") as folder:
                    if folder is not None:
                        sync_folder(folder, self._op.path)
        except OpError as error:
            error.partial = error.partial or self._begun
            raise
        except OSError as error:
            raise problem(error, self._op.path, partial=self._begun) from error

    def _files(self, due: dict[str, Entry]) -> None:
        op, name = self._op, self._op.source or "the archive"
        with _opened(op) as (file, size):
            for count, member in enumerate(members(file, Budget(name, size, op.size, op.ratio)), 1):
                entry = due.get(_path(name, member.name, op.strip))
                if entry is not None and entry.number == count:
                    self._write(entry, member.pieces())

    def _write(self, entry: Entry, pieces: Iterable[bytes]) -> None:
        """Write a file beside its place and rename it, if it is what was judged."""
        import hashlib

        total = hashlib.sha256()
        with self._place(entry) as (folder, leaf):
            temporary = b".sloth-" + os.urandom(8).hex().encode()
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(temporary, flags, 0o600, dir_fd=folder)
            try:
                with os.fdopen(fd, "wb") as file:
                    for piece in pieces:
                        total.update(piece)
                        file.write(piece)
                    file.flush()
                    os.fchown(fd, *self._owner)
                    os.fchmod(fd, entry.mode)
                    os.fsync(fd)
                if total.hexdigest() != entry.detail:
                    raise OpError(
                        "system", self._op.source or entry.path, "was changed while it was unpacked"
                    )
                os.rename(temporary, leaf, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                os.unlink(temporary, dir_fd=folder)
                raise
            self._begun = True

    def _copy(self, entry: Entry) -> None:
        with _folder(self._root, self._op, entry.source) as folder:
            if folder is None:
                raise OpError(
                    "missing", f"{self._op.path}/{entry.source}", "was removed while it was unpacked"
                )
            leaf = raw(entry.source.rsplit("/", 1)[-1])
            fd = os.open(leaf, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
            with os.fdopen(fd, "rb") as file:
                self._write(entry, iter(lambda: file.read(CHUNK), b""))

    def _make_folder(self, entry: Entry) -> None:
        with self._place(entry) as (folder, leaf):
            with contextlib.suppress(FileExistsError):
                os.mkdir(leaf, 0o700, dir_fd=folder)
                self._begun = True
            fd = os.open(leaf, FOLDER_FLAGS | os.O_NOFOLLOW, dir_fd=folder)
            try:
                os.fchown(fd, *self._owner)
                os.fchmod(fd, entry.mode)
            finally:
                os.close(fd)

    def _make_link(self, entry: Entry) -> None:
        with self._place(entry) as (folder, leaf):
            temporary = b".sloth-" + os.urandom(8).hex().encode()
            os.symlink(raw(entry.detail), temporary, dir_fd=folder)
            try:
                os.chown(temporary, *self._owner, dir_fd=folder, follow_symlinks=False)
                os.rename(temporary, leaf, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                os.unlink(temporary, dir_fd=folder)
                raise
            self._begun = True

    @contextlib.contextmanager
    def _place(self, entry: Entry) -> Iterator[tuple[int, bytes]]:
        """The folder in which an entry stands, and its name there."""
        with _folder(self._root, self._op, entry.path) as folder:
            if folder is None:
                raise OpError("missing", f"{self._op.path}/{entry.path}", "its folder was removed meanwhile")
            yield folder, raw(entry.path.rsplit("/", 1)[-1])
