"""Why: who may do what with a file or folder that is there already is set apart from what is in it: mode, owner,
group, and the entries of its access control list, each a resource of its own that can be taken back.

Attributes of kind "file.acl" (``path#user:NAME``, ``path#default:group:NAME``): ``permissions``, such as "rw-", and,
but for defaults, what of them is ``effective``. Where there is an ACL, the group's digit of the mode is its mask: it
limits named users and groups (acl(5)), so that a mode that is set later may take away what an entry gives.
"""

from __future__ import annotations

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
    Resource,
    Want,
)
from sloth_runner.modules.files.masks import beyond, entries_said, letters
from sloth_runner.modules.files.put import FOLLOW, MODE, OWNERS, where
from sloth_runner.modules.files.put import attributes as asked
from sloth_runner.ops import ABSENT, FILE, FOLDER, LINK, Batch, Exec, OpError, Stat
from sloth_runner.plain import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sloth_runner.modules.base import Converged, Steps
    from sloth_runner.ops import Found, Ran

ENV = {"LC_ALL": "C"}
MASK = "mask:"


def attributes(args: Mapping[str, Any], context: Context) -> Steps:
    """Mode, owner, group and ACL of what is there."""
    if all(args[name] is None for name in ("mode", "owner", "group", "acl")):
        raise BadArgument(
            "file.attributes needs mode, owner, group or acl", unchanged=["this call changed nothing"]
        )
    mask = _mask(args["mode"], args["acl"] or {})
    path = yield from where(args["path"], args["follow"], context)
    found: Found = yield Stat(path, names=False)
    if found.kind not in (FILE, FOLDER):
        raise _not_fit(path, found)
    own = Want(Resource("file", path), asked(found.kind, args), None, {"acl": args["acl"] or {}})
    done: tuple[Converged, ...] = yield Ensure((own,))
    entries = []
    for entry, permissions in sorted((args["acl"] or {}).items()):
        if entry.startswith("default:") and found.kind != FOLDER:
            raise BadArgument(f"file.attributes: {path} is a file, and only folders have {entry}")
        resource = Resource("file.acl", f"{path}#{entry}", {"path": path, "entry": entry})
        wanted = None if permissions is None else {"permissions": permissions}
        if wanted is not None and not entry.startswith("default:"):
            wanted["effective"] = permissions
        entries.append(Want(resource, wanted, None, {"mask": mask} if mask is not None else {}))
    if entries:
        done = (*done, *(yield Ensure(tuple(entries))))
    changed = [one for one in done if one.action != "none"]
    return Outcome(bool(changed), "; ".join(one.message for one in changed), {"path": path})


def _both(permissions: str, mask: str) -> str:
    return "".join(letter if letter in mask else "-" for letter in permissions)


def _mask(mode: int | None, acl: Mapping[str, str | None]) -> str | None:
    """The mask that ``mode`` sets. Raises BadArgument if it would take away what an entry gives."""
    if mode is None or not acl:
        return None
    mask = letters(mode >> 3)
    for entry, permissions in acl.items():
        if beyond(entry, permissions, mask):
            raise BadArgument(
                f"file.attributes: {entry} would not get {permissions}: the group's digit of mode {mode:04o} "
                f"({mask}) is the most that an ACL can give",
                unchanged=["this call changed nothing"],
                next=["give the group's digit of mode more, or leave mode out"],
            )
    return mask


def _not_fit(path: str, found: Found) -> TaskFailed:
    if found.kind == ABSENT:
        return TaskFailed(
            f"there is nothing at {path}",
            unchanged=[path],
            next=["make it first: file.directory, file.write, …"],
        )
    what = f"a symbolic link to {found.target}" if found.kind == LINK else "a device, a pipe or a socket"
    return TaskFailed(
        f"{path} is {what}, whose attributes are not set",
        unchanged=[path],
        next=["follow = true acts on what the link leads to"] if found.kind == LINK else [],
    )


def observe(looks: Sequence[Look]) -> Generator[Any, Any, Sequence[Observed]]:
    """The entries of all files concerned, by one command; ``extra["bare"]``: there is no list of that sort yet."""
    paths = sorted({str(look.resource.params["path"]) for look in looks})
    numbers = any(_name(look).isdigit() for look in looks)
    lists = yield from _lists(paths, numbers=numbers)
    found = []
    for look in looks:
        entry = str(look.resource.params["entry"])
        acl = lists.get(str(look.resource.params["path"]), {})
        default = entry.startswith("default:")
        bare = not any(name.startswith("default:") is default and name[-1] != ":" for name in acl)
        bare = bare and not (default and "default:user:" in acl)
        attributes = {"permissions": acl[entry]} if entry in acl else None
        if attributes is not None and not default:
            attributes["effective"] = _both(acl[entry], acl[MASK])
        found.append(Observed(attributes, {"bare": True} if bare else {}))
    return found


def _name(look: Look) -> str:
    return str(look.resource.params["entry"]).rsplit(":", 1)[1]


