"""Why: a working copy is at a commit, on a branch, of a repository; and it may hold work that exists nowhere else.

That work is never destroyed unless that is asked for: changed files, commits that no server has, files that git does
not know. What this module brought from a server itself is marked by a ref, so that it does not pass for such work.
"""

from __future__ import annotations

import posixpath
from collections.abc import Generator, Mapping

from sloth_runner.errors import Conflict, TaskFailed
from sloth_runner.modules.base import Change, Kind, Look, Observed, Predict, one_by_one
from sloth_runner.modules.git.commands import How, Revision, act, ask, complaint
from sloth_runner.modules.git.work import own_commit, work
from sloth_runner.modules.system.steps import missing_above, remove_empty
from sloth_runner.ops import ABSENT, FOLDER, List, MakeDir, Remove, Stat
from sloth_runner.plain import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sloth_runner.modules.base import Resource
    from sloth_runner.ops import Found, Listing, Ran

OURS = "refs/sloth-runner/deployed"


def _observe(look: Look) -> Generator[Any, Any, Observed]:
    dest = look.resource.id
    how = How(look.resource.params.get("user"))
    found: Found = yield Stat(dest, follow=True)
    if found.kind == ABSENT:
        return Observed(None, {"missing": (yield from missing_above(dest))})
    if found.kind != FOLDER:
        return Observed(None, {"occupied": f"a {found.kind}"})
    inner: Found = yield Stat(posixpath.join(dest, ".git"), names=False)
    if inner.kind == ABSENT:
        listing: Listing = yield List(dest)
        if listing.entries:
            return Observed(None, {"occupied": "a folder with other things in it"})
        return Observed(None, {"folder": [found.mode, found.uid, found.gid]})
    try:
        return Observed((yield from _attributes(dest, look.keys, how)))
    except TaskFailed:
        if inner.kind == FOLDER and (yield from _is_begun(dest)):
            return Observed(None, {"folder": [found.mode, found.uid, found.gid]})
        raise


def _is_begun(dest: str) -> Generator[Any, Any, bool]:
    """Whether there is only what a git init has left that was stopped; the next one goes on with it."""
    objects: Found = yield Stat(posixpath.join(dest, ".git", "objects"), names=False)
    listing: Listing = yield List(dest)
    return objects.kind == ABSENT and len(listing.entries) == 1


def _attributes(dest: str, keys: frozenset[str] | None, how: How) -> Generator[Any, Any, dict[str, Any]]:
    every = keys is None
    untracked = every or (keys is not None and "untracked" in keys)
    files = "normal" if untracked else "no"
    words = ("status", "--porcelain=v2", "--branch", "--ignore-submodules=all", f"--untracked-files={files}")
    ran: Ran = yield from ask(dest, words, how)
    if ran.exit_code:
        raise complaint("status", ran, how, dest)
    seen: dict[str, Any] = {"commit": "", "branch": "", "modified": False}
    if untracked:
        seen["untracked"] = False
    for line in ran.stdout.decode("utf-8", "surrogateescape").splitlines():
        word, _, rest = line.partition(" ")
        if rest.startswith("branch.oid "):
            seen["commit"] = rest.removeprefix("branch.oid ").replace("(initial)", "")
        elif rest.startswith("branch.head "):
            seen["branch"] = rest.removeprefix("branch.head ").replace("(detached)", "")
        elif word == "?":
            seen["untracked"] = True
        elif word in ("1", "2", "u"):
            seen["modified"] = True
    remote: Ran = yield from ask(dest, ("config", "--get", "remote.origin.url"), how)
    seen["repo"] = remote.stdout.decode("utf-8", "surrogateescape").strip()
    if every or (keys is not None and "submodules" in keys):
        state: Ran = yield from ask(dest, ("submodule", "status", "--recursive"), how)
        seen["submodules"] = all(line.startswith(b" ") for line in state.stdout.splitlines())
    return seen


