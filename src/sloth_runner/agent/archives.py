"""Why: an archive is data that others made: its names, sizes and kinds are told here one by one, and nothing is done
with them yet.

Reading is bounded: by all bytes that come out of it, by their ratio to those that go in, and by the size of a header,
because the standard library keeps a header in memory whole.
"""

from __future__ import annotations

import stat

from sloth_runner.ops import FILE, FOLDER, LINK, OTHER, OpError
from sloth_runner.plain import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    import tarfile
    import zipfile
    from collections.abc import Callable, Iterator
    from typing import Any, BinaryIO, TypeVar

    T = TypeVar("T")

CHUNK = 1 << 16
HARD = "hard"
"""The kind of a hard link; ``target`` names an entry of the same archive."""
MODEST = 16 << 20
"""Bytes up to which the ratio does not matter: a small archive may well hold a large empty file."""
HEADER = 1 << 20
"""Bytes that a tar archive may spend on telling what one entry is."""
XZ_MEMORY = 256 << 20
TARGET = 4096
"""Bytes of a symbolic link's target (PATH_MAX)."""


class Member(NamedTuple):
    """One entry as the archive tells it. ``pieces`` gives its content, until the next member is asked for."""

    name: str
    kind: str
    mode: int
    target: str
    pieces: Callable[[], Iterator[bytes]]


class Budget:
    """How much may still come out of an archive of ``packed`` bytes. ``name`` is what messages call it."""

    def __init__(self, name: str, packed: int, size: int, ratio: int) -> None:
        self.name = name
        self._left = size
        self._ratio = ratio
        self._packed = packed
        self._size = size

    def spend(self, count: int) -> None:
        """So many bytes came out. Raises OpError ``too-large``."""
        self._left -= count
        out = self._size - self._left
        if self._left < 0:
            raise OpError("too-large", self.name, f"holds more than {self._size:,} bytes")
        if out > MODEST and out > self._packed * self._ratio:
            raise OpError("too-large", self.name, f"grows to more than {self._ratio} times its own size")


def members(file: BinaryIO, budget: Budget) -> Iterator[Member]:
    """The entries of an archive, in order. Raises OpError for what is no archive, or a damaged one."""
    start = file.read(512)
    file.seek(0)
    if start[:4] in (b"PK\3\4", b"PK\5\6"):
        return _judged(_of_zip(file, budget), budget)
    return _judged(_of_tar(_Stream(file, _decompressor(start, budget), budget), budget), budget)


def _judged(found: Iterator[T], budget: Budget) -> Iterator[T]:
    """What an iterator gives; the many ways in which libraries say that an archive is damaged become OpErrors."""
    import lzma
    import struct
    import tarfile
    import zipfile
    import zlib

    try:
        yield from found
    except (
        tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError, OverflowError,
        struct.error, NotImplementedError, RuntimeError, IndexError, KeyError,
    ) as error:  # fmt: skip
        words = str(error) or type(error).__name__
        raise OpError("system", budget.name, f"is damaged, or no archive: {words}") from error
    except OSError as error:
        if error.errno is not None:  # bz2 says "Invalid data stream" as an OSError
            raise
        raise OpError("system", budget.name, f"is damaged: {error}") from error


def _decompressor(start: bytes, budget: Budget) -> Callable[[], Any] | None:
    """What makes a decompressor, by an archive's first bytes."""
    if start.startswith(b"\x1f\x8b"):
        import zlib

        return lambda: _Gzip(zlib.decompressobj(31))
    if start.startswith(b"BZh"):
        import bz2

        return bz2.BZ2Decompressor
    if start.startswith(b"\xfd7zXZ\0"):
        import lzma

        return lambda: lzma.LZMADecompressor(memlimit=XZ_MEMORY)
    if start.startswith(b"\x28\xb5\x2f\xfd"):
        raise OpError("system", budget.name, "is compressed by zstd, which is not unpacked")
    empty = len(start) == 512 and not start.strip(b"\0")
    if start[257:262] != b"ustar" and not empty:
        raise OpError("system", budget.name, "is neither tar (plain, gzip, bzip2, xz) nor zip")
    return None


