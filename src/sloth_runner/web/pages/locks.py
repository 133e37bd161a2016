"""Why: who holds what is seen while it lasts, and a lock is broken with a reason, after its holder was shown."""

from __future__ import annotations

from sloth_runner.errors import Outdated
from sloth_runner.plain import TYPE_CHECKING
from sloth_runner.web.api import locks
from sloth_runner.web.given import TEXT, Param
from sloth_runner.web.pages import Here, go, twin

if TYPE_CHECKING:
    from starlette.responses import Response


async def listing(here: Here) -> Response:
    """``/locks``."""
    given = here.read(Param("broken", TEXT, "The lock that was just broken."))
    answer = await here.ask(locks.LIST)
    return here.page("locks.html", "locks", twin=twin(locks.LIST), locks=answer.body["locks"], given=given)


async def ask_break(here: Here) -> Response:
    """``/locks/break``: the holder, and the question."""
    given = here.read(*locks.SHOW.params)
    answer = await here.ask(locks.SHOW, **given)
    return _question(here, given, answer.body["lock"])


async def take_away(here: Here) -> Response:
    """The answer to it."""
    form = await here.form()
    given = {"namespace": form.get("namespace", ""), "name": form.get("name", "")}
    try:
        await here.ask(locks.BREAK, form.get("version", ""), **given, reason=form.get("reason", ""))
    except Outdated as error:
        answer = await here.ask(locks.SHOW, **given)
        return _question(
            here, given, answer.body["lock"], problem=error.message, reason=form.get("reason", "")
        )
    return go("/locks", broken=given["name"])


def _question(
    here: Here, given: dict[str, str], lock: object, *, problem: str = "", reason: str = ""
) -> Response:
    return here.page(
        "break.html",
        "locks",
        status=412 if problem else 200,
        given=given,
        lock=lock,
        problem=problem,
        reason=reason,
    )
