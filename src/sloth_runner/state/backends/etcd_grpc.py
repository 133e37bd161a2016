"""Why: what gRPC is told, and what can be asked of one node, is known in one place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter
from pathlib import Path

from sloth_runner.errors import BadConfig
from sloth_runner.plain import TYPE_CHECKING, Any, Final, TypeVar
from sloth_runner.rpc import keepalive
from sloth_runner.rpc import load as load_grpc
from sloth_runner.state.backends import etcd_pb as pb

if TYPE_CHECKING:
    import grpc

    from sloth_runner.state.backends.etcd_url import Tls

Q = TypeVar("Q")
R = TypeVar("R")

if TYPE_CHECKING:
    Verb = Callable[["Node"], grpc.UnaryUnaryMultiCallable[Q, R]]

KEEPALIVE: Final = (6.0, 4.0)
"""Seconds of silence, while something is under way, until the connection is tried; seconds for the answer. (etcd
takes more than one such try in five seconds for an attack.)"""


class Node:
    """One endpoint, its connection (made at the first request) and what can be asked over it."""

    def __init__(self, address: str, channel: grpc.Channel) -> None:
        def unary(path: str, request: type[Q], reply: type[R]) -> grpc.UnaryUnaryMultiCallable[Q, R]:
            return channel.unary_unary(
                f"/etcdserverpb.{path}",
                request_serializer=request.SerializeToString,  # type: ignore[attr-defined] # a Message
                response_deserializer=reply.FromString,  # type: ignore[attr-defined] # a Message
            )

        self.address = address
        self.range = unary("KV/Range", pb.RangeRequest, pb.RangeResponse)
        self.txn = unary("KV/Txn", pb.TxnRequest, pb.TxnResponse)
        self.grant = unary("Lease/LeaseGrant", pb.LeaseGrantRequest, pb.LeaseGrantResponse)
        self.revoke = unary("Lease/LeaseRevoke", pb.LeaseRevokeRequest, pb.LeaseRevokeResponse)
        self.ttl = unary("Lease/LeaseTimeToLive", pb.LeaseTimeToLiveRequest, pb.LeaseTimeToLiveResponse)
        self.login = unary("Auth/Authenticate", pb.AuthenticateRequest, pb.AuthenticateResponse)
        self.status = unary("Maintenance/Status", pb.StatusRequest, pb.StatusResponse)
        self.watch: grpc.StreamStreamMultiCallable[pb.WatchRequest, pb.WatchResponse] = channel.stream_stream(
            "/etcdserverpb.Watch/Watch",
            request_serializer=pb.WatchRequest.SerializeToString,
            response_deserializer=pb.WatchResponse.FromString,
        )
        self.close = channel.close


RANGE: Final[Verb[pb.RangeRequest, pb.RangeResponse]] = attrgetter("range")
TXN: Final[Verb[pb.TxnRequest, pb.TxnResponse]] = attrgetter("txn")
GRANT: Final[Verb[pb.LeaseGrantRequest, pb.LeaseGrantResponse]] = attrgetter("grant")
REVOKE: Final[Verb[pb.LeaseRevokeRequest, pb.LeaseRevokeResponse]] = attrgetter("revoke")
TIME_TO_LIVE: Final[Verb[pb.LeaseTimeToLiveRequest, pb.LeaseTimeToLiveResponse]] = attrgetter("ttl")
STATUS: Final[Verb[pb.StatusRequest, pb.StatusResponse]] = attrgetter("status")
LOGIN: Final[Verb[pb.AuthenticateRequest, pb.AuthenticateResponse]] = attrgetter("login")
"""What can be asked of a node."""


class Dialer:
    """Makes connections, none of which is shared. ``rpc``: the module grpc."""

    def __init__(self, rpc: Any, tls: Tls | None) -> None:
        self._rpc = rpc
        self._credentials = None if tls is None else _credentials(rpc, tls)
        self._options: list[tuple[str, object]] = [
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_retries", 0),
            ("grpc.enable_http_proxy", 0),
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            *keepalive(*KEEPALIVE),
            ("grpc.http2.max_pings_without_data", 0),
        ]
        if tls is not None and tls.server_name is not None:
            self._options.append(("grpc.ssl_target_name_override", tls.server_name))
        self.failure: type[Exception] = rpc.RpcError

    def node(self, address: str) -> Node:
        """A connection to ``address``, made when something is asked of it."""
        if self._credentials is None:
            return Node(address, self._rpc.insecure_channel(address, self._options))
        return Node(address, self._rpc.secure_channel(address, self._credentials, self._options))


def load(environ: Mapping[str, str]) -> Any:
    """gRPC, with what else the extra has. Raises ImportError."""
    import google.protobuf.message_factory  # noqa: F401 - part of the same extra

    return load_grpc(environ)


def _credentials(rpc: Any, tls: Tls) -> Any:
    """What connections are secured with. Raises BadConfig: a file can't be read."""
    files: list[bytes | None] = []
    for path in (tls.ca or _system_authorities(), tls.key, tls.cert):
        try:
            files.append(None if path is None else path.read_bytes())
        except OSError as error:
            raise BadConfig(
                f"the etcd store's file {path} can't be read: {error.strerror}",
                unchanged=["nothing was read or written"],
            ) from error
    return rpc.ssl_channel_credentials(*files)


def _system_authorities() -> Path | None:
    """The file of this system's certificate authorities, if it has one; else gRPC uses its own list."""
    from ssl import get_default_verify_paths

    found = get_default_verify_paths().cafile
    return None if found is None else Path(found)
