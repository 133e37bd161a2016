"""Why: who may come in with which key, and which machines are who they say: lines in files of keys.

Keys are given in the task file; none is fetched from a machine that can't prove yet who it is.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Generator, Mapping, Sequence

from sloth_runner.errors import BadArgument, TaskFailed
from sloth_runner.modules.base import (
    PRESENCE,
    Arg,
    Change,
    Context,
    Kind,
    Look,
    Module,
    Observed,
    Resource,
    Want,
    one_by_one,
)  # fmt: skip
from sloth_runner.modules.system.steps import (
    alone,
    edit_lines,
    lines_of,
    missing_above,
    remove_empty,
    replaced,
    text_of,
)
from sloth_runner.modules.system.types import KEY_TYPES, PublicKey
from sloth_runner.ops import ABSENT, FOLDER, LINK, MakeDir, Stat
from sloth_runner.plain import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from sloth_runner.modules.base import Attributes, Steps
    from sloth_runner.ops import Found

GLOBAL = "/etc/ssh/ssh_known_hosts"


class Line(NamedTuple):
    """A line of an authorized_keys file. ``options`` is "" without any."""

    options: str
    type: str
    blob: str
    comment: str


def parse(text: str) -> Line | None:
    """A line's parts; None if it names no key. Options hold blanks only within quotes (sshd(8), AUTHORIZED_KEYS)."""
    text = text.strip()
    if not text or text.startswith("#"):
        return None
    options, rest = "", text
    if text.split(None, 1)[0] not in KEY_TYPES:
        end = _end_of_options(text)
        options, rest = text[:end], text[end:].strip()
    words = rest.split(None, 2)
    if len(words) < 2 or words[0] not in KEY_TYPES:
        return None
    return Line(options, words[0], words[1], words[2] if len(words) > 2 else "")


def _end_of_options(text: str) -> int:
    quoted = False
    for number, char in enumerate(text):
        if char == '"' and text[number - 1 : number] != "\\":
            quoted = not quoted
        elif char in " \t" and not quoted:
            return number
    return len(text)


def authorized(args: Mapping[str, Any], context: Context) -> Steps:
    """Keys that let into an account."""
    from sloth_runner.modules.base import ensure

    yield from alone(context, "ssh_key.authorized", "say whose keys they are: account = …")
    keys: Sequence[PublicKey] = args["key"]
    absent = args["state"] == "absent"
    if absent and (args["exclusive"] or args["options"]):
        raise BadArgument(
            "ssh_key.authorized: exclusive and options say what keys are to be, but state is absent"
        )
    params = {"user": args["account"], "path": args["path"]}
    options = args["options"] or ""
    if args["exclusive"]:
        wanted = {"keys": sorted(" ".join(filter(None, (options, *key))) for key in keys)}
        return (
            yield from ensure(
                Want(Resource("ssh_key.authorized_all", args["path"] or args["account"], params), wanted)
            )
        )
    wants = []
    for key in keys:
        resource = Resource(
            "ssh_key.authorized", f"{args['path'] or args['account']} {key.type} {fingerprint(key.blob)}",
            {**params, "type": key.type, "blob": key.blob},
        )  # fmt: skip
        like: dict[str, Any] = {"options": options}
        if key.comment:
            like["comment"] = key.comment
        wants.append(Want(resource, None if absent else like))
    return (yield from ensure(*wants))


def fingerprint(blob: str) -> str:
    """A key's SHA-256 as OpenSSH writes it."""
    import base64
    import hashlib

    digest = hashlib.sha256(base64.b64decode(blob)).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


class Place(NamedTuple):
    """An authorized_keys file and whom it and a folder made for it belong to (in a plan maybe not by
    number)."""

    path: str
    uid: str
    gid: str | None
    home: str


def _place(params: Attributes) -> Generator[Any, Any, Place | None]:
    """Where an account's keys are; None if there is no such account."""
    for line in (yield from lines_of("/etc/passwd")):
        cells = line.split(":")
        if cells[0] == params["user"] and len(cells) >= 7:
            path = params["path"] or posixpath.join(cells[5], ".ssh/authorized_keys")
            return Place(path, cells[2] or cells[0], cells[3] or None, cells[5])
    return None


def _observe_key(look: Look) -> Generator[Any, Any, Observed]:
    params = look.resource.params
    place = yield from _place(params)
    if place is None:
        return Observed(None)
    text = yield from text_of(place.path)
    if text is None:
        return Observed(None, {"missing": [*(yield from missing_above(place.path)), place.path]})
    for line in text.splitlines():
        one = parse(line)
        if one is not None and (one.type, one.blob) == (params["type"], params["blob"]):
            return Observed({"options": one.options, "comment": one.comment})
    return Observed(None)


