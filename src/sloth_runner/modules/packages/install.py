"""Why: a task file names packages; apt is called once for all that differ, and not at all if none does."""

from __future__ import annotations

from collections.abc import Generator, Mapping

from sloth_runner.errors import BadArgument, TaskFailed
from sloth_runner.model import Outcome
from sloth_runner.modules.base import Arg, Context, Ensure, Module, Predict, Resource, Want
from sloth_runner.modules.packages import apt
from sloth_runner.modules.packages.kind import HOLD, INSTALLED, PACKAGE, listed
from sloth_runner.plain import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sloth_runner.modules.base import Converged, Step, Steps

VALID = 3600.0
_UPGRADED = ("packages", "removed")


def install(args: Mapping[str, Any], context: Context) -> Steps:
    """Packages in the state that is asked for, in the versions that are named."""
    names: tuple[tuple[str, str | None], ...] = args["name"]
    how = _how(args, context)
    valid = _valid(args)
    _check(args, names, valid)
    refreshed = False
    if valid is not None and (not names or args["state"] == "latest"):
        refreshed = yield from _refresh(valid, how, dry=context.dry)
    if not names:
        return Outcome(
            refreshed, "refreshed the package lists" if refreshed else "", {"refreshed": refreshed}
        )
    newest = (yield from _newest([name for name, _ in names])) if args["state"] == "latest" else {}
    options = {
        "how": how, "valid": valid, "recommends": args["recommends"], "allow_removal": args["allow_removal"],
        "autoremove": args["autoremove"],
    }  # fmt: skip
    wants = [
        Want(_resource(name, args), _wanted(args["state"], newest.get(name, version)), None, options)
        for name, version in names
    ]
    done: tuple[Converged, ...] = yield Ensure(tuple(wants))
    changed = [one for one in done if one.action != "none"]
    message = "; ".join(one.message for one in changed)
    return Outcome(bool(changed), message, {"refreshed": refreshed})


def _how(args: Mapping[str, Any], context: Context) -> apt.How:
    proxies = {name: text for name, text in context.env.items() if name.lower().endswith("_proxy")}
    return apt.How(context.user, args["lock_timeout"], context.timeout, proxies)


def _valid(args: Mapping[str, Any]) -> float | None:
    """For how many seconds refreshed lists are good enough; None: they are not refreshed."""
    if args["cache_valid"] is not None and args["update_cache"] is not False:
        return float(args["cache_valid"])
    return VALID if args["update_cache"] else None


def _check(args: Mapping[str, Any], names: tuple[tuple[str, str | None], ...], valid: float | None) -> None:
    if not names and valid is None:
        raise BadArgument("pkg needs name: a package, or a list of them (or update_cache = true alone)")
    if args["state"] != "absent" and (args["purge"] or args["autoremove"]):
        raise BadArgument('pkg: purge and autoremove are for state = "absent"')
    pins = [f"{name}={version}" for name, version in names if version is not None]
    if pins and args["state"] != "present":
        raise BadArgument(
            f'pkg: {pins[0]} names a version, which says nothing with state = "{args["state"]}"'
        )
    twice = [name for name, _ in names if [other for other, _ in names].count(name) > 1]
    if twice:
        raise BadArgument(f"pkg: {twice[0]} is named twice")


def _resource(name: str, args: Mapping[str, Any]) -> Resource:
    return Resource("pkg", name, {"purge": True} if args["purge"] else {})


def _wanted(state: str, version: str | None) -> Mapping[str, Any] | None:
    if state == "absent":
        return None
    return {"state": INSTALLED} if version is None else {"state": INSTALLED, "version": version}


def _newest(names: list[str]) -> Generator[Step, Any, dict[str, str]]:
    found: dict[str, str] = yield from apt.candidates(names)
    for name in names:
        if name not in found:
            raise TaskFailed(
                f"there is no package {name} in the package lists",
                unchanged=[f"pkg:{name}"],
                next=["check its spelling", "update_cache = true refreshes the lists first"],
            )
    return found


def _refresh(
    valid: float, how: apt.How, *, dry: bool, unknown: tuple[str, ...] = ("refreshed",)
) -> Generator[Step, Any, bool]:
    """Refresh the lists if they are too old; what is in them afterwards can't be foretold."""
    if not (yield from apt.is_stale(valid, dry=dry)):
        return False
    why = "the lists are older than cache_valid, or than a change of the sources"
    yield Predict("package-lists:apt", "would refresh the package lists", None, why, unknown=unknown)
    yield from apt.refresh(how)
    return True


