"""Why: looking, comparing, changing, checking and recording are the same for every resource, so they stand here once.

``Converging.ensure`` serves a module's Ensure: look at all resources, compare with what is wanted and with what the
ledger says, commit intents, change, look again, record. In check mode (``rehearsal``) the same path ends in a
description of what would be done.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sloth_runner.engine.drive import Skipped
from sloth_runner.errors import TaskFailed
from sloth_runner.modules.base import Change, Converged, Look, Observed, Source, Told, differing
from sloth_runner.modules.difference import HIDDEN, difference, sizes
from sloth_runner.ops import Found, Stat
from sloth_runner.plain import NamedTuple
from sloth_runner.state.ledger import (
    KEPT_CONTENT,
    Entry,
    Intent,
    Ledger,
    Pending,
    Unseen,
    checksum,
    covered_line,
    source_stamp,
    stamps,
    target_stamp,
)

if TYPE_CHECKING:
    from sloth_runner.engine.rehearsal import Rehearsal
    from sloth_runner.modules.base import Attributes, Ensure, Kind, Want
    from sloth_runner.modules.sources import Sources
    from sloth_runner.ops import Stamp
    from sloth_runner.transport.base import Transport


class About(NamedTuple):
    """What an entry says of the call that named its resource. ``salt`` is random, for a sensitive call;
    ``call`` identifies one that settles."""

    module: str
    stack: str
    by: tuple[str, str, int, str | None, str | None]
    site: tuple[str, ...]
    line: int | None
    notify: tuple[str, ...] = ()
    keep: bool = False
    sensitive: bool = False
    salt: str = ""
    paranoid: bool = False
    call: str = ""
    agent: str = ""


class Job:
    """One resource on its way through an Ensure."""

    __slots__ = (
        "content", "diff", "differing", "drifted", "entry", "intent", "note", "observed", "old", "sensitive",
        "source", "want", "wanted",
    )  # fmt: skip

    def __init__(self, want: Want, entry: Entry | None, intent: Intent | None, sensitive: bool) -> None:
        self.want = want
        self.sensitive = sensitive
        self.entry = entry
        self.intent = intent
        self.observed = Observed(None)
        self.wanted: Attributes | None = want.wanted
        self.differing: frozenset[str] = frozenset()
        self.drifted: frozenset[str] = frozenset()
        self.content: bytes | None = None
        self.old: bytes | None = None
        self.source: Stamp | None = None
        self.diff: str | None = None
        self.note = ""

    @property
    def action(self) -> str:
        """create, update, delete or none."""
        if not self.differing:
            return "none"
        if self.wanted is None:
            return "delete"
        return "create" if self.observed.attributes is None else "update"

    @property
    def reason(self) -> str | None:
        """Which of the three checksums differ: what the file wants, what was applied last, what is there."""
        if self.entry is None:
            return None if self.differing else "it is so already (adopted)"
        if not self.differing:
            return None
        wanted = checksum(self.wanted) if not self.entry.salt else ""
        asked = wanted == checksum(self.entry.wanted)
        if not self.drifted:
            return "the file changed"
        since = f"since run {self.entry.by[3]}"
        if asked:
            return f"the machine drifted {since}"
        return f"the file changed, and the machine drifted {since} (conflict)"

    @property
    def address(self) -> str:
        """The resource's."""
        return self.want.resource.address


