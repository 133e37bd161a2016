"""Why: one thing on a machine may be named in more than one way: a line alone or with its whole file, a membership by
the group or by the user. What is undone for one name must not be what another one still asks for.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Mapping

from sloth_runner.ops import FOLDER
from sloth_runner.plain import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from sloth_runner.modules.base import Attributes


class Place(NamedTuple):
    """What a resource is about. ``thing``: a path (with ``/`` at its end: all below it), or words for what is no
    file; ``part``: what in there (None: the whole)."""

    thing: str
    part: str | None = None


class Named:
    """The places of many resources, by their addresses, and the paths that have to be there for them."""

    def __init__(self, resources: Iterable[tuple[str, Iterable[Place], Iterable[str]]]) -> None:
        self._at: dict[str, list[tuple[str | None, str]]] = {}
        self._there: dict[str, str] = {}
        for address, own, there in resources:
            for place in own:
                self._at.setdefault(place.thing, []).append((place.part, address))
            self._there.update(dict.fromkeys(there, address))

    def meeting(self, mine: Iterable[Place]) -> str | None:
        """The address of one that is about the same as one of ``mine``, or about a part or the whole of it; or that
        has to be there below it."""
        for thing, part in mine:
            if thing.endswith("/"):
                below = next((found for path, found in self._there.items() if path.startswith(thing)), None)
                if below is not None:
                    return below
            for other, address in self._at.get(thing, ()):
                if part is None or other is None or part == other:
                    return address
        return None


def places(
    kind: str, name: str, params: Mapping[str, Any], wanted: Attributes | None, *, gone: bool = False
) -> tuple[Place, ...]:
    """What a resource of a kind is about, by its id, its params and what it should be like (None: absent). ``gone``:
    as far as it concerns others if it ceases to exist."""
    rule = _RULES.get(kind)
    return () if rule is None else rule(name, params, wanted, gone)


def paths(kind: str, name: str, params: Mapping[str, Any], wanted: Attributes | None) -> set[str]:
    """The paths that have to be there for a resource to be as it should: also where only a mode is wanted."""
    own = {str(params.get("path") or name), *(place.thing for place in places(kind, name, params, wanted))}
    return {path for path in own if path.startswith("/")}


_Rule: TypeAlias = Callable[[str, Mapping[str, Any], "Attributes | None", bool], tuple[Place, ...]]


def _file(name: str, params: Mapping[str, Any], wanted: Attributes | None, gone: bool) -> tuple[Place, ...]:
    """Its mode and its owner concern nobody who names what is in it."""
    whole = wanted is None or "content" in wanted or "target" in wanted
    return (Place(name),) if whole else ()


def _line(name: str, params: Mapping[str, Any], wanted: Attributes | None, gone: bool) -> tuple[Place, ...]:
    return (Place(params["path"], f"line {wanted['line']}"),) if wanted else ()


def _cron(name: str, params: Mapping[str, Any], wanted: Attributes | None, gone: bool) -> tuple[Place, ...]:
    thing = f"/etc/cron.d/{params['file']}" if "file" in params else f"crontab of {params['user']}"
    return (Place(thing, params["name"]),)


def _keys(part: str | None, params: Mapping[str, Any]) -> tuple[Place, ...]:
    """Keys of an account are in its home, which has to be asked for; a path may be the same file."""
    own = Place(f"keys of {params['user']}", part)
    return (own, Place(params["path"], part)) if params["path"] else (own,)


def _host(name: str, params: Mapping[str, Any], wanted: Attributes | None, gone: bool) -> tuple[Place, ...]:
    thing = params["path"] or f"known hosts of {params['user']}"
    return (Place(thing, f"{params['host']} {params['type']}"),)


def _group(name: str, params: Mapping[str, Any], wanted: Attributes | None, gone: bool) -> tuple[Place, ...]:
    return (Place(f"members of {name}"),) if gone or (wanted and "members" in wanted) else ()


def _member(name: str, params: Mapping[str, Any], wanted: Attributes | None, gone: bool) -> tuple[Place, ...]:
    group, _, user = name.partition("/")
    return (Place(f"members of {group}", user), Place(f"groups of {user}", group))


def _user(name: str, params: Mapping[str, Any], wanted: Attributes | None, gone: bool) -> tuple[Place, ...]:
    return (Place(f"groups of {name}"),) if gone or (wanted and "groups" in wanted) else ()


def _archive(
    name: str, params: Mapping[str, Any], wanted: Attributes | None, gone: bool
) -> tuple[Place, ...]:
    entries = (entry for entry in params["entries"] if entry[1] != FOLDER)
    return tuple(Place(posixpath.join(params["path"], entry[0])) for entry in entries)


def _tree(name: str, params: Mapping[str, Any], wanted: Attributes | None, gone: bool) -> tuple[Place, ...]:
    """What others put in there is theirs, but goes with it."""
    return (Place(f"{name}/"),) if gone else ()


_RULES: Mapping[str, _Rule] = {
    "file": _file,
    "file.line": _line,
    "file.block": lambda name, params, wanted, gone: (Place(params["path"], f"block {params['begin']}"),),
    "file.key": lambda name, params, wanted, gone: (Place(params["path"], f"key {params['key']}"),),
    "certificate.key": lambda name, params, wanted, gone: (Place(name),),
    "certificate.csr": lambda name, params, wanted, gone: (Place(name),),
    "certificate.self_signed": lambda name, params, wanted, gone: (Place(name),),
    "systemd.unit": lambda name, params, wanted, gone: (Place(name),),
    "sudoers": lambda name, params, wanted, gone: (Place(f"/etc/sudoers.d/{name}"),),
    "cron": _cron,
    "sysctl.line": lambda name, params, wanted, gone: (Place(params["file"], params["name"]),),
    "hosts": lambda name, params, wanted, gone: (Place("/etc/hosts", name),),
    "hostname": lambda name, params, wanted, gone: (Place("/etc/hostname"),),
    "timezone": lambda name, params, wanted, gone: (Place("/etc/timezone"),),
    "mount": lambda name, params, wanted, gone: (Place("/etc/fstab", name),),
    "ssh_key.authorized": lambda name, params, wanted, gone: _keys(params["blob"], params),
    "ssh_key.authorized_all": lambda name, params, wanted, gone: _keys(None, params),
    "ssh_key.known_host": _host,
    "group": _group,
    "group.member": _member,
    "user": _user,
    "archive": _archive,
    "git": _tree,
    "pip.virtualenv": _tree,
}
"""By kind; a kind without a rule has one address for each thing, and shares it with none."""
