"""Why: what PostgreSQL says becomes what this project says, by its SQLSTATE; one table, one test.

(SQLSTATEs: https://www.postgresql.org/docs/current/errcodes-appendix.html)
"""

from __future__ import annotations

import re

from sloth_runner.errors import (
    Busy,
    Corrupt,
    Forbidden,
    Foreign,
    Indeterminate,
    KeyWrong,
    SlothError,
    StoreDown,
    TooLarge,
)
from sloth_runner.plain import Final, NamedTuple
from sloth_runner.state.backends.postgres_schema import (
    MOVED,
    ON_A_REPLICA,
    TAKES_NO_PLAINTEXT,
    UNKNOWN_RULE,
    WRONG_ISOLATION,
)

UNCHANGED: Final = ["nothing was changed"]
AGAIN: Final = ("40001", "40P01", "55P03")
"""Serialization failure, deadlock, lock not available in time: not applied, and worth another try."""
NOT_MADE: Final = ("3F000", "42P01", "42883")
"""No such schema, table, function: nothing was stored here yet, or something else is here."""
ALREADY: Final = ("42P06", "42P07", "42723", "23505")
"""There is such a schema, table, function: somebody else was first."""
PREPARED: Final = ("26000", "42P05", "0A000")
"""A prepared statement isn't there (a pooler gave us another session), is there already, or was overtaken by DDL."""


class Said(NamedTuple):
    """One error as the server reported it. ``fatal``: the session ended with it."""

    state: str
    message: str
    fatal: bool
    detail: str = ""


class Refused(Exception):
    """A statement failed; inside the backend only. ``said`` is None when the connection was lost instead:
    ``sent``: after the statement had, at least in part, gone out."""

    def __init__(self, said: Said | None, reason: str = "", *, sent: bool = False) -> None:
        super().__init__(said.message if said else reason)
        self.said = said
        self.reason = reason
        self.sent = sent

    @property
    def state(self) -> str:
        """Its SQLSTATE; "" when the connection was lost."""
        return self.said.state if self.said else ""

    @property
    def lost(self) -> bool:
        """Whether the connection is gone."""
        return self.said is None or self.said.fatal


def translated(error: Refused, where: str, *, committing: bool = False) -> SlothError:
    """The project's own error. ``committing``: the statement may have been applied if its reply was lost."""
    said = error.said
    if committing and error.lost and (error.sent or said is not None):
        return Indeterminate(
            f"{where} was lost while it committed: {error}",
            system=str(error),
            next=["see what is there once the server is back"],
        )
    if said is None and (state := _state_of(error.reason)):
        kind, text, advice = _meaning(Said(state, error.reason, True))
        return kind(f"{where} {text}", unchanged=UNCHANGED, next=advice)
    if said is None:
        return StoreDown(
            f"{where} can't be reached: {error.reason}",
            unchanged=UNCHANGED,
            next=["see whether the server runs, and whether a firewall or a wrong port is in between"],
        )
    if said.state == MOVED and said.message.startswith("{"):
        from sloth_runner.state.moved import refusal

        return refusal(said.message.encode())
    kind, text, advice = _meaning(said)
    return kind(
        f"{where} {text}",
        system=f"{said.state} {said.message}" + (f" ({said.detail})" if said.detail else ""),
        unchanged=UNCHANGED,
        next=advice,
    )


def _state_of(reason: str) -> str | None:
    """The SQLSTATE of a failed login, of which libpq gives the text alone; none where that is not known."""
    return next((state for words, state in _LOGINS if re.search(words, reason)), None)


def _meaning(said: Said) -> tuple[type[SlothError], str, list[str]]:
    for prefix in (said.state, said.state[:2]):
        found = _TABLE.get(prefix)
        if found is not None:
            kind, text, advice = found
            return kind, f"{text}: {said.message}", [advice] if advice else []
    return StoreDown, f"refused: {said.message}", []


_TLS: Final = "TLS"
"""Stands for a SQLSTATE where two don't agree on TLS: that is found out before the server says one."""
_LOGINS: Final = (
    ("authentication failed|no password supplied|no pg_hba.conf entry|not permitted to log in", "28000"),
    ('role ".*" does not exist', "28000"),
    ('database ".*" does not exist', "3D000"),
    ('permission denied for database "', "42501"),
    ("too many clients|too many connections|connection slots are reserved", "53300"),
    ("certificate|private key|does not support SSL|SSL error: .* alert ", _TLS),
)
_TABLE: Final[dict[str, tuple[type[SlothError], str, str]]] = {
    # By whole SQLSTATE, then by class.
    ON_A_REPLICA: (
        StoreDown,
        "is a replica (or has become one): state is read and written on the primary only",
        "name the primary, or all hosts: postgres://USER@HOST1,HOST2/DATABASE",
    ),
    "25006": (
        StoreDown,
        "is read-only: a replica, or default_transaction_read_only is on",
        "name the primary; for a role that may write: ALTER ROLE … RESET default_transaction_read_only",
    ),
    WRONG_ISOLATION: (StoreDown, "runs our function under another isolation level", ""),
    TAKES_NO_PLAINTEXT: (
        KeyWrong,
        "was told, while this program used it, that this state is sealed",
        "start it again with [state.encryption] configured",
    ),
    MOVED: (Foreign, "holds this state no more", "use the store that it was moved to"),
    UNKNOWN_RULE: (
        Foreign,
        "has a rule for commits that this version can't obey",
        "use a newer sloth-runner",
    ),
    "28": (Forbidden, "does not let us in", "check user, password (password_env) and pg_hba.conf"),
    _TLS: (
        Forbidden,
        "and this machine don't agree on TLS",
        "look at sslmode, sslrootcert, sslcert and sslkey in the store's URL",
    ),
    "3D000": (Forbidden, "has no such database", "createdb NAME, or name another in the URL"),
    "42501": (
        Forbidden,
        "does not permit this role to do that",
        "see the grants in docs/stores/postgresql.md",
    ),
    "3F000": (Foreign, "has lost the schema of this store", "restore it from a backup"),
    "42P01": (Foreign, "has lost tables of this store", "restore them from a backup"),
    "42883": (Foreign, "has lost functions of this store", "restore them from a backup"),
    "42": (
        Foreign,
        "has something else where this store's tables should be",
        "name another schema: ?schema=NAME",
    ),
    "40": (Busy, "had other commits on the same keys at each try", "try again"),
    "55": (Busy, "had its keys locked by other commits for too long", "try again"),
    "57014": (
        StoreDown,
        "cancelled the statement",
        "look at statement_timeout of this role and database, and at who called pg_cancel_backend",
    ),
    "57": (StoreDown, "is starting, stopping, or ended our session", "try again when it is back"),
    "53100": (StoreDown, "has no room left on its disk", "make room and try again"),
    "53200": (
        StoreDown,
        "is out of memory",
        "look at its memory, and at max_locks_per_transaction",
    ),
    "53300": (
        StoreDown,
        "has no connection left",
        "raise max_connections, put a pooler before it, or lower [run] jobs",
    ),
    "53": (StoreDown, "lacks resources", "see the server's log"),
    "54": (TooLarge, "can't hold something this long", "use shorter names and smaller values"),
    "58": (StoreDown, "met an error of its operating system", "see the server's log"),
    "08": (StoreDown, "broke the connection", "see the server's log"),
    "XX001": (Corrupt, "has damaged data", "see the server's log, and restore a backup"),
    "XX002": (Corrupt, "has a damaged index", "see the server's log; REINDEX repairs an index"),
    "25P": (StoreDown, "ended a transaction that was idle for too long", "see its idle time-outs"),
}
