"""Why: what changed is followed through time, and two moments or two agents are held against each other."""

from __future__ import annotations

from itertools import groupby

from sloth_runner.errors import SlothError
from sloth_runner.plain import TYPE_CHECKING, Any
from sloth_runner.web.api import times
from sloth_runner.web.given import TEXT, Param
from sloth_runner.web.pages import Here, twin

if TYPE_CHECKING:
    from starlette.responses import Response

ROWS = 60
_TIMELINE = times.TIMELINE.params[:-1]
_TEXTS = tuple(
    Param(param.name, TEXT, param.help) if param.kind == "moment" else param for param in _TIMELINE
)


async def timeline(here: Here) -> Response:
    """``/timeline``."""
    texts = here.read(*_TEXTS)
    context: dict[str, Any] = {"given": texts, "namespaces": await here.namespaces()}
    try:
        given = here.read(*_TIMELINE)
        answer = await here.ask(times.TIMELINE, **given, limit=ROWS)
    except SlothError as error:
        return here.page(
            "timeline.html", "timeline", status=400, days=[], body=None, problem=error, **context
        )
    days = [
        (day, list(rows)) for day, rows in groupby(answer.body["revisions"], lambda row: row["time"][:10])
    ]
    return here.page(
        "timeline.html", "timeline", twin=twin(times.TIMELINE, **texts, limit=ROWS), days=days, body=answer.body,
        problem=None, **context,
    )  # fmt: skip


async def compare(here: Here) -> Response:
    """``/compare``."""
    of = Param("of", TEXT, "What is compared.", default="moments", words=("moments", "agents"))
    given = here.read(
        of,
        times.MOMENTS.params[0],
        Param("from", TEXT, "The first moment."),
        Param("until", TEXT, "The second moment."),
        Param("to", TEXT, "The second agent."),
        Param("prefix", TEXT, "Only keys that start so.", default=""),
        Param("after", TEXT, "Go on after this key.", default=""),
    )
    context: dict[str, Any] = {
        "given": given,
        "namespaces": await here.namespaces(),
        "body": None,
        "problem": None,
    }
    try:
        if given["of"] == "moments" and given["from"]:
            query = {
                "namespace": given["namespace"], "from": given["from"], "to": given["until"],
                "prefix": given["prefix"], "after": given["after"], "limit": str(ROWS),
            }  # fmt: skip
            values = _read(here, {name: text for name, text in query.items() if text})
            context["body"] = (await here.ask(times.MOMENTS, **values)).body
            return here.page("compare.html", "compare", twin=twin(times.MOMENTS, **query), **context)
        if given["of"] == "agents" and given["to"]:
            answer = await here.ask(times.AGENTS, **given, limit=ROWS)
            context["body"] = answer.body
            return here.page(
                "compare.html", "compare", twin=twin(times.AGENTS, **given, limit=ROWS), **context
            )
    except SlothError as error:
        context["problem"] = error
        return here.page("compare.html", "compare", status=400, **context)
    return here.page("compare.html", "compare", **context)


def _read(here: Here, query: dict[str, str]) -> dict[str, Any]:
    from sloth_runner.web.given import read

    return read(times.MOMENTS.params, query.items(), here.house.clock)
