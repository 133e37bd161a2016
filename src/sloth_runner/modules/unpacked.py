"""Why: what an archive has put into a folder is looked at, taken away and told from what others want, row by row."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Callable, Generator, Mapping, Sequence

from sloth_runner.errors import TaskFailed
from sloth_runner.modules.base import Change, Look, Observed, Part
from sloth_runner.ops import (
    ABSENT,
    FILE,
    FOLDER,
    LINK,
    Batch,
    MakeLink,
    OpError,
    Remove,
    SetAttrs,
    Stat,
    Write,
)
from sloth_runner.plain import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sloth_runner.modules.base import Attributes
    from sloth_runner.ops import Found, Op

Entries = Sequence[Sequence[str]]
"""Path, kind, mode ("" for any) and SHA-256 or target of each thing in an archive."""
NAMED = 10
"""Of so many at most a message tells the names."""


def _row(entry: Sequence[str]) -> list[object]:
    """What is seen of a thing that is as unpacked."""
    return [*entry, True]


def _digest(rows: Sequence[object]) -> str:
    from hashlib import sha256

    return sha256(json.dumps(rows).encode()).hexdigest()


def as_unpacked(entries: Entries) -> Attributes:
    """What a folder is like in which all of it is as unpacked."""
    return {"content": _digest([_row(entry) for entry in entries]), "differing": []}


def observe(looks: Sequence[Look]) -> Generator[Any, Any, Sequence[Observed]]:
    """All that archives put there, in one look, and what is there in its place; a whole one tells that of former
    ones, too: it is not ours if we never changed anything."""
    ops: list[Stat] = []
    for look in looks:
        params = look.resource.params
        ops += _stats(params, params["entries"])
        ops += _stats(params, params.get("former", ())) if look.keys is None else ()
    found = iter((yield Batch(tuple(ops))))
    return [_observed(look, found) for look in looks]


def _stats(params: Mapping[str, Any], entries: Entries) -> list[Stat]:
    names = "owner" in params or "group" in params
    path = str(params["path"])
    return [Stat(posixpath.join(path, e[0]), digest=e[1] == FILE, names=names) for e in entries]


def _observed(look: Look, found: Any) -> Observed:
    params = look.resource.params
    pairs = [(entry, next(found)) for entry in params["entries"]]
    rows = [_seen(entry, one, params) for entry, one in pairs]
    if look.keys is None:
        pairs += [(entry, next(found)) for entry in params.get("former", ())]
    there = [_was(entry, one) for entry, one in pairs if one.kind != ABSENT]
    extra = {"there": there} if there else {}
    if rows and all(seen[1] == ABSENT for seen in rows):
        return Observed(None, extra)
    differing = [entry[0] for seen, entry in zip(rows, params["entries"], strict=True) if seen != _row(entry)]
    return Observed({"content": _digest(rows), "differing": differing}, extra)


def _seen(entry: Sequence[str], found: Found, params: Mapping[str, Any]) -> list[object]:
    """What is there, in the form of ``_row``."""
    path, _, mode, _ = entry
    seen = f"{found.mode:04o}" if mode and found.kind in (FILE, FOLDER) else mode
    owner, group = params.get("owner"), params.get("group")
    fits = owner in (None, str(found.uid), found.owner) and group in (None, str(found.gid), found.group)
    return [path, found.kind, seen, _detail(found), fits]


def _was(entry: Sequence[str], found: Found) -> list[Any]:
    """What is there, as it is put back."""
    return [entry[0], found.kind, f"{found.mode:04o}", _detail(found), str(found.uid), str(found.gid)]


def _detail(found: Found) -> str | None:
    return found.target if found.kind == LINK else found.digest if found.kind == FILE else ""


def split(params: Attributes, stays: Callable[[str], bool]) -> tuple[Part | None, Part | None]:
    """That part of what was unpacked whose paths ``stays`` denies, and the other; None where there is none."""
    path = str(params["path"])
    parts = []
    for wanted in (False, True):
        rows = {name: list(params.get(name, ())) for name in ("entries", "former")}
        kept = {
            name: [e for e in entries if stays(posixpath.join(path, e[0])) is wanted]
            for name, entries in rows.items()
        }
        rest = {**params, **kept}
        if not kept["former"]:
            rest.pop("former", None)
        parts.append(Part(rest, as_unpacked(kept["entries"])) if any(kept.values()) else None)
    return parts[0], parts[1]


def take_away(change: Change) -> Generator[Any, Any, None]:
    """Remove files and links that were not there before, and the folders that are empty then; of former ones those
    that are as they were unpacked. Put back what was replaced; raises TaskFailed if it is not kept."""
    params, extra = change.resource.params, change.extra
    was = {one[0]: one for one in extra.get("there", ())}
    every = [*params["entries"], *params.get("former", ())]
    found: Sequence[Found] = yield Batch(tuple(_stats(params, every)))
    ours, back = [], []
    for entry, one in zip(every, found, strict=True):
        path, unpacked = entry[0], _seen(entry, one, params) == _row(entry)
        if path not in was and (unpacked or one.kind == entry[1] == FOLDER):
            ours.append(entry)
        elif path in extra.get("replaced", ()) and unpacked and _was(entry, one) != was[path]:
            back.append(_put_back(params, was[path], one, change.options["contents"]))
    lost = [one for one in back if isinstance(one, str)]
    if lost:
        raise TaskFailed(
            f"{change.resource.id} took the place of {', '.join(lost[:NAMED])}, of which nothing is kept",
            unchanged=[change.resource.id],
        )
    for entry in sorted(ours, reverse=True):
        try:
            yield Remove(posixpath.join(str(params["path"]), entry[0]))
        except OpError as error:
            if entry[1] != FOLDER or error.kind not in ("not-empty", "mount"):
                raise
    ops = tuple(one for one in back if not isinstance(one, str))
    if ops:
        yield Batch(ops)


def _put_back(
    params: Mapping[str, Any], had: Sequence[Any], now: Found, contents: Mapping[str, bytes]
) -> Op | str:
    """What makes of what is there what was there before; its path, if that is not kept."""
    path, kind, mode, detail, uid, gid = had
    whole = posixpath.join(str(params["path"]), path)
    if kind == LINK:
        return MakeLink(whole, detail, uid, gid)
    if kind == now.kind and _detail(now) == detail:
        return SetAttrs(whole, int(mode, 8), uid, gid)
    return Write(whole, contents[detail], int(mode, 8), uid, gid) if detail in contents else path
