"""Why: Python packages live in an environment; what is installed there, that environment's own Python is asked.

An environment is a virtual one (made if it is missing), or the system's, which its owner may have closed for pip
(PEP 668): then pip is not called unless that is asked for. What a requirements file still lacks, pip says itself.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Generator, Mapping, Sequence

from sloth_runner.errors import BadArgument, TaskFailed, Unpredictable
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
    one_by_one,
)
from sloth_runner.modules.pip_theirs import keep_theirs
from sloth_runner.modules.system.steps import missing_above, remove_empty
from sloth_runner.ops import ABSENT, FILE, FOLDER, Exec, List, MakeDir, OpError, Remove, Stat
from sloth_runner.plain import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from sloth_runner.modules.base import Converged, Step, Steps
    from sloth_runner.ops import Found, Listing, Ran

_WHAT_IS_THERE = """
import json, os, re, sys, sysconfig
from importlib import metadata
found = {}
for one in metadata.distributions():
    name = one.metadata["Name"]
    if name:
        found.setdefault(re.sub("[-_.]+", "-", name).lower(), one.version)
closed = sys.prefix == sys.base_prefix and os.path.exists(
    os.path.join(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED"))
print(json.dumps([closed, found]))
"""


class How(NamedTuple):
    """How pip is called: options for installing, environment, user, timeout; ``open`` although the system's packages
    belong to somebody else (PEP 668)."""

    options: tuple[str, ...] = ()
    env: Mapping[str, str] = {}
    user: str | None = None
    timeout: float | None = None
    open: bool = False
    sensitive: bool = False


def normal(name: str) -> str:
    """A project's name as all its spellings are compared (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """Packages in an environment, or all that a requirements file names."""
    names, requirements = args["name"], args["requirements"]
    if bool(names) is (requirements is not None):
        raise BadArgument("pip takes either name (packages) or requirements (a file on the target)")
    if requirements is not None and args["state"] == "absent":
        raise BadArgument('pip: state = "absent" is for name')
    if args["virtualenv"] is None and not args["python"].startswith("/"):
        raise BadArgument(
            'pip: name the interpreter by its path, python = "/usr/bin/python3", or a virtualenv'
        )
    how = _how(args, context)
    messages, changed = [], False
    python = args["python"]
    if args["virtualenv"] is not None:
        python = posixpath.join(args["virtualenv"], "bin/python")
        if args["state"] != "absent":
            options = {"python": args["python"], "how": how}
            first = yield from _ensure(
                [Want(Resource("pip.virtualenv", args["virtualenv"]), {"pip": True}, None, options)]
            )
            messages, changed = [first.message], first.changed
    if requirements is not None:
        subject = Resource(
            "pip.requirements", f"{python} {requirements}", {"python": python, "file": requirements}
        )
        wants = [
            Want(
                subject._replace(params={**subject.params, "user": context.user}),
                {"missing": []},
                None,
                {"how": how},
            )
        ]
    else:
        wants = [_want(one, args["state"], python, how) for one in names]
    second = yield from _ensure(wants)
    message = "; ".join(filter(None, [*messages, second.message]))
    return Outcome(changed or second.changed, message, {"python": python})


def _ensure(wants: Sequence[Want]) -> Generator[Step, Any, Outcome]:
    done: tuple[Converged, ...] = yield Ensure(tuple(wants))
    changed = [one for one in done if one.action != "none"]
    return Outcome(bool(changed), "; ".join(one.message for one in changed if one.message))


def _how(args: Mapping[str, Any], context: Context) -> How:
    """Addresses go through the environment: they may hold a password."""
    env = {**context.env, "PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "LC_ALL": "C.UTF-8"}
    for name in ("index_url", "extra_index_url"):
        if args[name] is not None:
            env[f"PIP_{name.upper()}"] = args[name]
    options = []
    if args["no_index"]:
        options.append("--no-index")
    for folder in args["find_links"]:
        options += ["--find-links", folder]
    open_ = args["break_system_packages"]
    return How(tuple(options), env, context.user, context.timeout, open_, context.sensitive)


def _want(one: tuple[str, str, str | None], state: str, python: str, how: How) -> Want:
    name, extras, version = one
    resource = Resource("pip", f"{python} {normal(name)}", {"python": python, "name": normal(name)})
    wanted: dict[str, Any] | None = {} if version is None else {"version": version}
    if state == "absent":
        wanted = None
    return Want(resource, wanted, None, {"how": how, "extras": extras})


def _installed(python: str) -> Generator[Any, Any, tuple[bool, dict[str, str]] | None]:
    """Whether the environment is closed for pip, and its packages by normal name; None if there is no such Python."""
    argv = (python, "-c", _WHAT_IS_THERE)
    try:
        ran: Ran = yield Exec(
            f"`{python}`", argv, cwd="/", env={"LC_ALL": "C.UTF-8"}, mutating=False, quiet=True
        )
    except OpError as error:
        if error.kind != "not-found":
            raise
        return None
    if ran.exit_code:
        raise _failed(f"`{python}`", ran, How())
    closed, found = json.loads(ran.stdout)
    return bool(closed), found


def observe(looks: Sequence[Look]) -> Generator[Any, Any, Sequence[Observed]]:
    """One question for all packages of an environment."""
    known: dict[str, tuple[bool, dict[str, str]] | None] = {}
    out = []
    for look in looks:
        python, name = look.resource.params["python"], look.resource.params["name"]
        if python not in known:
            known[python] = yield from _installed(python)
        there = known[python]
        version = None if there is None else there[1].get(name)
        out.append(Observed(None if version is None else {"version": version}))
    return out


def converge(changes: Sequence[Change]) -> Generator[Any, Any, Sequence[str]]:
    """Install all that differ in one call of pip, and remove in another."""
    how: How = changes[0].options.get("how", How())
    python = changes[0].resource.params["python"]
    yield from _permitted(python, how)
    install, remove = [], []
    for change in changes:
        name = change.resource.params["name"]
        if change.wanted is None:
            remove.append(name)
        else:
            version = change.wanted.get("version")
            install.append(f"{name}{change.options.get('extras', '')}" + (f"=={version}" if version else ""))
    if install:
        yield from _pip(python, ("install", "--quiet", *how.options, "--", *install), how)
    if remove:
        yield from _pip(python, ("uninstall", "--quiet", "--yes", "--", *remove), how)
    return [""] * len(changes)


def _permitted(python: str, how: How) -> Generator[Any, Any, None]:
    """Raise TaskFailed where the system's packages belong to another package manager (PEP 668)."""
    there = yield from _installed(python)
    if there is not None and there[0] and not how.open:
        raise TaskFailed(
            f"{python} belongs to the system's package manager, which closed it for pip (PEP 668)",
            unchanged=["nothing was installed"],
            next=[
                'use a virtual environment: virtualenv = "/opt/…"',
                'or the system\'s own package: pkg({ name = "python3-…" })',
                "break_system_packages = true does it all the same",
            ],
        )


def _pip(python: str, words: tuple[str, ...], how: How) -> Generator[Any, Any, None]:
    more = ("--break-system-packages",) if how.open and (yield from _knows_closing(python)) else ()
    argv = (python, "-m", "pip", words[0], *more, *words[1:])
    ran: Ran = yield Exec(f"`pip {words[0]}`", argv, None, "/", how.env, how.user, how.timeout)
    if ran.exit_code:
        raise _failed(f"`pip {words[0]}` of {python}", ran, how)


def _knows_closing(python: str) -> Generator[Any, Any, bool]:
    there = yield from _installed(python)
    return there is not None and there[0]


def _failed(label: str, ran: Ran, how: How) -> TaskFailed:
    text = (ran.stderr.strip() or ran.stdout.strip()).decode("utf-8", "replace")
    said = [] if how.sensitive else [_without_password(line) for line in text.splitlines()][-5:]
    last = next(
        (line for line in reversed(said) if line.lower().startswith("error")), said[-1] if said else ""
    )
    advice = []
    if "No matching distribution" in text or "Could not find a version" in text:
        advice.append("check its spelling and version, and that the index has it for this Python")
    if "No module named pip" in text:
        advice.append('there is no pip: pkg({ name = "python3-pip" }), or a virtualenv')
    if "no such option: --dry-run" in text:
        advice.append("its pip is too old to say what it would do: requirements need pip 22.2 or later")
    if "Permission denied" in text:
        advice.append('the environment belongs to another user: user = "root"')
    end = f"was killed by {ran.signal}" if ran.signal else f"ended with exit status {ran.exit_code}"
    return TaskFailed(
        f"{label} {end}" + (f": {last}" if last else ""), system="\n".join(said) or None, next=advice
    )


def _without_password(line: str) -> str:
    return re.sub(r"(://)[^/@\s]+@", r"\1••••••@", line)


def _observe_requirements(look: Look) -> Generator[Any, Any, Observed]:
    python, path = look.resource.params["python"], look.resource.params["file"]
    there = yield from _installed(python)
    if there is None:
        return Observed(None)
    yield from _same_on_disk(path)
    how: How = How(user=look.resource.params.get("user"))
    words = (
        "install",
        "--quiet",
        "--dry-run",
        "--no-deps",
        "--no-index",
        "--requirement",
        path,
    )
    env = {"PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "LC_ALL": "C.UTF-8"}
    argv = (
        (python, "-m", "pip", *words, "--break-system-packages")
        if there[0]
        else (python, "-m", "pip", *words)
    )
    ran: Ran = yield Exec(
        "`pip install --dry-run`", argv, None, "/", env, how.user, mutating=False, quiet=True
    )
    if ran.exit_code == 0:
        return Observed({"missing": []})
    text = ran.stderr.decode("utf-8", "replace")
    missing = re.findall(r"No matching distribution found for (\S+)", text)
    if not missing:
        raise _failed(f"`pip install --dry-run` of {path}", ran, how)
    return Observed({"missing": missing})


def _same_on_disk(path: str) -> Generator[Any, Any, None]:
    """Raise if the file is missing; in check mode also if it would only be there, or be another one, after an earlier
    step: pip reads the real one."""
    found: Found = yield Stat(path, digest=True, follow=True)
    if found.kind != FILE:
        raise TaskFailed(
            f"there is no requirements file {path} on the target", unchanged=["nothing was installed"]
        )
    real: Ran = yield Exec("`sha256sum`", ("sha256sum", "--", path), cwd="/", mutating=False, quiet=True)
    if found.digest is None or real.stdout.lstrip(b"\\")[:64].decode() != found.digest:
        raise Unpredictable(f"what {path} will require is not known to pip before it is written")


def _converge_requirements(change: Change) -> Generator[Any, Any, str]:
    how: How = change.options.get("how", How())
    python, path = change.resource.params["python"], change.resource.params["file"]
    yield from _permitted(python, how)
    yield from _pip(python, ("install", "--quiet", *how.options, "--requirement", path), how)
    return ""


def _observe_virtualenv(look: Look) -> Generator[Any, Any, Observed]:
    path = look.resource.id
    python: Found = yield Stat(posixpath.join(path, "bin/python"), follow=True, names=False)
    pip: Found = yield Stat(posixpath.join(path, "bin/pip"), follow=True, names=False)
    config: Found = yield Stat(posixpath.join(path, "pyvenv.cfg"), names=False)
    if config.kind == FILE:
        return Observed({"pip": python.kind == FILE and pip.kind == FILE})
    found: Found = yield Stat(path, follow=True)
    if found.kind == ABSENT:
        return Observed(None, {"missing": (yield from missing_above(path))})
    listing: Listing | None = (yield List(path)) if found.kind == FOLDER else None
    if listing is None or listing.entries:
        return Observed(None, {"occupied": True})
    return Observed(None, {"folder": [found.mode, found.uid, found.gid]})


def _converge_virtualenv(change: Change) -> Generator[Any, Any, str]:
    path = change.resource.id
    if change.wanted is None:
        yield from keep_theirs(change)
        yield Remove(path, True)
        folder = change.extra.get("folder")
        if folder is not None:
            yield MakeDir(path, folder[0], str(folder[1]), str(folder[2]))
        else:
            yield from remove_empty(list(change.extra.get("missing", ())))
        return ""
    if change.observed.extra.get("occupied"):
        raise TaskFailed(f"{path} is there, and is no virtual environment", unchanged=[path])
    if not change.wanted.get("pip"):
        raise TaskFailed(
            f"{path} was an unfinished virtual environment, and that can't be restored", unchanged=[path]
        )
    how: How = change.options.get("how", How())
    python = change.options.get("python", "python3")
    argv = (python, "-m", "venv", path)
    ran: Ran = yield Exec(f"`{python} -m venv {path}`", argv, None, "/", how.env, how.user, how.timeout)
    if ran.exit_code:
        error = _failed(f"`{python} -m venv {path}`", ran, how)
        if "ensurepip" in (ran.stdout + ran.stderr).decode("utf-8", "replace"):
            error.next.append('this Python lacks venv: pkg({ name = "python3-venv" })')
        raise error
    return ""


_PACKAGE = Kind("pip", "a Python package in an environment: version", observe, converge)
_REQUIREMENTS = Kind(
    "pip.requirements", "a requirements file in an environment: missing (what it names that is not there)",
    *one_by_one(_observe_requirements, _converge_requirements), undo=False,
)  # fmt: skip
_VIRTUALENV = Kind(
    "pip.virtualenv", "a virtual environment of Python: pip (whether it is complete)",
    *one_by_one(_observe_virtualenv, _converge_virtualenv),
)  # fmt: skip

KINDS = (_PACKAGE, _REQUIREMENTS, _VIRTUALENV)
MODULES = (
    Module(
        "pip",
        run,
        (
            Arg("name", "python packages", 'a package, or a list; "name==version", "name[extra]"', default=()),
            Arg("requirements", "path", "a requirements file on the target, all of which should be there"),
            Arg("virtualenv", "path", "the virtual environment, made if it is missing"),
            Arg("python", "line", "the interpreter: to make the environment with, or whose own packages are meant",
                default="/usr/bin/python3"),
            Arg("state", "present or absent", '"present" or "absent"', default="present"),
            Arg("index_url", "url", "where packages come from; a password in it stays secret"),
            Arg("extra_index_url", "url", "where else they come from"),
            Arg("find_links", "paths", "folders on the target with packages", default=()),
            Arg("no_index", "boolean", "use find_links alone", default=False),
            Arg("break_system_packages", "boolean",
                "install into the system's Python although its package manager closed it (PEP 668)", default=False),
        ),
        "Installs Python packages into a virtual environment or, if it is open for pip, the system's.",
        positional="name",
        refused={
            "version": 'say name = "NAME==VERSION"',
            "latest": "name the version; pip has no answer that stays true",
            "editable": "use cmd with creates",
        },
        returns={"python": "the environment's interpreter"},
    ),
)  # fmt: skip
