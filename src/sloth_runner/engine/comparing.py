"""Why: whether a resource is as wanted, and whether others have changed it since, is found the same for every kind.

Three things are compared: what the file wants, what the ledger says was applied last, and what is there; in a plan
what would be there by then.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence

from sloth_runner.engine.job import About, Job
from sloth_runner.engine.joint import also
from sloth_runner.engine.recording import covered
from sloth_runner.errors import TaskFailed
from sloth_runner.modules.base import Look, Observed, Resource, Source, Want, differing
from sloth_runner.ops import OpError, Stat
from sloth_runner.plain import TYPE_CHECKING, Any
from sloth_runner.state.ledger_records import source_stamp, target_stamp

if TYPE_CHECKING:
    from sloth_runner.engine.rehearsal import Rehearsal
    from sloth_runner.modules.base import Kind
    from sloth_runner.modules.sources import Sources
    from sloth_runner.ops import Found as Stated
    from sloth_runner.state.ledger import Ledger
    from sloth_runner.state.ledger_records import Entry


class Comparing:
    """Looks at what one call wants, and compares."""

    def __init__(
        self,
        kinds: Mapping[str, Kind],
        ledger: Ledger,
        about: About,
        sources: Sources,
        rehearsal: Rehearsal | None,
    ) -> None:
        self._kinds = kinds
        self._ledger = ledger
        self._about = about
        self._sources = sources
        self._rehearsal = rehearsal

    def look(self, kind: Kind, wants: Sequence[Want]) -> Generator[Any, Any, list[Job]]:
        """What is wanted, known and there of each resource, and how these differ."""
        if kind.said is not None:
            yield from self._say_settled(wants)
            kind.said(wants, self._ledger.said, self._about.line)
        addresses = [want.resource.address for want in wants]
        known = self._ledger.recall(addresses)
        if known is None:
            known = yield self._ledger.asking(addresses)
        pairs = zip(wants, known, strict=True)
        sensitive = self._about.sensitive
        jobs = [
            Job(want, entry, intent, sensitive, kind.marks, kind.apart) for want, (entry, intent) in pairs
        ]
        yield from self._observe(kind, jobs)
        for job in jobs:
            self._compare(job)
            job.also = also(job, self._about)
            if job.differing:
                yield from self._compare_as_recorded(kind, job)
                yield from self._tell_ours(kind, job)
        return jobs

    def _say_settled(self, wants: Sequence[Want]) -> Generator[Any, Any, None]:
        """What calls want of these files that were not made, since all was as they had left it, counts as said."""
        named, heard = self._ledger.named, self._ledger.said.setdefault("settled", set())
        files = {f"file:{want.resource.params.get('path', want.resource.id)}" for want in wants}
        settled = sorted(one for one in files - heard if named.get(one, frozenset()) is None)
        heard.update(settled)
        known = self._ledger.recall(settled) if settled else []
        if known is None:
            known = yield self._ledger.asking(settled)
        for entry, _ in known:
            kind = None if entry is None else self._kinds[entry.kind]
            if entry is not None and kind is not None and kind.said is not None:
                want = Want(Resource(entry.kind, entry.id, entry.params), entry.wanted)
                kind.said((want,), self._ledger.said, entry.line)

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
        if entry is not None and entry.params == want.resource.params:
            job.drifted = _drifted(entry, job.observed)

    def _compare_as_recorded(self, kind: Kind, job: Job) -> Generator[Any, Any, None]:
        """Where the file now says otherwise how to look at a resource, a look by what the ledger says shows whether
        others have changed it. If that is not possible any more, nothing is said of it."""
        entry = job.entry
        if entry is None or entry.params == job.want.resource.params:
            return
        look = Look(Resource(entry.kind, entry.id, entry.params), frozenset(entry.applied or ()))
        try:
            (observed,) = yield from kind.observe([look])
        except (OpError, TaskFailed):
            return
        job.drifted = _drifted(entry, observed)

    def _tell_ours(self, kind: Kind, job: Job) -> Generator[Any, Any, None]:
        """What another call of ours has made of its file is no drift."""
        entry, drifted = job.entry, job.drifted
        if entry is None or not drifted or not (kind.part or kind.content or kind.lists):
            return
        from sloth_runner.engine import since

        path = since.file_of(entry)
        if not kind.lists and self._rehearsal is not None and self._rehearsal.changes(path):
            job.drifted = drifted = drifted & job.differing & self._rehearsal.untouched(path)
            if not drifted:
                job.since = "a call before it changes it"
                return
        ours = since.of_ours(kind, drifted)
        if not ours:
            return
        paths = since.listed(kind, entry, job.observed.attributes) if kind.lists else [path]
        others = since.by_file((yield self._ledger.under(since.starts(self._kinds, entry, paths))))
        if kind.lists:
            one = since.putter(entry, paths, others)
        else:
            found: Stated = yield Stat(path, digest=True, names=False)
            one = since.author(entry, others.get(path, ()), found.digest or "")
        if one is not None:
            job.drifted, job.since = drifted - ours, since.words(one)

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


def _drifted(entry: Entry, observed: Observed) -> frozenset[str]:
    """The attributes that are no longer as they were applied."""
    if entry.applied is None or observed.attributes is None:
        there = observed.attributes is not None
        return frozenset({"present"}) if there is (entry.applied is None) else frozenset()
    seen = covered(observed.attributes, entry.salt)
    return frozenset(key for key, value in entry.applied.items() if key in seen and seen[key] != value)