def _lists(paths: Sequence[str], *, numbers: bool) -> Generator[Any, Any, dict[str, dict[str, str]]]:
    """The ACL of each path that is a file or a folder: permissions by entry, MASK too (in a plan that of a mode that
    would be set). With ``numbers`` also by numbers of users and groups."""
    stats: Sequence[Found] = yield Batch(tuple([Stat(path, names=False) for path in paths]))
    there = [path for path, found in zip(paths, stats, strict=True) if found.kind in (FILE, FOLDER)]
    lists: dict[str, dict[str, str]] = {path: {} for path in there}
    for how in ((), ("--numeric",)) if numbers else ((),):
        for path in there:
            text = yield from _getfacl(path, how)
            lists[path].update(_entries(text))
    for path, found in zip(paths, stats, strict=True):
        if path in lists:
            lists[path][MASK] = letters(found.mode >> 3)
    return lists


def _getfacl(path: str, how: tuple[str, ...]) -> Generator[Any, Any, str]:
    argv = ("getfacl", "--absolute-names", "--omit-header", "--no-effective", *how, "--", path)
    try:
        ran: Ran = yield Exec(f"getfacl of {path}", argv, cwd="/", env=ENV, mutating=False, quiet=True)
    except OpError as error:
        raise _not_installed(error, path) from error
    said = ran.stderr.decode("utf-8", "replace").strip()
    if ran.exit_code and "No such file" not in said:  # a plan may know of a file that is not there yet
        raise TaskFailed(f"the ACL of {path} can't be read: {said}", system=said, unchanged=[path])
    return ran.stdout.decode("utf-8", "surrogateescape")


def _entries(text: str) -> dict[str, str]:
    """``user:bob:rw-`` in lines, as permissions by ``user:bob``."""
    pairs = [line.split("\t")[0].rsplit(":", 1) for line in text.splitlines() if ":" in line]
    return {entry: permissions.strip() for entry, permissions in pairs}


def _not_installed(error: OpError, path: str) -> Exception:
    if error.kind != "not-found":
        return error
    return TaskFailed(
        f"{error.path} is not installed there, and ACLs need it",
        system=error.reason,
        unchanged=[path],
        next=['install it: pkg({ name = "acl" })'],
    )


def converge(changes: Sequence[Change]) -> Generator[Any, Any, Sequence[str]]:
    """Set or remove each entry; a list that is empty again and had been made for it goes too."""
    notes = []
    for change in changes:
        path = str(change.resource.params["path"])
        before: Found = yield Stat(path, names=False)
        yield from _converge(change)
        after: Found = yield Stat(path, names=False)
        modes = f"mode {before.mode:04o} → {after.mode:04o}"
        told = f"{modes}, as the ACL needs it: a call that sets its mode must say so"
        notes.append(told if change.wanted is not None and after.mode != before.mode else "")
    return notes


def _converge(change: Change) -> Generator[Any, Any, None]:
    path, entry = str(change.resource.params["path"]), str(change.resource.params["entry"])
    if change.wanted is not None:
        words = f"{entry}:{change.wanted['permissions']}"
        if "mask" in change.options and not entry.startswith("default:"):
            words += f",mask::{change.options['mask']}"
        yield from _setfacl(path, "--modify", words)
        return
    yield from _setfacl(path, "--remove", entry)
    if change.extra.get("bare"):
        acl = (yield from _lists([path], numbers=False)).get(path, {})
        default = "default:" if entry.startswith("default:") else ""
        own = [name for name in acl if name.startswith("default:") is bool(default)]
        if not any(name[-1] != ":" for name in own):
            yield from _setfacl(path, *(("--remove-default",) if default else ("--remove", "mask::")))


def _setfacl(path: str, *how: str) -> Generator[Any, Any, None]:
    try:
        ran: Ran = yield Exec(
            f"setfacl {' '.join(how)} of {path}", ("setfacl", *how, "--", path), cwd="/", env=ENV
        )
    except OpError as error:
        raise _not_installed(error, path) from error
    if ran.exit_code:
        said = ran.stderr.decode("utf-8", "replace").strip()
        hint = ["make the user or group first"] if "Invalid argument" in said else []
        raise TaskFailed(f"the ACL of {path} can't be set ({' '.join(how)}): {said}", system=said, next=hint)


KINDS = (
    Kind(
        "file.acl",
        "an entry of an ACL: permissions, such as rw-, and what of them is effective: a mode that is set later may"
        " take them away, since its digit for the group is the most that named users and groups get",
        observe,
        converge,
        said=entries_said,
        derived=frozenset({"effective"}),
    ),
)
MODULES = (
    Module(
        "file.attributes",
        attributes,
        (
            Arg("path", "path", "the file or folder, an absolute path on the target", required=True),
            MODE,
            *OWNERS,
            Arg(
                "acl",
                "acl",
                'entries of the ACL: { ["user:ann"] = "rw", ["default:group:dev"] = "rx", ["user:bob"] = false };'
                " false: no such entry; others stay",
            ),
            FOLLOW,
        ),
        "Sets mode, owner, group and ACL of a file or folder that is there.",
        refused={"recurse": "file.directory has recurse", "dest": "say path = …"},
        returns={"path": "the file or folder"},
    ),
)
