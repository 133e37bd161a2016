"""Why: a command may have to run as another user, which root may do directly and others only through sudo."""

from __future__ import annotations

import os

from sloth_runner.ops import OpError
from sloth_runner.plain import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


class Spawn(NamedTuple):
    """What to start: ``argv`` in ``env``; ``how`` are subprocess's own arguments for another user; ``script``
    is given to standard input (None: there is none); ``sudo`` names the user if sudo lies between."""

    argv: list[str]
    env: dict[str, str]
    how: Mapping[str, Any] = {}
    script: bytes | None = None
    sudo: str | None = None


def spawn_as(
    user: str | None,
    argv: list[str],
    base: Mapping[str, str],
    env: Mapping[str, str],
) -> Spawn:
    """How to run ``argv`` as ``user`` (None: as we are) with ``base`` and then ``env`` as its environment.

    Another user gets their own HOME; sudo must not ask for a password. Raises OpError ``no-login``.
    """
    if user is None:
        return Spawn(argv, {**base, **env})
    import pwd

    try:
        entry = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
    except (KeyError, ValueError, OverflowError):
        raise OpError("no-login", user, "there is no such user on this machine") from None
    if entry.pw_uid == os.geteuid():
        return Spawn(argv, {**base, **env})
    if os.geteuid() == 0:
        groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
        how = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": groups}
        return Spawn(argv, {**base, "HOME": entry.pw_dir, **env}, how)
    return through_sudo(entry.pw_name, argv, base, env)


def through_sudo(user: str, argv: list[str], base: Mapping[str, str], env: Mapping[str, str]) -> Spawn:
    """The same by way of sudo. sudo drops the environment, and arguments can be read by everyone on the machine: so
    variables are set by a script that a shell reads from its standard input."""
    import shlex

    wanted = {key: value for key, value in base.items() if key != "HOME"}
    lines = [f"export {key}={shlex.quote(value)}" for key, value in {**wanted, **env}.items()]
    words = " ".join(shlex.quote(word) for word in argv)
    script = "\n".join([*lines, f"exec {words} </dev/null", ""]).encode("utf-8", "surrogateescape")
    return Spawn([*sudo_command(user, None), "/bin/sh"], {**base, **env}, {}, script, user)


def sudo_command(user: str, mark: str | None) -> list[str]:
    """The words in front of a command that is to run as ``user``. With a ``mark`` sudo reads the password from its
    standard input, and begins with the mark to ask for it."""
    ask = ["-n"] if mark is None else ["-S", "-p", f"{mark}\n"]
    return ["sudo", *ask, "-H", "-u", user, "--"]


def python_as_other(python: list[str], mark: str | None) -> list[str]:
    """A command that starts a Python as whoever may not be able to run ours: if so, it is the first of PATH.

    Whether sudo takes the password or needs none can't be known before: so the shell says the mark once sudo is
    content, and skips the line that sudo has left there, up to the mark, before the command begins to read.
    """
    script = (
        'm=$1; shift; if [ -n "$m" ]; then printf "%s\\n" "$m"; '
        'while IFS= read -r line && [ "$line" != "$m" ]; do :; done; fi; '
        '[ -x "$1" ] || { shift; set -- python3 "$@"; }; exec "$@"'
    )
    return ["/bin/sh", "-c", script, "sh", mark or "", *python]