class _Gzip:
    """zlib's decompressor with the manners of the others."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    @property
    def eof(self) -> bool:
        return bool(self._inner.eof)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._inner.unused_data)

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return bytes(self._inner.decompress(self._inner.unconsumed_tail + data, max_length))


class _Stream:
    """What comes out of a compressed file, piece by piece. ``allowance`` bounds what may be read before it is set
    again (None: only the budget does). ``last`` are the last 512 bytes."""

    def __init__(self, file: BinaryIO, make: Callable[[], Any] | None, budget: Budget) -> None:
        self._file = file
        self._make = make
        self._inner = make() if make is not None else None
        self._budget = budget
        self.allowance: int | None = None
        self.last = b""

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes; fewer only at the end."""
        pieces: list[bytes] = []
        left = size
        while left > 0:
            piece = self._piece(min(left, CHUNK))
            if not piece:
                break
            left -= len(piece)
            pieces.append(piece)
        data = b"".join(pieces)
        self._budget.spend(len(data))
        if self.allowance is not None:
            self.allowance -= len(data)
            if self.allowance < 0:
                raise OpError("too-large", self._budget.name, f"has a header of more than {HEADER:,} bytes")
        self.last = (self.last + data)[-512:]
        return data

    def _piece(self, size: int) -> bytes:
        if self._inner is None:
            return self._file.read(size)
        while True:
            if self._inner.eof:
                rest = self._inner.unused_data or self._file.read(CHUNK)
                if not rest.strip(b"\0"):  # what pads a tape is no further stream
                    return b""
                assert self._make is not None
                self._inner = self._make()
                data = rest
            else:
                data = self._file.read(CHUNK) if self._inner.needs_input else b""
                if not data and self._inner.needs_input:
                    raise EOFError("it is cut off")
            piece: bytes = self._inner.decompress(data, size)
            if piece:
                return piece


def _of_tar(stream: _Stream, budget: Budget) -> Iterator[Member]:
    import tarfile

    stream.allowance = HEADER
    with tarfile.open(
        fileobj=stream,  # type: ignore[call-overload] # it only reads
        mode="r|",
        encoding="utf-8",
        errors="surrogateescape",
    ) as tar:
        while tar.offset:  # else it is empty: the tarfile of Python 3.8 goes back before its beginning then
            stream.allowance = HEADER
            info = tar.next()
            if info is None:
                break
            stream.allowance = None
            pieces = _judged(_tar_pieces(tar, info, budget), budget)
            yield _tar_member(info, pieces)
            for _ in pieces:  # what nobody asked for has to be read over
                pass
            tar.members = []
        stream.allowance = None
        rest = tar.fileobj
        while True:
            tail = rest.read(CHUNK) if rest is not None else b""
            if tail.strip(b"\0"):
                raise OpError("system", budget.name, "is damaged: something follows its end")
            if not tail:
                break
    if stream.last.strip(b"\0") or len(stream.last) < 512:
        raise OpError("system", budget.name, "is cut off: it has no end")


def _tar_member(info: tarfile.TarInfo, pieces: Iterator[bytes]) -> Member:
    kind = OTHER
    if info.isreg() and not info.issparse():
        kind = FILE
    elif info.isdir():
        kind = FOLDER
    elif info.issym():
        kind = LINK
    elif info.islnk():
        kind = HARD
    target = info.linkname if kind in (LINK, HARD) else ""
    return Member(info.name, kind, stat.S_IMODE(info.mode), target, lambda: pieces)


def _tar_pieces(tar: tarfile.TarFile, info: tarfile.TarInfo, budget: Budget) -> Iterator[bytes]:
    if not info.isreg() or info.issparse():
        return
    content = tar.extractfile(info)
    assert content is not None
    left = info.size
    while left:
        piece = content.read(min(left, CHUNK))
        if not piece:
            raise OpError("system", budget.name, "is cut off")
        left -= len(piece)
        yield piece


def _of_zip(file: BinaryIO, budget: Budget) -> Iterator[Member]:
    import zipfile

    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            if info.flag_bits & 1:
                raise OpError("denied", budget.name, f"is encrypted ({info.filename!r})")
            yield _zip_member(archive, info, budget)


def _zip_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, budget: Budget) -> Member:
    kinds = {
        0: FOLDER if info.is_dir() else FILE,
        stat.S_IFREG: FILE,
        stat.S_IFDIR: FOLDER,
        stat.S_IFLNK: LINK,
    }
    unix = info.external_attr >> 16 if info.create_system == 3 else 0
    kind = kinds.get(stat.S_IFMT(unix), OTHER)
    mode = stat.S_IMODE(unix) or (0o755 if kind == FOLDER else 0o644)

    def pieces() -> Iterator[bytes]:
        with archive.open(info) as content:
            while True:
                piece = content.read(CHUNK)
                if not piece:
                    return
                budget.spend(len(piece))
                yield piece

    target = ""
    if kind == LINK:
        if info.file_size > TARGET:
            raise OpError("bad-path", budget.name, f"holds a link with an endless target ({info.filename!r})")
        target = b"".join(pieces()).decode("utf-8", "surrogateescape")
    return Member(info.filename, kind, mode, target, lambda: _judged(pieces(), budget))