def _converge(change: Change) -> Generator[Any, Any, str]:
    if change.wanted is None:
        yield from _remove(change)
        return ""
    dest, wanted = change.resource.id, change.wanted
    before = change.observed.attributes
    how: How = change.options.get("how") or How(change.resource.params.get("user"))
    revision: Revision = change.options.get("revision") or Revision(
        str(wanted.get("commit", "")), None, str(wanted.get("branch", ""))
    )
    if before is None:
        if change.observed.extra.get("occupied"):
            raise TaskFailed(
                f"{dest} is {change.observed.extra['occupied']}, not a working copy of git",
                unchanged=[dest],
                next=["name another dest, or remove it first: file.absent"],
            )
        yield from act(
            None, ("init", "--quiet", f"--initial-branch={revision.branch or 'main'}", "--", dest), how
        )
        before = {
            "commit": "",
            "branch": "",
            "repo": "",
            "modified": False,
            "untracked": False,
            "submodules": True,
        }
        moves = True
    else:
        moves = bool(change.differing & {"commit", "branch"})
        yield from _refuse_loss(change, before, revision, how, moves=moves)
        if change.dry:
            yield from _foretell(change.resource, how)
    yield from _remote(dest, str(before["repo"]), wanted.get("repo"), how)
    if moves:
        yield from _fetch(dest, revision, change.options, how)
        yield from _switch(dest, revision, bool(change.options.get("force")), how)
    elif "modified" in change.differing:
        yield from act(dest, ("reset", "--hard", "--quiet"), how)
    yield from _tidy(change, moves, how)
    return ""


def _foretell(resource: Resource, how: How) -> Generator[Any, Any, None]:
    """In check mode: what the files that git knows will be is not known before they are fetched."""
    ran: Ran = yield from ask(resource.id, ("ls-files", "-z"), how)
    names = ran.stdout.decode("utf-8", "surrogateescape").split("\0")[:-1]
    paths = tuple(posixpath.join(resource.id, name) for name in names)
    yield Predict(resource.address, resource.address, makes=paths)


def _refuse_loss(
    change: Change, before: Mapping[str, Any], revision: Revision, how: How, *, moves: bool
) -> Generator[Any, Any, None]:
    """Raise TaskFailed where work would be lost that nobody gave up, or what is gone can't be brought back."""
    dest, wanted = change.resource.id, change.wanted or {}
    for name in ("modified", "untracked"):
        if wanted.get(name) and not before.get(name):
            raise TaskFailed(
                f"{dest}: {name} files were thrown away, and can't be brought back", unchanged=[dest]
            )
    if moves and not revision.commit:
        raise TaskFailed(f"{dest} had no commit before, and that can't be restored", unchanged=[dest])
    if change.options.get("force") or not moves:
        return
    if before["modified"]:
        raise TaskFailed(
            f"{dest} has changed files, which going to another commit would touch",
            unchanged=[dest],
            next=["commit them and push, or stash them", "force = true throws them away"],
        )
    tips = ["HEAD"] if before["commit"] else []
    if revision.branch and revision.branch != before["branch"]:
        tip: Ran = yield from ask(
            dest, ("rev-parse", "--verify", "--quiet", f"refs/heads/{revision.branch}"), how
        )
        tips += [f"refs/heads/{revision.branch}"] if tip.exit_code == 0 else []
    own = yield from own_commit(dest, tips, how)
    if own:
        raise TaskFailed(
            f"{dest} has commits that no server has, {own[:12]} among them",
            unchanged=[dest],
            next=["push them, or put a branch on them elsewhere", "force = true leaves them behind"],
        )


def _remote(dest: str, before: str, wanted: str | None, how: How) -> Generator[Any, Any, None]:
    if wanted is None or wanted == before:
        return
    if not wanted:
        yield from act(dest, ("remote", "remove", "origin"), how)
    elif before:
        yield from act(dest, ("remote", "set-url", "origin", wanted), how)
    else:
        yield from act(dest, ("remote", "add", "origin", wanted), how)


def _has(dest: str, commit: str, how: How) -> Generator[Any, Any, bool]:
    ran: Ran = yield from ask(dest, ("cat-file", "-e", f"{commit}^{{commit}}"), how)
    return ran.exit_code == 0


