"""Why: an import writes a namespace at once where the store can, and key by key, so that it can go on, where not."""

from __future__ import annotations

from collections.abc import Sequence

from sloth_runner.errors import Conflict
from sloth_runner.plain import TYPE_CHECKING, Final
from sloth_runner.state.commits import as_left, settle
from sloth_runner.state.layout import place
from sloth_runner.state.migrate_copy import too_large
from sloth_runner.state.store import ABSENT, Change, parts

if TYPE_CHECKING:
    from sloth_runner.state.store import Bulk, Store

ROWS: Final = 4000
BYTES: Final = 4 << 20
"""What a sink holds before it passes it on."""


class NoSink:
    """A dry run's. ``most``: bytes that a record may have."""

    def __init__(self, most: int) -> None:
        self._most = most

    def put(self, rows: Sequence[tuple[str, bytes]]) -> None:
        """Nothing. Raises TooLarge."""
        for key, value in rows:
            if len(value) > self._most:
                raise too_large(key, len(value), self._most)

    def done(self) -> None:
        """Nothing."""


class BulkSink:
    """Into one bulk change, in key order as far as it is gathered."""

    def __init__(self, bulk: Bulk) -> None:
        self._bulk = bulk
        self._rows: list[tuple[str, bytes]] = []
        self._size = 0

    def put(self, rows: Sequence[tuple[str, bytes]]) -> None:
        """See Sink."""
        if len(rows) > ROWS // 4 and not self._rows:
            self._bulk.put(rows)  # in order, and enough
            return
        self._rows.extend(rows)
        self._size += sum([len(value) for _, value in rows])
        if len(self._rows) >= ROWS or self._size >= BYTES:
            self.flush()

    def done(self) -> None:
        """See Sink; all of it is one change anyway."""

    def flush(self) -> None:
        """Pass on what is held."""
        self._rows.sort()
        self._bulk.put(self._rows)
        self._rows = []
        self._size = 0


class CommitSink:
    """Into a store by ordinary commits: each key whole in one, unless it has more revisions than one takes; then its
    head comes last. What is there already is passed over, so that an import that broke off can be run again."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._most = max(1, min(ROWS, store.traits.max_changes))
        self._room = min(BYTES, store.traits.max_bytes or BYTES)
        self._whole: list[Change] = []
        self._open: list[Change] = []
        self._size = 0

    def put(self, rows: Sequence[tuple[str, bytes]]) -> None:
        """See Sink. Raises Conflict."""
        for key, value in rows:
            entry = self._store.get(key)
            if entry is not None and entry.value == value:
                continue
            self._open.append(Change(key, value, entry.rev if entry else ABSENT))
            self._size += len(value)

    def done(self) -> None:
        """See Sink."""
        if len(self._whole) + len(self._open) > self._most or self._size > self._room:
            self._commit(self._whole)
            self._whole = []
            self._size = 0
        self._whole += self._open
        self._open = []

    def flush(self) -> None:
        """Commit what is held."""
        self.done()
        self._commit(self._whole)
        self._whole = []

    def _commit(self, changes: list[Change]) -> None:
        for part in parts(changes, self._store.traits):
            self._commit_part(part)

    def _commit_part(self, part: list[Change]) -> None:
        try:
            settle(self._store, part)
        except Conflict as conflict:
            if as_left(self._store, part):
                return
            names = sorted({place(key).name for key in conflict.keys})
            raise Conflict(
                f"others changed {', '.join(map(repr, names[:3]))} during the import",
                keys=conflict.keys,
                next=["run the import again: it goes on where it stopped"],
            ) from conflict
