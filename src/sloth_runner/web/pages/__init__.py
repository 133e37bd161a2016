"""Why: each page is a permalink: it shows the answer of the API operation that is its twin, and links to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from starlette.responses import HTMLResponse, Response

from sloth_runner.errors import SlothError
from sloth_runner.plain import NamedTuple
from sloth_runner.web.api import PREFIX, Operation
from sloth_runner.web.given import Given, Param, read
from sloth_runner.web.view import link

if TYPE_CHECKING:
    from starlette.requests import Request

    from sloth_runner.web.house import House
    from sloth_runner.web.replies import Answer
    from sloth_runner.web.view import View


class Here(NamedTuple):
    """One request for a page."""

    request: Request
    house: House
    view: View

    def read(self, *params: Param) -> dict[str, Any]:
        """The parameters of the query. Raises UsageError, BadName."""
        return read(params, self.request.query_params.multi_items(), self.house.clock)

    async def ask(self, operation: Operation, **values: object) -> Answer:
        """What the API answers to these parameters; others have their defaults."""
        given = {param.name: param.default for param in (*operation.params, *(operation.fields or ()))}
        return await self.house.desk.do(operation.answer, self.house, Given({**given, **values}))

    def page(
        self, template: str, active: str, *, status: int = 200, twin: str = "", **context: Any
    ) -> Response:
        """The page; ``twin`` is the address of the same as JSON."""
        session = self.request.scope.get("session")
        text = self.view.render(
            template,
            active=active,
            twin=twin,
            csrf=session.csrf if session else "",
            path=self.request.url.path,
            **context,
        )
        return HTMLResponse(text.encode("utf-8", "backslashreplace"), status)


Paging: TypeAlias = Callable[[Here], Awaitable[Response]]


def twin(operation: Operation, **query: object) -> str:
    """The address of an operation's answer."""
    return link(PREFIX + operation.path, **query)


__all__ = ("Here", "Paging", "SlothError", "twin")