def _converge_key(change: Change) -> Generator[Any, Any, str]:
    params, wanted = change.resource.params, change.wanted
    place = yield from _checked_place(change)
    new: list[str] = []
    if wanted is not None:
        before = change.observed.attributes or {}
        comment = wanted.get("comment", before.get("comment", ""))
        options = wanted.get("options", before.get("options", ""))
        new = [" ".join(filter(None, (options, params["type"], params["blob"], comment)))]

    def is_ours(line: str) -> bool:
        one = parse(line)
        return one is not None and (one.type, one.blob) == (params["type"], params["blob"])

    yield from _write(change, place, lambda lines: replaced(lines, is_ours, new))
    return ""


def _checked_place(change: Change) -> Generator[Any, Any, Place]:
    """Raises TaskFailed where there is no account, or where a link of the account's would lead elsewhere."""
    place = yield from _place(change.resource.params)
    user = change.resource.params["user"]
    if place is None:
        raise TaskFailed(
            f"{change.resource.kind}: there is no user {user}", unchanged=[change.resource.address],
            next=["make the user first, or check its spelling"],
        )  # fmt: skip
    folder = posixpath.dirname(place.path)
    found: Found = yield Stat(folder, names=False)
    if found.kind not in (FOLDER, ABSENT):
        what = f"a symbolic link to {found.target}" if found.kind == LINK else "no folder"
        raise TaskFailed(
            f"{folder} is {what}; keys are not written through it, since {user} could point it elsewhere",
            unchanged=[place.path], next=["say path = …, if keys are kept elsewhere"],
        )  # fmt: skip
    return place


def _write(
    change: Change, place: Place, edit: Callable[[list[str]], Sequence[str]]
) -> Generator[Any, Any, None]:
    """Edit the file's lines. A new file and a new .ssh are for their owner alone, as sshd wants them; undone, they
    go again if nothing else is in them."""
    made = change.extra.get("missing") or []
    own = place.path.startswith(place.home + "/")
    owner, group = (place.uid, place.gid) if own else ("0", "0")
    for folder in (yield from missing_above(place.path)):
        yield MakeDir(folder, 0o700 if own else 0o755, owner, group)
    mode, gone = 0o600 if own else 0o644, bool(change.options.get("undo")) and place.path in made
    if (yield from edit_lines(place.path, edit, mode, owner, group, gone=gone)):
        yield from remove_empty([folder for folder in made if folder != place.path])


def _observe_all(look: Look) -> Generator[Any, Any, Observed]:
    place = yield from _place(look.resource.params)
    if place is None:
        return Observed({"keys": []})
    text = yield from text_of(place.path)
    extra: dict[str, Any] = {}
    if text is None:
        extra = {"missing": [*(yield from missing_above(place.path)), place.path]}
    keys = [
        " ".join(filter(None, one)) for line in (text or "").splitlines() if (one := parse(line)) is not None
    ]
    return Observed({"keys": sorted(keys)}, extra)


def _converge_all(change: Change) -> Generator[Any, Any, str]:
    """Comments stay, and so do the lines of wanted keys."""
    place = yield from _checked_place(change)

    def edited(there: list[str]) -> list[str]:
        left, lines = list((change.wanted or {})["keys"]), []
        for line in there:
            one = parse(line)
            text = "" if one is None else " ".join(filter(None, one))
            if one is None or text in left:
                lines.append(line)
            if text in left:
                left.remove(text)
        return [*lines, *left]

    yield from _write(change, place, edited)
    return ""


def known_host(args: Mapping[str, Any], context: Context) -> Steps:
    """A machine's key, as ssh clients here shall know it."""
    from sloth_runner.modules.base import ensure

    yield from alone(context, "ssh_key.known_host", "say for whom it is known: account = …")
    key: PublicKey | None = args["key"][0] if args["key"] else None
    absent = args["state"] == "absent"
    if key is None and not absent:
        raise BadArgument(
            "ssh_key.known_host needs key: the machine's public key, got from somewhere that you trust"
        )
    if len(args["key"] or ()) > 1:
        raise BadArgument("ssh_key.known_host takes one key; call it once for each")
    types = [key.type] if key is not None else sorted(KEY_TYPES)
    where = args["path"] or (f"~{args['account']}" if args["account"] else GLOBAL)
    params = {
        "host": args["name"],
        "user": args["account"],
        "path": args["path"] or (None if args["account"] else GLOBAL),
    }
    wants = [
        Want(
            Resource("ssh_key.known_host", f"{where} {args['name']} {type_}", {**params, "type": type_}),
            None if absent or key is None else {"key": key.blob},
        )
        for type_ in types
    ]
    return (yield from ensure(*wants))


