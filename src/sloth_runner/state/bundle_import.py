"""Why: an import changes nothing until all of the bundle is known to be whole, and then a namespace at once.

The bundle is read at least twice: first every byte of it is held against its digest; where something is there
already, or the store has no bulk change, it is merged into nothing to see what would happen; then in earnest, where
everything is decided anew by what is there at that moment, and the digest is verified again before each commit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from sloth_runner.errors import Conflict, Foreign
from sloth_runner.plain import TYPE_CHECKING, NamedTuple, Protocol
from sloth_runner.state import lineage
from sloth_runner.state.bundle import OF_KEYS, Closing, Header, read
from sloth_runner.state.bundle_export import snapshot_of
from sloth_runner.state.bundle_key import Figures, Sink, Terms, as_it_is
from sloth_runner.state.bundle_merge import Merge
from sloth_runner.state.bundle_sink import BulkSink, CommitSink, NoSink
from sloth_runner.state.layout import HEAD
from sloth_runner.state.lineage import Imported

if TYPE_CHECKING:
    from sloth_runner.model import By
    from sloth_runner.state.store import Reader, Store

EMPTY, SAME, OTHER = "empty", "same", "other"
"""What a target is to a bundle: nothing there yet; of its lineage; not."""


class Source(Protocol):
    """A bundle that can be read several times."""

    def blocks(self) -> Iterator[bytes]:
        """Its bytes, from the start."""
        ...


class Section(NamedTuple):
    """A section that was found whole."""

    header: Header
    closing: Closing


class Choice(NamedTuple):
    """What was asked for. ``namespace``: where to (None: where each section comes from); ``mapping``, ``fit``: see
    Terms."""

    by: By
    now: float
    new_id: Callable[[], str]
    namespace: str | None = None
    replace: bool = False
    mapping: tuple[tuple[str, str], ...] = ()
    force: bool = False
    fit: Callable[[str, bytes], bytes] = as_it_is


class Outcome(NamedTuple):
    """What an import of one section does, or did: the target, what it is to the bundle, an earlier import of a later
    bundle if there was one, and the figures (``exact`` False: as the header has them, for an empty target)."""

    section: Section
    namespace: str
    relation: str
    later: Imported | None
    figures: Figures
    exact: bool

    @property
    def needs_force(self) -> str:
        """Why this is refused without force; "" if it isn't."""
        figures = self.figures
        if self.relation == OTHER:
            return "other"
        if figures.behind or figures.others_behind:
            return "behind"
        if self.later is not None and (figures.changed or figures.deleted):
            return "older"
        return ""


def survey(source: Source) -> list[Section]:
    """Read all of a bundle and verify it; its sections. Raises Corrupt."""
    sections: list[Section] = []
    header: Header | None = None
    for part in read(source.blocks()):
        if isinstance(part, Header):
            header = part
        elif isinstance(part, Closing) and header is not None:
            sections.append(Section(header, part))
    return sections


def plan(
    store: Store, source: Source, sections: Sequence[Section], choice: Choice, *, exact: bool
) -> list[Outcome]:
    """What an import would do. Nothing is changed. ``exact``: look at every record, also where nothing is there.

    Raises Corrupt for a record that can't be taken; TooLarge: the store would not take it.
    """
    outcomes: list[Outcome] = []
    parts: Iterator[object] | None = None  # where nothing is there, the bundle need not be read again
    for number, section in enumerate(sections):
        namespace = choice.namespace or section.header.namespace
        with snapshot_of(store, namespace) as before:
            terms = _terms(before, namespace, section.header, choice)
            figures = Figures()
            quick = terms.empty and not exact and not terms.mapping and store.traits.bulk is not None
            if quick and parts is None:
                counts = section.closing.counts
                figures.new = counts.get(HEAD, 0)
                figures.others = sum(count for kind, count in counts.items() if kind not in OF_KEYS)
            else:
                if parts is None:
                    parts = read(source.blocks())
                    for _ in range(number):
                        _drain(parts)
                next(parts)
                _feed(
                    parts, Merge(terms, before, NoSink(store.traits.max_value), figures), lambda count: None
                )
            outcomes.append(_outcome(before, section, terms, figures, exact=parts is not None))
    return outcomes


def apply(
    store: Store,
    source: Source,
    sections: Sequence[Section],
    choice: Choice,
    *,
    progress: Callable[[int], None],
) -> list[Outcome]:
    """Import; each section is one change where the store can. What is refused is refused here, too.

    Raises Foreign, Conflict (nothing of that section changed), Corrupt, and what the store raises.
    """
    outcomes: list[Outcome] = []
    parts = read(source.blocks())
    for number, _ in enumerate(parts):
        section = sections[number]
        namespace = choice.namespace or section.header.namespace
        if not sum(section.closing.counts.values()) and not choice.replace:
            _drain(parts)
            outcomes.append(Outcome(section, namespace, EMPTY, None, Figures(), True))
            continue
        with _change(store, namespace) as (before, sink):
            terms = _terms(before, namespace, section.header, choice)
            figures = Figures()
            _feed(parts, Merge(terms, before, sink, figures), progress)
            outcome = _outcome(before, section, terms, figures, exact=True)
            check([outcome], choice)
            if figures.writes:
                sink.put(_notes(outcome, choice))
        outcomes.append(outcome)
    return outcomes


