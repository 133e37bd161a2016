"""Why: a folder is converged as all that is in it, in one Ensure: looks travel together, records share a commit."""

from __future__ import annotations

import posixpath
from collections.abc import Generator, Mapping, Sequence

from sloth_runner.errors import BadArgument
from sloth_runner.model import Outcome
from sloth_runner.modules.base import Ensure, Kind, Observed, Resource, Source, Told, Want
from sloth_runner.modules.files.put import attributes, where
from sloth_runner.ops import FILE, FOLDER, LINK, List, OpError, Remove, Stat
from sloth_runner.plain import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sloth_runner.modules.base import Change, Context, Converged, Look, SourceEntry, Steps
    from sloth_runner.ops import Found, Listing

NAMED = 10
"""Changes of so many resources are told one by one; of more only how many there are."""


def copy(args: Mapping[str, Any], context: Context, entries: Sequence[SourceEntry]) -> Steps:
    """A folder of the controller: what is in it; with ``purge`` nothing else."""
    if args["validate"] is not None or (args["backup"] and args["purge"]):
        raise BadArgument(
            "file.copy of a folder has no validate: that checks one file"
            if args["validate"] is not None
            else "file.copy: purge would take away what backup keeps",
            unchanged=["this call changed nothing"],
        )
    dest = yield from where(args["dest"], args["follow"], context)
    if dest == "/" and args["purge"]:
        raise BadArgument("file.copy does not purge /", unchanged=["this call changed nothing"])
    if context.is_local:
        yield from _refuse_inside(posixpath.join(context.folder, args["src"]), dest)
    wants = [_want(args, dest, entry) for entry in entries]
    done: tuple[Converged, ...] = yield Ensure(tuple(wants))
    extra: Sequence[str] = ()
    if args["purge"]:
        names = sorted(entry.path for entry in entries if entry.path)
        purge = Want(Resource("file.purge", dest, {"keep": names}), {"extra": []})
        purged: tuple[Converged, ...] = yield Ensure((purge,))
        extra = (purged[0].before or {}).get("extra", ())
    return _outcome(dest, done, extra)


def _refuse_inside(src: str, dest: str) -> Generator[Any, Any, None]:
    """Raise BadArgument if a folder would be copied into itself: each time deeper."""
    source: Found = yield Stat(posixpath.normpath(src), follow=True, names=False)
    target: Found = yield Stat(dest, follow=True, names=False)
    top, place = source.real or src, target.real or dest
    if place != top and place.startswith(top.rstrip("/") + "/"):
        raise BadArgument(
            f"file.copy: {dest} is inside the folder that is copied, {top}",
            unchanged=["this call changed nothing"],
            next=["say a dest outside of it, or a src that does not hold it"],
        )


def _want(args: Mapping[str, Any], dest: str, entry: SourceEntry) -> Want:
    source = posixpath.join(args["src"], entry.path) if entry.path else args["src"]
    resource = Resource("file", posixpath.join(dest, entry.path) if entry.path else dest)
    options: dict[str, Any] = {"inside": True} if entry.path else {}
    if entry.kind == FOLDER:
        mode = entry.mode if args["mode"] == "source" and args["dir_mode"] is None else args["dir_mode"]
        return Want(resource, attributes(FOLDER, {**args, "mode": mode}), None, options)
    if entry.kind == LINK:
        link = {**attributes(LINK, {**args, "mode": None}), "target": entry.target}
        return Want(resource, link, None, options)
    if entry.kind != FILE:
        raise BadArgument(
            f"{source} is a device, a pipe or a socket, which file.copy doesn't copy",
            unchanged=["this call changed nothing"],
        )
    mode = entry.mode if args["mode"] == "source" else args["mode"]
    options.update({"backup": True} if args["backup"] else {})
    return Want(resource, attributes(FILE, {**args, "mode": mode}), Source(source), options)