class Converging:
    """Converges resources of one machine for one call. ``report`` hears of each resource that was compared."""

    def __init__(
        self,
        kinds: Mapping[str, Kind],
        ledger: Ledger,
        about: About,
        sources: Sources,
        clock: Callable[[], float],
        report: Callable[[Job], None],
        rehearsal: Rehearsal | None = None,
    ) -> None:
        self._kinds = kinds
        self._ledger = ledger
        self._about = about
        self._sources = sources
        self._clock = clock
        self._report = report
        self._rehearsal = rehearsal

    def ensure(self, request: Ensure) -> Generator[Any, Any, tuple[Converged, ...]]:
        """The steps that make resources as wanted; the answer to the Ensure."""
        if not request.wants:
            return ()
        if len(request.wants) > 1:  # one of them does not stand for the call
            self._about = self._about._replace(call="")
        kind = self._kinds[request.wants[0].resource.kind]
        ledger = self._ledger
        jobs = []
        for want in request.wants:
            address = want.resource.address
            entry = ledger.entry(address)
            jobs.append(Job(want, entry, ledger.intent(address), self._about.sensitive))
        yield from self._observe(kind, jobs)
        todo = []
        for job in jobs:
            self._compare(job)
            if job.differing:
                todo.append(job)
        if todo:
            yield from self._change(kind, todo)
        for job in jobs:
            if not job.differing:
                self._confirm(job)
            self._report(job)
        return tuple([_converged(job) for job in jobs])

    def _observe(self, kind: Kind, jobs: Sequence[Job]) -> Generator[Any, Any, None]:
        looks = [self._look(job) for job in jobs]
        rehearsed = self._rehearsal.predicted if self._rehearsal is not None else {}
        real = [look for look in looks if look.resource.address not in rehearsed]
        seen = iter((yield from kind.observe(real)) if real else ())
        for job in jobs:
            predicted = rehearsed.get(job.address)
            job.observed = predicted if predicted is not None else next(seen)

    def _look(self, job: Job) -> Look:
        entry, wanted = job.entry, job.want.wanted
        if entry is None or wanted is None:
            return Look(job.want.resource)
        keys = frozenset(wanted) if job.want.content is None else frozenset((*wanted, "content"))
        stamp = None if self._about.paranoid or entry.applied is None else target_stamp(entry)
        known = None if stamp is None else (stamp, str(entry.applied["content"]))  # type: ignore[index] # not absent
        return Look(job.want.resource, keys, known)

    def _compare(self, job: Job) -> None:
        want, entry = job.want, job.entry
        if want.wanted is not None and want.content is not None:
            job.wanted = {**want.wanted, "content": self._digest(job, want.content)}
        job.differing = differing(job.observed.attributes, job.wanted)
        if entry is not None and entry.applied is not None and job.observed.attributes is not None:
            seen = self._covered(job.observed.attributes, entry.salt)
            job.drifted = frozenset(
                key for key, value in entry.applied.items() if key in seen and seen[key] != value
            )
        elif entry is not None and (entry.applied is None) is not (job.observed.attributes is None):
            job.drifted = frozenset({"present"})

    def _digest(self, job: Job, content: bytes | Source) -> str:
        """The digest of the wanted content; a source that did not change since is not read."""
        if isinstance(content, bytes):
            from hashlib import sha256

            job.content = content
            return sha256(content).hexdigest()
        known, entry = None, job.entry
        if entry is not None and entry.wanted is not None and entry.source == content.path:
            stamp = None if self._about.paranoid else source_stamp(entry)
            known = None if stamp is None else (stamp, str(entry.wanted["content"]))
        digest, job.content, job.source = self._sources.digest(content.path, known)
        return digest

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
        self._begin(todo)
        notes = yield from kind.converge(changes)
        after = yield from kind.observe([Look(job.want.resource, _keys(job.wanted)) for job in todo])
        for job, note, observed in zip(todo, notes, after, strict=True):
            self._note(job, note)
            self._verify(job, observed)
            self._record(job, observed, touched=True)

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
            self._rehearsal is not None,
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
                attributes = None if job.wanted is None else {**(job.observed.attributes or {}), **job.wanted}
                self._rehearsal.predict(job.address, Observed(attributes))

    def _note(self, job: Job, note: str | Told) -> None:
        if isinstance(note, Told):
            job.note, job.diff = note.note, HIDDEN if self._about.sensitive else note.diff
        else:
            job.note = note

    def _begin(self, todo: Sequence[Job]) -> None:
        intents: dict[str, Intent] = {}
        contents: dict[str, bytes] = {}
        for job in todo:
            intent = self._intent(job)
            if intent.before_content is not None and job.old is not None:
                contents[intent.before_content] = job.old
            intents[job.address] = job.intent = intent
        self._ledger.begin(intents, contents)

    def _intent(self, job: Job) -> Intent:
        """What was before we first touched it: as an earlier intent or the entry says, else as it is now."""
        about, now, run = self._about, self._clock(), self._about.by[3] or ""
        if job.intent is not None:
            notify = tuple(dict.fromkeys((*job.intent.notify, *about.notify)))
            return job.intent._replace(notify=notify, run=run)
        entry = job.entry
        if entry is not None and entry.touched:
            kept = entry.before_content or _still_there(entry, job)
            before, covered = entry.before, bool(entry.salt)
            return Intent(before, entry.extra, kept, True, about.notify, now, run, covered)
        attributes = job.observed.attributes
        kept = None
        if attributes is not None and not about.sensitive and job.old is not None:
            kept = str(attributes["content"]) if "content" in attributes else None
        before = None if attributes is None else self._covered(attributes, about.salt)
        return Intent(before, job.observed.extra, kept, True, about.notify, now, run, about.sensitive)

    def _verify(self, job: Job, observed: Observed) -> None:
        left = differing(observed.attributes, job.wanted)
        if left:
            lines = sorted(left) if job.sensitive else attribute_lines(observed.attributes, job.wanted, left)
            raise TaskFailed(
                f"{job.address} was changed, but is still not as wanted: {'; '.join(lines)}",
                changed=[job.address],
                next=["something else changes it at once, or its new state needs time: run again"],
            )

    def _record(self, job: Job, observed: Observed, *, touched: bool) -> None:
        about, entry, intent = self._about, job.entry, job.intent
        salt = (entry.salt if entry is not None and entry.salt else about.salt) if about.sensitive else ""
        made = self._entry(job, observed, salt, touched=touched)
        contents: dict[str, bytes] = {}
        if made.content is not None and job.content is not None:
            contents[made.content] = job.content
        notify = about.notify if job.differing else ()
        if intent is not None:
            notify = tuple(dict.fromkeys((*intent.notify, *notify)))
        run, task = about.by[3] or "", about.by[4] or ""
        due = [Pending(name, about.stack, job.address, made.time, run, task) for name in notify]
        self._ledger.record(made, contents, due, begun=intent is not None)
        if salt and entry is not None and not entry.salt:
            self._ledger.let_go()
        if made.content is not None and not made.seen and about.call:
            whole = job.source is not None or not isinstance(job.want.content, Source)
            self._ledger.unseen.append(Unseen(made, about.call if whole else "", job.source))

    def _entry(self, job: Job, observed: Observed, salt: str, *, touched: bool) -> Entry:
        about, entry, intent, want = self._about, job.entry, job.intent, job.want
        wanted = None if job.wanted is None else self._covered(job.wanted, salt)
        applied = wanted
        before, extra, kept, covered = _before(entry, intent, job.observed)
        if salt and not covered:
            before, kept = None if before is None else self._covered(before, salt), None
        elif covered and not salt:
            before = None if before is None else {}
        now, by = self._clock(), about.by
        applied_at = now
        if entry is not None and not touched:  # who applied it last stays; which task names it may be new
            applied_at, by = entry.time, (*entry.by[:4], about.by[4])
        content = None
        if not salt and job.wanted is not None and "content" in job.wanted:
            small = job.content is not None and len(job.content) <= KEPT_CONTENT
            same = entry is not None and entry.content == job.wanted["content"]
            content = str(job.wanted["content"]) if small or same else None
        was_touched = touched or (intent is not None) or (entry is not None and entry.touched)
        return Entry(
            kind=want.resource.kind, id=want.resource.id, params=dict(want.resource.params), wanted=wanted,
            applied=applied, before=before, extra=extra, touched=was_touched,
            content=content, before_content=kept, order=entry.order if entry else now, time=applied_at, by=by,
            stack=about.stack, site=about.site, line=about.line, module=about.module, agent=about.agent,
            salt=salt, keep=about.keep, others=_others(entry, about), **self._seen(job, observed, salt),
        )  # fmt: skip

    def _seen(self, job: Job, observed: Observed, salt: str) -> dict[str, Any]:
        """What makes the next look cheaper: the stamps, and the call, if it depends on nothing else."""
        if salt or job.wanted is None or "content" not in job.wanted:
            return {}
        found: dict[str, Any] = {}
        from_source = isinstance(job.want.content, Source)
        if isinstance(job.want.content, Source):
            found["source"] = job.want.content.path
        if observed.known is None:
            return found
        found["seen"] = stamps(observed.known[0], job.source)
        whole = job.source is not None or not from_source
        if self._about.call and whole:
            found["call"] = self._about.call
        return found

    def _confirm(self, job: Job) -> None:
        """It is as wanted: adopt it, or note what is new about who wants it."""
        if self._rehearsal is None and (
            job.entry is None or job.intent is not None or self._news(job, job.entry)
        ):
            self._record(job, job.observed, touched=False)

    def _news(self, job: Job, entry: Entry) -> bool:
        """Whether an entry would say something else now, apart from when and by whom; knowing a file's stamp makes
        the next look cheaper, and is worth a write."""
        about = self._about
        seen = self._seen(job, job.observed, entry.salt)
        if "seen" in seen and (seen["seen"], seen.get("call", "")) != (entry.seen, entry.call):
            return True
        return (
            entry.site != about.site
            or entry.stack != about.stack
            or entry.module != about.module
            or entry.agent != about.agent
            or entry.keep is not about.keep
            or bool(entry.salt) is not about.sensitive
            or entry.wanted != (self._covered(job.wanted, entry.salt) if job.wanted is not None else None)
            or entry.params != job.want.resource.params
        )

    def _covered(self, attributes: Attributes, salt: str) -> Attributes:
        """Attributes as the ledger keeps them: salted digests, if there is a salt."""
        if not salt:
            return attributes
        return {key: checksum({"salt": salt, key: value}) for key, value in attributes.items()}


