"""Why: a task file says that a folder holds what is in an archive; the archive is data that others made.

It is looked at every time: what is there is compared with what was unpacked last, file by file, or with the archive
itself. What is in the folder beside that is left alone.
"""

from __future__ import annotations

import posixpath
from collections.abc import Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sloth_runner.errors import BadArgument, TaskFailed
from sloth_runner.model import Outcome
from sloth_runner.modules.base import Arg, Context, Ensure, Module, Predict, Recall, Resource, Source, Want
from sloth_runner.modules.files.put import OWNERS, where
from sloth_runner.ops import ABSENT, FILE, FOLDER, LINK, Batch, Stat, Unpack

if TYPE_CHECKING:
    from sloth_runner.model import Value
    from sloth_runner.modules.base import Converged, Steps
    from sloth_runner.ops import Found, Unpacked

REMEMBERED = 2000
"""Up to so many things are remembered one by one; of a larger archive it is read again at each look."""
NAMED = 10


def archive(args: Mapping[str, Any], context: Context) -> Steps:
    """See to it that a folder holds what is in an archive."""
    dest = yield from where(args["dest"], False, context)
    fields: dict[str, object] = {"path": dest}
    if args["creates"] is not None:
        found: Found = yield Stat(args["creates"], names=False)
        if found.kind != ABSENT:
            done = yield from _folder(dest, args)
            return Outcome(
                done.action != "none", done.message or f"skipped: {args['creates']} exists", fields
            )
    digest, content = yield from _archive(args)
    _verify(args, digest)
    done = yield from _folder(dest, args)
    made = done.action != "none"
    name = f"archive:{dest}#{args['src']}"
    meaning: dict[str, Value] = {"archive": digest, **{key: args[key] for key in ("strip", "owner", "group")}}
    before: Mapping[str, Any] | None = yield Recall(name)
    if before is not None and before["meaning"] == meaning and (yield from _unchanged(dest, before, args)):
        return Outcome(made, done.message, {**fields, "entries": len(before["entries"])})
    op = Unpack(
        dest, args["src"] if args["remote"] else None, content, args["strip"], args["owner"], args["group"],
        args["max_entries"], args["max_bytes"], args["max_ratio"], look=True,
    )  # fmt: skip
    unpacked: Unpacked = yield op
    count = len(unpacked.differing)
    if count:
        makes = tuple(posixpath.join(dest, path) for path in unpacked.differing)
        message = f"would unpack {count:,} of {len(unpacked.entries):,} into {dest}"
        unknown = ("path", "entries", "unpacked")
        yield Predict(f"archive:{dest}", message, True, "they are missing or differ", makes, unknown=unknown)
        unpacked = yield op._replace(look=False)
    fields["entries"] = len(unpacked.entries)
    fields["unpacked"] = list(unpacked.differing)
    remember: tuple[str, Mapping[str, Value]] | None = None
    if len(unpacked.entries) <= REMEMBERED:
        remember = (name, {"meaning": meaning, "entries": [list(entry) for entry in unpacked.entries]})
    said = _said(unpacked.differing, dest) if count else ""
    return Outcome(made or bool(count), "; ".join(filter(None, (done.message, said))), fields, None, remember)


def _said(paths: Sequence[str], dest: str) -> str:
    what = ", ".join(paths) if len(paths) <= NAMED else f"{len(paths):,} things"
    return f"unpacked {what} into {dest}"


def _folder(dest: str, args: Mapping[str, Any]) -> Generator[Any, Any, Converged]:
    from sloth_runner.modules.files.put import attributes

    want = Want(Resource("file", dest), attributes(FOLDER, {**args, "mode": None}))
    done: tuple[Converged, ...] = yield Ensure((want,))
    return done[0]


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


def _verify(args: Mapping[str, Any], digest: str) -> None:
    wanted = args["checksum"]
    if wanted is not None and wanted != digest:
        raise TaskFailed(
            f"archive: {args['src']} has the SHA-256 {digest}, not {wanted}",
            unchanged=[args["dest"]],
            next=["it is not the archive that was meant: get it again, or correct checksum"],
        )


def _unchanged(dest: str, before: Mapping[str, Any], args: Mapping[str, Any]) -> Generator[Any, Any, bool]:
    """Whether all that was unpacked last is as it was then."""
    entries: list[list[str]] = before["entries"]
    names = args["owner"] is not None or args["group"] is not None
    ops = tuple([Stat(posixpath.join(dest, e[0]), digest=e[1] == FILE, names=names) for e in entries])
    found: Sequence[Found] = yield Batch(ops)
    return all(_is_same(entry, one, args) for entry, one in zip(entries, found, strict=True))


def _is_same(entry: Sequence[str], found: Found, args: Mapping[str, Any]) -> bool:
    _, kind, mode, detail = entry
    for wanted, number, name in (
        (args["owner"], found.uid, found.owner),
        (args["group"], found.gid, found.group),
    ):
        if wanted is not None and wanted not in (str(number), name):
            return False
    if found.kind != kind:
        return False
    if kind == LINK:
        return found.target == detail
    return f"{found.mode:04o}" == mode and (kind == FOLDER or found.digest == detail)


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
        " is refused. Modes are the archive's, without setuid, setgid and sticky, and written to only by the owner.",
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
            "unpacked": "the paths, in the folder, of those that were missing or differed",
        },
    ),
)
