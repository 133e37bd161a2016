"""Why: each page is a permalink: it shows the answer of the API operation that is its twin, and links to it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qsl

from starlette.responses import HTMLResponse, RedirectResponse, Response

from sloth_runner.errors import LockHeld, SlothError, UsageError
from sloth_runner.plain import TYPE_CHECKING, Any, NamedTuple, TypeAlias
from sloth_runner.web.api import PREFIX, Operation
from sloth_runner.web.given import Given, Param, pairs, read
from sloth_runner.web.view import link

if TYPE_CHECKING:
    from starlette.requests import Request

    from sloth_runner.web.checks import Checks
    from sloth_runner.web.house import House
    from sloth_runner.web.replies import Answer
    from sloth_runner.web.view import View

SHORT = 0.1
"""Seconds that a page waits for what it began: most of it is over by then."""
FORM = "application/x-www-form-urlencoded"


class Here(NamedTuple):
    """One request for a page. ``told``: how often pages had been told of changes when it came, before anything was
    looked at: what is told later may be missing in it."""

    request: Request
    house: House
    view: View
    told: int

    def read(self, *params: Param) -> dict[str, Any]:
        """The parameters of the query; those without text count as not given. Raises UsageError, BadName."""
        items = [(name, text) for name, text in pairs(self.request.scope["query_string"]) if text]
        return read(params, items, self.house.clock)

    async def form(self) -> dict[str, str]:
        """The fields of a posted form. Raises UsageError."""
        kind = self.request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != FORM:
            raise UsageError("a form is needed", unchanged=["nothing was changed"])
        body = await self.request.body()
        try:
            fields = parse_qsl(
                body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=50
            )
        except (UnicodeDecodeError, ValueError):
            raise UsageError("the form can't be read", unchanged=["nothing was changed"]) from None
        return dict(fields)

    async def ask(self, operation: Operation, match: str | None = None, **values: object) -> Answer:
        """What the API answers to these parameters; others have their defaults."""
        given = {param.name: param.default for param in (*operation.params, *(operation.fields or ()))}
        known = {name: item for name, item in values.items() if name in given and item is not None}
        return await self.house.desk.do(operation.answer, self.house, Given({**given, **known}, match))

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
            trouble=self.house.trouble(),
            sequence=self.told,
            **context,
        )
        return HTMLResponse(text.encode("utf-8", "backslashreplace"), status)

    async def namespaces(self) -> list[str]:
        """All that can be chosen: agents and the shared one."""
        from sloth_runner.state.layout import SHARED

        return [*(await self.house.desk.do(lambda app: app.known_agents())), SHARED]


Paging: TypeAlias = Callable[[Here], Awaitable[Response]]


def twin(operation: Operation, **query: object) -> str:
    """The address of an operation's answer."""
    known = {param.name for param in operation.params}
    return link(PREFIX + operation.path, **{name: item for name, item in query.items() if name in known})


async def begin(here: Here, operation: Operation, checks: Checks, topic: str) -> None:
    """Start what takes long; the page that comes next shows that it is under way, and later what it found."""

    async def work() -> None:
        try:
            await here.ask(operation)
            checks.failed = None
        except LockHeld:
            return  # another one is under way: its result is as good
        except SlothError as error:
            checks.failed = error.message
            here.house.hub.tell(frozenset({topic}))

    here.house.keep(asyncio.create_task(work()))
    await asyncio.sleep(SHORT)


def go(path: str, **query: object) -> Response:
    """On to another page, after a form."""
    return RedirectResponse(link(path, **query), 303)
