"""Why: routes, guard and error forms are put together here into one ASGI application."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Match, Mount, Route
from starlette.staticfiles import StaticFiles

from sloth_runner.errors import Bug, SlothError
from sloth_runner.plain import TYPE_CHECKING, Any
from sloth_runner.web import metrics, openapi
from sloth_runner.web.api import PREFIX
from sloth_runner.web.api.endpoint import route
from sloth_runner.web.api.table import OPERATIONS
from sloth_runner.web.guard import READING, Guard, cookie_name
from sloth_runner.web.pages import Here, Paging
from sloth_runner.web.pages.table import FORMS, PAGES
from sloth_runner.web.replies import Answer, Misuse, Nowhere, Refusal, document, error_document, status_of
from sloth_runner.web.view import View

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from sloth_runner.web.house import House


class Site:
    """The whole application; ``asgi`` is what a server runs."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.view = View(house.options, house.clock)
        self._routes: list[Route | Mount] = [
            Route("/healthz", self._health),
            Route("/metrics", self._metrics),
            Route("/open", self._open),
            Route("/leave", self._leave, methods=["POST"]),
            Route("/events", self._events),
            *(Route(path, self.page(paging), methods=["GET"]) for path, paging in PAGES.items()),
            *(Route(path, self.page(paging), methods=["POST"]) for path, paging in FORMS.items()),
            *(route(operation, house) for operation in OPERATIONS),
            Route(PREFIX + "/session", self._session),
            Route(PREFIX + "/openapi.json", self._openapi),
            Mount("/static", StaticFiles(packages=[("sloth_runner.web", "static")])),
        ]
        handlers: Any = {
            SlothError: self._failed,
            404: self._unknown,
            405: self._unknown,
            Exception: self._bug,
        }
        inner = Starlette(routes=self._routes, exception_handlers=handlers)
        guarded = Guard(self._telling(inner), house.options, house.doors, self.refuse)
        self.asgi: ASGIApp = self._counting(guarded)

    def refuse(self, scope: Scope, error: SlothError) -> Response:
        """An error as a document where programs ask, else as a page."""
        if scope["path"].startswith("/api/"):
            return error_document(error)
        session = scope.get("session")
        text = self.view.render(
            "error.html",
            active="",
            twin="",
            csrf=session.csrf if session else "",
            path=scope["path"],
            trouble=None,
            sequence=self.house.hub.told,
            error=error.document(),
            status=status_of(error),
            known=session is not None,
            live=scope["method"] in READING,  # what is asked for may come back
            followed=_address(scope) if scope.get("followed_link") else None,
        )
        return HTMLResponse(text.encode("utf-8", "backslashreplace"), status_of(error))

    def page(self, paging: Paging) -> Any:
        """An endpoint that answers with a page."""

        async def endpoint(request: Request) -> Response:
            return await paging(Here(request, self.house, self.view, self.house.hub.told))

        return endpoint

    async def _health(self, request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def _metrics(self, request: Request) -> Response:
        text = await self.house.desk.do(metrics.text, self.house)
        return Response(text, media_type=metrics.MEDIA_TYPE)

    async def _session(self, request: Request) -> Response:
        session = request.scope["session"]
        body = {"csrf": session.csrf, "read_only": self.house.options.read_only}
        return document(Answer("session", body))

    async def _openapi(self, request: Request) -> Response:
        return Response(openapi.text(), media_type="application/json")

    async def _events(self, request: Request) -> Response:
        session = request.scope["session"]
        if self.house.hub.full:
            raise Refusal(503, "too many pages listen already", "close some")

        def good() -> bool:
            return session.api or self.house.doors.session(session.id) is not None

        return StreamingResponse(self.house.hub.listen(good), media_type="text/event-stream")

    async def _open(self, request: Request) -> Response:
        """The link's token becomes a cookie. The page goes on by itself: a redirect would count as a step of the
        site that the link was clicked on, and the cookie would stay behind."""
        session = self.house.doors.enter(request.query_params.get("token", ""))
        if session is None and request.scope["session"] is not None:
            return HTMLResponse(self.view.render("opened.html"))  # who is in already may use it again
        if session is None:
            why = "this link was used already, or is too old"
            return self.refuse(
                request.scope, Refusal(401, why, "press Enter where sloth-runner ui runs for another")
            )
        reply = HTMLResponse(self.view.render("opened.html"))
        secure = self.house.options.scheme == "https"
        name = cookie_name(self.house.options)
        reply.set_cookie(name, session.id, httponly=True, samesite="strict", secure=secure)
        return reply

    async def _leave(self, request: Request) -> Response:
        self.house.doors.leave(request.scope["session"])
        reply = HTMLResponse(self.view.render("left.html"))
        reply.delete_cookie(cookie_name(self.house.options))
        return reply

    async def _failed(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, SlothError)
        return self.refuse(request.scope, error)

    async def _unknown(self, request: Request, error: Exception) -> Response:
        methods = self._methods(request.scope)
        if not methods or request.method in methods:
            return self.refuse(request.scope, Nowhere(404, "there is nothing here"))
        allow = ", ".join(sorted(methods))
        why = f"{request.method} is not possible here"
        reply = self.refuse(request.scope, Misuse(405, why, f"what is: {allow}"))
        reply.headers["Allow"] = allow
        return reply

    def _methods(self, scope: Scope) -> set[str]:
        """What can be asked of an address; several routes may share it."""
        found: set[str] = set()
        for one in self._routes:
            if one.matches({**scope, "root_path": ""})[0] != Match.NONE:
                found |= getattr(one, "methods", None) or READING
        return found

    async def _bug(self, request: Request, error: Exception) -> Response:
        why = f"this is a fault of sloth-runner itself: {type(error).__name__}"
        return self.refuse(request.scope, Bug(why, next=["where sloth-runner ui runs, it says more"]))

    def _telling(self, app: ASGIApp) -> ASGIApp:
        """Starlette raises again what ``_bug`` has answered."""

        async def telling(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                await app(scope, receive, send)
            except Exception as error:
                self.house.fault(error)

        return telling

    def _counting(self, app: ASGIApp) -> ASGIApp:
        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            async def sending(message: Message) -> None:
                if message["type"] == "http.response.start":
                    self.house.count(scope["method"], message["status"])
                await send(message)

            await app(scope, receive, sending)

        return counted


def _address(scope: Scope) -> str:
    query = scope.get("query_string", b"").decode("latin-1")
    path: str = scope.get("raw_path", scope["path"].encode()).decode("latin-1")
    return "/" + path.lstrip("/") + (f"?{query}" if query else "")
