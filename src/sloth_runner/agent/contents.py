"""Why: what goes into files travels once, however many files it goes into, and must not fill the memory meanwhile.

Contents are known by their SHA-256. Small ones stay in memory, large ones in a file without a name, which is gone
with the process. Standard library only; runs on Python 3.8.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import threading

from sloth_runner.agent.frames import BadFrame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

DIGEST = hashlib.sha256().digest_size
SMALL = 1 << 20
"""Bytes up to which a content stays in memory."""
IN_MEMORY = 32 << 20
"""Bytes of all those in memory; then the oldest go."""


class Lack(Exception):
    """A content is not here (any more): the one with this digest (hex)."""

    def __init__(self, digest: str) -> None:
        super().__init__(digest)
        self.digest = digest


class Contents:
    """What has come, by digest. ``limit``: bytes of all that are kept in files; then the oldest go."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._small: dict[str, bytes] = {}
        self._large: dict[str, tuple[int, int]] = {}
        self._coming: _Coming | None = None

    def add(self, piece: bytes, more: bool) -> None:
        """A piece of a content: its digest, then bytes. What does not have that digest in the end is dropped."""
        if len(piece) < DIGEST:
            raise BadFrame("a content without a digest")
        digest, data = piece[:DIGEST], piece[DIGEST:]
        coming = self._coming
        if coming is None:
            coming = self._coming = _Coming(digest, self._limit)
        elif coming.digest != digest:
            raise BadFrame("two contents at once")
        coming.add(data)
        if not more:
            self._coming = None
            self._keep(coming)

    def _keep(self, coming: _Coming) -> None:
        name = coming.digest.hex()
        if not coming.whole():
            coming.drop()
            return
        with self._lock:
            if name in self._small or name in self._large:
                coming.drop()
            elif coming.fd is None:
                self._small[name] = bytes(coming.data)
                while sum(map(len, self._small.values())) > IN_MEMORY:
                    del self._small[next(iter(self._small))]
            else:
                self._large[name] = (coming.fd, coming.size)
                while sum(size for _, size in self._large.values()) > self._limit:
                    os.close(self._large.pop(next(iter(self._large)))[0])

    @contextlib.contextmanager
    def of(self, digest: str) -> Iterator[Any]:
        """A content, as bytes or what can stand for them. Raises Lack."""
        with self._lock:
            small = self._small.get(digest)
            large = self._large.get(digest)
            fd = os.dup(large[0]) if large is not None else -1
        if small is not None:
            yield small
            return
        if large is None:
            raise Lack(digest)
        try:
            with mmap.mmap(fd, large[1], access=mmap.ACCESS_READ) as content:
                yield content
        finally:
            os.close(fd)

    def close(self) -> None:
        """Give everything back."""
        with self._lock:
            if self._coming is not None:
                self._coming.drop()
                self._coming = None
            for fd, _ in self._large.values():
                os.close(fd)
            self._large.clear()
            self._small.clear()


class _Coming:
    """A content of which not all has come."""

    def __init__(self, digest: bytes, limit: int) -> None:
        self.digest = digest
        self.data = bytearray()
        self.size = 0
        self.fd: int | None = None
        self._limit = limit
        self._sum = hashlib.sha256()

    def add(self, data: bytes) -> None:
        self.size += len(data)
        if self.size > self._limit:
            raise BadFrame(f"a content of more than {self._limit:,} bytes")
        self._sum.update(data)
        self.data += data
        if self.fd is not None or self.size > SMALL:
            if self.fd is None:
                self.fd = _nameless()
            rest = memoryview(bytes(self.data))
            while rest:
                rest = rest[os.write(self.fd, rest) :]
            self.data.clear()

    def whole(self) -> bool:
        return self._sum.digest() == self.digest

    def drop(self) -> None:
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None


def _nameless() -> int:
    """A new file that has no name."""
    folder = os.environ.get("TMPDIR") or "/var/tmp"  # noqa: S108 - the file is never found by its name
    if hasattr(os, "O_TMPFILE"):
        with contextlib.suppress(OSError):
            return os.open(folder, os.O_RDWR | os.O_TMPFILE | os.O_EXCL | os.O_CLOEXEC, 0o600)
    name = os.path.join(folder, ".sloth-" + os.urandom(16).hex())
    fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    os.unlink(name)
    return fd
