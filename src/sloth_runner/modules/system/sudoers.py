"""Why: a mistake in what sudo reads can lock everybody out, so sudo's own checker sees each text before sudo does."""

from __future__ import annotations

from collections.abc import Generator, Mapping

from sloth_runner.errors import BadArgument
from sloth_runner.modules.base import (
    Arg,
    Change,
    Context,
    Kind,
    Look,
    Module,
    Observed,
    Resource,
    Want,
    one_by_one,
)
from sloth_runner.modules.system.steps import alone, feed, make_folders, missing_above
from sloth_runner.ops import FILE, OpError, Read, Remove, SetAttrs, Stat, Write
from sloth_runner.plain import TYPE_CHECKING, Any
from sloth_runner.state.ledger_records import KEPT_CONTENT

if TYPE_CHECKING:
    from sloth_runner.modules.base import Steps
    from sloth_runner.ops import Content, Found

FOLDER = "/etc/sudoers.d"
KIND_DOC = "content, mode, uid and gid of a file in /etc/sudoers.d"


def sudoers(args: Mapping[str, Any], context: Context) -> Steps:
    """A file, checked first."""
    from sloth_runner.modules.base import ensure

    yield from alone(context, "sudoers")
    resource = Resource("sudoers", args["name"])
    if args["state"] == "absent":
        if args["content"] is not None:
            raise BadArgument("sudoers: content says what is in the file, but state is absent")
        return (yield from ensure(Want(resource, None)))
    if args["content"] is None:
        raise BadArgument("sudoers needs content: the rules, as visudo takes them")
    text = args["content"] if args["content"].endswith("\n") else args["content"] + "\n"
    wanted = {"mode": "0440", "uid": 0, "gid": 0}
    options = {"sensitive": context.sensitive}
    return (yield from ensure(Want(resource, wanted, text.encode("utf-8", "surrogateescape"), options)))


def _path(resource: Resource) -> str:
    return f"{FOLDER}/{resource.id}"


def _observe(look: Look) -> Generator[Any, Any, Observed]:
    found: Found = yield Stat(_path(look.resource), digest=True)
    if found.kind != FILE:
        return Observed(None)
    mode = f"{found.mode:04o}"
    return Observed({"content": found.digest, "mode": mode, "uid": found.uid, "gid": found.gid})


def _converge(change: Change) -> Generator[Any, Any, str]:
    path, wanted = _path(change.resource), change.wanted
    if wanted is None:
        yield Remove(path)
        return ""
    owner, group, mode = str(wanted["uid"]), str(wanted["gid"]), int(wanted["mode"], 8)
    if change.differing.isdisjoint({"content", "present"}):
        yield SetAttrs(path, mode, owner, group)
        return ""
    assert change.content is not None
    yield from _check(change, change.content)
    yield from make_folders((yield from missing_above(path)))
    yield Write(path, change.content, mode, owner, group)
    return ""


def _check(change: Change, content: bytes) -> Generator[Any, Any, None]:
    """Raises TaskFailed, in visudo's own words, if sudo would not take it. What is put back was there before."""
    if change.options.get("undo"):
        return
    name = f"sudoers {change.resource.id}"
    text = content.decode("utf-8", "surrogateescape")
    sensitive = bool(change.options.get("sensitive"))
    yield from feed(name, text, ["visudo", "-c", "-f", "-"], mutating=False, sensitive=sensitive)


def _content(resource: Resource) -> Generator[Any, Any, bytes | None]:
    try:
        read: Content = yield Read(_path(resource), KEPT_CONTENT)
    except OpError as error:
        if error.kind in ("too-large", "missing", "not-file"):
            return None
        raise
    return read.data


KINDS = (Kind("sudoers", KIND_DOC, *one_by_one(_observe, _converge), _content),)
MODULES = (
    Module(
        "sudoers",
        sudoers,
        (
            Arg("name", "sudoers name", f"the file's name in {FOLDER}", required=True),
            Arg("content", "content", "the rules; a line break at the end is added"),
            Arg(
                "state",
                "present or absent",
                'whether it should be there: "present" or "absent"',
                default="present",
            ),
        ),
        f"Puts rules for sudo into {FOLDER} (0440, root), once visudo has found no mistake in them; or removes them.",
        refused={"validate": "visudo always checks it", "mode": "sudo wants 0440"},
    ),
)
