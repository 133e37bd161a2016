"""Why: an agent that is always there answers at once, without a login, and only to controllers of its own authority.

One method carries the stream (``Work``: messages of ``agent.resuming``); the others keep certificates fresh. All of
them are made by ``_guarded`` and by nothing else, so none can be called without a certificate that ``Keeper.admit``
believes. TLS has refused whoever has no certificate of the authority before that. Messages are bytes; what is not the
stream is JSON or PEM.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from sloth_runner.agent import resuming
from sloth_runner.agent.frames import BadFrame
from sloth_runner.daemon.holding import Denied, Keeper
from sloth_runner.daemon.links import MOST, Link, Links, Opening, Refused
from sloth_runner.errors import SlothError
from sloth_runner.plain import TYPE_CHECKING, Any, Final
from sloth_runner.trust import certificates as certs

if TYPE_CHECKING:
    import grpc

SERVICE: Final = "slothrunner.agent.v1.Agent"
MESSAGE: Final = resuming.PIECE + resuming.HEADER.size
"""Bytes of a message of the stream, at most; gRPC refuses longer ones before they are kept."""
LOOK: Final = 1.0
"""Seconds between two looks whether a caller may still go on."""
WORDS: Final = 64 << 10
"""Bytes of a request that is not the stream, at most."""


class Caller:
    """Who calls: the certificate's identity and serial, and until when it is good."""

    def __init__(self, keeper: Keeper, pem: bytes | None) -> None:
        self._keeper = keeper
        self.identity, self.serial = keeper.admit(pem)
        certificate = certs.load_certificate(pem or b"", "the caller's certificate")
        self._span = certs.since(certificate), certs.until(certificate)

    def still(self) -> None:
        """Raise Denied unless it is still good."""
        self._keeper.still(self.serial, *self._span)


