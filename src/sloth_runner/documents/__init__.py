"""Why: a key, a lock and a "who" look the same in every document; their form is fixed here once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import islice

from sloth_runner.moments import iso
from sloth_runner.plain import TYPE_CHECKING, Any, Final
from sloth_runner.state.value import decode, encode, to_json, type_name

if TYPE_CHECKING:
    from sloth_runner.model import By, Value
    from sloth_runner.state.history import Revision
    from sloth_runner.state.locks import Info
    from sloth_runner.state.record import Record
    from sloth_runner.state.state import Row

Document = dict[str, Any]
HIDDEN = "••••••"
TOKENS: Final = 4096
"""Names, values and marks in a piece of a document."""


def dumped(name: str, body: Mapping[str, Any], *, ascii_only: bool = False) -> str:
    """A document as ``--output json`` prints it, without the last newline."""
    return "".join(pieces(name, body, ascii_only=ascii_only))


def pieces(name: str, body: Mapping[str, Any], *, ascii_only: bool = False) -> Iterator[str]:
    """The same in pieces: that of a large run would need as much memory again as the run itself."""
    document = {"format": f"sloth-runner/{name}", "version": 1, **body}
    tokens = json.JSONEncoder(ensure_ascii=ascii_only, indent=2, allow_nan=False).iterencode(document)
    while piece := "".join(islice(tokens, TOKENS)):
        yield piece


def entry(row: Row, *, reveal: bool) -> Document:
    """A key as ENTRY."""
    return record_entry(row.namespace, row.key, row.record, reveal=reveal)


def record_entry(namespace: str, key: str, record: Record, *, reveal: bool) -> Document:
    """One record of a key as ENTRY."""
    text = record.text
    return {
        "key": key,
        "namespace": namespace,
        "type": None if text is None else type_name(decode(text)),
        "value": value(record, reveal=reveal),
        "rev": record.number,
        "size": record.size,
        "created": iso(record.created),
        "updated": iso(record.time),
        "expires": None if record.expires is None else iso(record.expires),
        "sensitive": record.sensitive,
    }


def value(record: Record, *, reveal: bool) -> object:
    """A record's value in its JSON form; None where there is none, or where it is not to be seen."""
    if record.text is None or (record.sensitive and not reveal):
        return None
    return json.loads(record.text)


def shown(record: Record, *, reveal: bool, pretty: bool = False) -> str:
    """A record's value for people: text as it is, tables as JSON."""
    if record.text is None:
        return "-"
    if record.sensitive and not reveal:
        return HIDDEN
    return as_text(decode(record.text), record.text, pretty=pretty)


def old_shown(found: Revision, *, reveal: bool) -> str:
    """The value before a change, for people."""
    if found.old is None:
        return "-"
    if found.old_secret and not reveal:
        return HIDDEN
    return as_text(found.old, encode(found.old, "a value"))


def as_text(found: Value, text: str, *, pretty: bool = False) -> str:
    """``found`` (its canonical form is ``text``): a string as it is, everything else as JSON."""
    if isinstance(found, str):
        return found
    if pretty and type_name(found) == "table":
        return json.dumps(json.loads(text), ensure_ascii=False, indent=2)
    return text if type_name(found) != "float" or text[0] != "{" else str(found)


def revision(found: Revision, *, reveal: bool) -> Document:
    """A change of a key."""
    record = found.record._replace(sensitive=found.secret)
    return {
        "rev": record.number,
        "time": iso(record.time),
        "op": record.op,
        "old": None if found.old is None or (found.old_secret and not reveal) else to_json(found.old),
        "new": value(record, reveal=reveal),
        "sensitive": found.secret,
        "by": who(record.by),
    }


def who(by: By) -> Document:
    """A "who" as BY."""
    return {"user": by.user, "host": by.host, "pid": by.pid, "run": by.run, "task": by.task}


def who_text(by: By) -> str:
    """``ann@host, task deploy of run 2026…``."""
    words = f"{by.user}@{by.host}"
    if by.task:
        words += f", task {by.task}"
    if by.run:
        words += f" of run {by.run}" if by.task else f", run {by.run}"
    return words


def lock(found: Info, *, stale: bool) -> Document:
    """A lock that is held."""
    return {
        "name": found.name,
        "namespace": found.namespace,
        "token": found.token,
        "holder": found.owner.holder,
        "by": who(found.owner.by),
        "acquired": iso(found.acquired),
        "expires": iso(found.expires),
        "ttl": found.ttl,
        "stale": stale,
    }
