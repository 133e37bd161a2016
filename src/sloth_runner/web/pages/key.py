"""Why: one key is seen with its past; any two of its revisions are compared, and one of them can be brought back."""

from __future__ import annotations

from sloth_runner.errors import KeyMissing, Outdated
from sloth_runner.plain import TYPE_CHECKING, Any
from sloth_runner.web import drawing
from sloth_runner.web.api import changes, keys
from sloth_runner.web.given import COUNT, TEXT, Param
from sloth_runner.web.pages import Here, go, twin

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.responses import Response

    from sloth_runner.web.replies import Answer

REVISIONS = 25
DONE = Param("done", TEXT, "What was just done.", words=("set", "same", "restored"))
MADE = Param("made", COUNT, "The revision that this made.", most=keys.REVISIONS)
BEFORE = Param("before", COUNT, "Only revisions before this one.", most=keys.REVISIONS)
VIEW = Param("view", TEXT, "How the difference is shown.", default="inline", words=("inline", "sides"))


async def key(here: Here) -> Response:
    """``/state/key``."""
    given = here.read(*keys.SHOW.params, BEFORE, DONE, MADE)
    try:
        answer = await here.ask(keys.SHOW, **given)
    except KeyMissing:
        if given["rev"] is not None:
            raise
        return await _gone(here, given)
    return await _key_page(here, answer, given, twin(keys.SHOW, **given))


async def _gone(here: Here, given: dict[str, Any]) -> Response:
    """What was there before. Raises KeyMissing: nothing ever was."""
    place = {"namespace": given["namespace"], "key": given["key"]}
    past = await here.ask(keys.HISTORY, **place, limit=1)
    last = await here.ask(keys.SHOW, **place, rev=past.body["revisions"][0]["rev"])
    return await _key_page(here, last, given, twin(keys.HISTORY, **place), gone=True)


async def reveal(here: Here) -> Response:
    """``/state/reveal``: the key's page with its value; that it was seen is recorded first."""
    form = await here.form()
    given: dict[str, Any] = {"namespace": form.get("namespace"), "key": form.get("key"), "rev": None}
    if form.get("rev", "").isdigit():
        given["rev"] = int(form["rev"])
    answer = await here.ask(changes.REVEAL, **given)
    shown = {**given, "before": None, "done": None, "made": None}
    return await _key_page(here, answer, shown, twin(keys.SHOW, **given), revealed=True)


async def _key_page(
    here: Here,
    answer: Answer,
    given: dict[str, Any],
    address: str,
    *,
    revealed: bool = False,
    gone: bool = False,
) -> Response:
    entry = answer.body["entry"]
    past = await here.ask(
        keys.HISTORY, namespace=entry["namespace"], key=entry["key"], before=given["before"], limit=REVISIONS
    )
    return here.page(
        "key.html",
        "state",
        twin=address,
        entry=entry,
        past=past.body,
        given=given,
        revealed=revealed,
        gone=gone,
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
    return await _restore_page(here, given)


async def _restore_page(here: Here, given: Mapping[str, Any], *, outdated: bool = False) -> Response:
    place = {"namespace": given["namespace"], "key": given["key"]}
    past = await here.ask(keys.HISTORY, **place, limit=1)
    (last,) = past.body["revisions"]
    diff = await here.ask(keys.DIFF, **place, **{"from": last["rev"], "to": given["rev"]})
    return here.page(
        "restore.html",
        "state",
        status=412 if outdated else 200,
        given=given,
        diff=diff.body,
        version=await _version(here, place),
        last=last,
        outdated=outdated,
    )


async def restore(here: Here) -> Response:
    """The answer to it."""
    form = await here.form()
    place = {"namespace": form.get("namespace", ""), "key": form.get("key", "")}
    rev = int(form["rev"]) if form.get("rev", "").isdigit() else 0
    try:
        answer = await here.ask(changes.RESTORE, form.get("version", ""), **place, rev=rev)
    except Outdated:
        return await _restore_page(here, {**place, "rev": rev}, outdated=True)
    return go("/state/key", **place, done="restored", made=answer.body["rev"])


async def _version(here: Here, place: dict[str, str]) -> str:
    """The version of the live value; "" if there is none."""
    try:
        return (await here.ask(keys.SHOW, **place)).version or ""
    except KeyMissing:
        return ""