def beside(looks: Sequence[Look]) -> Generator[Any, Any, Sequence[Observed]]:
    """What is in folders beside what they are to hold; of a folder only itself."""
    found = []
    for look in looks:
        keep = {"", *look.resource.params["keep"]}
        entries = yield from below(look.resource.id)
        names = [name for name, _ in entries if name not in keep and posixpath.dirname(name) in keep]
        found.append(Observed({"extra": names}))
    return found


def purge(changes: Sequence[Change]) -> Generator[Any, Any, Sequence[Told]]:
    """Remove what is found beside; folders with all that is in them."""
    told = []
    for change in changes:
        names = (change.observed.attributes or {}).get("extra", [])
        gone = tuple([posixpath.join(change.resource.id, name) for name in names])
        for path in gone:
            yield Remove(path, recursive=True)
        told.append(Told("", "", gone=gone))
    return told


def below(folder: str) -> Generator[Any, Any, tuple[tuple[str, str], ...]]:
    """Path and kind of all that is in a folder; nothing if there is none."""
    try:
        listing: Listing = yield List(folder, recursive=True)
    except OpError as error:
        if error.kind not in ("missing", "not-folder"):
            raise
        return ()
    return listing.entries


def set_all(args: Mapping[str, Any], context: Context) -> Steps:
    """Owner, group and modes of a folder and of all that is in it now; links are left as they are."""
    if all(args[name] is None for name in ("mode", "file_mode", "owner", "group")):
        raise BadArgument(
            "file.directory: recurse needs owner, group, mode or file_mode to set",
            unchanged=["this call changed nothing"],
        )
    path = yield from where(args["path"], args["follow"], context)
    wants = [Want(Resource("file", path), attributes(FOLDER, args))]
    for name, kind in (yield from below(path)):
        own = {FOLDER: args["mode"], FILE: args["file_mode"]}
        if kind in own:
            wanted = attributes(kind, {**args, "mode": own[kind]})
            wants.append(Want(Resource("file", posixpath.join(path, name)), wanted))
    done: tuple[Converged, ...] = yield Ensure(tuple(wants))
    return _outcome(path, done)


def _outcome(path: str, done: Sequence[Converged], removed: Sequence[str] = ()) -> Outcome:
    """What became of a folder; ``removed`` are the names in it that were taken away."""
    changed = [one for one in done if one.action != "none"]
    messages = [one.message for one in changed]
    if len(changed) > NAMED:
        verbs = {"create": "created", "update": "changed"}
        counts = [(verb, sum(one.action == action for one in changed)) for action, verb in verbs.items()]
        messages = [f"{path}: " + ", ".join(f"{verb} {count:,}" for verb, count in counts if count)]
    if removed:
        more = f" and {len(removed) - NAMED:,} more" if len(removed) > NAMED else ""
        messages.append(f"removed from {path}: {', '.join(removed[:NAMED])}{more}")
    rendered = [one.resource.id for one in done if one.content is not None and b"{{" in one.content]
    gone = [posixpath.join(path, name) for name in removed]
    fields: dict[str, object] = {
        "path": path,
        "changed_paths": [*(one.resource.id for one in changed), *gone],
    }
    if rendered:
        warning = f"{rendered[0]} holds '{{{{': file.copy does not render; file.template does"
        fields["warnings"] = [warning]
        messages.append(warning)
    diffs = [one.diff for one in changed if one.diff] + [f"--- {name}\n+++ /dev/null" for name in gone]
    return Outcome(
        bool(changed or gone), "; ".join(filter(None, messages)), fields, _capped("\n".join(diffs))
    )


def _capped(diff: str) -> str | None:
    from sloth_runner.modules.difference import LIMIT

    return (diff if len(diff) <= LIMIT else f"{diff[:LIMIT]}\n… the rest is left out") or None


KINDS = (
    Kind(
        "file.purge",
        "a folder: extra, what is in it beside what was put there",
        beside,
        purge,
        undo=False,
        lists="extra",
    ),
)
