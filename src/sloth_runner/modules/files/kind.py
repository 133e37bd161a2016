"""Why: files, folders and links are one kind of resource, "file": a path, and what is there.

Attributes: ``type`` (file, folder, link), ``content`` (SHA-256), ``mode`` ("0644"), ``owner`` and ``group`` (names)
or ``uid`` and ``gid``, ``target`` of a link. Missing folders above a path are made, 0755, and taken away again when
that is undone, if nothing else is in them.
"""

from __future__ import annotations

import posixpath
from collections.abc import Generator, Mapping, Sequence

from sloth_runner.errors import Conflict, TaskFailed
from sloth_runner.modules.base import Change, Kind, Look, Observed, Resource, each_alone
from sloth_runner.modules.files.guard import put
from sloth_runner.modules.files.masks import mode_said
from sloth_runner.modules.files.together import together
from sloth_runner.ops import (
    ABSENT,
    FILE,
    FOLDER,
    LINK,
    Batch,
    MakeDir,
    MakeLink,
    OpError,
    Read,
    Remove,
    SetAttrs,
    Stat,
)
from sloth_runner.plain import TYPE_CHECKING, Any
from sloth_runner.state.ledger_records import KEPT_CONTENT

if TYPE_CHECKING:
    from sloth_runner.modules.base import Attributes
    from sloth_runner.ops import Content, Done, Fetch, Fetched, Found

NAMES = frozenset({"owner", "group"})


def observe(looks: Sequence[Look]) -> Generator[Any, Any, Sequence[Observed]]:
    """One look at all of them; those that are missing have as ``extra`` what is to be known of the folders above, up
    to a folder that is one of them. A whole look also tells where links on the way to it lead (``real``)."""
    whole = dict.fromkeys(posixpath.dirname(look.resource.id) for look in looks if look.keys is None)
    stats = [
        Stat(
            look.resource.id,
            look.keys is None or "content" in look.keys,
            False,
            look.known,
            look.keys is None or not look.keys.isdisjoint(NAMES),
        )
        for look in looks
    ]
    stats += [Stat(folder, follow=True, names=False) for folder in whole]
    results: Sequence[Found] = (yield Batch(tuple(stats))) if len(stats) > 1 else ((yield stats[0]),)
    folders = dict(zip(whole, results[len(looks) :], strict=True))
    out = []
    above: dict[str, dict[str, Any]] = {look.resource.id: {} for look in looks} if len(looks) > 1 else {}
    for look, found in zip(looks, results, strict=False):
        extra: dict[str, Any] = real_folder(look, folders)
        if found.kind == ABSENT:
            out.append(
                Observed(None, {**extra, **(yield from folders_above(look.resource.id, above, folders))})
            )
        else:
            out.append(_observed(found, extra))
    return out


def real_folder(look: Look, folders: Mapping[str, Found]) -> dict[str, Any]:
    """``real``: the folder that something is in, if links lead there; undoing must not follow others."""
    folder = posixpath.dirname(str(look.resource.params.get("path", look.resource.id)))
    real = folders[folder].real if look.keys is None else None
    return {} if real in (None, folder) else {"real": real}


def _observed(found: Found, extra: Attributes) -> Observed:
    attributes: dict[str, Any] = {"type": found.kind, "uid": found.uid, "gid": found.gid}
    if found.owner:
        attributes["owner"], attributes["group"] = found.owner, found.group
    if found.kind == LINK:
        attributes["target"] = found.target
    else:
        attributes["mode"] = f"{found.mode:04o}"
    known = None
    if found.digest is not None:
        attributes["content"] = found.digest
        known = None if found.stamp is None else (found.stamp, found.digest)
    return Observed(attributes, extra, known)


def folders_above(
    path: str, known: dict[str, dict[str, Any]], folders: Mapping[str, Found]
) -> Generator[Any, Any, dict[str, Any]]:
    """What is to be known of the folders above a path, for ``extra``: those that are ``missing``; or why nothing can
    be put there (``blocked``). ``known`` says it of folders that are resources, ``folders`` where others lead."""
    first = folder = posixpath.dirname(path)
    extra: dict[str, Any] = {}
    missing: list[str] = []
    while folder != "/":
        if folder in known:
            extra = known[folder]
            break
        if folder not in folders:
            looks = (Stat(folder, follow=True, names=False), Stat(folder, names=False))
            end, own = yield Batch(looks)
        else:
            end = own = folders[folder]
            if end.kind != FOLDER:
                own = yield Stat(folder, names=False)
        # Its own kind was asked for later: others may have made it just now.
        if FOLDER in (end.kind, own.kind):
            break
        if end.kind != ABSENT or own.kind != ABSENT:
            extra = {"blocked": _why_no_folder(folder, end, own)}
            break
        missing.insert(0, folder)
        folder = posixpath.dirname(folder)
    if missing and "blocked" not in extra:
        extra = {"missing": [*extra.get("missing", ()), *missing]}
    known.setdefault(first, extra)
    return extra


