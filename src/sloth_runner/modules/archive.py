"""Why: a task file says that a folder holds what is in an archive; the archive is data that others made.

Kind "archive" (``folder#archive``) is what one archive put into a folder. Attributes: ``content``, the SHA-256 over
all that is there of it (path, kind, mode, content), and ``differing``, the paths that are missing or not as unpacked.
What is in the folder beside that is left alone, also what another archive of the same name had put there (param
``former``). Undone, all goes again that was not there before (extra ``there``: rows of what was), unless something
was replaced, of which nothing is kept.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Generator, Mapping, Sequence

from sloth_runner.errors import BadArgument, TaskFailed
from sloth_runner.model import Outcome
from sloth_runner.modules.base import (
    Arg,
    Change,
    Context,
    Ensure,
    Kind,
    Look,
    Module,
    Observed,
    Recall,
    Resource,
    Source,
    Want,
)  # fmt: skip
from sloth_runner.modules.files.put import OWNERS, attributes, where
from sloth_runner.ops import ABSENT, FILE, FOLDER, LINK, Batch, OpError, Remove, Stat, Unpack
from sloth_runner.plain import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sloth_runner.model import Value
    from sloth_runner.modules.base import Converged, Steps
    from sloth_runner.ops import Found, Unpacked

Entries = Sequence[Sequence[str]]
"""Path, kind, mode ("" for any) and SHA-256 or target of each thing in an archive."""

PART = 2000
"""Things of an archive that are one resource; a larger archive is several. So many former ones are known."""
REMEMBERED = 5000
"""Up to so many things are remembered, so that the archive need not be read at each look."""
NAMED = 10


def archive(args: Mapping[str, Any], context: Context) -> Steps:
    """See to it that a folder holds what is in an archive."""
    dest = yield from where(args["dest"], False, context)
    if args["creates"] is not None:
        found: Found = yield Stat(args["creates"], names=False)
        if found.kind != ABSENT:
            return Outcome(False, f"skipped: {args['creates']} exists", {"path": dest})
    digest, content = yield from _archive(args)
    _verify(args, digest)
    op = Unpack(
        dest, args["src"] if args["remote"] else None, content, args["strip"], args["owner"], args["group"],
        args["max_entries"], args["max_bytes"], args["max_ratio"],
    )  # fmt: skip
    name, meaning = f"listing:{dest}#{args['src']}", f"{digest} {args['strip']}"
    memory: Mapping[str, Any] | None = yield Recall(name)
    known: Mapping[str, Any] = {"of": "", "entries": [], "former": [], **(memory or {})}
    entries: list[list[str]] = known["entries"]
    former: list[list[str]] = known["former"]
    if known["of"] != meaning:
        unpacked = yield from _compared(op, args["src"])
        former = _former([*former, *entries], unpacked.entries)
        entries = [list(entry) for entry in unpacked.entries]
    folder = Want(Resource("file", dest), attributes(FOLDER, {**args, "mode": None}))
    done: tuple[Converged, ...] = yield Ensure((folder,))  # not for an archive that is refused
    wants = _wants(dest, args, entries, former, op)
    if wants:
        done = (*done, *(yield Ensure(wants)))
    remember: tuple[str, Mapping[str, Value]] | None = None
    if len(entries) + len(former) <= REMEMBERED:
        remember = (
            name,
            {"of": meaning, "entries": [list(e) for e in entries], "former": [list(e) for e in former]},
        )
    changed = [one for one in done if one.action != "none"]
    message = "; ".join(one.message for one in changed)
    return Outcome(bool(changed), message, {"path": dest, "entries": len(entries)}, None, remember)


def _former(earlier: Entries, entries: Entries) -> list[list[str]]:
    """What earlier archives had, and this one has not; of each path what it was last."""
    now = {entry[0] for entry in entries}
    return [list(entry) for path, entry in {e[0]: e for e in earlier}.items() if path not in now][-PART:]


def _wants(
    dest: str, args: Mapping[str, Any], entries: Entries, former: Entries, op: Unpack
) -> tuple[Want, ...]:
    wants = []
    for start in range(0, len(entries), PART):
        part = [list(entry) for entry in entries[start : start + PART]]
        number = f" part {start // PART + 1}" if start else ""
        params: dict[str, Any] = {"path": dest, "entries": part}
        if former and not start:
            params["former"] = former
        params.update({key: args[key] for key in ("owner", "group") if args[key] is not None})
        wanted = {"content": _digest([_row(entry) for entry in part]), "differing": []}
        wants.append(
            Want(Resource("archive", f"{dest}#{args['src']}{number}", params), wanted, None, {"op": op})
        )
    return tuple(wants)


def _row(entry: Sequence[str]) -> list[object]:
    return [*entry, True]


def _digest(rows: Sequence[object]) -> str:
    from hashlib import sha256

    return sha256(json.dumps(rows).encode()).hexdigest()


def observe(looks: Sequence[Look]) -> Generator[Any, Any, Sequence[Observed]]:
    """All that archives put there, in one look; a whole one tells what is there, also of former ones: that is not
    ours if we never changed anything."""
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
    rows = [_seen(entry, next(found), params) for entry in params["entries"]]
    there = []
    if look.keys is None:
        former = [_seen(entry, next(found), params) for entry in params.get("former", ())]
        there = [row for row in (*rows, *former) if row[1] != ABSENT]
    extra = {"there": there} if there else {}
    if all(row[1] == ABSENT for row in rows):
        return Observed(None, extra)
    pairs = zip(rows, params["entries"], strict=True)
    differing = [entry[0] for row, entry in pairs if row != _row(entry)]
    return Observed({"content": _digest(rows), "differing": differing}, extra)


def _seen(entry: Sequence[str], found: Found, params: Mapping[str, Any]) -> list[object]:
    """What is there, in the form of ``_row``."""
    path, _, mode, _ = entry
    detail = found.target if found.kind == LINK else found.digest if found.kind == FILE else ""
    seen = f"{found.mode:04o}" if mode and found.kind in (FILE, FOLDER) else mode
    owner, group = params.get("owner"), params.get("group")
    fits = owner in (None, str(found.uid), found.owner) and group in (None, str(found.gid), found.group)
    return [path, found.kind, seen, detail, fits]


def converge(changes: Sequence[Change]) -> Generator[Any, Any, Sequence[str]]:
    """Unpack once for all parts of an archive; or take away what was unpacked."""
    notes = []
    last: Unpack | None = None
    for change in changes:
        op = change.options.get("op")
        note = ""
        if op is None:
            yield from _take_away(change)
        elif op is not last:
            last = op
            unpacked: Unpacked = yield op
            paths = unpacked.differing
            note = "unpacked " + (", ".join(paths) if len(paths) <= NAMED else f"{len(paths):,} things")
        notes.append(note)
    return notes


def _take_away(change: Change) -> Generator[Any, Any, None]:
    """Remove files and links that were not there before, and the folders that are empty then; of former ones those
    that are as they were unpacked. Raises TaskFailed if we replaced something."""
    params, there = change.resource.params, {row[0]: row for row in change.extra.get("there", ())}
    every = [*params["entries"], *params.get("former", ())]
    found: Sequence[Found] = yield Batch(tuple(_stats(params, every)))
    replaced, ours = [], []
    for entry, one in zip(every, found, strict=True):
        unpacked = _seen(entry, one, params) == _row(entry)
        before = there.get(entry[0])
        if before is None and (unpacked or one.kind == entry[1] == FOLDER):
            ours.append(entry)
        elif before is not None and unpacked and _seen(before[:4], one, params) != before:
            replaced.append(entry[0])
    if replaced:
        raise TaskFailed(
            f"{change.resource.id} took the place of {', '.join(replaced[:NAMED])}, of which nothing is kept",
            unchanged=[change.resource.id],
        )
    for entry in sorted(ours, reverse=True):
        try:
            yield Remove(posixpath.join(str(params["path"]), entry[0]))
        except OpError as error:
            if entry[1] != FOLDER or error.kind not in ("not-empty", "mount"):
                raise


def _archive(args: Mapping[str, Any]) -> Generator[Any, Any, tuple[str, bytes | None]]:
    """The archive's SHA-256; and its content, if it is on this machine."""
    from hashlib import sha256

    src = args["src"]
    if not args["remote"]:
        content: bytes = yield Source(src)
        return sha256(content).hexdigest(), content
    if not src.startswith("/"):
        raise BadArgument(
            f"archive: with remote = true, src is an absolute path on the target, not {src!r}",
            unchanged=["nothing was changed"],
        )
    found: Found = yield Stat(src, digest=True, follow=True, names=False)
    if found.kind != FILE or found.digest is None:
        what = "there is no such file" if found.kind == ABSENT else f"it is a {found.kind}"
        raise TaskFailed(f"archive: {src} can't be unpacked: {what}", unchanged=[args["dest"]])
    return found.digest, None


