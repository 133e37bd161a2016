"""Why: which records of a store are sealing's own, and what they say of a namespace, is known in one place.

In each namespace a mark (NAMESPACE + SEAL) says as of which change of the keyring it is written, and how. The marks,
the keyring, and what was proven of the server stand in clear; whoever looks through a sealed store doesn't see them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from sloth_runner.errors import Corrupt
from sloth_runner.plain import TYPE_CHECKING, Final, NamedTuple
from sloth_runner.state.keyring import OPEN, OPENING, SEALED
from sloth_runner.state.layout import SEAL, SEP, STORE, namespace_of
from sloth_runner.state.store import ABSENT, Entry, Rev

if TYPE_CHECKING:
    from sloth_runner.state.keyring import Ring
    from sloth_runner.state.store import Reader, Store

_OF_THE_STORE: Final = STORE + SEP


class Mark(NamedTuple):
    """A namespace's mark: its Rev (0: there is none), and the epoch and mode that it was last told."""

    rev: Rev
    epoch: int = 0
    mode: str = SEALED


def mark_value(ring: Ring) -> bytes:
    """A namespace's mark as it is stored."""
    return json.dumps({"epoch": ring.epoch, "mode": ring.mode}).encode()


def mark_in(reader: Reader, namespace: str) -> Mark:
    """A namespace's mark as an inner store, or a part of it, has it. Raises Corrupt."""
    entry = reader.get(namespace + SEAL)
    if entry is None:
        return Mark(ABSENT)
    try:
        row = json.loads(entry.value)
        return Mark(entry.rev, int(row["epoch"]), str(row["mode"]))
    except (ValueError, KeyError, TypeError) as error:
        raise Corrupt(f"the mark of the sealed namespace {namespace} can't be read") from error


def in_plaintext(ring: Ring, mark: Mark) -> bool:
    """Whether a namespace with this mark is written in plaintext. The mark alone is nobody's word: only the keyring,
    which has a MAC, can say that plaintext is wanted. Raises Corrupt for a keyring that is older than the mark."""
    if mark.epoch > ring.epoch:
        raise Corrupt(
            "the keyring of this state is older than what was written: an earlier one was put back",
            unchanged=["nothing was written"],
            next=["restore the keyring that belongs to this state"],
        )
    return mark.mode == OPENING and ring.mode in (OPENING, OPEN)


def without_own(reader: Reader, prefix: str, after: str, limit: int | None, reverse: bool) -> Iterator[Entry]:
    """An inner scan without sealing's own records, which don't count towards the limit."""
    left, last = limit, after
    while True:
        page = None if left is None else left + 3
        seen = 0
        for entry in reader.scan(prefix, after=last, limit=page, reverse=reverse):
            if left == 0:
                return
            seen += 1
            last = entry.key
            if not is_own(entry.key):
                yield entry
                left = None if left is None else left - 1
        if page is None or seen < page:
            return


def is_own(key: str) -> bool:
    """Whether a store key is one of sealing's own, or of the store's, in clear and hidden."""
    return key.startswith(_OF_THE_STORE) or key.endswith(SEAL)


def spaces(store: Store) -> list[str]:
    """All namespaces that hold something, but for the store's own; in order."""
    found: list[str] = []
    after = ""
    while (entry := next(iter(store.scan(after=after, limit=1)), None)) is not None:
        found.append(namespace_of(entry.key))
        after = found[-1] + chr(ord(SEP) + 1)  # beyond all of its keys
    return [name for name in found if name != STORE]