def _fetch(dest: str, revision: Revision, options: Mapping[str, Any], how: How) -> Generator[Any, Any, None]:
    """Bring the commit here, unless it is."""
    if (yield from _has(dest, revision.commit, how)):
        if revision.branch and revision.ref is not None:  # what the server said counts as fetched
            remote = f"refs/remotes/origin/{revision.branch}"
            yield from act(dest, ("update-ref", remote, revision.commit), how)
        return
    depth = (f"--depth={options['depth']}",) if options.get("depth") else ()
    if revision.ref is None:
        try:
            yield from act(dest, ("fetch", "--quiet", *depth, "origin", revision.commit), how)
        except TaskFailed:  # a server may give only what its branches and tags name
            yield from act(dest, ("fetch", "--quiet", "--tags", "origin"), how)
    elif revision.branch:
        spec = f"+{revision.ref}:refs/remotes/origin/{revision.branch}"
        yield from act(dest, ("fetch", "--quiet", *depth, "origin", spec), how)
    else:
        force = "+" if options.get("force") else ""
        yield from act(
            dest, ("fetch", "--quiet", *depth, "origin", f"{force}{revision.ref}:{revision.ref}"), how
        )
    if not (yield from _has(dest, revision.commit, how)):
        raise TaskFailed(
            f"{how.where} does not give the commit {revision.commit}",
            unchanged=[f"the files of {dest}"],
            next=["its branch has just moved on: run again" if revision.ref else "check its digits"],
        )


def _switch(dest: str, revision: Revision, force: bool, how: How) -> Generator[Any, Any, None]:
    """Put the commit into the folder."""
    forced = ("--force",) if force else ()
    yield from act(dest, ("update-ref", OURS, revision.commit), how)
    if not revision.branch:
        yield from act(dest, ("checkout", "--quiet", *forced, "--detach", revision.commit, "--"), how)
        return
    name = revision.branch
    if revision.ref is not None:
        yield from act(dest, ("config", f"branch.{name}.remote", "origin"), how)
        yield from act(dest, ("config", f"branch.{name}.merge", revision.ref), how)
    words = ("checkout", "--quiet", *forced, "--no-track", "-B", name, revision.commit, "--")
    yield from act(dest, words, how)


def _tidy(change: Change, moves: bool, how: How) -> Generator[Any, Any, None]:
    """Submodules and unknown files, as they are wanted."""
    dest, wanted, options = change.resource.id, change.wanted or {}, change.options
    submodules = wanted.get("submodules")
    if submodules and (moves or "submodules" in change.differing):
        depth = (f"--depth={options['depth']}",) if options.get("depth") else ()
        force = ("--force",) if options.get("force") else ()
        yield from act(dest, ("submodule", "--quiet", "sync", "--recursive"), how)
        yield from act(dest, ("submodule", "--quiet", "update", "--init", "--recursive", *force, *depth), how)
    elif submodules is False and "submodules" in change.differing:
        yield from act(dest, ("submodule", "--quiet", "deinit", "--all"), how)
    if wanted.get("untracked") is False and (moves or "untracked" in change.differing):
        yield from act(dest, ("clean", "-ffd", "--quiet"), how)


def _remove(change: Change) -> Generator[Any, Any, None]:
    """What git ignores goes with a working copy that shall be absent; but nobody has said so when it is undone."""
    dest, undo = change.resource.id, bool(change.options.get("undo"))
    how: How = change.options.get("how") or How(change.resource.params.get("user"))
    what = "" if change.options.get("force") else (yield from work(dest, how, ignored=undo))
    if what and undo:
        raise Conflict(f"it has {what}", keys=[change.resource.address])
    if what:
        raise TaskFailed(
            f"{dest} has {what}, and is kept",
            unchanged=[dest],
            next=[*(["push it"] if "no server" in what else []), "force = true removes it with them"],
        )
    yield Remove(dest, True)
    if undo:
        folder = change.extra.get("folder")
        if folder is not None:
            yield MakeDir(dest, folder[0], str(folder[1]), str(folder[2]))
        else:
            yield from remove_empty(list(change.extra.get("missing", ())))


_observe_all, _converge_all = one_by_one(_observe, _converge)

KIND = Kind(
    "git",
    "a working copy: commit, branch (empty: none), repo (where it comes from), modified (files that git knows were"
    " changed), untracked (there are files that it does not know), submodules (all are at their commits)",
    _observe_all,
    _converge_all,
)