def _why_no_folder(path: str, end: Found, own: Found) -> str:
    if own.kind == LINK and end.kind == ABSENT:
        return f"{path} is a symbolic link to {own.target}, where there is nothing"
    return f"{path} is no folder"


def converge(changes: Sequence[Change]) -> Generator[Any, Any, Sequence[str]]:
    """Make, change or remove each, if nothing stands in the way of any."""
    for change in changes:
        if change.wanted is not None:
            refuse_blocked(change, change.resource.id)
            _refuse_other(change, change.wanted)
    parts = [
        (change.resource.id, _remove(change) if change.wanted is None else _put(change, change.wanted))
        for change in changes
    ]
    return (yield from together(parts))


def refuse_blocked(change: Change, path: str) -> None:
    """Raise TaskFailed if no folder can be where ``path`` is to be put."""
    blocked = change.observed.extra.get("blocked")
    if blocked:
        raise TaskFailed(f"{blocked}, so {path} can't be in it", unchanged=[path])


def _refuse_other(change: Change, wanted: Attributes) -> None:
    """Raise TaskFailed if what is there is of another type, and can't give way."""
    before = change.observed.attributes
    if before is not None and before["type"] != wanted["type"] and not _may_replace(change, before, wanted):
        raise _in_the_way(change, before, wanted)


def _remove(change: Change) -> Generator[Any, Any, str]:
    path = change.resource.id
    try:
        yield Remove(path, bool(change.options.get("recursive")))
    except OpError as error:
        if error.kind == "mount" and change.options.get("undo"):
            raise Conflict(error.reason, keys=[path]) from error
        if error.kind != "not-empty":
            raise
        if change.options.get("undo"):
            raise Conflict("other things are in it", keys=[path]) from error
        raise TaskFailed(
            f"{path} is a folder that is not empty",
            unchanged=[path],
            next=["recursive = true removes it with all that is in it"],
        ) from error
    if change.options.get("undo"):
        yield from remove_made(change.extra)
    return ""


def remove_made(extra: Attributes) -> Generator[Any, Any, None]:
    """Folders that were made for it go too, the deepest first, as long as they are empty."""
    made = extra.get("missing")
    for folder in reversed(made if isinstance(made, list) else []):
        there: Found = yield Stat(str(folder), names=False)
        if there.kind not in (FOLDER, ABSENT):  # a link of others stands there now
            return
        try:
            yield Remove(str(folder))
        except OpError as error:
            if error.kind not in ("not-empty", "not-folder", "denied", "read-only", "mount", "flagged"):
                raise
            return


def _put(change: Change, wanted: Attributes) -> Generator[Any, Any, str]:
    path, before = change.resource.id, change.observed.attributes
    above = (yield from make_above(change)) if before is None else ""
    owner, group = _owners(wanted)
    mode = int(str(wanted["mode"]), 8) if "mode" in wanted else None
    note = ""
    if wanted["type"] == FOLDER and before is None:
        done: Done = yield MakeDir(path, 0o755 if mode is None else mode, owner, group)
        if not done.changed:  # someone else made it just now
            yield SetAttrs(path, mode, owner, group)
    elif wanted["type"] == LINK:
        yield MakeLink(path, str(wanted["target"]), owner, group)
    elif before is not None and before["type"] != LINK and not change.differing & {"content", "present"}:
        yield SetAttrs(path, mode, owner, group)
    elif change.content is None and change.options.get("fetch") is not None:
        yield from _fetch(change, mode, owner, group)
    else:
        content = _new_content(change)
        if mode is None and before is not None and before["type"] == FILE:
            mode = int(str(before["mode"]), 8)
        note = yield from put(path, content, before, change.options, (mode, owner, group), dry=change.dry)
    return "; ".join(filter(None, (above, note)))


