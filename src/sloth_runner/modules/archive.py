"""Why: a task file says that a folder holds what is in an archive; the archive is data that others made.

Kind "archive" (``folder#archive``) is what one archive put into a folder. Attributes: ``content``, the SHA-256 over
all that is there of it (path, kind, mode, content), and ``differing``, the paths that are missing or not as unpacked.
What is in the folder beside that is left alone, also what another archive of the same name had put there (param
``former``). Undone, all goes again that was not there before (extra ``there``: rows of what was), and what was
replaced comes back (``replaced``: its paths; ``contents``: the digests of what of it is kept).
"""

from __future__ import annotations

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
    Module,
    Observed,
    Recall,
    Resource,
    Saved,
    Source,
    Want,
)  # fmt: skip
from sloth_runner.modules.files.put import OWNERS, attributes, where
from sloth_runner.modules.unpacked import NAMED, as_unpacked, observe, split, take_away
from sloth_runner.ops import ABSENT, FILE, FOLDER, OpError, Read, Stat, Unpack
from sloth_runner.plain import TYPE_CHECKING, Any
from sloth_runner.state.ledger_records import KEPT_CONTENT

if TYPE_CHECKING:
    from sloth_runner.model import Value
    from sloth_runner.modules.base import Converged, Steps
    from sloth_runner.modules.unpacked import Entries
    from sloth_runner.ops import Content, Found, Unpacked
    from sloth_runner.state.ledger_records import Entry

PART = 2000
"""Things of an archive that are one resource; a larger archive is several. So many former ones are known."""
REMEMBERED = 5000
"""Up to so many things are remembered, so that the archive need not be read at each look."""
KEPT = 8 << 20
"""Bytes of all that one unpacking takes the place of that are kept."""


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
    wants = _wants(
        dest, args, entries, former, op, frozenset(e[0] for e in (*known["entries"], *known["former"]))
    )
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
    dest: str, args: Mapping[str, Any], entries: Entries, former: Entries, op: Unpack, known: frozenset[str]
) -> tuple[Want, ...]:
    """Of each part; ``known`` are the paths of what was unpacked last."""
    wants = []
    for start in range(0, len(entries), PART):
        part = [list(entry) for entry in entries[start : start + PART]]
        number = f" part {start // PART + 1}" if start else ""
        params: dict[str, Any] = {"path": dest, "entries": part}
        if former and not start:
            params["former"] = former
        params.update({key: args[key] for key in ("owner", "group") if args[key] is not None})
        wanted = as_unpacked(part)
        wants.append(
            Want(
                Resource("archive", f"{dest}#{args['src']}{number}", params),
                wanted,
                None,
                {"op": op, "known": known},
            )
        )
    return tuple(wants)


def save(want: Want, observed: Observed, entry: Entry | None) -> Generator[Any, Any, Saved]:
    """What is there that no archive has brought; and what of it is about to be replaced, with its content."""
    extra, ours = ({}, set()) if entry is None else (entry.extra, _brought(want, entry))
    was = {row[0]: row for row in extra.get("there", ())}
    replaced, digests = list(extra.get("replaced", ())), list(extra.get("contents", ()))
    contents: dict[str, bytes] = {}
    differing = (observed.attributes or {}).get("differing", ())
    for row in observed.extra.get("there", ()):
        path, kind, _, digest = row[:4]
        if path in ours if path not in was else row != was[path]:
            continue
        was[path] = row
        if path not in differing or path in replaced:
            continue
        replaced.append(path)
        if kind == FILE and digest not in digests:
            whole = posixpath.join(str(want.resource.params["path"]), path)
            content = yield from _content(whole, digest, KEPT - sum(map(len, contents.values())))
            if content is not None:
                contents[digest] = content
                digests.append(digest)
    more = {"there": list(was.values()), "replaced": replaced, "contents": digests}
    return Saved({name: value for name, value in more.items() if value}, contents)


def _brought(want: Want, entry: Entry) -> set[str]:
    """The paths of all that archives have put there."""
    params = entry.params
    return {*want.options["known"], *(one[0] for one in (*params["entries"], *params.get("former", ())))}


def _content(path: str, digest: str, left: int) -> Generator[Any, Any, bytes | None]:
    """The content of a file of that digest, if it is small enough to be kept."""
    from hashlib import sha256

    try:
        read: Content = yield Read(path, min(KEPT_CONTENT, left))
    except OpError:
        return None
    return read.data if sha256(read.data).hexdigest() == digest else None


def converge(changes: Sequence[Change]) -> Generator[Any, Any, Sequence[str]]:
    """Unpack once for all parts of an archive; or take away what was unpacked."""
    notes = []
    last: Unpack | None = None
    for change in changes:
        op = change.options.get("op")
        note = ""
        if op is None:
            yield from take_away(change)
        elif op is not last:
            last = op
            unpacked: Unpacked = yield op
            paths = unpacked.differing
            note = "unpacked " + (", ".join(paths) if len(paths) <= NAMED else f"{len(paths):,} things")
        notes.append(note)
    return notes


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
            unchanged=["this call changed nothing"],
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
        " they held more than 5,000 things; what they took the place of comes back (files of up to 1 MiB, 8"
        " MiB an unpacking); if something of it is not kept, all stays; what other calls name stays",
        save=save,
        split=split,
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
        " is refused. Of two entries with one name the later one counts. Modes are the archive's, without"
        " setuid, setgid and sticky, and writable only by the owner.",
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
