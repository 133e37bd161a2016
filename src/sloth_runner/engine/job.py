"""Why: a resource on its way through a call, and how that is told, is the same in a run and in a plan."""

from __future__ import annotations

import sys
from posixpath import commonprefix

from sloth_runner.engine.recording import covered
from sloth_runner.modules.base import Converged, Observed
from sloth_runner.plain import TYPE_CHECKING, NamedTuple
from sloth_runner.state.ledger_records import checksum

if TYPE_CHECKING:
    from sloth_runner.modules.base import Attributes, Saved, Want
    from sloth_runner.ops import Stamp
    from sloth_runner.state.ledger_records import Entry, Intent

MOST, AROUND = 60, 10
"""Characters that are shown of a value; and of what is the same, before those in which two differ."""


class About(NamedTuple):
    """What an entry says of the call that named its resource. ``salt`` is random, for a sensitive call;
    ``call`` identifies one that settles, ``user`` is as whom it acts (None: as the login)."""

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
    user: str | None = None


class Job:
    """One resource on its way through an Ensure."""

    __slots__ = (
        "also", "apart", "content", "diff", "differing", "drifted", "entry", "file", "gone", "intent", "marks",
        "note", "observed", "old", "recorded", "saved", "sensitive", "since", "source", "want", "wanted",
    )  # fmt: skip

    def __init__(
        self,
        want: Want,
        entry: Entry | None,
        intent: Intent | None,
        sensitive: bool,
        marks: frozenset[str] = frozenset(),
        apart: tuple[frozenset[str], ...] = (),
    ) -> None:
        self.want = want
        self.apart = apart
        self.marks = marks
        self.sensitive = sensitive
        self.entry = entry
        self.intent = intent
        self.observed = Observed(None)
        self.wanted: Attributes | None = want.wanted
        self.differing: frozenset[str] = frozenset()
        self.drifted: frozenset[str] = frozenset()
        self.content: bytes | None = None
        self.old: bytes | None = None
        self.saved: Saved | None = None
        self.recorded: Entry | None = None
        self.also: Attributes = {}
        """What other calls want of it beside, as recorded."""
        self.source: Stamp | None = None
        self.diff: str | None = None
        self.note = ""
        self.file = ""
        self.gone: tuple[str, ...] = ()
        self.since = ""
        """Which call of ours has changed it since, in words."""

    @property
    def made(self) -> bool:
        """Whether all of what will be there is ours: there was nothing, or something of another type."""
        return self.observed.attributes is None or "type" in self.differing

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
        wanted = None if self.wanted is None else covered(self.wanted, self.entry.salt)
        asked = checksum(None if wanted is None else {**self.also, **wanted}) == checksum(self.entry.wanted)
        if not self.drifted and self.since:
            return self.since if asked else f"the file changed, and {self.since}"
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


def converged(job: Job) -> Converged:
    action, before = job.action, job.observed.attributes
    if action == "none":
        return Converged(job.want.resource, action, content=job.content, before=before)
    message = _message(job, action)
    return Converged(job.want.resource, action, message, job.diff, job.content, before)


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
    since = "it had been changed by others since" if conflict else job.since
    return "; ".join(filter(None, (text, job.note, since)))


def attribute_lines(before: Attributes | None, after: Attributes | None, names: frozenset[str]) -> list[str]:
    """Differences attribute by attribute: ``mode 0644 → 0640``."""
    if names == {"present"}:
        return [f"{'absent' if before is None else 'present'} → {'absent' if after is None else 'present'}"]
    return [f"{name} {changing((before or {}).get(name), (after or {}).get(name))}" for name in sorted(names)]


def changing(before: object, after: object) -> str:
    """Two values of an attribute for people, in one line; if what is shown of them is the same, then from where they
    differ on. What is hidden is hidden on both sides, and stands there once."""
    was, now = shown(before), shown(after)
    if was == now:
        if before == after:
            return was
        all_was, all_now = shown(before, sys.maxsize), shown(after, sys.maxsize)
        start = max(0, len(commonprefix((all_was, all_now))) - AROUND)
        was, now = (f"{'…' if start else ''}{_cut(text[start:], MOST)}" for text in (all_was, all_now))
    return f"{was} → {now}"


def shown(value: object, most: int = MOST) -> str:
    """An attribute's value for people, in one line; of long texts (also those in a list) both ends."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(shown(item, most) for item in value) + "]"
    return _cut(str(value), most)


def _cut(text: str, most: int) -> str:
    half = (most - 1) // 2
    return text if len(text) <= most else text[: most - 1 - half] + "…" + text[-half:]
