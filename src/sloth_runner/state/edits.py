"""Why: each way to change a key is a pure function of what is there, so that many can share one commit.

An edit sees the last record of its key (None: never set), whether that record is live, and the time; it
returns what should be written and what its caller gets. It never touches a store.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from sloth_runner.errors import BadValue, NotANumber, Outdated
from sloth_runner.plain import TYPE_CHECKING, Final, NamedTuple, TypeAlias
from sloth_runner.state.record import version_of
from sloth_runner.state.value import decode, encode, type_name

if TYPE_CHECKING:
    from sloth_runner.model import Value
    from sloth_runner.state.record import Record

NEW_REVISION: Final = object()
"""As a result: the number of the key's last revision after the commit."""


class Plan(NamedTuple):
    """What an edit wants: ``op`` None leaves the value alone (and only expiry or flag may differ)."""

    result: object
    op: str | None = None
    text: str | None = None
    expires: float | None = None
    sensitive: bool = False
    size: int | None = None
    """Bytes of the value, if known."""


class Seen(NamedTuple):
    """What an edit is given: the last record, and the same again if it is live at ``now``."""

    key: str
    last: Record | None
    live: Record | None
    now: float


Edit: TypeAlias = Callable[[Seen], Plan]
_HIDDEN = "••••"
_INTEGER = r"-?[0-9]+"
_DECIMAL = r"-?[0-9]+\.[0-9]+"


def put(
    value: Value, *, ttl: float | None = None, keep_ttl: bool = False, sensitive: bool | None = None
) -> Edit:
    """Set; the result is whether anything changed."""

    def edit(seen: Seen) -> Plan:
        text = encode(value, f"the value of {seen.key!r}")
        expires = seen.now + ttl if ttl is not None else None
        if keep_ttl and ttl is None and seen.live:
            expires = seen.live.expires
        flag = _flag(seen, sensitive)
        same = seen.live is not None and seen.live.text == text
        touched = seen.live is None or (seen.live.expires, seen.live.sensitive) != (expires, flag)
        size = (
            len(text) - 2 if type(value) is str and value.isascii() and len(text) == len(value) + 2 else None
        )
        return Plan(not same or touched, None if same else "set", text, expires, flag, size)

    return edit


def based_on(version: str, edit: Edit) -> Edit:
    """``edit``, if the key is as it was seen: at ``version`` (see ``version_of``; "": without a live value).

    Raises Outdated: it is not, and nothing is changed.
    """

    def guarded(seen: Seen) -> Plan:
        now = "" if seen.live is None else version_of(seen.live)
        if now != version:
            what = (
                "there is a value now" if not version else "it was deleted" if not now else "it was changed"
            )
            raise Outdated(
                f"{seen.key!r} is not as it was seen: {what} meanwhile",
                keys=[seen.key],
                next=["look at what is there now, then decide again"],
            )
        return edit(seen)

    return guarded


def delete(seen: Seen) -> Plan:
    """Remove; the result is whether there was something."""
    if seen.live is None:
        return _keep(seen, False)
    return Plan(True, "delete", None, None, seen.live.sensitive)


def put_if_absent(value: Value, *, ttl: float | None = None, sensitive: bool | None = None) -> Edit:
    """Set unless there is a live value; the result is whether it was set."""

    def edit(seen: Seen) -> Plan:
        if seen.live is not None:
            return _keep(seen, False)
        return put(value, ttl=ttl, sensitive=sensitive)(seen)._replace(result=True)

    return edit


def swap(old: Value | None, new: Value | None) -> Edit:
    """Compare and swap; None as ``old``: absent, as ``new``: delete. The result is whether ``old`` held."""

    def edit(seen: Seen) -> Plan:
        want = None if old is None else encode(old, f"the old value of {seen.key!r}")
        have = None if seen.live is None else seen.live.text
        if want != have:
            return _keep(seen, False)
        if new is None:
            return delete(seen)._replace(result=True)
        return put(new, keep_ttl=True)(seen)._replace(result=True)

    return edit