class Service:
    """What controllers can ask. ``status`` gives what ``Status`` answers."""

    def __init__(self, keeper: Keeper, links: Links, status: Callable[[], Mapping[str, Any]]) -> None:
        self._keeper = keeper
        self._links = links
        self._status = status

    def handler(self, rpc: Any) -> grpc.GenericRpcHandler[Any, Any]:
        """The methods, for the module grpc."""
        unary = {
            "Status": self._about,
            "Request": self._request,
            "Accept": self._accept,
            "Revoke": self._revoke,
        }
        methods = {
            name: rpc.unary_unary_rpc_method_handler(self._guarded(rpc, call)) for name, call in unary.items()
        }
        methods["Work"] = rpc.stream_stream_rpc_method_handler(self._guarded_stream(rpc))
        made: grpc.GenericRpcHandler[Any, Any] = rpc.method_handlers_generic_handler(SERVICE, methods)
        return made

    def _guarded(self, rpc: Any, call: Callable[[bytes], bytes]) -> Callable[[bytes, Any], bytes]:
        def answer(request: bytes, context: Any) -> bytes:
            self._caller(rpc, context)
            if len(request) > WORDS:
                context.abort(rpc.StatusCode.RESOURCE_EXHAUSTED, f"more than {WORDS:,} bytes")
            try:
                return call(request)
            except SlothError as error:
                context.abort(rpc.StatusCode.FAILED_PRECONDITION, error.message)
                raise

        return answer

    def _guarded_stream(self, rpc: Any) -> Callable[[Iterator[bytes], Any], Iterator[bytes]]:
        def answer(requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
            caller = self._caller(rpc, context)
            try:
                yield from self._work(caller, requests, context)
            except Denied as error:
                context.abort(rpc.StatusCode.PERMISSION_DENIED, str(error))
            except Refused as error:
                context.abort(rpc.StatusCode.ABORTED, str(error))
            except BadFrame as error:
                context.abort(rpc.StatusCode.INVALID_ARGUMENT, str(error))

        return answer

    def _caller(self, rpc: Any, context: Any) -> Caller:
        shown = context.auth_context().get("x509_pem_cert") or [None]
        try:
            return Caller(self._keeper, shown[0])
        except (Denied, SlothError) as error:
            context.abort(rpc.StatusCode.PERMISSION_DENIED, str(error))
            raise

    def _work(self, caller: Caller, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        opening = _opening(next(requests, b""))
        link, connection, received = self._links.attach(opening, caller.identity.uri)
        trouble: list[BaseException] = []
        reading = threading.Thread(
            target=self._read, args=(link, connection, opening.session, requests, trouble), daemon=True
        )
        try:
            held = self._keeper.held()
            told = {"revocations": held.revocations.number, "until": certs.until(held.certificate)}
            yield json.dumps({"received": received, **told}).encode()
            reading.start()
            while context.is_active():
                message = link.next(connection, LOOK)
                if trouble:
                    raise trouble[0]
                if message is None:
                    return
                if message:
                    yield message
                else:
                    caller.still()
        except Denied:
            self._links.drop(opening.session)
            raise
        except BadFrame:
            self._links.drop(opening.session)
            raise
        finally:
            link.detach(connection)

    def _read(
        self,
        link: Link,
        connection: int,
        session: str,
        requests: Iterator[bytes],
        trouble: list[BaseException],
    ) -> None:
        """Take in what comes, in a thread of its own."""
        try:
            for message in requests:
                if message == resuming.GOODBYE:
                    return self._links.drop(session)
                if not link.take(connection, message):
                    return None
        except BadFrame as error:
            trouble.append(error)
        except Exception:  # noqa: S110 - the connection has ended, as it may without one; gRPC has no class for that
            pass
        return link.detach(connection)

    def _about(self, request: bytes) -> bytes:
        return json.dumps(dict(self._status())).encode()

    def _request(self, request: bytes) -> bytes:
        return self._keeper.next_request()

    def _accept(self, request: bytes) -> bytes:
        self._keeper.accept(request)
        return b""

    def _revoke(self, request: bytes) -> bytes:
        self._keeper.revoke(request)
        return b""


class Server:
    """A running agent. ``address``: host:port; port 0 takes a free one, which ``port`` tells."""

    def __init__(self, keeper: Keeper, address: str, environ: Mapping[str, str], build: str) -> None:
        from sloth_runner.rpc import keepalive, load

        rpc = load(environ)
        self._keeper = keeper
        self._links = Links(environ, build)
        self._stopped = threading.Event()
        self._served: tuple[bytes, bytes] | None = None
        self._pool = ThreadPoolExecutor(MOST + 8, thread_name_prefix="agent")
        self._server = rpc.server(
            self._pool,
            options=[
                ("grpc.max_receive_message_length", MESSAGE),
                ("grpc.max_concurrent_streams", MOST + 8),
                ("grpc.max_metadata_size", 16 << 10),
                ("grpc.so_reuseport", 0),
                *keepalive(20.0, 10.0),
                ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
                ("grpc.http2.max_ping_strikes", 0),
            ],
            maximum_concurrent_rpcs=MOST + 8,
        )
        self._server.add_generic_rpc_handlers((Service(keeper, self._links, self._status).handler(rpc),))
        credentials = rpc.dynamic_ssl_server_credentials(self._current(rpc)(), self._current(rpc), True)
        self.build = build
        self.port: int = self._server.add_secure_port(address, credentials)

    def start(self) -> None:
        """Serve, from now on and in other threads."""
        self._server.start()

    def wait(self, stop: threading.Event) -> None:
        """Serve until ``stop`` is set; then stop what is under way, and return when nothing is left."""
        while not stop.wait(LOOK):
            self._links.sweep()
        self._server.stop(grace=0.5)
        self._links.close()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _current(self, rpc: Any) -> Callable[[], Any]:
        """A function that gives gRPC new certificates whenever the folder has them, and None otherwise."""
        served: tuple[bytes, bytes] | None = None

        def fetch() -> Any:
            nonlocal served
            held = self._keeper.held()
            now = (held.key, held.bundle.certificate)
            if now == served:
                return None
            served = now
            pair = (held.key, held.bundle.certificate)
            return rpc.ssl_server_certificate_configuration([pair], root_certificates=held.bundle.authority)

        return fetch

    def _status(self) -> Mapping[str, Any]:
        from sloth_runner import __version__

        held = self._keeper.held()
        return {
            "name": held.identity.name,
            "version": __version__,
            "build": self.build,
            "pid": os.getpid(),
            "until": certs.until(held.certificate),
            "revocations": held.revocations.number,
        }


def _opening(message: bytes) -> Opening:
    try:
        found = json.loads(message[:1024])
        opening = Opening(found["session"], found["received"])
    except (ValueError, KeyError, TypeError):
        raise BadFrame("the stream does not begin as it should") from None
    good = isinstance(opening.session, str) and len(opening.session) == 32 and type(opening.received) is int
    if not good or not 0 <= opening.received < 1 << 63 or set(opening.session) - set("0123456789abcdef"):
        raise BadFrame("the stream does not begin as it should")
    return opening