def _host_place(params: Attributes) -> Generator[Any, Any, Place | None]:
    if params["user"] is None:
        return Place(params["path"], "0", "0", "/")
    place = yield from _place({"user": params["user"], "path": params["path"]})
    if place is None or params["path"] is not None:
        return place
    return place._replace(path=posixpath.join(place.home, ".ssh/known_hosts"))


def _hosts_of(line: str) -> tuple[list[str], str, str]:
    """The names, key type and key of a line; no names if it is none, or marked (@revoked, @cert-authority)."""
    words = line.split()
    if len(words) < 3 or words[0].startswith(("#", "@")):
        return [], "", ""
    return words[0].split(","), words[1], words[2]


def _is_host(pattern: str, host: str) -> bool:
    """Whether a name in a file is this host, also where the file hides it in a digest (sshd(8), SSH_KNOWN_HOSTS)."""
    if not pattern.startswith("|1|"):
        return pattern.lower() == host
    import base64
    import hmac

    try:
        salt, digest = (base64.b64decode(part) for part in pattern[3:].split("|"))
    except ValueError:
        return False
    return hmac.compare_digest(hmac.new(salt, host.encode(), "sha1").digest(), digest)


def _observe_host(look: Look) -> Generator[Any, Any, Observed]:
    params = look.resource.params
    place = yield from _host_place(params)
    if place is None:
        return Observed(None)
    text = yield from text_of(place.path)
    if text is None:
        return Observed(None, {"missing": [*(yield from missing_above(place.path)), place.path]})
    keys = []
    for line in text.splitlines():
        names, type_, blob = _hosts_of(line)
        if type_ == params["type"] and any(_is_host(name, params["host"]) for name in names):
            keys.append(blob)
    return Observed({"key": " ".join(dict.fromkeys(keys))} if keys else None)


def _converge_host(change: Change) -> Generator[Any, Any, str]:
    params = change.resource.params
    place = yield from _host_place(params)
    if place is None:
        raise TaskFailed(
            f"ssh_key.known_host: there is no user {params['user']}", unchanged=[change.resource.address]
        )
    if params["user"] is not None:
        yield from _checked_place(change)

    def edited(there: list[str]) -> list[str]:
        lines = []
        for line in there:
            names, type_, _ = _hosts_of(line)
            left = [name for name in names if not _is_host(name, params["host"])]
            if type_ != params["type"] or left == names:
                lines.append(line)
            elif left:
                lines.append(f"{','.join(left)} {line.split(None, 1)[1]}")
        wanted = change.wanted or {"key": ""}
        return [*lines, *(f"{params['host']} {params['type']} {key}" for key in wanted["key"].split())]

    yield from _write(change, place, edited)
    return ""


KINDS = (
    Kind("ssh_key.authorized", "options and comment of a key in an authorized_keys file",
         *one_by_one(_observe_key, _converge_key)),
    Kind("ssh_key.authorized_all", "keys: all lines of an authorized_keys file that name a key",
         *one_by_one(_observe_all, _converge_all)),
    Kind("ssh_key.known_host", "key: a machine's public key of one type in a known_hosts file",
         *one_by_one(_observe_host, _converge_host)),
)  # fmt: skip
_NO_FETCH = "keys are not fetched from a machine that can't prove yet who it is; give the key itself"
MODULES = (
    Module(
        "ssh_key.authorized",
        authorized,
        (
            Arg("account", "account", "the user whom it lets in", required=True),
            Arg(
                "key",
                "public keys",
                "the public key as in a .pub file, or several: lines, or a list",
                required=True,
            ),
            Arg(
                "options", "key options", "what it is good for: 'restrict,command=\"/bin/backup\"', or a list"
            ),
            Arg("exclusive", "boolean", "remove all keys that are not named", default=False),
            Arg("path", "file path", "the file; without it: .ssh/authorized_keys in the user's home"),
            PRESENCE,
        ),
        "Lets a key into a user's account with ssh, or no longer.",
        refused={"url": _NO_FETCH, "comment": "a comment is part of the key's line"},
    ),
    Module(
        "ssh_key.known_host",
        known_host,
        (
            Arg(
                "name",
                "ssh host",
                "the machine's name or address, [name]:port for another port",
                required=True,
            ),
            Arg("key", "public keys", "its public key; without it absent removes those of all types"),
            Arg("account", "account", "for this user alone, in its .ssh/known_hosts"),
            Arg("path", "file path", f"the file; without it: {GLOBAL}, or the user's"),
            PRESENCE,
        ),
        "Lets ssh know a machine by its key, or forget it.",
        refused={"fetch": _NO_FETCH, "hash_host": "names are written as they are; hidden ones are found"},
    ),
)
