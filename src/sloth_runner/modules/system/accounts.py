"""Why: users and groups of a machine are rows of /etc/passwd, /etc/group and /etc/shadow; its own tools change them.

Rows are read, never asked of a name service: the tools change only these files, and refuse names that a directory on
the network has. Passwords are compared by the digest of their hash, so that no hash gets into a ledger or a
difference; therefore an earlier password can't be brought back.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence

from sloth_runner.errors import BadArgument
from sloth_runner.modules.base import (
    PRESENCE,
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
    each_alone,
)
from sloth_runner.modules.system import foreseen, refused
from sloth_runner.modules.system.steps import act, alone, feed, lines_of
from sloth_runner.ops import OpError
from sloth_runner.plain import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sloth_runner.modules.base import Attributes, Converged, Steps

Rows = dict[str, list[str]]
NO_PASSWORD = "none"  # noqa: S105 - a word for none
"""What stands for the digest of a password that nobody can know."""


def _rows(path: str, width: int) -> Generator[Any, Any, Rows]:
    rows: Rows = {}
    for line in (yield from lines_of(path)):
        cells = line.split(":")
        if len(cells) >= width and not line.startswith(("#", "+", "-")):
            rows.setdefault(cells[0], cells)
    return rows


def _members(row: Sequence[str]) -> list[str]:
    return sorted({name for name in row[3].split(",") if name})


def user(args: Mapping[str, Any], context: Context) -> Steps:
    """A user."""
    from sloth_runner.model import Outcome

    yield from alone(context, "user")
    name = args["name"]
    _check_user(args)
    subject = Resource("user", name)
    options = {key: args[key] for key in ("create_home", "system", "remove_home", "password")}
    options["sensitive"] = context.sensitive
    wanted = None if args["state"] == "absent" else _wanted(args)
    done: tuple[Converged, ...] = yield Ensure((Want(subject, wanted, None, options),))
    if wanted is not None and args["groups"] and args["append"]:
        wants = [
            Want(Resource("group.member", f"{group}/{name}"), {"member": True}) for group in args["groups"]
        ]
        done += yield Ensure(tuple(wants))
    message = "; ".join(one.message for one in done if one.message)
    return Outcome(any(one.action != "none" for one in done), message, {"name": name})


def _check_user(args: Mapping[str, Any]) -> None:
    given = [key for key in ("uid", "group", "groups", "shell", "home", "comment", "password", "locked", "expires")
             if args[key] is not None]  # fmt: skip
    if args["state"] == "absent" and given:
        raise BadArgument(
            f"user: {given[0]} says how a user is to be, but state is absent", unchanged=[args["name"]]
        )
    if args["state"] == "present" and args["remove_home"]:
        raise BadArgument('user: remove_home goes with state = "absent"', unchanged=[args["name"]])
    if args["append"] and args["groups"] is None:
        raise BadArgument("user: append goes with groups = {…}", unchanged=[args["name"]])
    if args["name"] == "root" and args["state"] == "absent":
        raise BadArgument("user: root is not removed", unchanged=["this call changed nothing"])


def _wanted(args: Mapping[str, Any]) -> dict[str, Any]:
    wanted: dict[str, Any] = {}
    for key in ("uid", "shell", "home", "comment", "locked", "expires"):
        if args[key] is not None:
            wanted[key] = args[key]
    if args["group"] is not None:
        number = args["group"].isdigit()
        wanted["gid" if number else "group"] = int(args["group"]) if number else args["group"]
    if args["groups"] is not None and not args["append"]:
        wanted["groups"] = list(args["groups"])
    if args["password"] is not None:
        wanted["password"] = _digest(args["password"])
    return wanted


def _digest(password: str) -> str:
    """What a hash in /etc/shadow is compared by."""
    if password in ("", "*"):
        return NO_PASSWORD
    from hashlib import sha256

    return "sha256:" + sha256(password.encode("utf-8", "surrogateescape")).hexdigest()


def _observe_users(looks: Sequence[Look]) -> Generator[Any, Any, Sequence[Observed]]:
    """Rows of all three files, read once. Without the right to read /etc/shadow its attributes are left out."""
    rows: Rows = yield from _rows("/etc/passwd", 7)
    users = {
        name: row for name, row in rows.items() if row[2].isdigit() and row[3].isdigit()
    }  # as programs do
    groups: Rows = yield from _rows("/etc/group", 4)
    try:
        shadow: Rows | None = yield from _rows("/etc/shadow", 8)
    except OpError as error:
        if error.kind != "denied":
            raise
        shadow = None
    found = []
    for look in looks:
        name = look.resource.id
        row = users.get(name)
        found.append(Observed(None if row is None else _user(name, row, groups, shadow)))
    return found


def _user(name: str, row: Sequence[str], groups: Rows, shadow: Rows | None) -> dict[str, Any]:
    gid = int(row[3])
    attributes: dict[str, Any] = {
        "uid": int(row[2]), "gid": gid, "comment": row[4], "home": row[5], "shell": row[6],
        "groups": sorted(other for other, cells in groups.items() if name in _members(cells)),
    }  # fmt: skip
    names = [other for other, cells in groups.items() if cells[2] == row[3]]
    attributes["group"] = names[0] if names else str(gid)
    if shadow is not None:
        secret = shadow.get(name, [name, "", "", "", "", "", "", ""])
        attributes["locked"] = secret[1].startswith("!")
        attributes["password"] = _digest(secret[1].lstrip("!"))
        attributes["expires"] = _day(secret[7])
    return attributes


def _day(cell: str) -> str:
    """The shadow file counts days since 1970; a day before which an account ended is kept as it is."""
    from datetime import date, timedelta

    if not cell.isdigit():
        return "never"
    return (date(1970, 1, 1) + timedelta(days=int(cell))).isoformat()


def _converge_users(changes: Sequence[Change]) -> Generator[Any, Any, Sequence[str]]:
    notes = []
    yield from _foresee(refused.of_user, foreseen.of_user, changes)
    for change in changes:
        how = _remove_user(change) if change.wanted is None else _put_user(change, change.wanted)
        notes.append((yield from how))
    return notes


def _remove_user(change: Change) -> Generator[Any, Any, str]:
    name, before = change.resource.id, change.observed.attributes or {}
    gone = bool(change.options.get("remove_home"))
    argv = ["userdel", *(["--remove"] if gone else []), "--", name]
    yield from act(
        f"user {name}", argv, advice=[f"end its processes first, if it is in use: pgrep -u {name} -a"]
    )
    return "" if gone else f"its home folder is kept, if there is one: {before.get('home', '-')}"


def _put_user(change: Change, wanted: Attributes) -> Generator[Any, Any, str]:
    name, before = change.resource.id, change.observed.attributes
    subject = f"user {name}"
    flags, hidden = _flags(change, wanted), bool(change.options.get("sensitive"))
    if before is None:
        home = "--create-home" if change.options.get("create_home", True) else "--no-create-home"
        system = ["--system"] if change.options.get("system") else []
        yield from act(subject, ["useradd", home, *system, *flags, "--", name], sensitive=hidden)
    elif flags:
        yield from act(subject, ["usermod", *flags, "--", name], sensitive=hidden)
    note = ""
    if "password" in wanted and wanted["password"] != (before or {}).get("password"):
        note = yield from _set_password(change, wanted)
    elif "locked" in wanted and wanted["locked"] != (True if before is None else before["locked"]):
        how = "--lock" if wanted["locked"] else "--unlock"
        yield from act(subject, ["usermod", how, "--", name], advice=["give it a password = … to unlock it"])
    return note


def _lost(before: Attributes) -> frozenset[str]:
    return frozenset() if before.get("password") in (None, NO_PASSWORD) else frozenset({"password"})


def _flags(change: Change, wanted: Attributes) -> list[str]:
    """The options of useradd and usermod for what differs."""
    before = change.observed.attributes or {}
    names = {"uid": "--uid", "shell": "--shell", "home": "--home-dir", "comment": "--comment"}
    if change.observed.attributes is not None:
        names["home"] = "--home"
    flags = []
    for key, flag in names.items():
        if key in wanted and wanted[key] != before.get(key):
            flags.append(f"{flag}={wanted[key]}")
    for key in ("group", "gid"):
        if key in wanted and wanted[key] != before.get(key):
            flags.append(f"--gid={wanted[key]}")
            break
    if "groups" in wanted and wanted["groups"] != before.get("groups", []):
        flags.append(f"--groups={','.join(wanted['groups'])}")
    if "expires" in wanted and wanted["expires"] != before.get("expires", "never"):
        flags.append(f"--expiredate={'' if wanted['expires'] == 'never' else wanted['expires']}")
    return flags


def _set_password(change: Change, wanted: Attributes) -> Generator[Any, Any, str]:
    """A hash with its lock, at once, so that an account that is to be locked never stands open. A new account's lock
    only stands for the password that it has not."""
    name, before = change.resource.id, change.observed.attributes or {}
    had_one = before.get("password", NO_PASSWORD) != NO_PASSWORD
    given = change.options.get("password")
    if given is None and wanted["password"] != NO_PASSWORD:
        return "its password stays: of the one before only a digest was kept"
    locked = wanted.get("locked", had_one and before["locked"])
    entry = f"{name}:{'!' if locked else ''}{'*' if given is None else given}\n"
    yield from feed(f"user {name}", entry, ["chpasswd", "--encrypted"])
    return ""


def group(args: Mapping[str, Any], context: Context) -> Steps:
    """A group."""
    from sloth_runner.model import Outcome

    yield from alone(context, "group")
    name, absent = args["name"], args["state"] == "absent"
    if absent and (args["gid"] is not None or args["members"] is not None):
        raise BadArgument(
            "group: gid and members say how a group is to be, but state is absent", unchanged=[name]
        )
    wanted = {} if args["gid"] is None else {"gid": args["gid"]}
    if args["members"] is not None:
        wanted["members"] = list(args["members"])
    want = Want(Resource("group", name), None if absent else wanted, None, {"system": args["system"]})
    done: tuple[Converged, ...] = yield Ensure((want,))
    return Outcome(done[0].action != "none", done[0].message, {"name": name})


def _observe_groups(looks: Sequence[Look]) -> Generator[Any, Any, Sequence[Observed]]:
    groups: Rows = yield from _rows("/etc/group", 4)
    found = []
    for look in looks:
        row = groups.get(look.resource.id)
        found.append(Observed(None if row is None else _group(row)))
    return found


def _group(row: Sequence[str]) -> dict[str, Any]:
    """In a plan a new group has no number yet."""
    number = {"gid": int(row[2])} if row[2].isdigit() else {}
    return {**number, "members": _members(row)}


def _foresee(
    refuse: Callable[[Change], Generator[Any, Any, None]],
    effect: Callable[[Change], Generator[Any, Any, None]],
    changes: Sequence[Change],
) -> Generator[Any, Any, None]:
    """What the programs would refuse; and, in a plan, what they would make of the files, before they are skipped.
    What prune tries is held against the machine as it is."""
    for change in changes:
        if not change.options.get("undo"):
            yield from refuse(change)
            if change.dry:
                yield from effect(change)


def _converge_groups(changes: Sequence[Change]) -> Generator[Any, Any, Sequence[str]]:
    yield from _foresee(refused.of_group, foreseen.of_group, changes)
    for change in changes:
        name, before, wanted = change.resource.id, change.observed.attributes, change.wanted
        subject = f"group {name}"
        if wanted is None:
            yield from act(subject, ["groupdel", "--", name])
            continue
        number = [f"--gid={wanted['gid']}"] if "gid" in wanted else []
        if before is None:
            system = ["--system"] if change.options.get("system") else []
            yield from act(subject, ["groupadd", *system, *number, "--", name])
        elif number and wanted["gid"] != before.get("gid"):
            yield from act(subject, ["groupmod", *number, "--", name])
        if "members" in wanted and wanted["members"] != (before or {}).get("members", []):
            yield from act(subject, ["gpasswd", "--members", ",".join(wanted["members"]), name])
    return [""] * len(changes)


def _observe_members(looks: Sequence[Look]) -> Generator[Any, Any, Sequence[Observed]]:
    groups: Rows = yield from _rows("/etc/group", 4)
    found = []
    for look in looks:
        name, _, member = look.resource.id.partition("/")
        here = name in groups and member in _members(groups[name])
        found.append(Observed({"member": True} if here else None))
    return found


def _converge_members(changes: Sequence[Change]) -> Generator[Any, Any, Sequence[str]]:
    yield from _foresee(refused.of_member, foreseen.of_member, changes)
    for change in changes:
        name, _, member = change.resource.id.partition("/")
        how = "--delete" if change.wanted is None else "--add"
        line = ["gpasswd", how, member, name]
        yield from act(f"{member} in group {name}", line, advice=["make the group first"])
    return [""] * len(changes)


KINDS = (
    Kind(
        "user",
        "uid, gid, group (name of the primary one), groups (the others), shell, home, comment, locked, expires (a day"
        " or never), password (the digest of its hash; not brought back)",
        _observe_users,
        _converge_users,
        undone="prune brings back what was there before; a user that was made goes, but not its home folder, in which"
        ' there may be work of others: state = "absent" with remove_home = true removes both',
        lost=_lost,
        apart=each_alone(
            "uid", "group gid", "groups", "shell", "home", "comment", "locked password", "expires"
        ),
    ),
    Kind(
        "group",
        "gid and members",
        _observe_groups,
        _converge_groups,
        apart=each_alone("gid", "members"),
        pictured=True,
    ),
    Kind(
        "group.member",
        "whether a user is a member of a group (GROUP/USER)",
        _observe_members,
        _converge_members,
        pictured=True,
    ),
)
MODULES = (
    Module(
        "user",
        user,
        (
            Arg("name", "account", "the user's name", required=True),
            Arg("uid", "identity", "its number; without it: as it is, the next free one if new"),
            Arg("group", "account or number", "its primary group, name or number; without it: as it is; if new, one"
                " of its own name"),
            Arg("groups", "accounts", "its other groups: exactly these, or with append at least these"),
            Arg("append", "boolean", "leave it in groups that are not named", default=False),
            Arg("shell", "program", "the program it logs in to"),
            Arg("home", "program", "its home folder; an existing user's is not moved, only its entry is changed"),
            Arg("create_home", "boolean", "make the home folder of a new user, from /etc/skel; it stays when prune"
                " removes the user", default=True),
            Arg("comment", "account field", "its full name or the like"),
            Arg("password", "password hash", "the hash of its password, as in /etc/shadow; appears nowhere else"),
            Arg("locked", "boolean", "whether its password is locked"),
            Arg("expires", "day", 'the day from which on it can\'t log in ("2027-03-31"), or "never"'),
            Arg("system", "boolean", "take the number of a new user from those for services", default=False),
            PRESENCE,
            Arg("remove_home", "boolean", 'with state = "absent": its home folder and mail too', default=False),
        ),
        "Makes a user as it should be, or removes it. What is not said stays as it is.",
        positional="name",
        refused={
            "move_home": "folders are not moved; move it with cmd and say home = …",
            "generate_ssh_key": "keys are made where they are used; ssh_key.authorized lets one in",
            "update_password": "a password is compared by its hash, and set only if that differs",
            "lock": "say locked = true",
        },
        returns={"name": "the user's name"},
    ),
    Module(
        "group",
        group,
        (
            Arg("name", "account", "the group's name", required=True),
            Arg("gid", "identity", "its number; without it: as it is, the next free one if new"),
            Arg("members", "accounts", "exactly these users; without it: as they are"),
            Arg("system", "boolean", "take the number of a new group from those for services", default=False),
            PRESENCE,
        ),
        "Makes a group as it should be, or removes it.",
        positional="name",
        returns={"name": "the group's name"},
    ),
)  # fmt: skip
