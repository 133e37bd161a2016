"""Why: what programs for users and groups would make of /etc/passwd and /etc/group has to be seen by the calls after
them in a plan.

The programs are not run in check mode; their effect on these files is rehearsed there. The number of a new user or
group is left open: nobody knows it yet.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

from sloth_runner.modules.system.steps import lines_of, text_of
from sloth_runner.ops import Write
from sloth_runner.plain import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sloth_runner.modules.base import Attributes, Change

USERS, GROUPS = "/etc/passwd", "/etc/group"
Row = list[str]
Steps = Generator[Any, Any, None]


def of_user(change: Change) -> Steps:
    """Its row, its memberships, and a group of its own name that comes and goes with it."""
    name, before, wanted = change.resource.id, change.observed.attributes, change.wanted
    own = (yield from own_groups()) if wanted is None or before is None else False
    if wanted is None:
        gid = str((before or {}).get("gid"))
        shared = yield from _others_have(name, gid)
        yield from _rewrite(lambda rows: [row for row in rows if row[0] != name], USERS)
        yield from _rewrite(lambda rows: _without_user(rows, name, gid if own and not shared else None))
    else:
        new = own and before is None and not {"group", "gid"} & set(wanted)
        named = wanted.get("groups") if "groups" in change.differing or before is None else None
        yield from _rewrite(lambda rows: _with_user(rows, name, new=new, groups=named))
        like = {**(before or {}), **wanted}
        if "group" in wanted or new:
            numbers = {row[0]: row[2] for row in (yield from rows_of(GROUPS))}
            like["gid"] = numbers.get(wanted.get("group", name), "")
        yield from _rewrite(lambda rows: _with_row(rows, name, like), USERS)


def of_group(change: Change) -> Steps:
    """The group itself."""
    name, wanted = change.resource.id, change.wanted
    if wanted is None:
        yield from _rewrite(lambda rows: [row for row in rows if row[0] != name])
        return

    def edit(rows: Sequence[Row]) -> list[Row]:
        old = next((row for row in rows if row[0] == name), [name, "x", "", ""])
        members = ",".join(wanted["members"]) if "members" in wanted else old[3]
        new = [name, old[1], str(wanted.get("gid", old[2])), members]
        there = any(row[0] == name for row in rows)
        return [new if row[0] == name else row for row in rows] if there else [*rows, new]

    yield from _rewrite(edit)


def of_member(change: Change) -> Steps:
    """One member of a group."""
    name, _, member = change.resource.id.partition("/")
    there = change.wanted is not None
    yield from _rewrite(lambda rows: [_member(row, member, there) if row[0] == name else row for row in rows])


def _rewrite(edit: Callable[[Sequence[Row]], list[Row]], path: str = GROUPS) -> Steps:
    """Edit the rows of a file; lines that are none stay, before them."""
    width = 4 if path == GROUPS else 7
    rows = [line.split(":") for line in (yield from lines_of(path))]
    others = [":".join(row) for row in rows if len(row) != width]
    edited = [":".join(row) for row in edit([row for row in rows if len(row) == width])]
    text = "".join(f"{line}\n" for line in (*others, *edited))
    yield Write(path, text.encode("utf-8", "surrogateescape"))


def _member(row: Row, name: str, there: bool) -> Row:
    members = [one for one in row[3].split(",") if one and one != name]
    return [*row[:3], ",".join([*members, name] if there else members)]


def _with_user(rows: Sequence[Row], name: str, *, new: bool, groups: Sequence[str] | None) -> list[Row]:
    edited = [row if groups is None else _member(row, name, row[0] in groups) for row in rows]
    return [*edited, [name, "x", "", ""]] if new and all(row[0] != name for row in rows) else edited


def _with_row(rows: Sequence[Row], name: str, like: Attributes) -> list[Row]:
    home = like.get("home", f"/home/{name}")
    new = [
        name,
        "x",
        *(str(like.get(key, "")) for key in ("uid", "gid", "comment")),
        home,
        like.get("shell", ""),
    ]
    there = any(row[0] == name for row in rows)
    return [new if row[0] == name else row for row in rows] if there else [*rows, new]


def _without_user(rows: Sequence[Row], name: str, gid: str | None) -> list[Row]:
    left = [_member(row, name, False) for row in rows]
    return [row for row in left if not (row[0] == name and row[2] in (gid, "") and gid and not row[3])]


def own_groups() -> Generator[Any, Any, bool]:
    """Whether a new user gets a group of its own name, which goes with it."""
    import re

    text: str = (yield from text_of("/etc/login.defs")) or ""
    return re.search(r"^\s*USERGROUPS_ENAB\s+yes\b", text, re.MULTILINE) is not None


def _others_have(name: str, gid: str) -> Generator[Any, Any, bool]:
    return any(row[3] == gid and row[0] != name for row in (yield from rows_of(USERS)))


def rows_of(path: str) -> Generator[Any, Any, list[Row]]:
    """The rows of one of the files."""
    width = 4 if path == GROUPS else 7
    rows = [line.split(":") for line in (yield from lines_of(path))]
    return [row for row in rows if len(row) == width]
