"""Why: both database servers are asked in the same manner: SQL goes to the client's standard input, JSON comes back.

Nothing of a statement stands in the client's arguments, which everybody on the machine can read. Names and texts in
statements are quoted here, for each server in its way. A password is never kept: what stands for it in an attribute
is the ``mark`` of what the server stores.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Generator, Sequence

from sloth_runner.errors import TaskFailed, Unpredictable
from sloth_runner.model import Outcome
from sloth_runner.modules.system.steps import not_installed
from sloth_runner.ops import REHEARSED, Exec, OpError, Stat
from sloth_runner.plain import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sloth_runner.modules.base import Converged
    from sloth_runner.ops import Found, Ran

LONGEST = 100_000
"""Bytes of statements that one call may have: they go through an environment variable."""
NO_PASSWORD = "none"  # noqa: S105 - a word, no password


def mark(stored: str | None) -> str:
    """What stands for a stored password: 24 bits of its digest. Enough to see a change, too few to try guesses on."""
    from hashlib import sha256

    return NO_PASSWORD if not stored else sha256(stored.encode()).hexdigest()[:6]


def statements(
    subject: str,
    argv: Sequence[str],
    sql: str,
    *,
    user: str | None,
    env: dict[str, str] | None = None,
    login: str | None = None,
    mutating: bool,
) -> Generator[Any, Any, str]:
    """Give statements to a client; returns what it prints. ``login`` is a file that says how to log in. Raises
    TaskFailed with the server's words, but never with the statement that it may quote; Unpredictable in check mode
    where that file is yet to be written."""
    if len(sql.encode("utf-8", "surrogateescape")) > LONGEST:
        raise TaskFailed(f"{subject}: the statements have more than {LONGEST:,} bytes", unchanged=[subject])
    label = f"`{argv[0]}`" if mutating else f"a look through `{argv[0]}`"
    op = Exec(
        label,
        line=f'printf %s "$SLOTH_TEXT" | {shlex.join(argv)}',
        cwd="/",
        env={"LC_ALL": "C.UTF-8", **(env or {}), "SLOTH_TEXT": sql},
        user=user,
        output_limit=16 << 20,
        mutating=mutating,
        quiet=True,
    )
    try:
        ran: Ran = yield op
    except OpError as error:
        if error.kind != "not-found":
            raise
        raise not_installed(subject, error.path) from error
    if ran.exit_code == 127:
        raise not_installed(subject, argv[0])
    if ran.exit_code:
        found: Found | None = (yield Stat(login, follow=True)) if login is not None else None
        if found is not None and found.modified == REHEARSED:
            raise Unpredictable(f"{login} would be written first: it says how to log in")
        raise _failed(subject, argv[0], ran)
    return ran.stdout.decode("utf-8", "surrogateescape")


def rows(text: str) -> list[dict[str, Any]]:
    """What a look printed: a JSON object a line."""
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def _failed(subject: str, program: str, ran: Ran) -> TaskFailed:
    kept = _without_statements(ran.stderr.decode("utf-8", "replace").strip().splitlines())
    last = f": {kept[0]}" if kept else f" with exit status {ran.exit_code}"
    advice = [
        "is the server running, and may this user connect? see user, login_as, host, port and the file of passwords"
    ]
    refused = any(
        word in line for line in kept for word in ("onnect", "authentication", "Access denied", "FATAL")
    )
    return TaskFailed(
        f"{subject}: {program} failed{last}",
        operation=program,
        system="\n".join(kept[-5:]) or None,
        unchanged=[subject],
        next=advice if refused else [],
    )


def _without_statements(said: Sequence[str]) -> list[str]:
    """What a client said, without the statements that it quotes: they may hold what stands for a password.

    psql quotes in a line "LINE n:" and a caret below; mariadb between two lines of dashes, and after "near".
    """
    kept = []
    quoting = dashes = False
    for line in said:
        if set(line) == {"-"}:
            dashes = not dashes
            continue
        quoting = re.search(r"\bLINE \d+:", line) is not None or (quoting and line.strip(" ^") == "")
        if not quoting and not dashes and "STATEMENT:" not in line and line.strip():
            kept.append(re.sub(r" near '.*", " near …", line.strip()))
    return kept


def outcome(done: Sequence[Converged], name: str) -> Outcome:
    """What a call returns that converged one resource, called ``name`` by the task."""
    (one,) = done
    return Outcome(one.action != "none", one.message, {"name": name})
