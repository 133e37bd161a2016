"""Why: whose a thing would be is told as the machine will have it, with the accounts that are made before and without
those that go; and a name that nobody will have is told by the plan, too.
"""

from __future__ import annotations

from collections.abc import Generator

from sloth_runner.ops import (
    REHEARSED,
    Content,
    Exec,
    Fetch,
    Found,
    Identity,
    MakeDir,
    MakeLink,
    OpError,
    Owned,
    Read,
    SetAttrs,
    Unpack,
    WhoAmI,
    Whose,
    Write,
)
from sloth_runner.plain import TYPE_CHECKING

if TYPE_CHECKING:
    from sloth_runner.engine.picture import Picture
    from sloth_runner.ops import Op, Result

USERS, GROUPS = "/etc/passwd", "/etc/group"
LARGEST = 8 << 20
NOBODYS = str(2**32 - 2)
"""The number of whoever will be there and has none yet, so that nothing is found to be theirs."""


class Owners:
    """Who things would belong to on a machine as it would be."""

    def __init__(self, picture: Picture) -> None:
        self._picture = picture
        self._me = Identity("", -1, "")
        """Whose things are that are made; asked for with the first."""
        self._known: dict[tuple[str, str], Owned] = {}
        """Whom the machine knows, by file and name."""

    def ask(self, op: Op) -> Generator[Op, Result, Owned]:
        """Ask the machine for what ``made`` has to know of ``op``; whose it would be. Raises OpError for a user or a
        group that there would not be."""
        if isinstance(op, MakeDir | MakeLink | Write | Unpack) and self._me.uid == -1:
            me: Result = yield WhoAmI()
            assert isinstance(me, Identity)
            self._me = me
        if isinstance(op, Exec) and op.mutating:
            return (yield from self._login(op.user))
        if isinstance(op, MakeDir | MakeLink | Write | Unpack | SetAttrs | Fetch | Whose):
            path = (op.into or op.url) if isinstance(op, Fetch) else op.path
            return (yield from self._whose(path, op.owner, op.group))
        return Owned()

    def made(
        self, kind: str, mode: int, owned: Owned, target: str | None = None, old: Found | None = None
    ) -> Found:
        """What is made, or what was there, as ``owned``."""
        had = self._me
        if old is not None:
            had = had._replace(uid=old.uid, gid=old.gid, name=old.owner, group=old.group)
        uid, owner = (owned.uid, owned.owner) if owned.owner else (had.uid, had.name)
        gid, group = (owned.gid, owned.group) if owned.group else (had.gid, had.group)
        return Found(kind, mode, uid, gid, owner, group, target=target, modified=REHEARSED)

    def _login(self, user: str | None) -> Generator[Op, Result, Owned]:
        try:
            return (yield from self._whose(user or "", user, None))
        except OpError:
            raise OpError("no-login", user or "", "there is no such user on this machine") from None

    def _whose(self, path: str, owner: str | None, group: str | None) -> Generator[Op, Result, Owned]:
        uid, user = (-1, "") if owner is None else (yield from self._one(Whose(path, owner), owner, USERS))
        gid, name = (
            (-1, "") if group is None else (yield from self._one(Whose(path, None, group), group, GROUPS))
        )
        return Owned(uid, gid, user, name)

    def _one(self, op: Whose, name: str, file: str) -> Generator[Op, Result, tuple[int, str]]:
        """The number and the name of one; the number -1 where it is not known yet."""
        node = self._picture.nodes.get(file)
        rows = None if node is None or node.content is None else _rows(node.content)
        for row in rows or ():
            if name in (row[0], row[2]):
                return int(row[2]) if row[2].isdigit() else -1, row[0]
        try:
            found = yield from self._machines(op, name, file)
        except OpError as error:
            brings = self._picture.brings_accounts
            if brings is None:
                raise
            self._picture.assumed.append(f"{error.reason}, unless {brings} makes it before")
            return -1, name
        if (
            rows is not None
            and not name.isdigit()
            and any(row[0] == name for row in (yield from _real(file)))
        ):
            kind, word = ("no-user", "user") if file == USERS else ("no-group", "group")
            raise OpError(kind, op.path, f"there is no {word} {name!r} on this machine")
        return (found.uid, found.owner) if file == USERS else (found.gid, found.group)

    def _machines(self, op: Whose, name: str, file: str) -> Generator[Op, Result, Owned]:
        found = self._known.get((file, name))
        if found is None:
            asked: Result = yield op
            assert isinstance(asked, Owned)
            found = self._known[file, name] = asked
        return found


def by_number(op: Unpack, owned: Owned) -> Unpack:
    """The same for the machine as it is, which need not know the names of those that would be there."""
    return op._replace(owner=_number(op.owner, owned.uid), group=_number(op.group, owned.gid))


def _number(name: str | None, number: int) -> str | None:
    return None if name is None else str(number) if number >= 0 else NOBODYS


def _rows(content: bytes) -> list[list[str]]:
    rows = [line.split(":") for line in content.decode("utf-8", "surrogateescape").splitlines()]
    return [row for row in rows if len(row) > 2]


def _real(file: str) -> Generator[Op, Result, list[list[str]]]:
    """The rows that the machine has now."""
    try:
        read: Result = yield Read(file, LARGEST)
    except OpError:
        return []
    assert isinstance(read, Content)
    return _rows(read.data)
