"""Why: a bundle's header counts and digests what follows it, so that has to be kept until it is known.

A little is kept in memory. More goes to a private file without a name, under a key that is made for it and never
leaves this process: what is sealed in the state, or will be in the bundle, is on no disk in plaintext meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType

from sloth_runner.plain import IO, Final
from sloth_runner.state.bundle_files import blocks_of, spool, unwritable

IN_MEMORY: Final = 4 << 20
"""Bytes that are kept without a file."""


class Draft:
    """Bytes that are written once, and then read once; a context manager. ``folder`` is where a file may lie."""

    def __init__(self, folder: Path, entropy: Callable[[int], bytes] = os.urandom) -> None:
        self._folder = folder
        self._entropy = entropy
        self._parts: list[bytes] = []
        self._size = 0
        self._file: IO[bytes] | None = None
        self._key = b""
        self._hide: Callable[[bytes], bytes] | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Draft:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(
            OSError
        ):  # what could not be written, and was told, is tried once more: nobody needs it now
            self._stack.close()

    def write(self, data: bytes) -> None:
        """So many bytes more. Raises StoreDown."""
        self._parts.append(data)
        self._size += len(data)
        if self._size >= IN_MEMORY:
            self._put_away()

    def blocks(self) -> Iterator[bytes]:
        """All that was written. Raises StoreDown."""
        if self._file is not None:
            self._put_away(last=True)
            show = _keystream(self._key)
            for block in blocks_of(self._file):
                yield show(block)
        yield from self._parts

    def _put_away(self, *, last: bool = False) -> None:
        """What is in memory goes to the file."""
        if self._file is None or self._hide is None:
            self._file = self._stack.enter_context(spool(self._folder))
            self._key = self._entropy(32)
            self._hide = _keystream(self._key)
        data = self._hide(b"".join(self._parts))
        self._parts, self._size = [], 0
        try:
            self._file.write(data)
            if last:
                self._file.flush()
        except OSError as error:
            raise unwritable(self._folder, error) from error


def _keystream(key: bytes) -> Callable[[bytes], bytes]:
    """AES-256 in counter mode from its start: both ways, for one message under this key."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    update: Callable[[bytes], bytes] = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor().update
    return update