def _may_replace(change: Change, before: Attributes, wanted: Attributes) -> bool:
    """Whether another type of thing may give way: a link to a file, and with ``replace`` a file to a link. What
    a user put aside for us comes back in the same manner."""
    if before["type"] == LINK:
        return bool(wanted["type"] == FILE and not change.options.get("touch"))
    asked = change.options.get("replace") or change.options.get("undo")
    return bool(asked and before["type"] == FILE and wanted["type"] == LINK)


def _new_content(change: Change) -> bytes:
    """The content to write; nothing for a file that is only to be there (``file.touch``)."""
    if change.content is not None or change.options.get("touch"):
        return change.content or b""
    raise TaskFailed(
        f"{change.resource.id} is gone, and what was in it is not known", unchanged=[change.resource.id]
    )


def _fetch(
    change: Change, mode: int | None, owner: str | None, group: str | None
) -> Generator[Any, Any, None]:
    """Content that the machine fetches itself, by the request in option ``fetch``."""
    request: Fetch = change.options["fetch"]
    path, before = change.resource.id, change.observed.attributes
    if before is not None and before["type"] == FILE and mode is None:
        mode = int(str(before["mode"]), 8)
    answer: Fetched = yield request._replace(mode=mode, owner=owner, group=group)
    if not 200 <= answer.status < 300:
        raise TaskFailed(
            f"{request.label}: the server answered {answer.status} {answer.reason}".rstrip(), unchanged=[path]
        )


def make_above(change: Change) -> Generator[Any, Any, str]:
    """Make the folders above it that are missing; a note of them."""
    missing = change.observed.extra.get("missing")
    made = []
    for folder in missing if isinstance(missing, list) else []:
        done: Done = yield MakeDir(str(folder), 0o755)
        if done.changed:
            made.append(str(folder))
    doubt = f", unless {change.doubt} makes them before" if change.doubt else ""
    return f"{making(change)} the folders above it: {', '.join(made)} (0755){doubt}" if made else ""


def making(change: Change) -> str:
    """The word for what a change brings with it; a plan says what it would bring."""
    return "would make" if change.dry else "made"


def _owners(wanted: Attributes) -> tuple[str | None, str | None]:
    owner = wanted.get("owner", wanted.get("uid"))
    group = wanted.get("group", wanted.get("gid"))
    return None if owner is None else str(owner), None if group is None else str(group)


def _in_the_way(change: Change, before: Attributes, wanted: Attributes) -> TaskFailed:
    path, kind = change.resource.id, str(wanted["type"])
    name = posixpath.basename(str(wanted.get("target", ""))) or str(change.options.get("name", "…"))
    argument = "path" if kind == LINK or change.options.get("touch") else "dest"
    words = {
        FILE: "a file",
        FOLDER: "a folder",
        LINK: f"a symbolic link to {before.get('target')}",
    }
    away = f'remove it first, if it need not stay: file.absent("{path}")'
    advice = {
        LINK: [away if change.options.get("inside") else "follow = true acts on what the link leads to"],
        FILE: [away],
        FOLDER: [f'name the {kind} in it: {argument} = "{posixpath.join(path, name)}"'],
    }
    if change.options.get("inside"):  # nobody has named it
        whole = f'file.absent({{ path = "{path}", recursive = true }})'
        advice[FOLDER] = [f"remove it first, if neither it nor what is in it need stay: {whole}"]
    have = str(before["type"])
    if (have, kind) == (FILE, LINK):
        advice[FILE] = ["replace = true puts the link in its place"]
    return TaskFailed(
        f"{path} is {words.get(have, 'a device, a pipe or a socket')}, not a {kind}",
        unchanged=[path],
        next=advice.get(have, []),
    )


def content(resource: Resource) -> Generator[Any, Any, bytes | None]:
    """The content of a file of up to 1 MiB."""
    try:
        read: Content = yield Read(resource.id, KEPT_CONTENT)
    except OpError as error:
        if error.kind in ("too-large", "missing", "not-file", "link", "folder"):
            return None
        raise
    return read.data


def ownership(owner: str | None, group: str | None) -> dict[str, Any]:
    """Attributes for owner and group as a task file gives them: names, or numbers written as text."""
    wanted: dict[str, Any] = {}
    for name, number, given in (("owner", "uid", owner), ("group", "gid", group)):
        if given is not None:
            wanted[number if given.isdigit() else name] = int(given) if given.isdigit() else given
    return wanted


KIND = Kind(
    "file",
    "a path and what is there: type, content, mode, owner, group, target",
    observe,
    converge,
    content,
    apart=each_alone("content", "mode", "owner uid", "group gid"),
    said=mode_said,
)
