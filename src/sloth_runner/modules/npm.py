"""Why: what npm installed lies in node_modules, each package with its version in package.json: it is read there,
because asking npm takes long."""

from __future__ import annotations

import json
import posixpath
import re
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
from sloth_runner.ops import FOLDER, Exec, OpError, Read, Stat
from sloth_runner.plain import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from sloth_runner.modules.base import Converged, Steps
    from sloth_runner.ops import Content, Found, Ran

GLOBAL = "global"
LARGEST = 1 << 20
_ENV = {
    "npm_config_audit": "false", "npm_config_fund": "false", "npm_config_update_notifier": "false",
    "npm_config_progress": "false", "npm_config_loglevel": "error", "LC_ALL": "C.UTF-8",
    "npm_config_fetch_retry_mintimeout": "1000", "npm_config_fetch_retry_maxtimeout": "5000",
}  # fmt: skip


class How(NamedTuple):
    """How npm is called: options for installing, environment, user, timeout."""

    options: tuple[str, ...] = ()
    env: Mapping[str, str] = {}
    user: str | None = None
    timeout: float | None = None
    sensitive: bool = False


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """Packages of a folder, or global ones."""
    if bool(args["global"]) is (args["path"] is not None):
        raise BadArgument("npm takes either path (a project's folder) or global = true")
    env = dict(context.env)
    if args["registry"] is not None:  # it may hold a password, which arguments would show
        env["npm_config_registry"] = args["registry"]
    options = ("--ignore-scripts",) if args["ignore_scripts"] else ()
    how = How(options, env, context.user, context.timeout, context.sensitive)
    place = args["path"] or GLOBAL
    wants = []
    for name, version in args["name"]:
        wanted: dict[str, Any] | None = {} if version is None else {"version": version}
        if args["state"] == "absent":
            wanted = None
        params = {"place": place, "name": name, "user": context.user}
        wants.append(Want(Resource("npm", f"{place} {name}", params), wanted, None, {"how": how}))
    done: tuple[Converged, ...] = yield Ensure(tuple(wants))
    changed = [one for one in done if one.action != "none"]
    return Outcome(bool(changed), "; ".join(one.message for one in changed))


def observe(looks: Sequence[Look]) -> Generator[Any, Any, Sequence[Observed]]:
    """The versions in node_modules; where global packages are, npm is asked."""
    root: str | None = None
    out = []
    for look in looks:
        place, name = look.resource.params["place"], look.resource.params["name"]
        folder = posixpath.join(place, "node_modules")
        if place == GLOBAL:
            root = (yield from _root(look.resource.params.get("user"))) if root is None else root
            folder = root
        version = None if not folder else (yield from _version(posixpath.join(folder, name, "package.json")))
        out.append(Observed(None if version is None else {"version": version}))
    return out


def _root(user: str | None) -> Generator[Any, Any, str]:
    """The folder of global packages; "" where there is no npm yet."""
    try:
        ran: Ran = yield Exec(
            "`npm root`", ("npm", "root", "--global"), None, "/", _ENV, user, mutating=False, quiet=True
        )
    except OpError as error:
        if error.kind != "not-found":
            raise
        return ""
    if ran.exit_code:
        raise _failed("root", ran, How())
    return ran.stdout.decode("utf-8", "surrogateescape").strip()


def _version(path: str) -> Generator[Any, Any, str | None]:
    try:
        read: Content = yield Read(path, LARGEST)
        version = json.loads(read.data)["version"]
    except OpError as error:
        if error.kind in ("missing", "not-folder"):
            return None
        raise
    except (ValueError, KeyError, TypeError):
        return ""  # half written: it is there, in no version
    return str(version)


def converge(changes: Sequence[Change]) -> Generator[Any, Any, Sequence[str]]:
    """Install all that differ in one call of npm, and remove in another."""
    how: How = changes[0].options.get("how") or How(user=changes[0].resource.params.get("user"))
    place = changes[0].resource.params["place"]
    if place != GLOBAL:
        found: Found = yield Stat(place, follow=True, names=False)
        if found.kind != FOLDER:
            raise TaskFailed(
                f"npm: there is no folder {place}",
                unchanged=["nothing was installed"],
                next=[f'make it first: file.directory("{place}")'],
            )
    install, remove = [], []
    for change in changes:
        name = change.resource.params["name"]
        if change.wanted is None:
            remove.append(name)
        else:
            install.append(f"{name}@{change.wanted.get('version') or 'latest'}")
    if install:
        yield from _npm("install", place, (*how.options, "--", *install), how)
    if remove:
        yield from _npm("uninstall", place, ("--", *remove), how)
    return [""] * len(changes)


def _npm(verb: str, place: str, words: tuple[str, ...], how: How) -> Generator[Any, Any, None]:
    where = ("--global",) if place == GLOBAL else ("--prefix", place)
    argv = ("npm", verb, *where, *words)
    try:
        ran: Ran = yield Exec(f"`npm {verb}`", argv, None, "/", {**how.env, **_ENV}, how.user, how.timeout)
    except OpError as error:
        if error.kind != "not-found":
            raise
        raise TaskFailed(
            "npm is not installed",
            unchanged=["nothing was installed"],
            next=['install it: pkg({ name = "npm" })'],
        ) from error
    if ran.exit_code:
        raise _failed(verb, ran, how)


def _failed(verb: str, ran: Ran, how: How) -> TaskFailed:
    text = (ran.stderr.strip() or ran.stdout.strip()).decode("utf-8", "replace")
    lines = [re.sub(r"(://)[^/@\s]+@", r"\1••••••@", line) for line in text.splitlines()]
    said = [] if how.sensitive else [line for line in lines if not line.endswith("-debug-0.log")][:6]
    reasons = [line for line in said if re.match(r"npm (ERR!|error) (?!code)", line)]
    last = re.sub(r"^npm (ERR!|error) ", "", (reasons or said or [""])[0]).strip()
    advice = []
    if "E404" in text or "ETARGET" in text:
        advice.append("check its spelling and version, and that the registry has it")
    if "EACCES" in text:
        advice.append('the folder belongs to another user: user = "…"')
    if "ECONNREFUSED" in text or "ENOTFOUND" in text:
        advice.append("check the registry's address, and the way to it")
    end = f"was killed by {ran.signal}" if ran.signal else f"ended with exit status {ran.exit_code}"
    return TaskFailed(
        f"`npm {verb}` {end}" + (f": {last}" if last else ""), system="\n".join(said) or None, next=advice
    )


KINDS = (Kind("npm", "a package in a node_modules folder: version", observe, converge),)
MODULES = (
    Module(
        "npm",
        run,
        (
            Arg("name", "npm packages", 'a package, or a list; "name@version"', required=True),
            Arg("path", "path", "the project's folder on the target; the package gets into its package.json"),
            Arg("global", "boolean", "install for the whole machine", default=False),
            Arg("state", "present or absent", '"present" or "absent"', default="present"),
            Arg("registry", "url", "where packages come from; a password in it stays secret"),
            Arg("ignore_scripts", "boolean", "don't run what packages want to run on installing", default=False),
        ),
        "Installs npm packages, into a project's folder or globally.",
        refused={
            "version": 'say name = "NAME@VERSION"',
            "latest": "name the version: what is the latest changes from day to day",
            "ci": 'say cmd({ command = "npm ci", cwd = …, inputs = "package-lock.json" })',
        },
    ),
)  # fmt: skip
