"""Why: etcd by hand, for benchmarks.remote: gRPC's stubs over one connection, each write one transaction."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import grpc

from sloth_runner.state.backends import etcd_pb as pb

if TYPE_CHECKING:
    from benchmarks.remote import Write

SERVER: Final[dict[str, Any]] = {}
TIMEOUT: Final = 10.0


class Etcd:
    """One connection, and a part of the keys of its own."""

    def __init__(self, url: str) -> None:
        self._channel = grpc.insecure_channel(url.removeprefix("etcd://"))
        self._range = self._channel.unary_unary(
            "/etcdserverpb.KV/Range",
            request_serializer=pb.RangeRequest.SerializeToString,
            response_deserializer=pb.RangeResponse.FromString,
        )
        self._txn = self._channel.unary_unary(
            "/etcdserverpb.KV/Txn",
            request_serializer=pb.TxnRequest.SerializeToString,
            response_deserializer=pb.TxnResponse.FromString,
        )
        self._prefix = f"raw-{os.urandom(4).hex()}/".encode()
        self._revs: dict[str, int] = {}
        self._fixed: dict[str, int] = {}

    def prepare(self, rows: Sequence[tuple[str, bytes]]) -> None:
        for key, value in rows:
            put = pb.RequestOp(request_put=pb.PutRequest(key=self._prefix + key.encode(), value=value))
            self._fixed[key] = self._txn(pb.TxnRequest(success=[put]), timeout=TIMEOUT).header.revision

    def get(self, key: str) -> bytes | None:
        kvs = self._range(pb.RangeRequest(key=self._prefix + key.encode()), timeout=TIMEOUT).kvs
        return kvs[0].value if kvs else None

    def write(self, write: Write) -> None:
        expected = {
            write.fence: self._fixed[write.fence],
            write.lease: self._fixed[write.lease],
            write.head: self._revs.get(write.head, 0),
            write.revision: 0,
        }
        reply = self._txn(
            pb.TxnRequest(
                compare=[
                    pb.Compare(target=pb.Compare.MOD, key=self._prefix + key.encode(), mod_revision=rev)
                    for key, rev in expected.items()
                ],
                success=[
                    pb.RequestOp(
                        request_put=pb.PutRequest(key=self._prefix + key.encode(), value=write.value)
                    )
                    for key in (write.head, write.revision)
                ],
            ),
            timeout=TIMEOUT,
        )
        if not reply.succeeded:
            raise RuntimeError("the lock is lost, or somebody else wrote")
        self._revs[write.head] = reply.header.revision

    def close(self) -> None:
        self._channel.close()


def connect(url: str) -> Etcd:
    """See benchmarks.remote."""
    return Etcd(url)
