"""Why: a state that was moved out of its files must stay out, whatever program still has them open: by triggers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import apsw

from sloth_runner.errors import Conflict, Moved
from sloth_runner.state.layout import MOVED, SEP, STORE
from sloth_runner.state.moved import refusal

KEY = MOVED.partition(SEP)[2]
_FOUND = re.compile(r"\bmoved ((?:[0-9a-f]{2})+)")
_VALUE = "SELECT value FROM entry WHERE key = ?"
_PUT = (
    "INSERT INTO entry (key, rev, value) VALUES (?1, (SELECT value + 1 FROM meta WHERE name = 'rev'), ?2) "
    "ON CONFLICT (key) DO UPDATE SET rev = entry.rev + 1, value = excluded.value"
)
_DELETE = "DELETE FROM entry WHERE key = ? RETURNING rev"
_RAISE = "UPDATE meta SET value = max(value, ?) WHERE name = 'rev'"


def retire(
    namespaces: Callable[[], list[str]],
    turns: Callable[[Sequence[str]], AbstractContextManager[None]],
    file: Callable[[str], apsw.Connection],
    new: bytes,
    old: bytes,
) -> None:
    """Put the note into the store's own file, and let all files refuse changes while it stands there, in the turns of
    all. Killed in between, it is done by being done again. Raises Conflict."""
    while True:
        names = [name for name in namespaces() if name != STORE]
        with turns([*names, STORE]):
            if [name for name in namespaces() if name != STORE] == names:
                return _retire(file(STORE), [file(name) for name in names], new, old)
        # One was made meanwhile; while somebody has the store's turn, none is.


def _retire(own: apsw.Connection, others: list[apsw.Connection], new: bytes, old: bytes) -> None:
    found = own.execute(_VALUE, (KEY,)).get or b""
    if found not in (new, old):
        raise Conflict("the note of where this state moved to was changed by others", keys=[MOVED])
    if new:
        _note(own, new)
    for file in others:
        _triggers(file, new)
    if not new:
        _note(own, new)


def refused(error: apsw.Error) -> Moved | None:
    """Our own error, if a trigger of ours raised this one."""
    found = _FOUND.search(str(error)) if isinstance(error, apsw.ConstraintError) else None
    return None if found is None else refusal(bytes.fromhex(found[1]))


def _note(own: apsw.Connection, data: bytes) -> None:
    with _transaction(own):
        if data:
            own.execute(_PUT, (KEY, data))
            return
        for (rev,) in own.execute(_DELETE, (KEY,)).fetchall():
            own.execute(_RAISE, (rev,))


def _triggers(file: apsw.Connection, data: bytes) -> None:
    with _transaction(file):
        for event in ("insert", "update", "delete"):
            file.execute(f"DROP TRIGGER IF EXISTS moved_{event}")
            if data:
                file.execute(
                    f"CREATE TRIGGER moved_{event} BEFORE {event} ON entry "
                    f"BEGIN SELECT RAISE(ABORT, 'moved {data.hex()}'); END"
                )


@contextmanager
def _transaction(file: apsw.Connection) -> Iterator[None]:
    file.execute("BEGIN IMMEDIATE")
    try:
        yield
        file.execute("COMMIT")
    finally:
        if file.in_transaction:
            file.execute("ROLLBACK")
