"""Why: which keys there are, what one holds and how much there is: told alike by the command line and the web."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from sloth_runner import documents
from sloth_runner.documents import Document
from sloth_runner.errors import KeyMissing, Missing, UsageError
from sloth_runner.moments import iso
from sloth_runner.names import nearest
from sloth_runner.plain import TYPE_CHECKING, NamedTuple
from sloth_runner.state.layout import SHARED

if TYPE_CHECKING:
    from sloth_runner.app import App
    from sloth_runner.state.record import Record
    from sloth_runner.state.state import Row, State, Stats


class Page(NamedTuple):
    """Some of many keys, and where to go on (None: these are the last)."""

    rows: list[Row]
    next: str | None


def all_views(app: App) -> list[State]:
    """Every namespace by itself, whole keys: of agents that are configured or have state, and the shared one."""
    names = sorted({*app.known_agents(), *app.namespaces()})
    return [own_view(app.state(shared=True) if name == SHARED else app.state(name)) for name in names]


def view_of(app: App, namespace: str) -> State:
    """An agent's view, or the shared one. Raises AgentUnknown, BadName."""
    return app.state(shared=True) if namespace == SHARED else app.state(app.require_agent(namespace))


def own_view(view: State) -> State:
    """The same namespace without what is shared."""
    from sloth_runner.state.state import State

    return State(view.writer, view.namespace, view.by, shared_prefixes=())


def page(seen: Sequence[State], prefix: str, after: str, limit: int | None, *, everywhere: bool) -> Page:
    """Keys of these views below ``prefix``, at most ``limit`` from beyond ``after``, the "next" of a page.

    Raises UsageError: ``everywhere``, ``after`` has to name the namespace, too.
    """
    found = _rows(seen, prefix, after, everywhere, None if limit is None else limit + 1)
    rows = list(islice(found, limit)) if limit is not None else list(found)
    more = limit is not None and len(rows) == limit and next(found, None) is not None
    return Page(rows, _cursor(rows[-1], everywhere) if more else None)


def listing(
    app: App, seen: Sequence[State], prefix: str, part: Page, *, everywhere: bool, reveal: bool
) -> Document:
    """``state.list``."""
    return {
        "store": app.stores.name,
        "namespace": None if everywhere else seen[0].namespace,
        "prefix": prefix,
        "count": len(part.rows),
        "next": part.next,
        "entries": [documents.entry(row, reveal=reveal) for row in part.rows],
    }


def wanted(view: State, key: str, rev: int | None, at: float | None) -> tuple[str, Record]:
    """The namespace and the record that is asked for: the current one, revision ``rev``, or what was there ``at`` a
    moment. Raises KeyMissing, Compacted."""
    try:
        if rev is not None:
            return view.home(key), view.revision(key, rev)
        if at is not None:
            record = view.at(key, at)
            if record is None or record.text is None:
                raise missing(view, key, f"at {iso(at)}")
            return view.home(key), record
    except Missing as error:
        error.unchanged = error.unchanged or ["nothing was changed"]
        raise
    row = view.row(key)
    if row is None:
        raise missing(view, key)
    return row.namespace, row.record


def shown(app: App, view: State, namespace: str, key: str, record: Record, *, reveal: bool) -> Document:
    """``state.show``."""
    first, last = first_kept(view, key, record)
    entry = documents.record_entry(namespace, key, record, reveal=reveal)
    entry["by"] = documents.who(record.by)
    entry["history"] = {"first": first, "last": last}
    return {"store": app.stores.name, "entry": entry}


def first_kept(view: State, key: str, record: Record) -> tuple[int, int]:
    """The oldest revision of the key that is kept, and its last; ``record`` is one of them."""
    from sloth_runner.state.history import head

    last = head(view.writer.store, view.home(key), key) or record
    return last.first, last.number


def missing(view: State, key: str, when: str = "") -> KeyMissing:
    """The error for a key that is not there: with keys of similar name, and where else it is."""
    namespace = view.home(key)
    known = [row.key for row in view.rows(limit=2000)]
    near = nearest(key, known)
    if key in known:
        steps = [f"it is there now; since when: sloth-runner state history {key}{flags(view.namespace)}"]
    elif near:
        steps = [f"did you mean {near!r}?"]
    else:
        steps = ["see what is there: sloth-runner state list" + flags(view.namespace)] if known else []
    what = (
        f"there was no key {key!r} in {namespace} {when}"
        if when
        else f"there is no key {key!r} in {namespace}"
    )
    return KeyMissing(what, unchanged=["nothing was changed"], next=steps)


def flags(namespace: str) -> str:
    """What a command line adds to mean this namespace."""
    if namespace == SHARED:
        return " --shared"
    return "" if namespace == "local" else f" --agent {namespace}"


def figures(app: App, view: State, found: Stats | None = None) -> Document:
    """One namespace's part of ``state.stats``; ``found`` where it has been counted already."""
    from sloth_runner.state.locks import held

    found = found or view.stats()
    return {
        "namespace": view.namespace,
        "keys": found.keys,
        "bytes": found.bytes,
        "revisions": found.revisions,
        "locks": sum(1 for _ in held(view.writer.store, view.namespace)),
        "oldest": None if found.oldest is None else iso(found.oldest),
        "newest": None if found.newest is None else iso(found.newest),
        "file_bytes": app.file_bytes(view.namespace),
        "encrypted": app.sealed_throughout,
    }


def stats(app: App, each: Sequence[Document], *, everywhere: bool) -> Document:
    """``state.stats`` of what ``figures`` told of each namespace."""
    body = {"store": app.stores.name, **(_total(each) if everywhere else each[0])}
    if everywhere:
        body["namespaces"] = list(each)
    return body


def _total(each: Sequence[Document]) -> Document:
    sums = {name: sum(row[name] or 0 for row in each) for name in ("keys", "bytes", "revisions", "locks")}
    times = {name: [row[name] for row in each if row[name]] for name in ("oldest", "newest")}
    return {
        "namespace": None,
        **sums,
        "oldest": min(times["oldest"], default=None),
        "newest": max(times["newest"], default=None),
        "file_bytes": sum(row["file_bytes"] or 0 for row in each),
        "encrypted": all(row["encrypted"] for row in each),
    }


def _rows(
    seen: Sequence[State], prefix: str, after: str, everywhere: bool, limit: int | None
) -> Iterator[Row]:
    start_in, slash, start_key = after.partition("/") if everywhere else ("", "", after)
    if everywhere and after and not slash:
        raise UsageError('with --all-agents, --after takes NAMESPACE/KEY: the "next" of a page')
    for view in seen:
        if everywhere and view.namespace < start_in:
            continue
        key = start_key if not everywhere or view.namespace == start_in else ""
        yield from view.rows(prefix, after=key, limit=limit)


def _cursor(row: Row, everywhere: bool) -> str:
    return f"{row.namespace}/{row.key}" if everywhere else row.key
