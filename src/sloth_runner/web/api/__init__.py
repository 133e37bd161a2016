"""Why: the JSON API is a table: what can be asked, with which parameters, and which document comes back.

The same table makes the routes and the OpenAPI file, and the pages show the same answers as HTML.
"""

from __future__ import annotations

from collections.abc import Callable

from sloth_runner.plain import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from sloth_runner.app import App
    from sloth_runner.web.given import Given, Param
    from sloth_runner.web.house import House
    from sloth_runner.web.replies import Answer

PREFIX = "/api/v1"
Answering: TypeAlias = "Callable[[App, House, Given], Answer]"


class Operation(NamedTuple):
    """One thing that can be asked. ``path`` follows PREFIX; ``params``: of the query; ``fields``: of a JSON body
    (None: no body); ``documents``: the formats it may answer with; ``command``: what prints the same bytes;
    ``versioned``: the answer has an ETag; ``guarded``: a write that must say what it is based on (If-Match,
    If-None-Match)."""

    method: str
    path: str
    name: str
    summary: str
    answer: Answering
    documents: tuple[str, ...]
    command: str
    params: tuple[Param, ...] = ()
    fields: tuple[Param, ...] | None = None
    versioned: bool = False
    guarded: bool = False
