"""Why: one place keeps connections to a Consul agent open, and says what a failure of a request means.

A request is a *read*, which may be sent again, or a *commit*, which never is: when its reply is lost, only the caller
can find out what became of it. (Consul's HTTP API: developer.hashicorp.com/consul/api-docs.)
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping

from sloth_runner.errors import BadConfig, Forbidden, Indeterminate, SlothError, StoreDown, TooLarge
from sloth_runner.plain import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar
from sloth_runner.state.backends.consul_wire import Broken, Connection

if TYPE_CHECKING:
    import ssl

    from sloth_runner.state.backends.consul_url import Address

T = TypeVar("T")

WHOLE: Final = 1 << 20
"""Bytes of a reply that are read at once; the rest of a long one follows piece by piece."""
_NOT_APPLIED: Final = (
    "No cluster leader",
    "node is not the leader",
    "timed out enqueuing operation",
    "leadership transfer in progress",
    "Raft leader not found",
    "rate limit",
)
"""What an agent says of a write that never reached the log (hashicorp/raft, api.go; Consul, agent/consul/rpc.go)."""
_DENIED: Final = ("Permission denied", "ACL not found", "lacks permission", "token does not exist")


class Reply(NamedTuple):
    """What came back; ``body`` is parsed JSON, None where there is none."""

    status: int
    headers: Mapping[str, str]
    body: Any

    @property
    def as_of(self) -> int:
        """The index as of which a read was answered."""
        return int(self.headers["x-consul-index"])


class Http:
    """Connections to one agent; used from one thread at a time. ``timeout``: seconds for one request.

    Raises BadConfig when a file that TLS needs can't be used.
    """

    def __init__(self, address: Address, timeout: float) -> None:
        self.address = address
        self.timeout = timeout
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()
        self._readable = False
        self._context = _context(address) if address.tls else None
        token = "" if address.token is None else f"X-Consul-Token: {address.token}\r\n"
        self._common = f" HTTP/1.1\r\nHost: {address.name}\r\nUser-Agent: sloth-runner\r\n{token}"
        self._datacenter = f"&dc={address.datacenter}" if address.datacenter else ""

    def read(self, target: str, *, put: object = None, wait: float = 0.0) -> Reply:
        """Get ``/v1/TARGET`` (or put a body there), where the agent may wait before it answers, in seconds.

        ``target`` has a query. 404 and 409 are answers. Raises StoreDown, BadConfig.
        """
        request = self._request(
            "GET" if put is None else "PUT", target, None if put is None else _packed(put)
        )
        status, headers, data = self._exchange(
            request, wait, lambda connection, status, headers: b"".join(connection.body(status, headers))
        )
        return self._judged(status, headers, data, target)

    def listed(self, reply: Reply) -> bool:
        """Whether a listing found anything. Raises Forbidden: the token may not see all that there is.

        Without permission a listing is not refused but filtered; so one that found nothing is only believed once a
        single key below the prefix could be asked for. (Later releases say in a header that they filtered.)
        """
        if reply.headers.get("x-consul-results-filtered-by-acls", "false") != "false":
            raise denied(self.address, "a listing was filtered: the token may not read all keys")
        if reply.status == 404 and not self._readable:
            self.read(f"kv/{self.address.prefix}?consistent")
            self._readable = True
        return reply.status != 404

    def understood(self, reply: Reply, take: Callable[[Any], T]) -> T:
        """What ``take`` finds in a reply's body. Raises StoreDown: the body is not like Consul's."""
        try:
            return take(reply.body)
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            raise self._down(
                f"what answers there is not Consul: its reply is not understood ({error!r})"
            ) from error

    def stream(self, target: str) -> tuple[Reply, Iterator[bytes]]:
        """Get what may be long: the reply without its body, and the body in pieces, the first of ``WHOLE`` bytes.

        Raises what ``read`` raises, and so do the pieces.
        """
        request = self._request("GET", target, None)
        status, headers, (first, rest) = self._exchange(request, 0.0, self._begun)
        reply = self._judged(status, headers, b"" if status == 200 else first, target)
        return reply, _chained(first, rest)

    def commit(self, target: str, body: bytes) -> Reply:
        """Put ``body``, once; 409 is an answer. Raises StoreDown, BadConfig, TooLarge (no change), Indeterminate."""
        request = self._request("PUT", target, body)
        connection = self._proved(time.monotonic() + self.timeout)
        try:
            connection.send(request)
            status, headers = connection.head()
            data = b"".join(connection.body(status, headers))
        except OSError as error:
            self._dropped(connection)
            raise _unknown(f"{self._name}: {_why(error, self.timeout)}") from error
        except BaseException:
            self._dropped(connection)
            raise
        self._given(connection)
        return self._judged(status, headers, data, target, commit=True)

    def close(self) -> None:
        """Close all connections."""
        for connection in (*self._idle, *self._busy):
            connection.close()
        self._idle.clear()
        self._busy.clear()

    @property
    def _name(self) -> str:
        return f"Consul at {self.address.name}"

    def _request(self, method: str, target: str, body: bytes | None) -> bytes:
        length = "" if body is None else f"Content-Length: {len(body)}\r\n"
        head = f"{method} /v1/{target}{self._datacenter}{self._common}{length}\r\n".encode()
        return head if body is None else head + body

    def _exchange(
        self, request: bytes, wait: float, take: Callable[[Connection, int, Mapping[str, str]], T]
    ) -> tuple[int, Mapping[str, str], T]:
        """Send what may be sent twice, and ``take`` its body. An old connection that broke is replaced once."""
        end = time.monotonic() + self.timeout + wait
        again = True
        while True:
            connection = self._taken(end)
            again = again and not connection.fresh
            try:
                connection.send(request)
                status, headers = connection.head()
                body = take(connection, status, headers)
            except OSError as error:
                self._dropped(connection)
                if again and not isinstance(error, TimeoutError):
                    again = False
                    continue
                raise self._down(_why(error, self.timeout)) from error
            except BaseException:
                self._dropped(connection)
                raise
            if connection not in self._busy:
                self._given(connection)
            return status, headers, body

    def _begun(
        self, connection: Connection, status: int, headers: Mapping[str, str]
    ) -> tuple[bytes, Iterator[bytes] | None]:
        """The first ``WHOLE`` bytes of a body, and the rest, for which the connection stays busy."""
        pieces = connection.body(status, headers)
        first = bytearray()
        for piece in pieces:
            first += piece
            if len(first) >= WHOLE:
                self._busy.add(connection)
                return bytes(first), self._rest(connection, pieces)
        return bytes(first), None

    def _rest(self, connection: Connection, pieces: Iterator[bytes]) -> Iterator[bytes]:
        try:
            while True:
                connection.end = time.monotonic() + self.timeout
                piece = next(pieces, None)
                if piece is None:
                    self._given(connection)
                    return
                yield piece
        except OSError as error:
            raise self._down(_why(error, self.timeout)) from error
        finally:
            self._busy.discard(connection)
            if connection not in self._idle:
                connection.close()

    def _taken(self, end: float) -> Connection:
        """A connection that is open. Raises StoreDown."""
        while self._idle:
            connection = self._idle.pop()
            if connection.alive:
                connection.end = end
                return connection
            connection.close()
        try:
            return Connection(self.address.host, self.address.port, self._context, end)
        except OSError as error:
            raise self._down(_why(error, self.timeout)) from error

    def _proved(self, end: float) -> Connection:
        """A connection over which an answer came: a new one is asked something first, so that what became of a commit
        is unknown only if it was really on its way. Raises StoreDown."""
        connection = self._taken(end)
        if connection.fresh:
            try:
                connection.send(self._request("GET", "status/leader?", None))
                status, headers = connection.head()
                for _ in connection.body(status, headers):
                    pass
            except OSError as error:
                self._dropped(connection)
                raise self._down(_why(error, self.timeout)) from error
            except BaseException:
                self._dropped(connection)
                raise
            if not connection.reusable:
                self._dropped(connection)
                return self._taken(end)
        return connection

    def _given(self, connection: Connection) -> None:
        if connection.reusable:
            self._idle.append(connection)
        else:
            connection.close()

    def _dropped(self, connection: Connection) -> None:
        self._busy.discard(connection)
        connection.close()

    def _judged(
        self, status: int, headers: Mapping[str, str], data: bytes, target: str, *, commit: bool = False
    ) -> Reply:
        """The reply, if it is one that means something; else what it means."""
        known = "x-consul-index" in headers or not target.startswith("kv/")
        if status in (200, 409) and known:
            try:
                return Reply(status, headers, json.loads(data.decode()) if data else None)
            except ValueError:
                pass
        elif status == 404 and known and target.startswith(("kv/", "session/renew/")):
            return Reply(status, headers, None)
        raise self._refused(
            status, headers, data[:300].decode("utf-8", "replace").strip(), target, commit=commit
        )

    def _refused(
        self, status: int, headers: Mapping[str, str], text: str, target: str, *, commit: bool
    ) -> SlothError:
        if status == 403 or any(words in text for words in _DENIED):
            return denied(self.address, text)
        if status == 413:
            return TooLarge(
                f"{self._name} refuses a commit of this size: {text}", unchanged=["nothing was stored"]
            )
        if commit and status == 200:
            return _unknown(f"{self._name} answered in a way that is not understood: {text}")
        if status < 400 or status == 404:
            where = f", and sends us to {headers['location']}" if "location" in headers else ""
            return self._down(f"what answers there is not Consul: /v1/{target} gives {status}{where}")
        if commit and status >= 500 and not any(words in text for words in _NOT_APPLIED):
            return _unknown(f"{self._name} answered {status}: {text}")
        return self._down(f"it answered {status}: {text}")

    def _down(self, why: str) -> StoreDown:
        hint = []
        if "HTTP request to an HTTPS server" in why:
            hint = ["speak TLS to it: add tls=1 to the store's URL"]
        elif "WRONG_VERSION_NUMBER" in why or "wrong version number" in why:
            hint = ["it does not speak TLS there: Consul has another port for that, often 8501"]
        elif "CERTIFICATE_VERIFY_FAILED" in why:
            hint = ["name the authority that signed its certificate: ca=FILE in the store's URL"]
        elif "CERTIFICATE" in why or "certificate" in why:
            hint = ["it may want a client certificate: cert=FILE&key=FILE in the store's URL"]
        return StoreDown(f"{self._name} can't be used: {why}", unchanged=["nothing was changed"], next=hint)


def denied(address: Address, text: str) -> Forbidden:
    """The error for a request that Consul's access rules forbid, with the rules that are needed."""
    if address.token is None:
        why = "it wants a token: [state] password_env, or CONSUL_HTTP_TOKEN"
    else:
        why = "the token may not do this"
    return Forbidden(
        f"Consul at {address.name} refuses: {text or 'permission denied'}",
        unchanged=["nothing was changed"],
        next=[
            why,
            f'its policy needs: key_prefix "{address.prefix}" {{ policy = "write" }} '
            'session_prefix "" { policy = "write" }',
        ],
    )


