"""Why: one key is seen with its past; any two of its revisions are compared, and one of them can be brought back."""

from __future__ import annotations

from sloth_runner.plain import TYPE_CHECKING, Any
from sloth_runner.web import drawing
from sloth_runner.web.api import changes, keys
from sloth_runner.web.given import COUNT, TEXT, Param
from sloth_runner.web.pages import Here, go, twin

if TYPE_CHECKING:
    from starlette.responses import Response

    from sloth_runner.web.replies import Answer

REVISIONS = 25
DONE = Param("done", TEXT, "What was just done.", words=("set", "same", "restored"))
BEFORE = Param("before", COUNT, "Only revisions before this one.", most=keys.REVISIONS)
VIEW = Param("view", TEXT, "How the difference is shown.", default="inline", words=("inline", "sides"))


async def key(here: Here) -> Response:
    """``/state/key``."""
    given = here.read(*keys.SHOW.params, BEFORE, DONE)
    answer = await here.ask(keys.SHOW, **given)
    return await _key_page(here, answer, given)


async def reveal(here: Here) -> Response:
    """``/state/reveal``: the key's page with its value; that it was seen is recorded first."""
    form = await here.form()
    given: dict[str, Any] = {"namespace": form.get("namespace"), "key": form.get("key"), "rev": None}
    if form.get("rev", "").isdigit():
        given["rev"] = int(form["rev"])
    answer = await here.ask(changes.REVEAL, **given)
    return await _key_page(here, answer, {**given, "before": None, "done": None}, revealed=True)


async def _key_page(here: Here, answer: Answer, given: dict[str, Any], *, revealed: bool = False) -> Response:
    entry = answer.body["entry"]
    past = await here.ask(
        keys.HISTORY, namespace=entry["namespace"], key=entry["key"], before=given["before"], limit=REVISIONS
    )
    return here.page(
        "key.html",
        "state",
        twin=twin(keys.SHOW, **given),
        entry=entry,
        past=past.body,
        given=given,
        revealed=revealed,
        version=answer.version,
    )


async def difference(here: Here) -> Response:
    """``/state/diff``."""
    given = here.read(*keys.DIFF.params, VIEW)
    answer = await here.ask(keys.DIFF, **given)
    diff = answer.body["diff"]
    return here.page(
        "diff.html",
        "state",
        twin=twin(keys.DIFF, **given),
        body=answer.body,
        given=given,
        sides=drawing.sides(diff) if diff and given["view"] == "sides" else [],
    )


async def ask_restore(here: Here) -> Response:
    """``/state/restore``: what would come back, and the question."""
    given = here.read(
        *changes.TARGET, Param("rev", COUNT, "Which revision.", required=True, most=keys.REVISIONS)
    )
    place = {"namespace": given["namespace"], "key": given["key"]}
    past = await here.ask(keys.HISTORY, **place, limit=1)
    last = past.body["revisions"][0]["rev"]
    diff = await here.ask(keys.DIFF, **place, **{"from": last, "to": given["rev"]})
    version = await _version(here, place)
    return here.page("restore.html", "state", given=given, diff=diff.body, version=version, last=last)


async def restore(here: Here) -> Response:
    """The answer to it."""
    form = await here.form()
    place = {"namespace": form.get("namespace", ""), "key": form.get("key", "")}
    rev = int(form["rev"]) if form.get("rev", "").isdigit() else 0
    await here.ask(changes.RESTORE, form.get("version", ""), **place, rev=rev)
    return go("/state/key", **place, done="restored")


async def _version(here: Here, place: dict[str, str]) -> str:
    """The version of the live value; "" if there is none."""
    from sloth_runner.errors import KeyMissing

    try:
        return (await here.ask(keys.SHOW, **place)).version or ""
    except KeyMissing:
        return ""
