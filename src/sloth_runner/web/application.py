"""Why: routes, guard and error forms are put together here into one ASGI application."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from sloth_runner.errors import Bug, SlothError
from sloth_runner.web.api import PREFIX, Operation, state
from sloth_runner.web.given import Given, read
from sloth_runner.web.guard import Guard, cookie_name
from sloth_runner.web.pages import Here, Paging
from sloth_runner.web.pages import overview as overview_page
from sloth_runner.web.pages import state as state_pages
from sloth_runner.web.replies import Refusal, document, error_document, status_of
from sloth_runner.web.view import View

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp, Scope

    from sloth_runner.web.house import House

OPERATIONS: tuple[Operation, ...] = state.OPERATIONS
PAGES: Mapping[str, Paging] = {
    "/": overview_page.overview,
    "/state": state_pages.listing,
    "/state/key": state_pages.key,
}


class Site:
    """The whole application; ``asgi`` is what a server runs."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.view = View(house.options, house.clock)
        routes = [
            Route("/healthz", self._health),
            Route("/open", self._open),
            *(Route(path, self._page(paging), methods=["GET"]) for path, paging in PAGES.items()),
            *(self._operation(one) for one in OPERATIONS),
            Mount("/static", StaticFiles(packages=[("sloth_runner.web", "static")])),
        ]
        inner = Starlette(
            routes=routes,
            exception_handlers={
                SlothError: self._failed,
                404: self._unknown,
                405: self._unknown,
                500: self._bug,
            },
        )
        self.asgi: ASGIApp = Guard(inner, house.options, house.doors, self._refuse)

    def _operation(self, operation: Operation) -> Route:
        async def endpoint(request: Request) -> Response:
            query = request.query_params.multi_items()
            given = Given(read(operation.params, query, self.house.clock))
            return document(await self.house.desk.do(operation.answer, self.house, given))

        return Route(PREFIX + operation.path, endpoint, methods=[operation.method], name=operation.name)

    def _page(self, paging: Paging) -> Any:
        async def endpoint(request: Request) -> Response:
            return await paging(Here(request, self.house, self.view))

        return endpoint

    async def _health(self, request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def _open(self, request: Request) -> Response:
        """The link's token becomes a cookie. The page goes on by itself: a redirect would count as a step of the site
        that the link was clicked on, and the cookie would stay behind."""
        session = self.house.doors.enter(request.query_params.get("token", ""))
        if session is None:
            error = Refusal(
                401,
                "this link was used already, or is too old",
                "press Enter where sloth-runner ui runs for another",
            )
            return self._refuse(request.scope, error)
        reply = HTMLResponse(self.view.render("opened.html"))
        reply.set_cookie(
            cookie_name(self.house.options),
            session.id,
            httponly=True,
            samesite="strict",
            secure=self.house.options.scheme == "https",
        )
        return reply

    async def _failed(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, SlothError)
        return self._refuse(request.scope, error)

    async def _unknown(self, request: Request, error: Exception) -> Response:
        status = getattr(error, "status_code", 404)
        why = "there is nothing here" if status == 404 else f"{request.method} is not possible here"
        reply = self._refuse(request.scope, Refusal(status, why))
        allow = (getattr(error, "headers", None) or {}).get("Allow")
        if allow:
            reply.headers["Allow"] = allow
        return reply

    async def _bug(self, request: Request, error: Exception) -> Response:
        return self._refuse(request.scope, Bug(f"{type(error).__name__}: {error}"))

    def _refuse(self, scope: Scope, error: SlothError) -> Response:
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
            error=error.document(),
            status=status_of(error),
            known=session is not None,
            followed=_address(scope) if scope.get("followed_link") else None,
        )
        return HTMLResponse(text.encode("utf-8", "backslashreplace"), status_of(error))


def _address(scope: Scope) -> str:
    query = scope.get("query_string", b"").decode("latin-1")
    path: str = scope.get("raw_path", scope["path"].encode()).decode("latin-1")
    return "/" + path.lstrip("/") + (f"?{query}" if query else "")
