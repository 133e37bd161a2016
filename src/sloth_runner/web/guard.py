"""Why: a page on another site can reach a local server; so each request proves that it is for us and from us.

In this order: the Host is one of ours, word for word (a foreign name that resolves to us is not); nothing asks from
another site or another port; a session stands behind it; and what writes also names our Origin and the session's CSRF
token. No answer carries a CORS header.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders

from sloth_runner.errors import SlothError
from sloth_runner.plain import TYPE_CHECKING, Any
from sloth_runner.web.replies import Misuse, Refusal

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from sloth_runner.web.doors import Doors, Session
    from sloth_runner.web.options import Options

MOST_BODY = 4 << 20
"""Bytes that a request may carry: a value has at most 1 MiB, and twice that as a form."""
OPEN = frozenset({"/healthz", "/open"})
READING = frozenset({"GET", "HEAD"})
FORM = "application/x-www-form-urlencoded"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class Guard:
    """Lets requests through to ``app``, or answers with ``refuse(scope, error)``."""

    def __init__(
        self, app: ASGIApp, options: Options, doors: Doors, refuse: Callable[[Scope, SlothError], Response]
    ) -> None:
        self._app = app
        self._options = options
        self._doors = doors
        self._refuse = refuse
        self._cookie = cookie_name(options)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        send = _with_headers(scope, send)
        try:
            headers = Headers(scope=scope)
            self._check_host(headers)
            self._check_site(scope, headers)
            session = self._session(headers)
            scope["session"] = session
            if session is None and not _is_open(scope["path"]):
                raise Refusal(401, "this needs a session", "open the link that sloth-runner ui printed")
            if scope["method"] not in READING:
                receive = await self._check_write(scope, headers, session, receive)
        except SlothError as error:
            await self._refuse(scope, error)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _check_host(self, headers: Headers) -> None:
        given = headers.getlist("host")
        if len(given) != 1 or given[0].lower() not in self._options.hosts:
            raise Refusal(421, "this server has another name", "start it with --name NAME for this one")

    def _check_site(self, scope: Scope, headers: Headers) -> None:
        site = headers.get("sec-fetch-site", "none")
        if site not in ("same-origin", "none"):
            following = scope["method"] == "GET" and headers.get("sec-fetch-mode") == "navigate"
            scope["followed_link"] = following and headers.get("sec-fetch-dest") == "document"
            raise Refusal(403, "this was asked for by a page of another site")

    def _session(self, headers: Headers) -> Session | None:
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self._doors.program(bearer.strip())
        cookie = SimpleCookie()
        try:
            cookie.load(headers.get("cookie", ""))
        except CookieError:
            return None
        found = cookie.get(self._cookie)
        return None if found is None else self._doors.session(found.value)

    async def _check_write(
        self, scope: Scope, headers: Headers, session: Session | None, receive: Receive
    ) -> Receive:
        if session is None:
            raise Refusal(401, "this needs a session", "open the link that sloth-runner ui printed")
        if headers.getlist("origin") not in [[origin] for origin in self._options.origins]:
            raise Refusal(403, "a request that writes must come from this site (Origin)")
        body = await _body(headers, receive)
        given = headers.get("x-csrf-token") or _form_token(headers, body)
        if not hmac.compare_digest(given.encode(), session.csrf.encode()):
            raise Refusal(403, "a request that writes must carry the session's CSRF token", "reload the page")
        if self._options.read_only and scope["path"] != "/leave":
            raise Refusal(403, "this UI is read-only", "start it without --read-only")
        return _replay(body)


def cookie_name(options: Options) -> str:
    """The session's cookie: one for each port, since cookies know no ports; bound to the host where TLS allows it."""
    prefix = "__Host-" if options.scheme == "https" else ""
    return f"{prefix}sloth-{options.port}"


def _is_open(path: str) -> bool:
    return path in OPEN or path.startswith("/static/")


async def _body(headers: Headers, receive: Receive) -> bytes:
    declared = headers.get("content-length", "0")
    if not declared.isdigit() or int(declared) > MOST_BODY:
        raise Misuse(413, f"a request may carry {MOST_BODY:,} bytes")
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Misuse(400, "the request broke off")
        part = message.get("body", b"")
        size += len(part)
        if size > MOST_BODY:
            raise Misuse(413, f"a request may carry {MOST_BODY:,} bytes")
        parts.append(part)
        more = message.get("more_body", False)
    return b"".join(parts)


def _form_token(headers: Headers, body: bytes) -> str:
    if headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        return ""
    fields = parse_qs(body.decode("ascii", "replace"), keep_blank_values=True, errors="replace")
    found = fields.get("csrf", [])
    return found[0] if len(found) == 1 else ""


def _replay(body: bytes) -> Receive:
    """What the app receives after we have read the body."""
    told = False

    async def receive() -> MutableMapping[str, Any]:
        nonlocal told
        if told:
            return {"type": "http.disconnect"}
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


def _with_headers(scope: Scope, send: Send) -> Send:
    caching = "max-age=86400" if scope["path"].startswith("/static/") else "no-store"

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
            headers.setdefault("Cache-Control", caching)
        await send(message)

    return sending
