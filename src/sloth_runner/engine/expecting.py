"""Why: a task looks at the same things in every run, and the ledger knows which; so another machine is asked once.

From the entries of a task and the kinds' own ``observe`` come the operations that its calls are going to ask first,
and those that undoing begins with. Nothing rests on it: what is not asked in the end was asked in vain, what was not
foreseen is asked when it comes.
"""

from __future__ import annotations

import posixpath
from collections.abc import Generator, Iterable, Mapping

from sloth_runner.engine.drifting import look, watched
from sloth_runner.engine.mounts import LARGEST, TABLE
from sloth_runner.errors import SlothError
from sloth_runner.modules.base import Look, Resource
from sloth_runner.ops import Batch, OpError, Read, Stat
from sloth_runner.plain import TYPE_CHECKING, Any
from sloth_runner.state.ledger_records import stamps, target_stamp
from sloth_runner.transport.ahead import key_of

if TYPE_CHECKING:
    from sloth_runner.modules.base import Kind
    from sloth_runner.ops import Op, Result
    from sloth_runner.state.ledger_records import Entry
    from sloth_runner.transport.remembered import Remembered
    from sloth_runner.transport.remote import Remote

ROUNDS = 4
"""Questions that rest on answers, one after the other, at most."""


async def look_ahead(
    transport: Remote, kinds: Mapping[str, Kind], entries: Iterable[Entry], paranoid: bool, *, anew: bool
) -> None:
    """Ask a machine for what the calls that made these entries will look at; ``anew``: also if they had settled.
    Raises Unreachable."""
    settled: list[tuple[Op, Entry]] = []
    waiting: list[tuple[Generator[Any, Any, Any], Op]] = []
    for entry in entries:
        if entry.call and entry.seen and not anew:
            settled.append((Stat(entry.id, names=False), entry))
        else:
            _begin(kinds, entry, look_of(entry, paranoid), waiting)
    answers: dict[object, Result] = {}
    await _ask(transport, [*(op for op, _ in settled), *_flat(waiting)], answers)
    for op, entry in settled:
        if not _as_it_was(entry, answers.get(key_of(op))):
            _begin(kinds, entry, look_of(entry, paranoid), waiting)
    await _ask_on(transport, waiting, answers)


async def look_back(transport: Remembered, kinds: Mapping[str, Kind], entries: Iterable[Entry]) -> None:
    """Ask a machine for what undoing these entries in a rehearsal looks at. Raises Unreachable."""
    waiting = _looks_back(kinds, entries)
    answers: dict[object, Result] = {}
    await _ask(transport, _first_back(waiting), answers)
    await _ask_on(transport, waiting, answers)


def looks_back(kinds: Mapping[str, Kind], entry: Entry) -> list[Op]:
    """What undoing an entry in a rehearsal looks at first."""
    return list(dict.fromkeys(_first_back(_looks_back(kinds, [entry]))))


def _looks_back(
    kinds: Mapping[str, Kind], entries: Iterable[Entry]
) -> list[tuple[Generator[Any, Any, Any], Op]]:
    waiting: list[tuple[Generator[Any, Any, Any], Op]] = []
    for entry in entries:
        _begin(kinds, entry, look(entry, whole=True), waiting)
    return waiting


def _first_back(waiting: list[tuple[Generator[Any, Any, Any], Op]]) -> list[Op]:
    asked = _flat(waiting)
    paths = dict.fromkeys(op.path for op in asked if isinstance(op, Stat))
    folders = dict.fromkeys(folder for path in paths for folder in _above(path))
    ahead = [*asked, *map(Stat, paths), *(Stat(folder, names=False) for folder in folders)]
    return [*ahead, Read(TABLE, LARGEST)] if paths else ahead


async def _ask(transport: Remote | Remembered, ops: Iterable[Op], answers: dict[object, Result]) -> None:
    """Add the answers that are not there yet."""
    asked = [op for op in ops if key_of(op) not in answers]
    if asked:
        answers.update((key_of(op), result) for op, result in await transport.look_ahead(asked))


async def _ask_on(
    transport: Remote | Remembered,
    waiting: list[tuple[Generator[Any, Any, Any], Op]],
    answers: dict[object, Result],
) -> None:
    """Ask for what rests on answers, too."""
    for _ in range(ROUNDS):
        await _ask(transport, _flat(waiting), answers)
        waiting = _on(waiting, answers)
        if not waiting:
            return


def _above(path: str) -> list[str]:
    """The folders above a path, the deepest first, but for the root."""
    found = []
    while (path := posixpath.dirname(path)) not in ("", "/"):
        found.append(path)
    return found


def look_of(entry: Entry, paranoid: bool) -> Look:
    """How a call looks at the resource of an entry, if it wants what it wanted."""
    resource = Resource(entry.kind, entry.id, entry.params)
    if entry.wanted is None:
        return Look(resource)
    stamp = None if paranoid or entry.applied is None else target_stamp(entry)
    content = (entry.applied or {}).get("content")
    known = None if stamp is None or content is None else (stamp, str(content))
    return Look(resource, frozenset(entry.wanted), known)


def _begin(
    kinds: Mapping[str, Kind],
    entry: Entry,
    first: Look,
    waiting: list[tuple[Generator[Any, Any, Any], Op]],
) -> None:
    kind = kinds.get(entry.kind)
    if kind is None or not watched(entry):
        return
    steps = kind.observe([first])
    try:
        waiting.append((steps, next(steps)))
    except (StopIteration, SlothError):
        return


def _on(
    waiting: list[tuple[Generator[Any, Any, Any], Op]], answers: Mapping[object, Result]
) -> list[tuple[Generator[Any, Any, Any], Op]]:
    """Those that ask on, with what they ask next."""
    left = []
    for steps, op in waiting:
        ops = op.ops if isinstance(op, Batch) else (op,)
        found = [answers.get(key_of(one)) for one in ops]
        if None in found:
            steps.close()
            continue
        try:
            left.append((steps, steps.send(tuple(found) if isinstance(op, Batch) else found[0])))
        except (StopIteration, SlothError, OpError):
            continue
    return left


def _flat(waiting: list[tuple[Generator[Any, Any, Any], Op]]) -> list[Op]:
    return [one for _, op in waiting for one in (op.ops if isinstance(op, Batch) else (op,))]


def _as_it_was(entry: Entry, found: Any) -> bool:
    return (
        found is not None
        and found.stamp is not None
        and stamps(found.stamp) == entry.seen.partition(";")[0] + ";"
    )
