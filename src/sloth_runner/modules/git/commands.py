"""Why: git is called in one manner: it never asks, passwords stand in no argument, its complaints become advice."""

from __future__ import annotations

import re
import shlex
from collections.abc import Generator, Mapping

from sloth_runner.errors import TaskFailed
from sloth_runner.ops import Exec, OpError
from sloth_runner.plain import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from sloth_runner.ops import Ran

_SAY = 'printf "username=%s\\npassword=%s\\n" "$SLOTH_GIT_USER" "$SLOTH_GIT_PASSWORD"'
_HELPER = f'!f() {{ test "$1" = get && {_SAY}; }}; f'
"""A credential helper that gives what the environment holds, which only git's own user can read."""


class How(NamedTuple):
    """How git is called: as whom, with which environment beside its own, and for how long. ``where`` is what messages
    call the repository."""

    user: str | None = None
    env: Mapping[str, str] = {}
    timeout: float | None = None
    where: str = "the repository"
    sensitive: bool = False


class Revision(NamedTuple):
    """A commit that is wanted, the ``ref`` of the server that has it (None: it was named itself), and the branch to
    be on ("": none)."""

    commit: str
    ref: str | None
    branch: str


def environment(
    given: Mapping[str, str], key_file: str | None, user: str | None, password: str | None
) -> dict[str, str]:
    """git's environment: it never asks; over ssh with ``key_file`` alone; with a password from a helper."""
    ssh = "ssh -o BatchMode=yes"
    if key_file is not None:
        ssh += f" -o IdentitiesOnly=yes -i {shlex.quote(key_file)}"
    env = {"GIT_SSH_COMMAND": ssh, **given, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    if key_file is not None:
        env["GIT_SSH_COMMAND"] = ssh
    if password is not None:
        count = int(env.get("GIT_CONFIG_COUNT") or 0)
        for name, value in (("credential.helper", ""), ("credential.helper", _HELPER)):
            env[f"GIT_CONFIG_KEY_{count}"], env[f"GIT_CONFIG_VALUE_{count}"] = name, value
            count += 1
        env.update(GIT_CONFIG_COUNT=str(count), SLOTH_GIT_USER=user or "", SLOTH_GIT_PASSWORD=password)
    return env


def ask(dest: str | None, words: tuple[str, ...], how: How) -> Generator[Any, Any, Ran]:
    """What git says to a question; of the repository in ``dest``."""
    place = () if dest is None else ("-C", dest)
    argv = ("git", "--no-optional-locks", *place, *words)
    return (yield from _run(f"`git {words[0]}`", argv, how, mutating=False))


def act(dest: str | None, words: tuple[str, ...], how: How) -> Generator[Any, Any, None]:
    """Have git change something. Raises TaskFailed in its own words."""
    place = () if dest is None else ("-C", dest)
    ran: Ran = yield from _run(f"`git {words[0]}`", ("git", *place, *words), how, mutating=True)
    if ran.exit_code:
        raise complaint(words[0], ran, how, dest)


def _run(label: str, argv: tuple[str, ...], how: How, *, mutating: bool) -> Generator[Any, Any, Ran]:
    env = how.env or environment({}, None, None, None)
    try:
        ran: Ran = yield Exec(
            label, argv, None, "/", env, how.user, how.timeout, mutating=mutating, quiet=not mutating
        )
    except OpError as error:
        if error.kind != "not-found":
            raise
        raise TaskFailed(
            "git is not installed",
            unchanged=["this call changed nothing"],
            next=['install it: pkg({ name = "git" })'],
        ) from error
    return ran


_ADVICE = (
    (r"dubious ownership", "it belongs to another user: act as that one, user = …"),
    (r"could not read Username|Authentication failed|terminal prompts disabled",
     "it wants a user and a password: give them in the URL, from a sensitive value"),
    (r"Host key verification failed", "its host key is not known: ssh_key.known_host adds it"),
    (r"Permission denied \(", "no ssh key was accepted: key_file names one on the target"),
    (r"Could not resolve host|Connection refused|timed out|unable to connect", "check its address"),
    (r"does not appear to be a git repository|not found|does not exist", "check the address's spelling"),
    (r"would be overwritten|untracked working tree files", "move these files away"),
    (r"would clobber existing tag", "the tag was moved: force = true follows it"),
    (r"Permission denied$|Permission denied\n", "the folder belongs to another user: user = …"),
    (r"transport 'file' not allowed", "git allows submodules at file addresses only if protocol.file.allow says so"),
)  # fmt: skip


def complaint(word: str, ran: Ran, how: How, dest: str | None = None) -> TaskFailed:
    """The error for a call of git that failed."""
    text = ran.stderr.decode("utf-8", "replace").strip()
    said = [] if how.sensitive else text.splitlines()[-5:]
    last = next((line for line in said if line.startswith(("fatal:", "error:"))), said[-1] if said else "")
    end = f"was killed by {ran.signal}" if ran.signal else f"ended with exit status {ran.exit_code}"
    about = dest if dest is not None else how.where
    return TaskFailed(
        f"{about}: `git {word}` {end}" + (f": {last}" if last else ""),
        system="\n".join(said) or None,
        next=[advice for pattern, advice in _ADVICE if re.search(pattern, text)],
    )


def resolve(url: str, version: str, how: How) -> Generator[Any, Any, Revision]:
    """The commit that a branch, a tag or "HEAD" means on the server, which is asked; a commit means itself."""
    if re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", version):
        return Revision(version, None, "")
    if version == "HEAD" or version.startswith("refs/"):
        patterns: tuple[str, ...] = (version,)
    else:
        patterns = (f"refs/heads/{version}", f"refs/tags/{version}")
    words = (
        "ls-remote",
        "--symref",
        "--",
        url,
        *patterns,
        *(f"{one}^{{}}" for one in patterns if "tags" in one),
    )
    ran: Ran = yield from ask(None, words, how)
    if ran.exit_code:
        raise complaint("ls-remote", ran, how)
    refs: dict[str, str] = {}
    branch = ""
    for line in ran.stdout.decode("utf-8", "replace").splitlines():
        what, _, ref = line.partition("\t")
        if what.startswith("ref: ") and ref == "HEAD":
            branch = what.removeprefix("ref: refs/heads/")
        else:
            refs[ref] = what
    return _chosen(version, [one for one in patterns if one in refs], refs, branch, how)


def _chosen(version: str, found: list[str], refs: Mapping[str, str], branch: str, how: How) -> Revision:
    if len(found) > 1:
        raise TaskFailed(
            f"{version} is both a branch and a tag of {how.where}",
            unchanged=["this call changed nothing"],
            next=[f'say version = "refs/heads/{version}" or "refs/tags/{version}"'],
        )
    if not found:
        short = re.fullmatch(r"[0-9a-f]{4,39}", version)
        raise TaskFailed(
            f"{how.where} has no branch and no tag {version}"
            if version != "HEAD"
            else f"{how.where} is empty",
            unchanged=["this call changed nothing"],
            next=["a commit is named by all its 40 digits"] if short else ["check its spelling"],
        )
    ref = found[0]
    if ref == "HEAD":
        return Revision(refs[ref], f"refs/heads/{branch}" if branch else "HEAD", branch)
    commit = refs.get(f"{ref}^{{}}", refs[ref])
    return Revision(commit, ref, ref.removeprefix("refs/heads/") if ref.startswith("refs/heads/") else "")