def look_again(ledger: Ledger, transport: Transport) -> None:
    """Files that were changed a moment ago have a stamp that can be trusted by now: where they still are as they were
    applied, the next run need not read them."""
    waiting, ledger.unseen = ledger.unseen, []
    for entry, call, source in waiting:
        found = transport.at_once(Stat(entry.id, digest=True, names=False))
        if not isinstance(found, Found) or found.stamp is None:
            continue
        applied = entry.applied or {}
        same_mode = applied.get("mode") in (None, f"{found.mode:04o}")
        if found.digest == applied.get("content") and same_mode:
            seen = entry._replace(seen=stamps(found.stamp, source), call=call)
            ledger.record(seen, {}, (), begun=False)


def _before(
    entry: Entry | None, intent: Intent | None, observed: Observed
) -> tuple[Attributes | None, Attributes, str | None, bool]:
    """What was there before us, what goes with it, which content of it is kept, and whether it is salted digests."""
    if intent is not None:
        return intent.before, intent.extra, intent.before_content, intent.covered
    if entry is not None:
        return entry.before, entry.extra, entry.before_content, bool(entry.salt)
    return observed.attributes, observed.extra, None, False


def _hidden(line: str) -> str:
    return line if line.startswith("sha256:") else covered_line(line)


def _others(entry: Entry | None, about: About) -> dict[str, Any]:
    """The other stacks that name a resource."""
    if entry is None:
        return {}
    known = {**entry.others, entry.stack: [entry.by[4], entry.agent, list(entry.site)]}
    known.pop(about.stack, None)
    if about.sensitive:
        return {
            stack: [task, agent, [_hidden(line) for line in site]]
            for stack, (task, agent, site) in known.items()
        }
    return known


