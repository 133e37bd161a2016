"""Why: a key is changed only as it was seen: a write says what it is based on, and fails if that is no longer so."""

from __future__ import annotations

from sloth_runner.documents import keys, reveals, writes
from sloth_runner.durations import seconds
from sloth_runner.errors import UsageError
from sloth_runner.plain import TYPE_CHECKING
from sloth_runner.state import edits
from sloth_runner.state.record import version_of
from sloth_runner.web.api import Operation
from sloth_runner.web.api.keys import NAMESPACE, NEEDED_KEY, REVISIONS
from sloth_runner.web.given import COUNT, FLAG, TEXT, VALUE, Given, Param
from sloth_runner.web.replies import Answer

if TYPE_CHECKING:
    from sloth_runner.app import App
    from sloth_runner.web.house import House

TARGET = (NAMESPACE, NEEDED_KEY)


def put(app: App, house: House, given: Given) -> Answer:
    """``state set``."""
    view, key = keys.view_of(app, given["namespace"]), given["key"]
    ttl = None if given["ttl"] is None else lifetime(given["ttl"])
    if ttl is not None and given["keep_ttl"]:
        raise UsageError("ttl and keep_ttl exclude each other", unchanged=["nothing was changed"])
    edit = edits.put(given["value"], ttl=ttl, keep_ttl=given["keep_ttl"], sensitive=given["sensitive"])
    changed = bool(view.apply(key, edits.based_on(given.match or "", edit)))
    house.wrote(app, view.home(key), key)
    row = view.row(key)
    body = writes.was_set(app, view, key, changed, row.record.number if row else None)
    return Answer("state.set", body, version_of(row.record) if row else None)


def delete(app: App, house: House, given: Given) -> Answer:
    """``state delete``."""
    view, key = keys.view_of(app, given["namespace"]), given["key"]
    if view.row(key) is None:
        raise keys.missing(view, key)
    view.apply(key, edits.based_on(given.match or "", edits.delete))
    house.wrote(app, view.home(key), key)
    return Answer("state.delete", writes.were_deleted(app, view, [key]))


def restore(app: App, house: House, given: Given) -> Answer:
    """``state rollback KEY --rev N``."""
    view, key = keys.view_of(app, given["namespace"]), given["key"]
    record = view.revision(key, given["rev"])
    edit = edits.restore(record.text, record.sensitive)
    new = int(view.apply(key, edits.based_on(given.match or "", edit)))
    house.wrote(app, view.home(key), key)
    row = view.row(key)
    body = writes.was_restored(app, view, key, given["rev"], new)
    return Answer("state.rollback", body, version_of(row.record) if row else None)


def reveal(app: App, house: House, given: Given) -> Answer:
    """``state show --reveal``."""
    view, key = keys.view_of(app, given["namespace"]), given["key"]
    namespace, record = keys.wanted(view, key, given["rev"], None)
    if record.sensitive:
        reveals.record_key(view, namespace, key)
    body = keys.shown(app, view, namespace, key, record, reveal=True)
    return Answer("state.show", body, version_of(record) if given["rev"] is None else None)


def lifetime(text: str) -> float:
    """The seconds that a ttl says. Raises UsageError."""
    try:
        length = seconds(text, "ttl")
    except ValueError as error:
        raise UsageError(str(error), unchanged=["nothing was changed"]) from None
    if length == 0:
        raise UsageError("ttl must be more than 0", unchanged=["nothing was changed"])
    return length


PUT = Operation(
    "PUT", "/state/key", "setKey", "Set a key that is as it was seen (If-Match), or not there (If-None-Match: *).",
    put, ("state.set",), "state set KEY VALUE", TARGET,
    (
        Param("value", VALUE, "The value, in the form in which documents show values.", required=True),
        Param("ttl", TEXT, "Let it expire after this time: 30s, 5m, 1h30m."),
        Param("keep_ttl", FLAG, "Keep the expiry that it has.", default=False),
        Param("sensitive", FLAG, "Whether to hide the value; as it is, if not given."),
    ),
    versioned=True, guarded=True,
)  # fmt: skip
DELETE = Operation(
    "DELETE", "/state/key", "deleteKey", "Delete a key that is as it was seen. Its history stays.",
    delete, ("state.delete",), "state delete KEY --yes", TARGET, guarded=True,
)  # fmt: skip
RESTORE = Operation(
    "POST", "/state/restore", "restoreKey", "Make an earlier revision's value the current one again.",
    restore, ("state.rollback",), "state rollback KEY --rev N --yes", TARGET,
    (Param("rev", COUNT, "The revision to go back to.", required=True, most=REVISIONS),),
    versioned=True, guarded=True,
)  # fmt: skip
REVEAL = Operation(
    "POST", "/state/reveal", "revealKey", "One key with a sensitive value; that it was seen is recorded.",
    reveal, ("state.show",), "state show KEY --reveal", TARGET,
    (Param("rev", COUNT, "This revision, not the current one.", most=REVISIONS),),
    versioned=True,
)  # fmt: skip
OPERATIONS = (PUT, DELETE, RESTORE, REVEAL)
