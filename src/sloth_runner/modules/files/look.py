"""Why: a task asks what a file on the target is like, or takes it here."""

from __future__ import annotations

from collections.abc import Mapping

from sloth_runner.errors import BadArgument, FileMissing, TaskFailed
from sloth_runner.model import Outcome
from sloth_runner.modules.base import Arg, Context, Deliver, Module, Predict, Source
from sloth_runner.modules.files.put import FOLLOW, where
from sloth_runner.ops import ABSENT, FILE, FOLDER, LINK, OpError, Read, Stat
from sloth_runner.plain import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sloth_runner.modules.base import Steps
    from sloth_runner.ops import Content, Found

LIMIT = 256 << 20
"""Bytes of a file that are carried from a target to here."""


def stat(args: Mapping[str, Any], context: Context) -> Steps:
    """What a path names. In a plan, what is not known before it is done is told as unknown."""
    yield from where(args["path"], False, context)
    found: Found = yield Stat(args["path"], digest=args["checksum"], follow=args["follow"])
    if found.kind == ABSENT:
        return Outcome(False, "", {"exists": False, "path": args["path"]})
    fields: dict[str, object] = {
        "exists": True,
        "path": found.real or args["path"],
        "type": found.kind,
        "mode": f"{found.mode:04o}",
        "owner": found.owner,
        "group": found.group,
        "uid": found.uid,
        "gid": found.gid,
        "size": found.size,
        "modified": found.modified,
    }
    fields.update({"target": found.target} if found.kind == LINK else {})
    fields.update({"checksum": found.digest} if found.digest is not None else {})
    unknown = [name for name in ("uid", "gid", "modified") if fields[name] == -1]
    unknown += [name for name in ("owner", "group") if not fields[name]]
    return Outcome(False, "", {k: v for k, v in fields.items() if k not in unknown}, unknown=tuple(unknown))


def checksum(args: Mapping[str, Any], context: Context) -> Steps:
    """The digest of a file's content."""
    path = yield from where(args["path"], args["follow"], context)
    found: Found = yield Stat(path, digest=args["algorithm"] == "sha256", names=False)
    if found.kind != FILE:
        raise _no_file("file.checksum", path, found)
    digest = found.digest
    if digest is None:
        import hashlib

        content: Content = yield Read(path, LIMIT)
        digest = hashlib.new(args["algorithm"], content.data, usedforsecurity=False).hexdigest()
    return Outcome(False, "", {"path": path, "checksum": digest, "size": found.size})


def _no_file(name: str, path: str, found: Found) -> TaskFailed:
    if found.kind == ABSENT:
        return TaskFailed(f"{name}: there is no file {path}", unchanged=["this call changed nothing"])
    words = {FOLDER: "a folder", LINK: f"a symbolic link to {found.target}"}
    what = words.get(found.kind, "a device, a pipe or a socket") + (
        "" if found.kind == LINK else ", not a file"
    )
    return TaskFailed(
        f"{name}: {path} is {what}",
        unchanged=["this call changed nothing"],
        next=["follow = true acts on what the link leads to"] if found.kind == LINK else [],
    )


def fetch(args: Mapping[str, Any], context: Context) -> Steps:
    """A file of the target, put on this machine."""
    src = yield from where(args["src"], args["follow"], context)
    dest = args["dest"]
    found: Found = yield Stat(src, names=False)
    if found.kind != FILE:
        raise _no_file("file.fetch", src, found)
    try:
        content: Content = yield Read(src, LIMIT)
    except OpError as error:
        if error.kind != "too-large":
            raise
        raise TaskFailed(
            f"{src} has more than {LIMIT >> 20} MiB, which modules don't carry", unchanged=[f"{dest} (here)"]
        ) from error
    try:
        here: bytes | None = yield Source(dest)
    except FileMissing:
        here = None
    except BadArgument as error:
        raise BadArgument(
            f"file.fetch: dest is one file on this machine, and {dest} is something else",
            system=error.message,
        ) from error
    from hashlib import sha256

    fields = {"path": dest, "checksum": sha256(content.data).hexdigest(), "size": len(content.data)}
    if here == content.data:
        return Outcome(False, "", fields)
    yield Predict(f"fetch:{src}", f"would write {dest} here", True, "", unknown=tuple(fields))
    yield Deliver(dest, content.data, args["mode"])
    return Outcome(True, f"{'made' if here is None else 'updated'} {dest} here, from {src}", fields)


_TARGET = Arg("path", "path", "its absolute path on the target", required=True)
MODULES = (
    Module(
        "file.stat",
        stat,
        (
            _TARGET,
            FOLLOW,
            Arg("checksum", "boolean", "also the SHA-256 of a file", default=False),
        ),
        "Looks at a file, folder or link, and changes nothing.",
        positional="path",
        returns={
            "exists": "whether there is something",
            "path": "the path; with follow the one without links",
            "type": '"file", "folder", "link" or "other"',
            "mode": 'permissions as octal text, "0644"',
            "owner": "whom it belongs to, a name; a number if it has none",
            "group": "its group, likewise",
            "uid": "the number of its owner",
            "gid": "the number of its group",
            "size": "its size in bytes",
            "modified": "when it was last modified, in seconds since the epoch",
            "target": "where a link leads",
            "checksum": "SHA-256 in hexadecimal, if that was asked for and it is a file",
        },
    ),
    Module(
        "file.checksum",
        checksum,
        (
            _TARGET,
            Arg("algorithm", "digest", '"sha256", "sha512", "sha1" or "md5"', default="sha256"),
            FOLLOW,
        ),
        "Computes the checksum of a file, and changes nothing.",
        positional="path",
        returns={"path": "the file", "checksum": "the digest in hexadecimal", "size": "bytes"},
    ),
    Module(
        "file.fetch",
        fetch,
        (
            Arg("src", "file path", "the file's absolute path on the target", required=True),
            Arg("dest", "line", "where to put it on this machine, relative to the task file", required=True),
            Arg("mode", "mode", 'permissions of a file that is written here, "0644"', default=0o644),
            FOLLOW,
        ),
        "Copies a file of the target to this machine, byte for byte.",
        refused={"owner": "it belongs to who runs sloth-runner", "group": "as owner"},
        returns={"path": "dest", "checksum": "SHA-256 of the content", "size": "bytes"},
    ),
)
