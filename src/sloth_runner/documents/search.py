"""Why: a text is looked for in the names of keys and in their values, and what is found is told in one form."""

from __future__ import annotations

import json
from collections.abc import Iterator

from sloth_runner import documents
from sloth_runner.documents import Document
from sloth_runner.documents.words import bytes_shown
from sloth_runner.plain import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from sloth_runner.app import App
    from sloth_runner.state.state import Row, State

KEY, VALUE = "key", "value"


class Match(NamedTuple):
    """A key that was found: in its name (KEY), or only in its value (VALUE)."""

    row: Row
    where: str


def scan(view: State, text: str, prefix: str) -> Iterator[Match]:
    """Keys below ``prefix`` whose name holds ``text``, then those whose value does, each in order. Upper and lower
    case are one (of ASCII); what is sensitive is not looked into."""
    wanted, stored = folded(text), folded(json.dumps(text, ensure_ascii=False)[1:-1])
    for row in view.rows(prefix):
        if wanted in folded(row.key):
            yield Match(row, KEY)
    for row in view.rows(prefix):
        if wanted in folded(row.key) or row.record.sensitive or row.record.text is None:
            continue
        if stored in folded(row.record.text):
            yield Match(row, VALUE)


def found(
    app: App, namespace: str, text: str, prefix: str, matches: list[Match], cursor: str | None
) -> Document:
    """``state.search``."""
    return {
        "store": app.stores.name,
        "namespace": namespace,
        "text": bytes_shown(text),
        "prefix": prefix,
        "count": len(matches),
        "next": cursor,
        "matches": [{"match": one.where, **documents.entry(one.row, reveal=False)} for one in matches],
    }


def cursor(match: Match) -> str:
    """Where to go on after a match."""
    return f"{match.where}/{match.row.key}"


def folded(text: str) -> bytes:
    """A text as it is compared: ASCII's upper case as lower case, everything else as it is."""
    return text.encode("utf-8", "surrogateescape").lower()
