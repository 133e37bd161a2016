"""Each answer that etcd and gRPC may give has its fate and its error. (Real servers give most of them in the files
beside this one; some can't be had without damaging a cluster.)"""

from __future__ import annotations

import pytest

from sloth_runner.errors import Bug, Busy, Corrupt, Forbidden, SlothError, StoreDown, TooLarge
from sloth_runner.state.backends import etcd_errors
from sloth_runner.state.backends.etcd_errors import (
    COMPACTED,
    ELSEWHERE,
    FINAL,
    FULL,
    TABLE,
    TOKEN,
    UNKNOWN,
    Fault,
    fault_of,
    row_for,
)

CASES: list[tuple[str, str, str, type[SlothError]]] = [
    ("UNAVAILABLE", "failed to connect to all addresses; last error: UNKNOWN: ipv4:1.2.3.4: x", ELSEWHERE, StoreDown),
    ("UNAVAILABLE", "errors resolving h1:2379: [field:hostname lookup error:x]", ELSEWHERE, StoreDown),
    ("UNAVAILABLE", "etcdserver: no leader", ELSEWHERE, StoreDown),
    ("UNAVAILABLE", "etcdserver: not capable", ELSEWHERE, StoreDown),
    ("FAILED_PRECONDITION", "etcdserver: not capable", ELSEWHERE, StoreDown),
    ("UNAVAILABLE", "etcdserver: rpc not supported for learner", ELSEWHERE, StoreDown),
    ("FAILED_PRECONDITION", "etcdserver: rpc not supported for learner", ELSEWHERE, StoreDown),
    ("UNKNOWN", "raft proposal dropped", ELSEWHERE, StoreDown),
    ("RESOURCE_EXHAUSTED", "etcdserver: too many requests", ELSEWHERE, Busy),
    ("UNAVAILABLE", "etcdserver: leader changed", UNKNOWN, StoreDown),
    ("UNAVAILABLE", "etcdserver: request timed out", UNKNOWN, StoreDown),
    ("UNAVAILABLE", "etcdserver: request timed out, possibly due to previous leader failure", UNKNOWN, StoreDown),
    ("UNAVAILABLE", "etcdserver: request timed out, possibly due to connection lost", UNKNOWN, StoreDown),
    ("UNAVAILABLE", "etcdserver: server stopped", UNKNOWN, StoreDown),
    ("UNAVAILABLE", "Stream removed (recvmsg:Connection reset by peer (104))", UNKNOWN, StoreDown),
    ("UNAVAILABLE", "Socket closed", UNKNOWN, StoreDown),
    ("DEADLINE_EXCEEDED", "Deadline Exceeded", UNKNOWN, StoreDown),
    ("CANCELLED", "Channel closed!", UNKNOWN, StoreDown),
    ("INTERNAL", "Received RST_STREAM with error code 2", UNKNOWN, StoreDown),
    ("UNKNOWN", "something that is in no table", UNKNOWN, StoreDown),
    ("RESOURCE_EXHAUSTED", "something that is in no table", UNKNOWN, StoreDown),
    ("UNAUTHENTICATED", "etcdserver: invalid auth token", TOKEN, Forbidden),
    ("INVALID_ARGUMENT", "etcdserver: revision of auth store is old", TOKEN, Forbidden),
    ("INVALID_ARGUMENT", "etcdserver: user name is empty", FINAL, Forbidden),
    ("INVALID_ARGUMENT", "etcdserver: authentication failed, invalid user ID or password", FINAL, Forbidden),
    ("FAILED_PRECONDITION", "etcdserver: authentication is not enabled", FINAL, Forbidden),
    ("PERMISSION_DENIED", "etcdserver: permission denied", FINAL, Forbidden),
    ("INVALID_ARGUMENT", "etcdserver: request is too large", FINAL, TooLarge),
    ("INVALID_ARGUMENT", "etcdserver: too many operations in txn request", FINAL, TooLarge),
    ("RESOURCE_EXHAUSTED", "grpc: received message larger than max (3 vs. 2)", FINAL, TooLarge),
    ("OUT_OF_RANGE", "etcdserver: too large lease TTL", FINAL, TooLarge),
    ("OUT_OF_RANGE", "etcdserver: mvcc: required revision has been compacted", COMPACTED, Busy),
    ("RESOURCE_EXHAUSTED", "etcdserver: mvcc: database space exceeded", FULL, Forbidden),
    ("NOT_FOUND", "etcdserver: requested lease not found", FINAL, StoreDown),
    ("DATA_LOSS", "etcdserver: corrupt cluster", FINAL, Corrupt),
    ("UNIMPLEMENTED", "unknown service etcdserverpb.KV", FINAL, Forbidden),
    ("INVALID_ARGUMENT", "etcdserver: duplicate key given in txn request", FINAL, Bug),
]  # fmt: skip


@pytest.mark.parametrize(("code", "details", "fate", "kind"), CASES)
def test_the_table(code: str, details: str, fate: str, kind: type[SlothError]) -> None:
    fault = Fault("h1:2379", code, details)
    error = fault.error()
    assert fault.fate == fate
    assert type(error) is kind
    assert error.message.startswith("etcd at h1:2379: ")
    assert error.unchanged == ["nothing was stored"]


def test_each_row_has_a_case() -> None:
    assert {id(row_for(code, details)) for code, details, _, _ in CASES} == {
        *map(id, TABLE),
        id(etcd_errors.OTHERWISE),
    }


@pytest.mark.parametrize(
    ("code", "details", "reason"),
    [
        (
            "UNAVAILABLE",
            "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: Failed to connect to remote "
            "host: Connection refused",
            "connection refused",
        ),
        ("DEADLINE_EXCEEDED", "Deadline Exceeded", "no answer in time"),
        ("UNAVAILABLE", "etcdserver: no leader", "no leader"),
        ("RESOURCE_EXHAUSTED", "etcdserver: mvcc: database space exceeded", "database space exceeded"),
        ("DATA_LOSS", "", "data loss"),
    ],
)
def test_reasons_are_short(code: str, details: str, reason: str) -> None:
    assert Fault("h", code, details).reason == reason


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("Tls handshake failed (TSI_PROTOCOL_FAILURE): CERTIFICATE_VERIFY_FAILED", Forbidden),
        ("Unwrap failed (TSI_DATA_CORRUPTED)", Forbidden),
        (
            "Custom verification check failed with error: UNAUTHENTICATED: Hostname Verification Check failed.",
            Forbidden,
        ),
        ("Handshake read failed (Socket closed)", StoreDown),
    ],
)
def test_certificates_are_not_waited_for(reason: str, kind: type[SlothError]) -> None:
    error = Fault(
        "h", "UNAVAILABLE", f"failed to connect to all addresses; last error: UNKNOWN: {reason}"
    ).error()
    assert type(error) is kind
    assert "TLS" in error.next[0]


@pytest.mark.parametrize(
    ("reason", "fate"),
    [
        ("rpc error: code = PermissionDenied desc = etcdserver: permission denied", FINAL),
        ("rpc error: code = Unauthenticated desc = etcdserver: invalid auth token", TOKEN),
        ("rpc error: code = InvalidArgument desc = etcdserver: revision of auth store is old", TOKEN),
        ("rpc error: code = Unavailable desc = etcdserver: no leader", ELSEWHERE),
        ("etcdserver: mvcc: watcher duplicate watch ID provided", UNKNOWN),
    ],
)
def test_why_a_watch_was_ended(reason: str, fate: str) -> None:
    assert fault_of("h", reason).fate == fate
