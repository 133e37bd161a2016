"""Why: what every store relies on is tried on the server itself before it is trusted, by the same attempts.

They work through the three verbs, on records of their own that are removed again. A backend adds what is particular
to its server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sloth_runner.errors import Conflict, Corrupt, SlothError, TooLarge, Unfit
from sloth_runner.plain import TYPE_CHECKING, Final
from sloth_runner.state.store import ABSENT, Change, Check, Proof

if TYPE_CHECKING:
    from sloth_runner.state.store import Rev, Store

Attempt = Callable[[], Proof]
RACERS: Final = 4
MANY: Final = 1_000
MUCH: Final = 2 << 20
"""Changes, and bytes of a value, that are tried at most."""


def tried(attempts: Iterable[tuple[str, Attempt]]) -> list[Proof]:
    """The proofs that the attempts gave, by name; one that met an error has failed.

    Raises what says nothing of the server's worth: StoreDown, Indeterminate.
    """
    found = []
    for name, attempt in attempts:
        try:
            found.append(attempt())
        except (Conflict, Corrupt, TooLarge, Unfit) as error:
            found.append(Proof(name, False, error.message))
    return found


def common(store: Store, key: str, another: Callable[[], Store]) -> list[Proof]:
    """What must hold of every store. ``key`` is nobody's, and so are those that begin with it; ``another`` opens one
    more handle, which is closed again."""
    try:
        return tried(
            (
                ("create once", lambda: _create_once(store, key)),
                ("compare and set", lambda: _compare_and_set(store, key)),
                ("one winner", lambda: _one_winner(store, key, another)),
                ("revisions", lambda: _revisions(store, key)),
                ("atomic", lambda: _atomic(store, key)),
                ("limits", lambda: _limits(store, key)),
            )
        )
    finally:
        _tidy(store, [key, f"{key}b"])


def refused(store: Store, *changes: Change | Check) -> bool:
    """Whether a commit meets a Conflict."""
    try:
        store.commit(changes)
    except Conflict:
        return True
    return False


def _tidy(store: Store, keys: Iterable[str]) -> None:
    """Nothing stays; a store that can't even do this is told by its proofs, or by the error that is on its way."""
    try:
        store.commit([Change(key, None) for key in keys])
    except SlothError:
        pass


def _create_once(store: Store, key: str) -> Proof:
    store.commit([Change(key, b"first", ABSENT)])
    if not refused(store, Change(key, b"second", ABSENT)):
        return Proof("create once", False, "an entry that was there was created a second time")
    return Proof("create once", True, "a second conditional create is refused")


def _compare_and_set(store: Store, key: str) -> Proof:
    entry = store.get(key)
    if entry is None or entry.value != b"first":
        return Proof("compare and set", False, "what was just written is not what is read")
    (rev,) = store.commit([Change(key, b"third", entry.rev)])
    if rev <= entry.rev or not refused(store, Change(key, b"fourth", entry.rev)):
        return Proof("compare and set", False, "a write that expects an old revision was accepted")
    now = store.get(key)
    if now is None or (now.value, now.rev) != (b"third", rev):
        return Proof("compare and set", False, "what was just written is not what is read")
    return Proof("compare and set", True, "a write that expects an old revision is refused")


def _one_winner(store: Store, key: str, another: Callable[[], Store]) -> Proof:
    """Some handles at once put what only one of them may."""
    entry = store.get(key)
    if entry is None:
        return Proof("one winner", False, "what was just written is not what is read")
    won, odd = _race(key, entry.rev, another)
    if odd:
        raise odd[0]
    found = store.get(key)
    good = len(won) == 1 and found is not None and found.value == won[0]
    return Proof("one winner", good, f"of {RACERS} connections that put at once, {len(won)} succeeded")


def _race(key: str, rev: Rev, another: Callable[[], Store]) -> tuple[list[bytes], list[SlothError]]:
    """The values of those that succeeded, and what else was met than a Conflict."""
    import threading

    won: list[bytes] = []
    odd: list[SlothError] = []

    def run(number: int) -> None:
        handle: Store | None = None
        try:
            try:
                handle = another()
                handle.get(key)
            finally:
                start.wait()
            handle.commit([Change(key, b"racer %d" % number, rev)])
            won.append(b"racer %d" % number)
        except Conflict:
            pass
        except SlothError as error:
            odd.append(error)
        finally:
            if handle is not None:
                handle.close()

    start = threading.Barrier(RACERS)
    racers = [threading.Thread(target=run, args=(number,)) for number in range(RACERS)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    return won, odd


def _revisions(store: Store, key: str) -> Proof:
    """An equal value makes a new Rev, and so does a key that was deleted and comes back."""
    seen = list(store.commit([Change(key, b"same")]))
    seen += store.commit([Change(key, b"same")])
    store.commit([Change(key, None)])
    seen += store.commit([Change(key, b"same", ABSENT)])
    if seen != sorted(set(seen)):
        return Proof("revisions", False, f"revisions don't grow: {', '.join(map(str, seen))}")
    return Proof("revisions", True, "they grow with every write, and do not return after a delete")


def _atomic(store: Store, key: str) -> Proof:
    torn = not refused(store, Change(f"{key}b", b"torn"), Check(key, ABSENT))
    if torn or store.get(f"{key}b") is not None:
        return Proof("atomic", False, "a part of a refused commit was applied")
    return Proof("atomic", True, "a commit is applied whole or not at all")


def _limits(store: Store, key: str) -> Proof:
    """The server takes what ``traits`` promises, as far as is worth trying. (Nothing of it is kept.)"""
    count = min(store.traits.max_changes, MANY)
    size = min(store.traits.max_value, MUCH)
    many = [Check(f"{key}-{number}", ABSENT) for number in range(count - 1)]
    good = refused(store, *many, Check(key, ABSENT))
    good = refused(store, Change(key, bytes(size), ABSENT)) and good
    if not good:
        return Proof("limits", False, "a large commit was applied that should have been refused")
    return Proof("limits", True, f"{count:,} changes at once and a value of {size:,} bytes are taken")