def upgrade(args: Mapping[str, Any], context: Context) -> Steps:
    """All packages in the newest versions that the lists have; those that are held stay."""
    how, valid = _how(args, context), _valid(args)
    if valid is not None:
        yield from _refresh(valid, how, dry=context.dry, unknown=_UPGRADED)
    yield from apt.finish(how)
    words = ["dist-upgrade"] if args["allow_removal"] else ["--with-new-pkgs", "upgrade"]
    would = yield from apt.simulate(words, how)
    fields = {"packages": list(would.installed), "removed": list(would.removed)}
    if not would.installed and not would.removed:
        return Outcome(False, "", fields)
    parts = [f"upgrade {listed(would.installed)}"] if would.installed else []
    parts += [f"remove {listed(would.removed)}"] if would.removed else []
    why = "the package lists have newer versions"
    yield Predict("packages:apt", f"would {' and '.join(parts)}", True, why, unknown=_UPGRADED)
    yield from apt.apply(words, how)
    return Outcome(
        True, " and ".join(parts).replace("upgrade ", "upgraded ").replace("remove ", "removed "), fields
    )


def hold(args: Mapping[str, Any], context: Context) -> Steps:
    """Packages that stay at their version, or no longer."""
    how = _how(args, context)
    wanted = {"held": True} if args["state"] == "present" else None
    names = args["name"]
    if any(version is not None for _, version in names):
        raise BadArgument("pkg.hold takes names without versions: a package is held at the version it has")
    wants = tuple(Want(Resource("pkg.hold", name), wanted, None, {"how": how}) for name, _ in names)
    done: tuple[Converged, ...] = yield Ensure(wants)
    changed = [one for one in done if one.action != "none"]
    return Outcome(bool(changed), "; ".join(one.message for one in changed))


_LOCK = Arg(
    "lock_timeout", "duration", "how long to wait for another program that holds dpkg's lock",
    default=apt.DEFAULT_LOCK_TIMEOUT,
)  # fmt: skip

KINDS = (PACKAGE, HOLD)
MODULES = (
    Module(
        "pkg",
        install,
        (
            Arg(
                "name", "packages", 'a package, or a list of them; "name=version" names a version', default=()
            ),
            Arg(
                "state",
                "present, absent or latest",
                '"present": there, in whatever version unless one is named; "latest": in the newest that the sources'
                ' have; "absent": not there',
                default="present",
            ),
            Arg(
                "update_cache",
                "boolean",
                "refresh the package lists, if something is to be installed and they are older than cache_valid",
            ),
            Arg(
                "cache_valid",
                "duration",
                'for how long refreshed lists are good, as long as no source changes; "1h" unless said',
            ),
            Arg(
                "recommends",
                "boolean",
                "install recommended packages, too; without it: as the machine is set up",
            ),
            Arg("purge", "boolean", "with absent: remove configuration, too", default=False),
            Arg("autoremove", "boolean", "with absent: remove what only it needed, too", default=False),
            Arg(
                "allow_removal",
                "boolean",
                "let apt remove packages that are not named, if it must",
                default=False,
            ),
            _LOCK,
        ),
        "Installs, upgrades and removes Debian packages with apt, all of them in one call, never asking anything.",
        positional="name",
        refused={
            "version": 'say name = "NAME=VERSION"',
            "force": "apt's checks stay on; allow_removal = true lets it remove other packages",
            "upgrade": 'say state = "latest" for the packages you mean; pkg.upgrade upgrades all',
            "deb": "packages come from repositories: pkg.repository adds one, also a folder of the target (file:/…)",
        },
        returns={"refreshed": "whether the package lists were refreshed for state latest, or alone"},
    ),
    Module(
        "pkg.upgrade",
        upgrade,
        (
            Arg(
                "update_cache",
                "boolean",
                "refresh the package lists first, if they are older than cache_valid",
            ),
            Arg("cache_valid", "duration", 'as in pkg; "1h" unless said'),
            Arg(
                "allow_removal",
                "boolean",
                "let apt remove packages that stand in the way (dist-upgrade); new ones are installed in any case",
                default=False,
            ),
            _LOCK,
        ),
        "Upgrades all packages for which the package lists have newer versions; those that are held stay. It can't be"
        " undone.",
        refused={"name": 'pkg with state = "latest" upgrades single packages'},
        returns={
            "packages": "(string[]) the packages that were upgraded, or installed for it",
            "removed": "(string[]) those that were removed",
        },
    ),
    Module(
        "pkg.hold",
        hold,
        (
            Arg("name", "packages", "a package, or a list of them", required=True),
            Arg("state", "present or absent", '"present": held; "absent": not held', default="present"),
            _LOCK,
        ),
        "Holds packages at the version they have, so that no upgrade changes them.",
        positional="name",
    ),
)
