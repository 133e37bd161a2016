"""Why: a change is shown before it is made, and made only to what was seen; what others did meanwhile is
shown, too."""

from __future__ import annotations

import json

from sloth_runner.errors import BadValue, KeyMissing, Outdated, SlothError, UsageError
from sloth_runner.plain import TYPE_CHECKING, Any, Final
from sloth_runner.state import written
from sloth_runner.state.difference import unified
from sloth_runner.state.layout import check_key
from sloth_runner.state.value import encode
from sloth_runner.web.api import changes, keys
from sloth_runner.web.given import KEY, Param, value_of
from sloth_runner.web.pages import Here, go
from sloth_runner.web.replies import status_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.responses import Response

    from sloth_runner.web.replies import Answer

TEXT_FORM, JSON_FORM = "text", "json"
EMPTY: Final = {
    "namespace": "local", "key": "", "value": "", "form": TEXT_FORM, "version": "", "ttl": "", "expiry": "none",
    "sensitive": "", "step": "review",
}  # fmt: skip
"""The form before anything is filled in."""


async def ask(here: Here) -> Response:
    """``/state/edit``: the form, empty for a new key."""
    given = here.read(keys.NAMESPACE, Param("key", KEY, "The whole key."))
    answer = None if given["key"] is None else await _now(here, given)
    if answer is None:
        return _form(here, {**EMPTY, "namespace": given["namespace"], "key": given["key"] or ""}, None)
    entry = answer.body["entry"]
    form = {**EMPTY, "namespace": given["namespace"], "key": given["key"], "version": answer.version or ""}
    form |= {"expiry": "keep" if entry["expires"] else "none"}
    form |= {"sensitive": "on" if entry["sensitive"] else "", **_as_form(entry)}
    return _form(here, form, entry)


async def change(here: Here) -> Response:
    """The form comes back: to be looked at (``review``), gone over again (``edit``), or done (``save``)."""
    form = {**EMPTY, **(await here.form())}
    place = {"namespace": form["namespace"], "key": form["key"]}
    entry = None
    try:
        check_key(form["key"])
        now = await _now(here, place)
        entry = None if now is None else now.body["entry"]
        if form["step"] == "edit":
            return _form(here, form, entry)
        value, options = _value(form, entry), _options(form)
        if form["step"] == "save":
            return await _save(here, form, place, value, options)
    except SlothError as error:  # what was typed is not lost with it
        return _form(here, form, entry, problem=error)
    return _review(here, form, value, now, outdated=False)


async def _save(
    here: Here, form: dict[str, str], place: Mapping[str, str], value: Any, options: Mapping[str, Any]
) -> Response:
    try:
        answer = await here.ask(changes.PUT, form["version"], **place, **options, value=value)
    except Outdated:
        return _review(here, form, value, await _now(here, place), outdated=True)
    made = answer.body["rev"]
    return go("/state/key", **place, done="set" if answer.body["changed"] else "same", made=made)


async def ask_delete(here: Here) -> Response:
    """``/state/delete``: the question."""
    given = here.read(*changes.TARGET)
    answer = await here.ask(keys.SHOW, **given)
    entry = answer.body["entry"]
    return here.page("delete.html", "state", given=given, entry=entry, version=answer.version, outdated=False)


async def delete(here: Here) -> Response:
    """The answer to it."""
    form = await here.form()
    given = {"namespace": form.get("namespace", ""), "key": form.get("key", "")}
    try:
        await here.ask(changes.DELETE, form.get("version", ""), **given)
    except Outdated:
        now = await here.ask(keys.SHOW, **given)
        entry = now.body["entry"]
        return here.page(
            "delete.html", "state", status=412, given=given, entry=entry, version=now.version, outdated=True
        )
    return go("/state", namespace=given["namespace"], prefix=_above(given["key"]))


def _form(here: Here, form: Mapping[str, str], entry: Any, *, problem: SlothError | None = None) -> Response:
    status = 200 if problem is None else status_of(problem)
    return here.page("edit.html", "state", status=status, form=form, entry=entry, problem=problem)


def _review(here: Here, form: dict[str, str], value: Any, now: Answer | None, *, outdated: bool) -> Response:
    """What would change, against what is there now."""
    entry = None if now is None else now.body["entry"]
    seen, current = form["version"], "" if now is None else now.version or ""
    hidden = form["sensitive"] == "on" or bool(entry and entry["sensitive"])
    old = None if entry is None or entry["value"] is None else json.dumps(entry["value"])
    lines = [] if hidden else unified(_canonical(old), encode(value), "now", "then")
    outdated = outdated or seen != current
    return here.page(
        "review.html",
        "state",
        status=412 if outdated else 200,
        form={**form, "version": current},
        entry=entry,
        lines=lines,
        masked_value=hidden,
        same=not hidden and _canonical(old) == encode(value),
        outdated=outdated,
        blind=not seen,
    )


async def _now(here: Here, place: Mapping[str, str]) -> Answer | None:
    try:
        return await here.ask(keys.SHOW, **place)
    except KeyMissing:
        return None


def _as_form(entry: Mapping[str, Any]) -> dict[str, str]:
    """A value as the form shows it: text that a text field keeps as it is, else JSON; nothing of what is masked."""
    value = entry["value"]
    if entry["sensitive"]:
        return {"value": "", "form": TEXT_FORM}
    if isinstance(value, str) and all(char.isprintable() or char in "\n\t" for char in value):
        return {"value": value, "form": TEXT_FORM}
    return {"value": json.dumps(value, ensure_ascii=False, indent=2), "form": JSON_FORM}


def _value(form: Mapping[str, str], entry: Any) -> Any:
    """The value that a form holds. Raises BadValue."""
    text = form["value"].replace("\r\n", "\n")
    if not text and entry is not None and entry["sensitive"]:
        raise BadValue(
            "the value is masked, so it was not filled in: write the new one",
            unchanged=["nothing was changed"],
            next=['an empty text is "", read as JSON'],
        )
    if form["form"] != JSON_FORM:
        return text
    try:
        raw = written.parse(text)
    except (ValueError, RecursionError) as error:
        raise BadValue(f"this is no JSON: {error}", unchanged=["nothing was changed"]) from None
    value = value_of(raw)
    encode(value)
    return value


def _options(form: Mapping[str, str]) -> dict[str, Any]:
    """What a form says beside the value. Raises UsageError."""
    expiry, ttl = form["expiry"], form["ttl"].strip()
    if expiry == "new":
        changes.lifetime(ttl)
    elif ttl:
        raise UsageError(
            f"the key would not expire after {ttl}",
            unchanged=["nothing was changed"],
            next=['choose "in …" as its expiry, or leave the time empty'],
        )
    return {"ttl": ttl or None, "keep_ttl": expiry == "keep", "sensitive": form["sensitive"] == "on"}


def _canonical(text: str | None) -> str | None:
    return None if text is None else encode(value_of(json.loads(text)))


def _above(key: str) -> str:
    return key[: max(key.rfind(mark) for mark in ":/") + 1]
