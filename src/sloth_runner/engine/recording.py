"""Why: what was there before, what is about to be done and what was done is recorded the same for every resource."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sloth_runner.modules.base import Observed, Source
from sloth_runner.ops import Batch, Found, Stat
from sloth_runner.plain import TYPE_CHECKING, Any
from sloth_runner.state.ledger_records import (
    KEPT_CONTENT,
    Entry,
    Intent,
    Pending,
    Unseen,
    checksum,
    covered_line,
    stamps,
)

if TYPE_CHECKING:
    from sloth_runner.engine.job import About, Job
    from sloth_runner.modules.base import Attributes
    from sloth_runner.ops import Result
    from sloth_runner.state.ledger import Ledger
    from sloth_runner.transport.base import Transport


TOGETHER = 500
"""Entries that are written in one commit at the end: they wait in memory."""


class Recording:
    """Records resources of one machine for one call: intents before, entries after."""

    def __init__(self, ledger: Ledger, about: About, clock: Callable[[], float]) -> None:
        self._ledger = ledger
        self._about = about
        self._clock = clock

    def intend(self, todo: Sequence[Job]) -> None:
        """Have what is about to be changed made durable with the next flush."""
        intents: dict[str, Intent] = {}
        contents: dict[str, bytes] = {}
        for job in todo:
            intent = self._intent(job)
            now = (job.observed.attributes or {}).get("content")
            if intent.before_content is not None and intent.before_content == now and job.old is not None:
                contents[intent.before_content] = job.old
            if job.saved is not None:
                contents.update(job.saved.contents)
            intents[job.address] = job.intent = intent
        self._ledger.intend(intents, contents)

    def withdraw(self, job: Job) -> None:
        """Nothing has come of what was intended."""
        job.intent = None
        self._ledger.withdraw(job.address)

    def _intent(self, job: Job) -> Intent:
        """What was before we first touched it: as an earlier intent or the entry says, else as it is now."""
        about, now, run = self._about, self._clock(), self._about.by[3] or ""
        if job.intent is not None:
            notify = tuple(dict.fromkeys((*job.intent.notify, *about.notify)))
            return job.intent._replace(notify=notify, run=run)
        entry = job.entry
        if entry is not None and entry.touched:
            kept = entry.before_content or _still_there(entry, job)
            before, salted = entry.before, bool(entry.salt)
            extra = entry.extra if job.saved is None else job.saved.extra
            return Intent(before, extra, kept, True, about.notify, now, run, salted)
        attributes = job.observed.attributes
        kept = None
        if attributes is not None and not about.sensitive and job.old is not None:
            kept = str(attributes["content"]) if "content" in attributes else None
        before = None if attributes is None else covered(attributes, about.salt)
        extra = job.observed.extra if job.saved is None else job.saved.extra
        return Intent(before, extra, kept, True, about.notify, now, run, about.sensitive)

    def record(self, job: Job, observed: Observed, *, touched: bool) -> None:
        """It is as wanted now."""
        about, entry, intent = self._about, job.entry, job.intent
        salt = (entry.salt if entry is not None and entry.salt else about.salt) if about.sensitive else ""
        made = job.recorded = self._entry(job, observed, salt, touched=touched)
        contents: dict[str, bytes] = {}
        kept = entry is not None and entry.content == made.content
        if made.content is not None and job.content is not None and not kept:
            contents[made.content] = job.content
        waiting = self._ledger.unseen.pop(made.address, None)
        notify = () if intent is None else intent.notify
        run, task = about.by[3] or "", about.by[4] or ""
        due = [Pending(name, about.stack, job.address, made.time, run, task) for name in notify]
        self._ledger.record(made, contents, due, begun=intent is not None)
        if salt and ((entry and not entry.salt) or (intent and not intent.covered)):
            self._ledger.let_go()  # what was kept while it was not sensitive
        if waiting is not None and "content" in job.also:
            self._ledger.unseen[made.address] = Unseen(made, "", waiting.source)
        elif made.content is not None and not made.seen and about.call:
            call = about.call if self._is_whole(job) else ""
            self._ledger.unseen[made.address] = Unseen(made, call, job.source)

    def _entry(self, job: Job, observed: Observed, salt: str, *, touched: bool) -> Entry:
        about, entry, intent, want = self._about, job.entry, job.intent, job.want
        wanted = None if job.wanted is None else {**job.also, **covered(job.wanted, salt)}
        before, extra, kept, salted = _before(entry, intent, job.observed)
        if salt and not salted:
            before, kept = None if before is None else covered(before, salt), None
        elif salted and not salt:
            before = None if before is None else {}
        applied = (
            None if wanted is None else {**wanted, **_marks(job, observed, before, salt, touched=touched)}
        )
        if applied is not None and entry is not None:
            applied.update({key: value for key, value in (entry.applied or {}).items() if key in job.also})
        now, by = self._clock(), about.by
        applied_at = now
        if entry is not None and not touched:  # who applied it last stays; which task names it may be new
            applied_at, by = entry.time, (*entry.by[:4], about.by[4])
        content = None
        if not salt and job.wanted is not None and "content" in job.wanted:
            small = job.content is not None and len(job.content) <= KEPT_CONTENT
            same = entry is not None and entry.content == job.wanted["content"]
            content = str(job.wanted["content"]) if small or same else None
        elif entry is not None and "content" in job.also:
            content = entry.content
        # What is touched for the first time now is undone before all that came before.
        first = touched and entry is not None and not entry.touched
        was_touched = touched or (intent is not None) or (entry is not None and entry.touched)
        return Entry(
            kind=want.resource.kind, id=want.resource.id, params=dict(want.resource.params), wanted=wanted,
            applied=applied, before=before, extra=extra, touched=was_touched,
            content=content, before_content=kept, time=applied_at, by=by,
            order=entry.order if entry and not first else now,
            stack=about.stack, site=about.site, line=about.line, module=about.module, agent=about.agent,
            user=about.user, salt=salt, file=_file(job, salt), keep=about.keep, others=_others(entry, about),
            shares=self._shares(job), notify=about.notify,
            left=_left(job, observed, before, applied, salt) if was_touched else {},
            **self._seen(job, observed, salt),
        )  # fmt: skip

    def _shares(self, job: Job) -> dict[str, list[str]]:
        """Which attributes each stack wants, if there are several."""
        entry, others = job.entry, _others(job.entry, self._about)
        if entry is None or not others:
            return {}
        known = {stack: entry.shares.get(stack, sorted(entry.wanted or ())) for stack in others}
        named = self._ledger.named.get(job.address) or frozenset()
        return {**known, self._about.stack: sorted(named | frozenset(job.wanted or ()))}

    def _seen(self, job: Job, observed: Observed, salt: str) -> dict[str, Any]:
        """What makes the next look cheaper: the stamps, and the call, if it depends on nothing else."""
        entry = job.entry
        if entry is not None and "content" in job.also and not job.differing:
            return {"seen": entry.seen, "source": entry.source}
        if salt or job.wanted is None or "content" not in job.wanted:
            return {}
        found: dict[str, Any] = {}
        if isinstance(job.want.content, Source):
            found["source"] = job.want.content.path
        if observed.known is None:
            return found
        found["seen"] = stamps(observed.known[0], job.source)
        if self._about.call and self._is_whole(job):
            found["call"] = self._about.call
        return found

    def _is_whole(self, job: Job) -> bool:
        """Whether the call and the stamps of its files say all that is wanted of a resource."""
        return not job.also and (job.source is not None or not isinstance(job.want.content, Source))

    def confirm(self, job: Job) -> None:
        """It is as wanted: adopt it, also in the place of what was ours, or note what is new about who wants it."""
        if job.entry is not None and job.intent is None and job.drifted & job.marks:
            before = covered(job.observed.attributes or {}, job.entry.salt)
            job.entry = job.entry._replace(
                applied=None, before=before, extra=job.observed.extra, touched=False
            )
            self.record(job, job.observed, touched=False)
        elif job.entry is None or job.intent is not None or self._news(job, job.entry):
            self.record(job, job.observed, touched=False)

    def _news(self, job: Job, entry: Entry) -> bool:
        """Whether an entry would say something else now, apart from when and by whom; knowing a file's stamp makes
        the next look cheaper, and is worth a write."""
        about = self._about
        seen = self._seen(job, job.observed, entry.salt)
        if "seen" in seen and (seen["seen"], seen.get("call", "")) != (entry.seen, entry.call):
            return True
        return (
            entry.site != about.site
            or entry.by[4] != about.by[4]
            or entry.stack != about.stack
            or entry.module != about.module
            or entry.agent != about.agent
            or entry.user != about.user
            or entry.notify != about.notify
            or entry.keep is not about.keep
            or bool(entry.salt) is not about.sensitive
            or entry.wanted
            != (None if job.wanted is None else {**job.also, **covered(job.wanted, entry.salt)})
            or entry.params != job.want.resource.params
        )


def covered(attributes: Attributes, salt: str) -> Attributes:
    """Attributes as the ledger keeps them: salted digests, if there is a salt."""
    if not salt:
        return attributes
    return {key: checksum({"salt": salt, key: value}) for key, value in attributes.items()}


def look_again(ledger: Ledger, transport: Transport) -> None:
    """Files that were changed a moment ago have a stamp that can be trusted by now: where they still are as they were
    applied, the next run need not read them."""
    unseen, ledger.unseen = list(ledger.unseen.values()), {}
    while unseen:
        waiting, unseen = unseen[:TOGETHER], unseen[TOGETHER:]
        found = [transport.at_once(Stat(one.entry.id, digest=True, names=False)) for one in waiting]
        _seen_again(ledger, waiting, found)
        ledger.flush()


async def look_again_there(ledger: Ledger, transport: Transport) -> None:
    """The same on another machine, in one question for each user. Raises OpError, Unreachable: the next run looks
    closer, then."""
    unseen, ledger.unseen = list(ledger.unseen.values()), {}
    for user in dict.fromkeys([one.entry.user for one in unseen]):
        waiting = [one for one in unseen if one.entry.user == user]
        looks = tuple([Stat(one.entry.id, digest=True, names=False) for one in waiting])
        found: Any = await transport.as_user(user).do(Batch(looks))
        _seen_again(ledger, waiting, found)


def _seen_again(ledger: Ledger, waiting: Sequence[Unseen], results: Sequence[Result | None]) -> None:
    for (entry, call, source), found in zip(waiting, results, strict=True):
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


def _marks(
    job: Job, observed: Observed, before: Attributes | None, salt: str, *, touched: bool
) -> Attributes:
    """The marks of what we made: as they are now if we have just made it, or a run that was killed, else as known."""
    if not job.marks:
        return {}
    had = covered(job.observed.attributes or {}, salt)
    known = (job.entry.applied if job.entry is not None else None) or {}
    if job.entry is not None and not job.entry.salt:
        known = covered(known, salt)
    marks = {}
    for name, value in covered(observed.attributes or {}, salt).items():
        made = job.intent is not None and (not touched or value != had.get(name) or name not in known)
        if name in job.marks and made and value != (before or {}).get(name):
            marks[name] = value
        elif name in job.marks and name in known:
            marks[name] = known[name] if name in job.drifted else value
    return marks


def _file(job: Job, salt: str) -> str:
    """The digest of the file that a part is in, as this call or an earlier one left it."""
    if job.file:
        return str(covered({"content": job.file}, salt)["content"])
    return job.entry.file if job.entry is not None and job.entry.salt == salt else ""


def _left(
    job: Job, observed: Observed, before: Attributes | None, applied: Attributes | None, salt: str
) -> Attributes:
    """What our writes have made beside what is wanted now. Of what was not there before, only the content matters:
    the rest goes with it."""
    entry, now = job.entry, observed.attributes
    if applied is None or now is None:
        return {}
    left: dict[str, Any] = {}
    if job.made:
        left = dict(covered(now, salt)) if "type" in now else {}  # what has no type goes back as one anyway
    elif entry is not None and entry.touched and entry.applied is not None and (salt or not entry.salt):
        ours = made(entry)
        left = dict(ours if entry.salt else covered(ours, salt))
    whole = before is not None and before.get("type") == covered(now, salt).get("type")
    return {k: v for k, v in left.items() if k not in applied and (whole or k == "content")}


def made(entry: Entry) -> Attributes:
    """What our writes have made of a resource, as they left it, where it was not so before."""
    had, was = {**entry.left, **(entry.applied or {})}, entry.before or {}
    return {key: value for key, value in had.items() if value != was.get(key)}


def _others(entry: Entry | None, about: About) -> dict[str, Any]:
    """The other stacks that name a resource."""
    if entry is None:
        return {}
    known = {**entry.others, entry.stack: [entry.by[4], entry.agent, list(entry.site)]}
    known.pop(about.stack, None)
    if about.sensitive:
        return {
            stack: [task, agent, [covered_line(line) for line in site]]
            for stack, (task, agent, site) in known.items()
        }
    return known


def _still_there(entry: Entry, job: Job) -> str | None:
    """The digest of the content that was there before us, if so far we changed nothing but attributes beside it."""
    had, has = (entry.before or {}).get("content"), (job.observed.attributes or {}).get("content")
    return str(had) if had is not None and had == has and job.old is not None and not job.sensitive else None
