"""Why: what became of a request is read off etcd's answer by one table, each row of which a test has seen.

What matters is the fate of a commit: surely not applied, or unknown. The texts are those of etcd 3.4 to 3.6, which
begin alike ("etcdserver: …"), and gRPC's own.
"""

from __future__ import annotations

from sloth_runner.errors import Bug, Busy, Corrupt, Forbidden, SlothError, StoreDown, TooLarge
from sloth_runner.plain import Final, NamedTuple

ELSEWHERE: Final = "elsewhere"
"""Not applied; another node, or the same one a little later, may serve it."""
UNKNOWN: Final = "unknown"
"""The answer was lost, or the node does not know either."""
TOKEN: Final = "token"  # noqa: S105 - no secret
"""Not applied: the token is no longer known; log in again."""
COMPACTED: Final = "compacted"
"""The revision that was asked for is no longer kept."""
FULL: Final = "full"
"""The database is at its quota. A transaction that was under way when it filled up may have been applied."""
NO_LEADER: Final = "etcdserver: no leader"
"""What a node says that hears of no leader: the majority is gone, or elects one just now."""
FINAL: Final = "final"
"""Not applied, and nothing would change that."""


class Row(NamedTuple):
    """An answer: gRPC's code, how its text begins; its fate, the error's class, what to do."""

    code: str
    text: str
    fate: str
    kind: type[SlothError] = StoreDown
    next: tuple[str, ...] = ()


_ACCESS: Final = (
    "see who may do what: etcdctl user get USER --detail",
    "docs/stores/etcd.md has the commands",
)
_DOWN: Final = ("is etcd running, and reachable from here?",)
_TLS: Final = ("do the server's TLS and the URL's (tls=, ca=, cert=, key=, server-name=) fit each other?",)
_UNTRUSTED: Final = ("PROTOCOL_FAILURE", "DATA_CORRUPTED", "Hostname Verification")
"""What gRPC says when one side does not trust the other's certificate, or is shown none."""
_LIMITS: Final = ("larger servers are told by max-request-bytes= and max-txn-ops= in the store's URL",)
_SPACE: Final = (
    "free space: etcdctl compact REVISION, then etcdctl defrag on each node",
    "then let it write again: etcdctl alarm disarm",
    "more room: --quota-backend-bytes on the servers",
    "to leave it as it is (migrating writes into it, too): state export --all --with-history, state import elsewhere",
)

TABLE: Final[tuple[Row, ...]] = (
    Row("UNAVAILABLE", "failed to connect to all addresses", ELSEWHERE, next=_DOWN),
    Row("UNAVAILABLE", "errors resolving ", ELSEWHERE, next=("is the host's name right?",)),
    Row("UNAVAILABLE", NO_LEADER, ELSEWHERE),
    Row("UNAVAILABLE", "etcdserver: not capable", ELSEWHERE),
    Row("UNAVAILABLE", "etcdserver: rpc not supported for learner", ELSEWHERE),
    Row("FAILED_PRECONDITION", "etcdserver: not capable", ELSEWHERE),
    Row("FAILED_PRECONDITION", "etcdserver: rpc not supported for learner", ELSEWHERE),
    Row("UNKNOWN", "raft proposal dropped", ELSEWHERE),
    Row("RESOURCE_EXHAUSTED", "etcdserver: too many requests", ELSEWHERE, Busy),
    Row("UNAUTHENTICATED", "", TOKEN, Forbidden),
    Row("INVALID_ARGUMENT", "etcdserver: revision of auth store is old", TOKEN, Forbidden),
    Row(
        "INVALID_ARGUMENT",
        "etcdserver: user name is empty",
        FINAL,
        Forbidden,
        next=("name a user in the store's URL, etcd://USER@…, and its password: [state] password_env",),
    ),
    Row("INVALID_ARGUMENT", "etcdserver: authentication failed", FINAL, Forbidden, _ACCESS),
    Row(
        "FAILED_PRECONDITION",
        "etcdserver: authentication is not enabled",
        FINAL,
        Forbidden,
        next=("take the user out of the store's URL, or enable it: etcdctl auth enable",),
    ),
    Row("PERMISSION_DENIED", "", FINAL, Forbidden, _ACCESS),
    Row("INVALID_ARGUMENT", "etcdserver: request is too large", FINAL, TooLarge, _LIMITS),
    Row("INVALID_ARGUMENT", "etcdserver: too many operations in txn request", FINAL, TooLarge, _LIMITS),
    Row("RESOURCE_EXHAUSTED", "grpc: received message larger than max", FINAL, TooLarge, _LIMITS),
    Row("OUT_OF_RANGE", "etcdserver: too large lease TTL", FINAL, TooLarge),
    Row("OUT_OF_RANGE", "etcdserver: mvcc: required revision has been compacted", COMPACTED, Busy),
    Row("RESOURCE_EXHAUSTED", "etcdserver: mvcc: database space exceeded", FULL, Forbidden, _SPACE),
    Row("NOT_FOUND", "etcdserver: requested lease not found", FINAL),
    Row(
        "DATA_LOSS",
        "",
        FINAL,
        Corrupt,
        (
            "etcd itself found its members at odds: etcdctl alarm list; restore the wrong member from the others",
        ),
    ),
    Row("UNIMPLEMENTED", "", FINAL, Forbidden, next=("is this an etcd server of version 3.4 or later?",)),
    Row("INVALID_ARGUMENT", "etcdserver: duplicate key given in txn request", FINAL, Bug),
)
OTHERWISE: Final = Row("", "", UNKNOWN)


class Fault(Exception):
    """A request that was not answered as it should be. ``reason``: in a few words."""

    def __init__(self, host: str, code: str, details: str) -> None:
        super().__init__(host, code, details)
        self.host = host
        self.row = row_for(code, details)
        self.reason = _reason(code, details)

    @property
    def fate(self) -> str:
        """One of the words above."""
        return self.row.fate

    def error(self) -> SlothError:
        """What the store's user is told when nothing more is tried and nothing was applied."""
        kind, steps = self.row.kind, self.row.next
        if any(word in self.reason for word in _UNTRUSTED):
            kind, steps = Forbidden, _TLS
        elif "andshake" in self.reason or "Socket closed" in self.reason:
            steps = _TLS  # if not: what was cut short may go through the next time
        return kind(
            f"etcd at {self.host}: {self.reason}",
            operation="etcd",
            unchanged=["nothing was stored"],
            next=steps,
        )


def row_for(code: str, details: str) -> Row:
    """The table's row for an answer. What is not in the table has an unknown fate."""
    for row in TABLE:
        if row.code == code and details.startswith(row.text):
            return row
    return OTHERWISE


def fault_of(host: str, reason: str) -> Fault:
    """The fault that a text inside an answer means, such as why etcd ended a watch."""
    text = reason.partition("desc = ")[2] or reason
    for row in TABLE:
        if row.text and text.startswith(row.text):
            return Fault(host, row.code, text)
    if "permission denied" in text:
        return Fault(host, "PERMISSION_DENIED", text)
    return Fault(host, "UNAUTHENTICATED" if "invalid auth token" in text else "UNKNOWN", text)


def _reason(code: str, details: str) -> str:
    if code == "DEADLINE_EXCEEDED":
        return "no answer in time"
    text = details.partition("last error: ")[2] or details
    for prefix in ("UNKNOWN: ", "UNAVAILABLE: ", "etcdserver: ", "mvcc: "):
        text = text.removeprefix(prefix)
    if "Connection refused" in text:
        return "connection refused"
    return text.strip() or code.lower().replace("_", " ")
