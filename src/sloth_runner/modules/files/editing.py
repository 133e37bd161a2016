"""Why: a line, a block, a key are resources that live inside a file; looking at them and changing them differs only
in what is read out of the text and how the text is edited.

An ``Editor`` says those two things of one kind; ``kind`` makes the Kind. ``params["path"]`` names the file, a regular
one: what a symbolic link leads to is edited only when the caller has resolved it. Everything that is not edited stays
byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from posixpath import dirname

from sloth_runner.errors import TaskFailed
from sloth_runner.modules.base import Change, Kind, Look, Observed, Told
from sloth_runner.modules.difference import difference
from sloth_runner.modules.files import guard
from sloth_runner.modules.files.kind import (
    folders_above,
    make_above,
    making,
    real_folder,
    refuse_blocked,
    remove_made,
)
from sloth_runner.ops import ABSENT, FILE, FOLDER, LINK, Batch, OpError, Read, Remove, Stat
from sloth_runner.plain import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from sloth_runner.modules.base import Attributes
    from sloth_runner.ops import Content, Found

LIMIT = 16 << 20
"""Bytes that a file may have to be edited."""


class Editor(NamedTuple):
    """How one kind of resource is read out of a text, and edited.

    ``read`` gives its attributes (None: it isn't there) and what undoing needs beside. ``edit`` gives the new text
    for a Change. Both raise TaskFailed for a text in which that can't be done.
    """

    name: str
    doc: str
    read: Callable[[str, Mapping[str, Any]], tuple[Attributes | None, dict[str, Any]]]
    edit: Callable[[str, Change], str]
    undo: bool = True


def kind(editor: Editor) -> Kind:
    """The Kind of resources that ``editor`` edits."""

    def observe(looks: Sequence[Look]) -> Generator[Any, Any, Sequence[Observed]]:
        texts = yield from _texts(sorted({str(look.resource.params["path"]) for look in looks}))
        folders = yield from _folders(looks)
        known: dict[str, dict[str, Any]] = {}
        above = {}
        for path, text in texts.items():
            above[path] = {} if text is not None else (yield from folders_above(path, known, folders))
        out = []
        for look in looks:
            path = str(look.resource.params["path"])
            out.append(_observed(editor, look, texts[path], {**real_folder(look, folders), **above[path]}))
        return out

    def converge(changes: Sequence[Change]) -> Generator[Any, Any, Sequence[Told]]:
        notes = []
        for change in changes:
            path = str(change.resource.params["path"])
            notes.append((yield from guard.undisturbed(path, partial(_change, editor, change))))
        return notes

    return Kind(editor.name, editor.doc, observe, converge, undo=editor.undo, part=True)


def _folders(looks: Sequence[Look]) -> Generator[Any, Any, Mapping[str, Found]]:
    """The folders of files that are looked at whole."""
    paths = sorted({dirname(str(look.resource.params["path"])) for look in looks if look.keys is None})
    if not paths:
        return {}
    found: Sequence[Found] = yield Batch(tuple([Stat(path, follow=True, names=False) for path in paths]))
    return dict(zip(paths, found, strict=True))


def _observed(editor: Editor, look: Look, text: str | None, more: Mapping[str, Any]) -> Observed:
    """``extra["file"]`` says that there was no file, or nothing in it: undone, it is to be so again. ``more`` is what
    is to be known of the folders above."""
    attributes, extra = editor.read(text or "", look.resource.params)
    extra.update(more)
    if not text:
        extra["file"] = "missing" if text is None else "empty"
    return Observed(attributes, extra)


def _texts(paths: Sequence[str]) -> Generator[Any, Any, dict[str, str | None]]:
    if len(paths) == 1:
        return {paths[0]: (yield from load(paths[0]))}
    found: Sequence[Found] = yield Batch(tuple([Stat(path, names=False) for path in paths]))
    there = [path for path, one in zip(paths, found, strict=True) if _is_file(path, one)]
    try:
        read: Sequence[Content] = yield Batch(tuple([Read(path, LIMIT) for path in there]))
    except OpError as error:
        raise _unreadable(error) from error
    texts: dict[str, str | None] = dict.fromkeys(paths)
    for path, content in zip(there, read, strict=True):
        texts[path] = content.data.decode("utf-8", "surrogateescape")
    return texts


def load(path: str) -> Generator[Any, Any, str | None]:
    """The text of one file; None if there is none. Raises as looking does."""
    _, data = yield from _content(path)
    return None if data is None else data.decode("utf-8", "surrogateescape")


def _content(path: str) -> Generator[Any, Any, tuple[Found, bytes | None]]:
    """One file and what is in it (None: there is no file), in one question. Raises as looking does."""
    found: Found
    read: Content
    try:
        found, read = yield Batch((Stat(path, names=False), Read(path, LIMIT)))
    except OpError as error:
        if not error.results:
            raise
        found = error.results[0]  # type: ignore[assignment] # a Stat is answered so
        if not _is_file(path, found):
            return found, None
        raise _unreadable(error) from error
    return (found, read.data) if _is_file(path, found) else (found, None)


def _is_file(path: str, found: Found) -> bool:
    if found.kind in (FILE, ABSENT):
        return found.kind == FILE
    if found.kind == LINK:
        raise TaskFailed(
            f"{path} is a symbolic link to {found.target}, not a file",
            unchanged=[path],
            next=["follow = true acts on what the link leads to"],
        )
    what = "a folder" if found.kind == FOLDER else "a device, a pipe or a socket"
    raise TaskFailed(f"{path} is {what}, not a file", unchanged=[path])


def _unreadable(error: OpError) -> Exception:
    if error.kind != "too-large":
        return error
    return TaskFailed(
        f"{error.path} has more than {LIMIT >> 20} MiB, and is not edited", unchanged=[error.path]
    )


def _change(editor: Editor, change: Change) -> Generator[Any, Any, Told]:
    path = str(change.resource.params["path"])
    found, old = yield from _content(path)
    if old is None:
        if not change.options.get("create"):
            raise TaskFailed(
                f"there is no file {path}",
                unchanged=[path],
                next=["create = true makes it", "file.directory and file.write make what is above and in it"],
            )
        refuse_blocked(change, path)
    text = editor.edit((old or b"").decode("utf-8", "surrogateescape"), change)
    new = text.encode("utf-8", "surrogateescape")
    if not new and change.wanted is None and change.extra.get("file") == "missing":
        yield Remove(path, over=guard.over(old))
        yield from remove_made(change.extra)
        removed = "would remove" if change.dry else "removed"
        return Told(f"{removed} {path}, which had been made for it", difference(path, old, None))
    if new == old:
        return Told("", "")
    from hashlib import sha256

    attributes, made = None, ""
    if old is None:
        above = yield from make_above(change)
        made = "; ".join(filter(None, (above, f"{making(change)} {path}")))
    else:
        attributes = {"type": FILE, "mode": f"{found.mode:04o}", "uid": found.uid, "gid": found.gid}
    over = guard.over(old)
    note = yield from guard.put(path, new, attributes, change.options, dry=change.dry, over=over)
    told = "; ".join(filter(None, (made, note)))
    return Told(told, difference(path, old, new), sha256(new).hexdigest())
