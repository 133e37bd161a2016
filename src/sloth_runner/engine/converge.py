"""Why: looking, comparing, changing, checking and recording are the same for every resource, so they stand here once.

``Converging.ensure`` serves a module's Ensure: look at all resources, compare with what is wanted and with what the
ledger says, commit intents, change, look again, record. In check mode (``rehearsal``) the same path ends in a
description of what would be done.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence

from sloth_runner.engine.comparing import Comparing
from sloth_runner.engine.drive import Skipped
from sloth_runner.engine.job import About, Job, attribute_lines, converged
from sloth_runner.engine.joint import name
from sloth_runner.engine.lines import Durable
from sloth_runner.engine.recording import Recording
from sloth_runner.errors import TaskFailed
from sloth_runner.modules.base import (
    Change,
    Converged,
    Ensure,
    Follow,
    Look,
    Observed,
    Saved,
    Source,
    Told,
    differing,
    go_on,
)
from sloth_runner.modules.difference import HIDDEN, difference, sizes
from sloth_runner.ops import Batch, OpError, Write
from sloth_runner.plain import TYPE_CHECKING, Any
from sloth_runner.state.ledger import Ledger

if TYPE_CHECKING:
    from sloth_runner.engine.aside import Aside
    from sloth_runner.engine.lines import Line
    from sloth_runner.engine.rehearsal import Rehearsal
    from sloth_runner.modules.base import Kind
    from sloth_runner.modules.sources import Sources
    from sloth_runner.ops import Op
    from sloth_runner.state.ledger_records import Entry


class Converging:
    """Converges resources of one machine for one call. ``report`` hears of each resource that was compared; by
    ``aside`` (None: never) a new file waits for others."""

    def __init__(
        self,
        kinds: Mapping[str, Kind],
        ledger: Ledger,
        line: Line,
        about: About,
        sources: Sources,
        clock: Callable[[], float],
        report: Callable[[Job], None],
        rehearsal: Rehearsal | None = None,
        aside: Aside | None = None,
    ) -> None:
        self._kinds = kinds
        self._ledger = ledger
        self._line = line
        self._about = about
        self._sources = sources
        self._clock = clock
        self._recording = Recording(ledger, about, clock)
        self._report = report
        self._rehearsal = rehearsal
        self._aside = aside
        self._comparing = Comparing(kinds, ledger, about, sources, rehearsal)

    def ensure(self, request: Ensure) -> Generator[Any, Any, tuple[Converged, ...]]:
        """The steps that make resources as wanted; the answer to the Ensure."""
        if not request.wants:
            return ()
        if len(request.wants) > 1:  # one of them does not stand for the call
            self._catch_up()
            self._recording = Recording(self._ledger, self._about._replace(call=""), self._clock)
        kind = self._kinds[request.wants[0].resource.kind]
        jobs = yield from self._comparing.look(kind, request.wants)
        todo = [job for job in jobs if job.differing]
        if todo and not (yield from self._set_aside(kind, todo)):
            if self._catch_up():  # what was seen while others waited need not be true any more
                return (yield from self.ensure(request))
            yield from self._change(kind, todo)
        for job in jobs:
            if not job.differing and self._rehearsal is None:
                if job.entry is None:
                    self._catch_up()  # what was made before is older
                inside = (yield from self._inside(kind, job)) if job.intent is not None else []
                self._recording.confirm(job)
                self._drop(inside)
            if self._rehearsal is None:
                name(self._ledger, job, self._about.stack)
            self._report(job)
        return tuple([converged(job) for job in jobs])

    def _change(self, kind: Kind, todo: Sequence[Job]) -> Generator[Any, Any, None]:
        again = [job for job in todo if job.entry is not None and job.entry.adopted]
        if again and self._rehearsal is None:
            full = yield from kind.observe([Look(job.want.resource) for job in again])
            for job, observed in zip(again, full, strict=True):
                job.observed = observed
        for job in todo:
            yield from self._contents(kind, job)
        changes = [self._as_change(job) for job in todo]
        if self._rehearsal is not None:
            yield from self._rehearse(kind, todo, changes)
            return
        for job in todo:
            yield from self._save(kind, job)
        begun = [job for job in todo if job.intent is None]
        self._recording.intend(todo)
        yield Durable(self._line)
        looks = [Look(job.want.resource, _keys(job)) for job in todo]
        yield Follow(_first(kind, looks))
        yield from self._do(kind, todo, kind.converge(changes), looks, begun)

    def _do(
        self,
        kind: Kind,
        todo: Sequence[Job],
        changing: Generator[Any, Any, Sequence[str | Told]],
        looks: Sequence[Look],
        begun: Sequence[Job],
    ) -> Generator[Any, Any, None]:
        """Change, look again, record."""
        try:
            notes = yield from changing
        except (OpError, TaskFailed):
            yield from self._record_done(kind, todo, looks, begun)
            raise
        after = yield from kind.observe(looks)
        yield Follow()
        for job, note, observed in zip(todo, notes, after, strict=True):
            self._note(job, note)
            yield from self._verify(kind, job, observed)
            inside = yield from self._inside(kind, job)
            self._recording.record(job, observed, touched=True)
            self._drop(inside)

    def _set_aside(self, kind: Kind, todo: Sequence[Job]) -> Generator[Any, Any, bool]:
        """Have a new file wait for others, if it is one and can: of what is not there, and never was ours, nothing
        needs to be kept, and nobody sees that it comes later."""
        aside, job = self._aside, todo[0]
        if aside is None or len(todo) > 1 or not _is_new(job):
            return False
        yield from self._contents(kind, job)
        changing = kind.converge([self._as_change(job)])
        op = next(changing)
        if type(op) is not Write or op.path != job.want.resource.id:
            changing.close()
            return False
        staged = aside.stage(op)
        if staged is None:
            changing.close()
            return False
        self._recording.intend(todo)
        looks = [Look(job.want.resource, _keys(job))]
        later = self._later(kind, job, go_on(changing, op), looks)
        aside.wait(staged, op, later, lambda: self._recording.withdraw(job))
        return True

    def _later(
        self, kind: Kind, job: Job, changing: Generator[Any, Any, Sequence[str | Told]], looks: Sequence[Look]
    ) -> Generator[Any, Any, None]:
        """What is left of a change that was set aside. What others have put there meanwhile is looked at anew."""
        try:
            yield from self._do(kind, [job], _unless_met(changing), looks, [job])
        except _Met:
            self._recording.withdraw(job)
            aside, self._aside = self._aside, None
            (done,) = yield from self.ensure(Ensure((job.want,)))
            if aside is not None:
                aside.met(done)

    def _catch_up(self) -> bool:
        """Whether something waited that is done now."""
        return self._aside is not None and self._aside.catch_up()

    def _record_done(
        self, kind: Kind, todo: Sequence[Job], looks: Sequence[Look], begun: Sequence[Job]
    ) -> Generator[Any, Any, None]:
        """The call has failed. What is as wanted although it failed with another is ours: it must not be forgotten.
        What was ``begun`` with this call and is as it was before is not under way: the next run has nothing to go on
        with."""
        yield Follow()
        try:
            after = yield from kind.observe(looks)
        except (OpError, TaskFailed):
            return
        for job, observed in zip(todo, after, strict=True):
            if not differing(observed.attributes, job.wanted):
                self._recording.record(job, observed, touched=True)
            elif job in begun and _is_as_it_was(job, observed):
                self._recording.withdraw(job)

    def _inside(self, kind: Kind, job: Job) -> Generator[Any, Any, list[Entry]]:
        """What this stack had in what is gone, which is gone too; others will miss theirs."""
        whole = job.wanted is None and job.want.options.get("recursive")
        gone = (job.want.resource.id.rstrip("/"),) if whole else job.gone
        if not gone:
            return []
        family = kind.name.partition(".")[0]
        parts = [name for name in self._kinds if name.startswith(f"{family}.")]
        below = [f"{name}:{path}/" for path in gone for name in (family, *parts)]
        below += [f"{name}:{path}#" for path in gone for name in parts]
        own = [f"{family}:{path}" for path in job.gone]
        inside: list[Entry] = yield self._ledger.under([*below, *own])
        mine = [entry for entry in inside if entry.stack == self._about.stack and not entry.others]
        return [
            entry
            for entry in mine
            if entry.applied is not None and (entry.address in own or entry.address.startswith(tuple(below)))
        ]

    def _drop(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self._ledger.drop(entry.address)

    def _contents(self, kind: Kind, job: Job) -> Generator[Any, Any, None]:
        """The old content and the new one, and how they differ."""
        gone = job.wanted is None
        replaced = job.differing & {"content", "type"}
        if not replaced and not gone and job.observed.attributes is not None:
            return
        if job.content is None and isinstance(job.want.content, Source):
            job.content = self._sources.read(job.want.content.path)
        if kind.content is not None and job.observed.attributes is not None:
            job.old = yield from kind.content(job.want.resource)
        job.diff = self._difference(job, kind)

    def _save(self, kind: Kind, job: Job) -> Generator[Any, Any, None]:
        """What undoing will need of what is about to be replaced, if the kind knows that better than the content
        does. A run that was killed has seen it before it began."""
        if kind.save is not None and job.intent is None:
            ours = job.entry if job.entry is not None and job.entry.touched else None
            saved = yield from kind.save(job.want, job.observed, ours)
            job.saved = Saved(saved.extra) if self._about.sensitive else saved

    def _difference(self, job: Job, kind: Kind) -> str | None:
        if kind.content is None:
            return None
        if self._about.sensitive:
            return HIDDEN
        if job.content is None and job.wanted is not None:
            return None  # the machine fetches it itself
        had = (job.observed.attributes or {}).get("content")
        if had is not None and job.old is None:
            return sizes(None, None if job.content is None else len(job.content))
        if job.content is None and job.old is None:
            return None
        return difference(job.want.resource.id, job.old, job.content)

    def _as_change(self, job: Job) -> Change:
        want = job.want
        extra = job.entry.extra if job.entry is not None else job.observed.extra
        return Change(
            want.resource, job.observed, job.wanted, job.differing, job.content, want.options, extra,
            self._rehearsal is not None, (self._rehearsal.opaque or "") if self._rehearsal is not None else "",
        )  # fmt: skip

    def _rehearse(
        self, kind: Kind, todo: Sequence[Job], changes: Sequence[Change]
    ) -> Generator[Any, Any, None]:
        assert self._rehearsal is not None
        try:
            notes = yield from kind.converge(changes)
            for job, note in zip(todo, notes, strict=True):
                self._note(job, note)
        except Skipped:
            for job in todo:
                if kind.pictured:
                    self._rehearsal.obscure(job.address)
                    continue
                attributes = None if job.wanted is None else {**(job.observed.attributes or {}), **job.wanted}
                self._rehearsal.predict(job.address, Observed(attributes))

    def _note(self, job: Job, note: str | Told) -> None:
        if isinstance(note, Told):
            hidden = bool(note.diff) and self._about.sensitive
            job.note, job.diff = note.note, HIDDEN if hidden else note.diff or None
            job.file, job.gone = note.file, note.gone
        else:
            job.note = note

    def _verify(self, kind: Kind, job: Job, observed: Observed) -> Generator[Any, Any, None]:
        left = differing(observed.attributes, job.wanted)
        if left:
            known = (yield from kind.amiss(job.want.resource, left)) if kind.amiss is not None else None
            if known is not None:
                known.changed = [job.address]
                raise known
            lines = sorted(left) if job.sensitive else attribute_lines(observed.attributes, job.wanted, left)
            raise TaskFailed(
                f"{job.address} was changed, but is still not as wanted: {'; '.join(lines)}",
                changed=[job.address],
                next=["something else changes it at once, or its new state needs time: run again"],
            )


class _Met(Exception):
    """Where something was to be made there is something by now."""


def _unless_met(
    changing: Generator[Any, Any, Sequence[str | Told]],
) -> Generator[Any, Any, Sequence[str | Told]]:
    try:
        return (yield from changing)
    except OpError as error:
        if error.kind != "exists":
            raise
        raise _Met from error


def _is_new(job: Job) -> bool:
    """Whether it is a content that is to be put where nothing is, in a folder that is there; nothing is known of it,
    and nothing about it is secret."""
    known = job.entry is not None or job.intent is not None or job.sensitive or _is_unreadable(job)
    there = job.observed.attributes is not None or job.observed.extra
    return not known and not there and job.want.wanted is not None and job.want.content is not None


def _is_unreadable(job: Job) -> bool:
    """Whether a look after it is made may fail."""
    mode = (job.want.wanted or {}).get("mode")
    return mode is not None and not int(str(mode), 8) & 0o400


def _is_as_it_was(job: Job, observed: Observed) -> bool:
    """Whether a look at what was to be changed shows what was there before."""
    was, now = job.observed.attributes, observed.attributes
    if was is None or now is None or observed.extra != job.observed.extra:
        return was == now and observed.extra == job.observed.extra
    return all(was.get(name) == value for name, value in now.items())


def _first(kind: Kind, looks: Sequence[Look]) -> tuple[Op, ...]:
    """The operations that looking at one resource begins with; many are looked at together anyway."""
    if len(looks) > 1:
        return ()
    steps = kind.observe(looks)
    first = next(steps, None)
    steps.close()
    if first is None:
        return ()
    return first.ops if isinstance(first, Batch) else (first,)


def _keys(job: Job) -> frozenset[str] | None:
    """What is looked at after a change: what is wanted, and the content of what is ours altogether."""
    if job.wanted is None:
        return None
    return frozenset((*job.wanted, "content")) if job.made else frozenset(job.wanted)