def _compared(op: Unpack, src: str) -> Generator[Any, Any, Unpacked]:
    """What is in the archive. Raises TaskFailed for one that is refused, by the name that the call has for it."""
    try:
        unpacked: Unpacked = yield op._replace(look=True)
    except OpError as error:
        if op.content is None or error.path != "the archive":
            raise
        raise TaskFailed(f"archive: {src}: {error.reason}", unchanged=[op.path]) from error
    return unpacked


def _verify(args: Mapping[str, Any], digest: str) -> None:
    wanted = args["checksum"]
    if wanted is not None and wanted != digest:
        raise TaskFailed(
            f"archive: {args['src']} has the SHA-256 {digest}, not {wanted}",
            unchanged=[args["dest"]],
            next=["it is not the archive that was meant: get it again, or correct checksum"],
        )


KINDS = (
    Kind(
        "archive",
        "what an archive put into a folder: content, differing",
        observe,
        converge,
        undone="prune takes away what it has brought, and what earlier archives of the same src have left, unless"
        " they held more than 5,000 things; if it took the place of something, all stays, since that is not kept",
    ),
)
MODULES = (
    Module(
        "archive",
        archive,
        (
            Arg(
                "src",
                "line",
                "the archive, relative to the task file; with remote, a path there",
                required=True,
            ),
            Arg(
                "dest", "path", "the folder to unpack it into, an absolute path on the target", required=True
            ),
            Arg("remote", "boolean", "the archive is on the target already", default=False),
            Arg("strip", "count", "names at the start of each path that are left out", default=0),
            Arg("creates", "path", "do nothing if this path exists"),
            Arg(
                "checksum",
                "sha256",
                'the SHA-256 that the archive must have, in hexadecimal ("sha256:…" too)',
            ),
            *OWNERS,
            Arg("max_entries", "count", "refuse an archive with more entries", default=100_000),
            Arg("max_bytes", "count", "refuse one from which more bytes come out (4 GiB)", default=4 << 30),
            Arg("max_ratio", "count", "refuse one that grows more than so many times", default=200),
        ),
        "Unpacks an archive: tar, also compressed by gzip, bzip2 or xz, or zip. Files, folders, hard links (as"
        " copies) and symbolic links that stay inside; an archive that holds anything else, an absolute path or '..'"
        " is refused. Of two things of one name the later counts. Modes are the archive's, without setuid, setgid and"
        " sticky, and written to only by the owner.",
        refused={
            "mode": "modes are those in the archive",
            "url": "http.download gets it; then remote = true",
            "strip_components": "say strip = …",
            "path": "say dest = …",
            "remote_src": "say remote = …",
        },
        returns={
            "path": "the folder",
            "entries": "how many things the archive holds",
        },
    ),
)