def _still_there(entry: Entry, job: Job) -> str | None:
    """The digest of the content that was there before us, if so far we changed nothing but attributes beside it."""
    had, has = (entry.before or {}).get("content"), (job.observed.attributes or {}).get("content")
    return str(had) if had is not None and had == has and job.old is not None and not job.sensitive else None


def _keys(wanted: Attributes | None) -> frozenset[str] | None:
    return None if wanted is None else frozenset(wanted)


def _converged(job: Job) -> Converged:
    action = job.action
    if action == "none":
        return Converged(job.want.resource, action, content=job.content)
    message = _message(job, action)
    return Converged(job.want.resource, action, message, job.diff, job.content)


def _message(job: Job, action: str) -> str:
    resource = job.want.resource
    label = resource.id if resource.kind == "file" else f"{resource.kind} {resource.id}"
    attributes = (job.wanted if action == "create" else job.observed.attributes) or {}
    noun = str(attributes["type"]) if resource.kind == "file" else ""
    if action == "create":
        text = f"made the {noun} {label}" if noun in ("folder", "link") else f"created {label}"
    elif action == "delete":
        text = f"removed the {noun} {label}" if noun else f"removed {label}"
    elif "type" in job.differing:
        old = "link to " + str(attributes["target"]) if noun == "link" else noun
        text = f"replaced the {old} by {label}"
    else:
        names = job.differing - {"content"}
        lines = (
            sorted(names) if job.sensitive else attribute_lines(job.observed.attributes, job.wanted, names)
        )
        updated = "content" in job.differing
        text = f"updated {label}" + (f", {', '.join(lines)}" if lines else "") if updated else ""
        text = text or f"{label}: {', '.join(lines)}"
    conflict = bool(job.drifted) and job.entry is not None
    return "; ".join(
        filter(None, (text, job.note, "it had been changed by others since" if conflict else ""))
    )


def attribute_lines(before: Attributes | None, after: Attributes | None, names: frozenset[str]) -> list[str]:
    """Differences attribute by attribute: ``mode 0644 → 0640``."""
    if names == {"present"}:
        return [f"{'absent' if before is None else 'present'} → {'absent' if after is None else 'present'}"]
    return [
        f"{name} {shown((before or {}).get(name))} → {shown((after or {}).get(name))}"
        for name in sorted(names)
    ]


def shown(value: object) -> str:
    """An attribute's value for people, in one line."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(shown(item) for item in value) + "]"
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "…"
