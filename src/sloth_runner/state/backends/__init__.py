"""Why: a store is chosen by its URL, in one place; a scheme is a file beside this one, or an entry point."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from sloth_runner.errors import BadConfig
from sloth_runner.names import did_you_mean
from sloth_runner.plain import TYPE_CHECKING, Final, NamedTuple
from sloth_runner.state.store import Store, Traits

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP: Final = "sloth_runner.backends"
"""Entry points of this group add schemes: a function of (url, Options) that returns a Store."""
SCHEMES: Final[Mapping[str, str]] = {
    "sqlite": "sqlite",
    "memory": "memory",
    "etcd": "etcd",
    "postgres": "postgres",
    "postgresql": "postgres",
    "s3": "s3",
    "consul": "consul",
}
"""Scheme -> module of this package, whose ``open_store(url, options)`` makes a handle."""


class Options(NamedTuple):
    """What a backend is told besides its URL."""

    folder: Path
    """Where a store of files keeps them, if its URL names no folder."""
    patience: float
    """Seconds that a commit may wait for other processes."""
    timeout: float = 10.0
    """Seconds within which a server has to answer one request; then StoreDown, or Indeterminate for a commit."""
    password: str | None = None
    """The store's password or token, from the variable that ``[state] password_env`` names."""
    environ: Mapping[str, str] = {}
    """This process's environment, for the usual variables of the store's own tools (PGSSLMODE, AWS_PROFILE)."""
    shared: dict[str, object] | None = None
    """What handles of one program share, such as a login that takes long: each backend's own, under its scheme.
    Handles are used in several threads."""


def open_store(url: str, options: Options) -> Store:
    """A handle on the store that ``url`` names; nothing is asked of a server yet.

    Raises BadConfig: an unknown scheme, a URL that its backend does not understand, or a package that is not
    installed.
    """
    scheme, _, _ = url.partition("://")
    name = SCHEMES.get(scheme)
    if name is None:
        return _from_entry_point(scheme, url, options)
    store: Store = import_module(f"{__name__}.{name}").open_store(url, options)
    return store


def needs(extra: str, error: ImportError) -> BadConfig:
    """The error for a backend whose client is not installed."""
    return BadConfig(
        f"this store needs a package that is not installed ({error.name})",
        unchanged=["nothing was read or written"],
        next=[f"pip install 'sloth-runner[{extra}]'"],
    )


def public_url(url: str) -> str:
    """``url`` as it may be shown: without the password that may stand in it, before its host or as a parameter."""
    url, mark, query = url.partition("?")
    scheme, separator, rest = url.partition("://")
    place, slash, path = rest.partition("/")
    login, at, host = place.rpartition("@")
    shown = "&".join(pair for pair in query.split("&") if not _is_secret(pair))
    return (
        f"{scheme}{separator}{login.partition(':')[0]}{at}{host}{slash}{path}{mark if shown else ''}{shown}"
    )


def _is_secret(pair: str) -> bool:
    name = pair.partition("=")[0].lower()
    return any(word in name for word in ("password", "secret", "token"))


def _from_entry_point(scheme: str, url: str, options: Options) -> Store:
    from importlib.metadata import entry_points

    points = entry_points(group=GROUP)
    named = {point.value: point for point in points if point.name == scheme}
    if len(named) == 1:
        (point,) = named.values()
        return _foreign(point, url, options)
    if named:
        packages = " and ".join(sorted(map(_package, named.values())))
        raise BadConfig(
            f"the store {scheme!r} is offered by several packages: {packages}",
            unchanged=["nothing was read or written"],
            next=["uninstall all of them but one"],
        )
    known = sorted({*SCHEMES, *(point.name for point in points)})
    raise BadConfig(
        f"the store {scheme!r} is not known; there are {', '.join(known)}",
        unchanged=["nothing was read or written"],
        next=[*did_you_mean(scheme, known), '[state] store = "sqlite"'],
    )


def _foreign(point: EntryPoint, url: str, options: Options) -> Store:
    """A store of another package, whose mistakes are called that."""
    try:
        make = point.load()
    except Exception as error:
        raise _broken(point, repr(error)) from error
    if not callable(make):
        raise _broken(point, "what it names can't be called")
    store: Store = make(url, options)
    if not isinstance(getattr(store, "traits", None), Traits):
        raise _broken(point, f"it gave no store: {store!r}")
    return store


def _broken(point: EntryPoint, why: str) -> BadConfig:
    return BadConfig(
        f"the store {point.name!r} of {_package(point)} can't be used ({point.value}): {why}",
        unchanged=["nothing was read or written"],
        next=["install another version of that package, or tell its authors"],
    )


def _package(point: EntryPoint) -> str:
    return "a package without a name" if point.dist is None else f"{point.dist.name} {point.dist.version}"
