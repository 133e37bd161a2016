"""Why: a bundle is a file that must be whole or not there, private, and read from the start more than once."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sloth_runner.errors import Corrupt, FileMissing, KeyWrong, StoreDown, UsageError
from sloth_runner.plain import IO, TYPE_CHECKING, Final
from sloth_runner.state import age
from sloth_runner.state.bundle import BLOCK

if TYPE_CHECKING:
    from sloth_runner.state.bundle_gather import Order
    from sloth_runner.state.store import Store

BACKUPS: Final = "backups"
"""The folder beside the state where copies from before an import lie."""


class File:
    """A bundle to read, plain or sealed; a context manager. ``keys`` open a sealed one (see ``age``)."""

    def __init__(self, raw: IO[bytes], keys: Callable[[bool], age.Keys | None]) -> None:
        self._raw = raw
        self._opener: age.Opener | None = None
        start = raw.read(len(age.ARMOR))
        raw.seek(0)
        if start.startswith(age.ARMOR):
            raise UsageError(
                "the bundle is in age's armor",
                unchanged=["nothing was changed"],
                next=["age -d FILE | sloth-runner state import -"],
            )
        if start.startswith(age.MAGIC):
            given = keys(self._has_passphrase())
            if given is None:
                raise KeyWrong(
                    "the bundle is sealed, and no key was given",
                    unchanged=["nothing was changed"],
                    next=["--passphrase-env NAME, or --identity FILE"],
                )
            self._opener = age.Opener(raw.read, given)

    @property
    def sealed(self) -> bool:
        """Whether it is sealed."""
        return self._opener is not None

    def blocks(self) -> Iterator[bytes]:
        """The bundle's bytes, from the start. Raises Corrupt for a sealed one that was changed or is cut off."""
        if self._opener is not None:
            self._raw.seek(self._opener.payload_at)
            yield from _joined(self._opener.blocks(self._raw.read))
            return
        self._raw.seek(0)
        while block := self._raw.read(BLOCK):
            yield block

    def _has_passphrase(self) -> bool:
        head = self._raw.read(len(age.MAGIC) + 16)
        self._raw.seek(0)
        return b"-> scrypt " in head


@contextmanager
def opened(path: Path | None, stdin: IO[bytes], folder: Path) -> Iterator[IO[bytes]]:
    """The bytes of ``path`` (None: of standard input) as a file that can be read again. What is no plain file is
    first copied to a private one without a name, in ``folder``. Raises FileMissing, StoreDown."""
    if path is None:
        with spool(folder) as copy:
            _pour(stdin, copy)
            yield copy
        return
    try:
        raw = path.open("rb")
    except OSError as error:
        raise FileMissing(
            f"{path} can't be read: {error.strerror}", system=str(error), unchanged=["nothing was changed"]
        ) from error
    with raw:
        try:
            plain = stat.S_ISREG(os.fstat(raw.fileno()).st_mode)
            if plain:
                yield raw
                return
            with spool(folder) as copy:
                _pour(raw, copy)
                yield copy
        except IsADirectoryError as error:
            raise FileMissing(f"{path} is a folder", unchanged=["nothing was changed"]) from error


@contextmanager
def spool(folder: Path) -> Iterator[IO[bytes]]:
    """A private file without a name, on the disk of ``folder``. Raises StoreDown."""
    import tempfile

    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed below
    except OSError as error:
        raise unwritable(folder, error) from error
    with made:
        yield made


@contextmanager
def written(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears under ``path`` whole, 0600 and durable, when the context is left; by an exception, not at
    all. Raises StoreDown."""
    import tempfile

    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    except OSError as error:
        raise unwritable(path, error) from error
    part = Path(name)
    try:
        with os.fdopen(handle, "wb", buffering=BLOCK) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        part.unlink(missing_ok=True)


def keep_backup(
    store: Store,
    namespace: str,
    folder: Path,
    order: Order,
    stamp: str,
    new_id: Callable[[], str],
    *,
    sealed: bool,
) -> Path:
    """Copy a namespace beside the state: as a bundle with its history, which ``state import --replace --force`` takes
    back; of a sealed state the file itself, as it is. Raises UsageError where neither can be made."""
    from sloth_runner.state.bundle_export import export

    place = folder / BACKUPS
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(place, error) from error
    path = _free(place, f"{namespace}-{stamp}", ".db" if sealed else ".jsonl")
    if not sealed:
        with written(path) as file:
            export(
                store,
                order,
                file.write,
                folder=place,
                new_id=new_id,
                progress=lambda count: None,
                consent=lambda name, census: None,
            )
    elif store.traits.copy is not None:
        store.traits.copy(namespace, path)
        _sync_folder(place)
    else:
        raise UsageError(
            "this store can't make a sealed backup before the import",
            unchanged=["nothing was changed"],
            next=["make one yourself, then --no-backup"],
        )
    return path


def sealer_for(
    write: Callable[[bytes], object], keys: age.Keys | None
) -> tuple[Callable[[bytes], object], Callable[[], None]]:
    """How to write the content, and how to end it: as it is, or sealed by ``keys``."""
    if keys is None:
        return write, lambda: None
    sealer = age.Sealer(write, keys)
    return sealer.write, sealer.finish


def blocks_of(file: IO[bytes]) -> Iterator[bytes]:
    """All of a file."""
    file.seek(0)
    while block := file.read(BLOCK):
        yield block


def _joined(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Small blocks as large ones: what is done for each costs less."""
    parts: list[bytes] = []
    size = 0
    for block in blocks:
        parts.append(block)
        size += len(block)
        if size >= BLOCK:
            yield b"".join(parts)
            parts, size = [], 0
    if parts:
        yield b"".join(parts)


def read_small(path: Path, what: str, most: int = 1 << 20) -> str:
    """A small text file. Raises FileMissing, Corrupt."""
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise FileMissing(f"{what} {path} can't be read: {error.strerror}", system=str(error)) from error
    try:
        if len(data) > most:
            raise ValueError("too long")
        return data.decode()
    except ValueError as error:
        raise Corrupt(f"{what} {path} is no text", unchanged=["nothing was changed"]) from error


def _free(folder: Path, stem: str, suffix: str) -> Path:
    path, number = folder / f"{stem}{suffix}", 1
    while os.path.lexists(path):
        number += 1
        path = folder / f"{stem}-{number}{suffix}"
    return path


def _pour(source: IO[bytes], target: IO[bytes]) -> None:
    try:
        while block := source.read(BLOCK):
            target.write(block)
        target.flush()
        target.seek(0)
    except OSError as error:
        raise StoreDown(
            f"the bundle can't be taken in: {error.strerror}",
            system=str(error),
            unchanged=["nothing was changed"],
        ) from error


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def unwritable(path: Path, error: OSError) -> StoreDown:
    """What to raise where nothing can be written."""
    return StoreDown(
        f"{path} can't be written: {error.strerror or error}",
        system=str(error),
        unchanged=["nothing was changed"],
        next=["check owner and mode of the folder, and whether its disk is full"],
    )
