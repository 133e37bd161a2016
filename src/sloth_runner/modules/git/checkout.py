"""Why: a task file names a repository and a version; what that version means today, the server is asked."""

from __future__ import annotations

from collections.abc import Mapping

from sloth_runner.errors import BadArgument
from sloth_runner.model import Outcome
from sloth_runner.modules.base import Arg, Context, Ensure, Module, Resource, Want
from sloth_runner.modules.git.commands import How, Revision, environment, resolve
from sloth_runner.modules.git.kind import KIND
from sloth_runner.modules.urls import take_apart
from sloth_runner.plain import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sloth_runner.modules.base import Converged, Steps


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """A working copy at a version, or none."""
    resource = Resource("git", args["dest"], {} if context.user is None else {"user": context.user})
    if args["state"] == "absent":
        how = How(context.user, environment(context.env, None, None, None), context.timeout, args["dest"])
        return (yield from _ensure(Want(resource, None, None, {"how": how, "force": args["force"]}), {}))
    if args["repo"] is None:
        raise BadArgument("git needs repo: where the repository is")
    url, how = _source(args, context)
    revision: Revision = yield from resolve(url, args["version"], how)
    wanted: dict[str, Any] = {"repo": url}
    if args["update"]:
        wanted.update(commit=revision.commit, branch=revision.branch)
    if args["force"]:
        wanted["modified"] = False
    if args["clean"]:
        wanted["untracked"] = False
    if args["submodules"]:
        wanted["submodules"] = True
    options = {"how": how, "revision": revision, "force": args["force"], "depth": args["depth"]}
    fields = {"commit": revision.commit} if args["update"] else {}
    return (yield from _ensure(Want(resource, wanted, None, options), fields))


def _source(args: Mapping[str, Any], context: Context) -> tuple[str, How]:
    """The URL without its password, and how to call git so that it has it."""
    url, user, password = args["repo"], None, None
    if url.startswith(("http://", "https://")):
        parts = take_apart(url)
        if parts.password is not None:
            url, user, password = parts.public, parts.user, parts.password
    env = environment(context.env, args["key_file"], user, password)
    where = "the repository (sensitive)" if context.sensitive else url
    return url, How(context.user, env, context.timeout, where, context.sensitive)


def _ensure(want: Want, fields: Mapping[str, object]) -> Steps:
    done: tuple[Converged, ...] = yield Ensure((want,))
    return Outcome(
        done[0].action != "none", done[0].message, {"path": want.resource.id, **fields}, done[0].diff
    )


KINDS = (KIND,)
MODULES = (
    Module(
        "git",
        run,
        (
            Arg(
                "repo", "repository",
                "where it is: https://, ssh://, git:// or file:// URL, user@host:path, or a path on the target",
            ),
            Arg("dest", "path", "the folder on the target", required=True),
            Arg(
                "version", "git version",
                'a branch, a tag, or a commit by all its digits; without it: what the server\'s HEAD names',
                default="HEAD",
            ),
            Arg("depth", "depth", "fetch so many commits only; without it: all of them"),
            Arg("submodules", "boolean", "fetch submodules, too, at the commits they belong to", default=False),
            Arg("update", "boolean", "follow the version; false: be content with what is there", default=True),
            Arg(
                "force", "boolean",
                "throw changed files away, and leave commits behind that no server has; without it both are an error",
                default=False,
            ),
            Arg("clean", "boolean", "remove files that git does not know and does not ignore", default=False),
            Arg("key_file", "path", "the ssh key on the target to use, and no other"),
            Arg(
                "state", "present or absent",
                '"absent": no folder; one with work in it is kept (what git ignores does not count)',
                default="present",
            ),
        ),
        "Keeps a working copy of a git repository at a version, without destroying work that is only there.",
        refused={
            "branch": "say version = …", "tag": "say version = …", "commit": "say version = …",
            "accept_hostkey": "host keys are always checked: add the host's key to known_hosts first",
        },
        returns={"path": "the folder", "commit": "the commit that the version means"},
    ),
)  # fmt: skip
