"""Why: a working copy may hold what exists nowhere else; before it goes, it is looked at wherever that can be."""

from __future__ import annotations

from collections.abc import Generator

from sloth_runner.modules.git.commands import How, ask, complaint
from sloth_runner.plain import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sloth_runner.ops import Ran


def work(dest: str, how: How, *, ignored: bool) -> Generator[Any, Any, str]:
    """What a working copy holds that would be lost with it, in words ("" if there is nothing); with ``ignored`` also
    files that git ignores. Raises TaskFailed where git fails."""
    status = ("status", "--porcelain", *(("--ignored",) if ignored else ()))
    found = _files((yield from _lines(dest, (*status, "--ignore-submodules=none"), how)))
    if found:
        return found
    if any(
        line[:1] == "S" or line[:1].islower() for line in (yield from _lines(dest, ("ls-files", "-v"), how))
    ):
        return "files whose changes git does not look for"
    words = ("submodule", "--quiet", "foreach", "--recursive", f"git {' '.join(status)}")
    inside: Ran = yield from ask(dest, words, how)
    if inside.exit_code:
        return "submodules that git can't look into"
    found = _files(inside.stdout.decode("utf-8", "surrogateescape").splitlines())
    if found:
        return f"{found} in submodules"
    linked = "\n".join((yield from _lines(dest, ("worktree", "list", "--porcelain"), how))).split("\n\n")[1:]
    if any("\nprunable" not in one for one in linked if one):
        return "other working copies that belong to it"
    stash: Ran = yield from ask(dest, ("rev-parse", "--verify", "--quiet", "refs/stash"), how)
    if stash.exit_code == 0:
        return "work that no server has (a stash)"
    head: Ran = yield from ask(dest, ("rev-parse", "--verify", "--quiet", "HEAD"), how)
    tips = ["--branches", *(["HEAD"] if head.exit_code == 0 else [])]
    own = yield from own_commit(dest, tips, how)
    return f"work that no server has ({own[:12]})" if own else ""


def own_commit(dest: str, tips: list[str], how: How) -> Generator[Any, Any, str]:
    """A commit below ``tips`` that came from no server ("" if there is none)."""
    if not tips:
        return ""
    known = ("--not", "--remotes", "--tags", "--glob=refs/sloth-runner/*")
    found = yield from _lines(dest, ("rev-list", "--max-count=1", *tips, *known), how)
    return found[0] if found else ""


def _lines(dest: str, words: tuple[str, ...], how: How) -> Generator[Any, Any, list[str]]:
    ran: Ran = yield from ask(dest, words, how)
    if ran.exit_code:
        raise complaint(words[0], ran, how, dest)
    return ran.stdout.decode("utf-8", "surrogateescape").splitlines()


def _files(status: list[str]) -> str:
    """What lines of ``git status --porcelain`` tell of."""
    kinds = {line[:2] for line in status}
    if kinds - {"??", "!!"}:
        return "changed files"
    if "??" in kinds:
        return "files that git does not know"
    return "files that git ignores" if kinds else ""
