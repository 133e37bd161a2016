"""Why: what the programs for users and groups refuse must be known before: in a plan they are not run, and in a run
they may have changed a part of it by then.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence

from sloth_runner.modules.system.foreseen import GROUPS, USERS, own_groups, rows_of
from sloth_runner.ops import Batch, OpError, Whose
from sloth_runner.plain import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sloth_runner.modules.base import Attributes, Change
    from sloth_runner.ops import Owned

Steps = Generator[Any, Any, None]


def of_user(change: Change) -> Steps:
    """Raises OpError for groups that nobody knows, for a number that is taken, and for a group in the place of its
    own."""
    name, wanted, before = change.resource.id, change.wanted, change.observed.attributes or {}
    if wanted is None:
        return
    subject = f"user {name}"
    yield from _refuse_taken(subject, USERS, wanted, before, "uid")
    groups = [wanted["group"]] if _news(wanted, before, "group") else []
    groups += _more(wanted, before, "groups")
    if _news(wanted, before, "gid"):
        groups.append(str(wanted["gid"]))
    found = yield from _known(subject, (), groups)
    if any(one.group.isdigit() for one in found):
        raise OpError("no-group", subject, f"there is no group {wanted['gid']} on this machine")
    new = not before and not {"group", "gid"} & set(wanted)
    if new and any(row[0] == name for row in (yield from rows_of(GROUPS))) and (yield from own_groups()):
        own = f'say group = "{name}" if that is to be its primary one'
        raise OpError(
            "taken",
            subject,
            f"there is a group {name} already, so the user can't get a group of its own by that name: {own}",
        )


def of_group(change: Change) -> Steps:
    """Raises OpError for members that nobody knows, for a number that is taken, and for a group that is to go while
    it is somebody's primary one."""
    name, wanted, before = change.resource.id, change.wanted, change.observed.attributes or {}
    subject = f"group {name}"
    if wanted is not None:
        yield from _refuse_taken(subject, GROUPS, wanted, before, "gid")
        yield from _known(subject, _more(wanted, before, "members"), ())
        return
    users = [row[0] for row in (yield from rows_of(USERS)) if row[3] == str(before.get("gid"))]
    if users:
        raise OpError("taken", subject, f"it is the primary group of {users[0]}, so it can't be removed")


def of_member(change: Change) -> Steps:
    """Raises OpError for a user or a group that nobody knows."""
    name, _, member = change.resource.id.partition("/")
    if change.wanted is not None:
        yield from _known(f"{member} in group {name}", [member], [name])


def _news(wanted: Attributes, before: Attributes, key: str) -> bool:
    return key in wanted and wanted[key] != before.get(key)


def _more(wanted: Attributes, before: Attributes, key: str) -> list[str]:
    return [one for one in wanted.get(key, ()) if one not in before.get(key, ())]


def _known(subject: str, users: Iterable[str], groups: Iterable[str]) -> Generator[Any, Any, Sequence[Owned]]:
    """Whom the machine knows by these names. Raises OpError for those that it does not know."""
    ops = [*(Whose(subject, one) for one in users), *(Whose(subject, None, one) for one in groups)]
    return (yield Batch(tuple(ops))) if ops else ()


def _refuse_taken(subject: str, path: str, wanted: Attributes, before: Attributes, key: str) -> Steps:
    if not _news(wanted, before, key):
        return
    number, name = str(wanted[key]), subject.partition(" ")[2]
    others = [row[0] for row in (yield from rows_of(path)) if row[2] == number and row[0] != name]
    if others:
        raise OpError("taken", subject, f"the {key} {number} is that of {others[0]} already")