def add(delta: int | float) -> Edit:
    """Increment; the result is the new number. Raises NotANumber for a value, delta or sum that is none."""

    def edit(seen: Seen) -> Plan:
        have: object = 0 if seen.live is None else decode(seen.live.text or "")
        shown = _HIDDEN if seen.live is not None and seen.live.sensitive else have
        total = _number(have, f"the value of {seen.key!r}", shown) + _number(delta, "the delta", delta)
        if isinstance(total, int) and not -(1 << 63) <= total < 1 << 63:
            raise NotANumber(
                f"{seen.key!r}: {shown} + {delta} does not fit into 64 bits", unchanged=[seen.key]
            )
        if isinstance(total, float) and total - total != 0:
            raise NotANumber(f"{seen.key!r}: {shown} + {delta} is not a finite number", unchanged=[seen.key])
        return put(total, keep_ttl=True)(seen)._replace(result=total)

    return edit


def append(text: str) -> Edit:
    """Add text to the end of a string; the result is its new length in bytes."""

    def edit(seen: Seen) -> Plan:
        if not isinstance(text, str):
            raise BadValue(f"append to {seen.key!r} takes a string, not {text!r}")
        have = "" if seen.live is None else decode(seen.live.text or "")
        if not isinstance(have, str):
            raise BadValue(f"{seen.key!r} holds {_article(have)}, not a string", unchanged=[seen.key])
        # Two halves of one character may meet here: only bytes can be joined without losing them.
        joined = have.encode("utf-8", "surrogateescape") + text.encode("utf-8", "surrogateescape")
        return put(joined.decode("utf-8", "surrogateescape"), keep_ttl=True)(seen)._replace(
            result=len(joined)
        )

    return edit


def push(value: Value) -> Edit:
    """Add to the end of a list; the result is its new length."""

    def edit(seen: Seen) -> Plan:
        items = [*list_of(seen), value]
        return put(items, keep_ttl=True)(seen)._replace(result=len(items))

    return edit


def pop(end: str = "last") -> Edit:
    """Take from a list's end ("last") or start ("first"); the result is the item, None if it was empty."""

    def edit(seen: Seen) -> Plan:
        if end not in ("last", "first"):
            raise BadValue(f'list_pop takes "last" or "first", not {end!r}')
        items = list_of(seen)
        if not items:
            return _keep(seen, None)
        item = items.pop(-1 if end == "last" else 0)
        return put(items, keep_ttl=True)(seen)._replace(result=item)

    return edit


def set_ttl(ttl: float | None) -> Edit:
    """Set or (None) remove the expiry; the result is whether there was a key."""

    def edit(seen: Seen) -> Plan:
        if seen.live is None:
            return _keep(seen, False)
        return _keep(seen, True)._replace(expires=None if ttl is None else seen.now + ttl)

    return edit


def restore(text: str | None, sensitive: bool) -> Edit:
    """Go back to an earlier value (None: to absence); the result is the number of the last revision.

    What is sensitive now stays so: going back must not show a secret.
    """

    def edit(seen: Seen) -> Plan:
        have = None if seen.live is None else seen.live.text
        if have == text:
            return _keep(seen, NEW_REVISION)
        return Plan(NEW_REVISION, "rollback", text, None, sensitive or _flag(seen, None))

    return edit


def list_of(seen: Seen) -> list[Value]:
    """The live value as a list; absent and empty tables are empty. Raises BadValue for anything else."""
    have = [] if seen.live is None else decode(seen.live.text or "")
    if isinstance(have, list):
        return have
    if have == {}:
        return []
    raise BadValue(f"{seen.key!r} holds {_article(have)}, not a list", unchanged=[seen.key])


def _keep(seen: Seen, result: object) -> Plan:
    live = seen.live
    if live is None:
        return Plan(result)
    return Plan(result, None, live.text, live.expires, live.sensitive)


def _flag(seen: Seen, sensitive: bool | None) -> bool:
    if sensitive is not None:
        return sensitive
    return seen.last is not None and seen.last.sensitive


def plain_number(text: str) -> int | float | None:
    """The number that a text counts as: digits, perhaps with a sign or a fraction; None for all else."""
    if re.fullmatch(_INTEGER, text):
        return int(text) if len(text) < 40 else None
    return float(text) if re.fullmatch(_DECIMAL, text) else None


def _number(value: object, what: str, shown: object) -> int | float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    found = plain_number(value) if isinstance(value, str) else None
    if found is not None:
        return found
    said = repr(shown[:60]) if isinstance(shown, str) else encode(shown, what)[:60]  # type: ignore[arg-type] # a value
    raise NotANumber(f"{what} is not a number: {said}", unchanged=["nothing was changed"])


def _article(value: Value) -> str:
    word = type_name(value)
    return f"an {word}" if word == "integer" else f"a {word}"