def _unknown(why: str) -> Indeterminate:
    return Indeterminate(
        f"whether a commit was applied is not known: {why}",
        next=["look at what it was to write: it is there whole, or not at all"],
    )


def _packed(body: object) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()


def _chained(first: bytes, rest: Iterator[bytes] | None) -> Iterator[bytes]:
    if first:
        yield first
    if rest is not None:
        yield from rest


def _why(error: OSError, timeout: float) -> str:
    if isinstance(error, TimeoutError):
        return f"it did not answer within {timeout:g} s"
    return str(error) if isinstance(error, Broken) or error.strerror is None else error.strerror


def _context(address: Address) -> ssl.SSLContext:
    """How to speak TLS. Raises BadConfig for a file that can't be used."""
    import ssl

    context = None
    for name, file in (("ca", address.ca), ("cert", address.certificate), ("key", address.key)):
        if file is not None:
            try:
                open(file, "rb").close()
            except OSError as error:
                raise BadConfig(
                    f"{name}={file}: {error.strerror}", unchanged=["nothing was changed"]
                ) from None
    try:
        context = ssl.create_default_context(cafile=address.ca)
        if address.certificate is not None:
            context.load_cert_chain(address.certificate, address.key)
    except (OSError, ssl.SSLError) as error:
        what = "the authority" if context is None else "the client certificate and its key"
        raise BadConfig(f"{what} can't be used: {error}", unchanged=["nothing was changed"]) from None
    return context