def merge_values(
    store: Store, namespace: str, values: Iterable[tuple[str, str]], choice: Choice, *, dry_run: bool
) -> Figures:
    """Set keys to canonical texts by new revisions, as one change where the store can; with ``replace`` all other
    keys are deleted. What is there already stays as it is."""
    figures = Figures()
    with _looking(store, namespace) if dry_run else _change(store, namespace) as (before, sink):
        terms = Terms(
            namespace, comparable=False, empty=False, with_history=False, mapping=choice.mapping, replace=False,
            prefix="", by=choice.by, now=choice.now, new_id=choice.new_id,
        )  # fmt: skip
        merge = Merge(terms, before, sink, figures)
        names = {merge.set(name, text) for name, text in values}
        if choice.replace:
            merge.delete_except(names)
    return figures


def check(outcomes: Sequence[Outcome], choice: Choice) -> None:
    """Refuse what needs force and has none. Raises Foreign, Conflict."""
    for outcome in outcomes:
        why = "" if choice.force else outcome.needs_force
        if why == "other":
            raise Foreign(
                f"the bundle is of another state than {outcome.namespace} (lineage "
                f"{_short(outcome.section.header.lineage)}, made on {outcome.section.header.host})",
                unchanged=["nothing was changed"],
                next=[
                    "to take its keys under other names: --prefix-map old:=new:",
                    "to merge it nevertheless: --force",
                ],
            )
        if why:
            raise Conflict(
                "\n".join([_reason(outcome, why), *losses(outcome)]),
                next=["to go back to the bundle's values nevertheless, by new revisions: --force"],
            )


def losses(outcome: Outcome) -> list[str]:
    """Lines that say what the bundle's values would take the place of."""
    from sloth_runner.moments import iso

    figures = outcome.figures
    lines = [
        f"  {lost.key}: revision {lost.here} by {lost.user}@{lost.host} of {iso(lost.time)} "
        f"(the bundle has revision {lost.bundle})"
        for lost in figures.lost
    ]
    more = figures.behind - len(figures.lost)
    if more > 0:
        lines.append(f"  … and {more:,} more")
    if figures.others_behind:
        lines.append(f"  {figures.others_behind:,} records of runs, tags and resources")
    return lines


def _reason(outcome: Outcome, why: str) -> str:
    where, header = outcome.namespace, outcome.section.header
    if why == "older" and outcome.later is not None:
        return (
            f"the bundle of {header.created} is older than that of {outcome.later.created}, which "
            f"{outcome.later.user}@{outcome.later.host} imported into {where}"
        )
    count = outcome.figures.behind + outcome.figures.others_behind
    return f"the bundle is behind {where}: {count:,} of what is there is newer, or has gone another way"


def _short(text: str | None) -> str:
    return "none" if text is None else text[:8]


def _terms(before: Reader, namespace: str, header: Header, choice: Choice) -> Terms:
    empty = lineage.is_empty(before, namespace)
    mine = lineage.lineage_of(before, namespace)
    return Terms(
        namespace, comparable=header.lineage is not None and mine == header.lineage, empty=empty,
        with_history=header.with_history, mapping=choice.mapping, replace=choice.replace, prefix=header.prefix,
        by=choice.by, now=choice.now, new_id=choice.new_id, fit=choice.fit,
    )  # fmt: skip


def _outcome(before: Reader, section: Section, terms: Terms, figures: Figures, *, exact: bool) -> Outcome:
    header = section.header
    if terms.empty:
        relation = EMPTY
    else:
        relation = SAME if terms.comparable or terms.mapping else OTHER
    later = None
    if terms.comparable and not terms.mapping and header.lineage is not None:
        latest = lineage.latest_import(before, terms.namespace, header.lineage)
        later = latest if latest is not None and latest.created > header.created else None
    return Outcome(section, terms.namespace, relation, later, figures, exact)


def _feed(parts: Iterator[object], merge: Merge, progress: Callable[[int], None]) -> None:
    """Merge one section's records: up to its closing line, by which it is proved whole."""
    for part in parts:
        if isinstance(part, Closing):
            break
        assert isinstance(part, bytes)
        progress(merge.lines(part))
    merge.finish()


def _drain(parts: Iterator[object]) -> None:
    for part in parts:
        if isinstance(part, Closing):
            return


def _notes(outcome: Outcome, choice: Choice) -> list[tuple[str, bytes]]:
    """Who imported what; and, where nothing was before, the lineage."""
    header, closing = outcome.section
    key, note = lineage.import_note(
        outcome.namespace,
        header.lineage,
        header.created,
        closing.digest,
        choice.by,
        choice.now,
        choice.new_id(),
    )
    rows = [(key, note)]
    if outcome.relation == EMPTY and header.lineage is not None and not choice.mapping:
        rows.append((lineage.lineage_key(outcome.namespace), lineage.encode(header.lineage)))
    return rows


@contextmanager
def _looking(store: Store, namespace: str) -> Iterator[tuple[Reader, Sink]]:
    with snapshot_of(store, namespace) as before:
        yield before, NoSink(store.traits.max_value)


@contextmanager
def _change(store: Store, namespace: str) -> Iterator[tuple[Reader, Sink]]:
    if store.traits.bulk is None:
        commits = CommitSink(store)
        yield store, commits
        commits.flush()
        return
    with store.traits.bulk(namespace) as bulk:
        sink = BulkSink(bulk)
        yield bulk, sink
        sink.flush()
