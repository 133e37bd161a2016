"""Why: an operation of the table becomes a route: what came is read, the work is done off the loop, the answer
sent."""

from __future__ import annotations

import re

from starlette.responses import Response
from starlette.routing import Route

from sloth_runner.plain import TYPE_CHECKING
from sloth_runner.web.api import PREFIX, Operation
from sloth_runner.web.given import Given, pairs, read, read_body
from sloth_runner.web.replies import JSON, Misuse, document, etag

if TYPE_CHECKING:
    from starlette.requests import Request

    from sloth_runner.web.house import House

_TAG = re.compile(r'(?:W/)?"([^"]*)"')


def route(operation: Operation, house: House) -> Route:
    """The route that answers it."""

    async def endpoint(request: Request) -> Response:
        values = read(operation.params, pairs(request.scope["query_string"]), house.clock)
        if operation.fields is not None:
            values |= read_body(operation.fields, await _json(request))
        match = based_on(request.headers.get("if-match"), request.headers.get("if-none-match"))
        if operation.guarded and match is None:
            how = "If-Match: the ETag of what you saw; If-None-Match: * for nothing"
            raise Misuse(428, "a write says what it is based on", how)
        answer = await house.desk.do(operation.answer, house, Given(values, match))
        if operation.method == "GET" and answer.version is not None:
            seen = _TAG.findall(request.headers.get("if-none-match", ""))
            if answer.version in seen:
                return Response(status_code=304, headers={"ETag": etag(answer.version)})
        return document(answer)

    return Route(PREFIX + operation.path, endpoint, methods=[operation.method], name=operation.name)


def based_on(match: str | None, none_match: str | None) -> str | None:
    """The version that the fields of a request name ("": there must be nothing); None: they name none."""
    if match is not None:
        found = _TAG.fullmatch(match.strip())
        return found[1] if found and found[1] else None
    return "" if none_match is not None and none_match.strip() == "*" else None


async def _json(request: Request) -> bytes:
    body = await request.body()
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if body and kind != JSON:
        raise Misuse(415, f"the body has to be {JSON}")
    return body
