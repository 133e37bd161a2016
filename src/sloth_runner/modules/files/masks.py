"""Why: where there is an ACL, the group's digit of the mode is its mask, the most that its entries give (acl(5)). Two
calls of one run that want more in an entry than in the mode would undo each other's work in every run.
"""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping

from sloth_runner.errors import BadArgument
from sloth_runner.plain import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sloth_runner.modules.base import Want

Said = MutableMapping[str, Any]
"""What calls of the run have said of modes and of entries, by path, and in which line."""


def letters(digit: int) -> str:
    """A digit of a mode as permissions, such as "rw-"."""
    return "".join(letter if digit & bit else "-" for letter, bit in (("r", 4), ("w", 2), ("x", 1)))


def beyond(entry: str, permissions: str | None, mask: str) -> bool:
    """Whether an entry gives more than the mask lets through."""
    return bool(permissions and not entry.startswith("default:") and set(permissions) - set(mask) - {"-"})


def mode_said(wants: Iterable[Want], said: Said, line: int | None) -> None:
    """Note the modes of files that a call wants. Raises BadArgument if one takes away what another call gives; what
    the call says itself next (option ``acl``) is not looked at."""
    for want in wants:
        mode = (want.wanted or {}).get("mode")
        if mode is None:
            continue
        said.setdefault("mode", {})[want.resource.id] = mode, line
        for entry, (permissions, other) in said.get("acl", {}).get(want.resource.id, {}).items():
            if entry not in want.options.get("acl", ()):
                _refuse(want.resource.id, entry, permissions, str(mode), other)


def entries_said(wants: Iterable[Want], said: Said, line: int | None) -> None:
    """Note the entries of ACLs that a call wants. Raises BadArgument if another call's mode takes away what one
    gives."""
    for want in wants:
        path, entry = str(want.resource.params["path"]), str(want.resource.params["entry"])
        permissions = (want.wanted or {}).get("permissions")
        said.setdefault("acl", {}).setdefault(path, {})[entry] = permissions, line
        mode, other = said.get("mode", {}).get(path, ("0777", None))
        _refuse(path, entry, permissions, mode, other)


def _refuse(path: str, entry: str, permissions: str | None, mode: str, other: int | None) -> None:
    mask = letters(int(mode, 8) >> 3)
    if beyond(entry, permissions, mask):
        where = "another call of this run" if other is None else f"line {other}"
        raise BadArgument(
            f"{path} can't have both the mode {mode} and the ACL {entry}:{permissions}, one of which {where} sets:"
            f" the group's digit of the mode ({mask}) is the most that an ACL can give",
            unchanged=[path],
            next=["give the group's digit of mode more, or set the mode where the ACL is set, or not at all"],
        )
