"""Why: what a run would do is told in one form, that of the document of ``plan``, wherever it was found out."""

from __future__ import annotations

from sloth_runner.modules.difference import HIDDEN
from sloth_runner.plain import TYPE_CHECKING

if TYPE_CHECKING:
    from sloth_runner.engine.job import Job
    from sloth_runner.model import Call
    from sloth_runner.modules.base import Predict

Document = dict[str, object]


def action_of(job: Job, call: Call) -> Document:
    """What would be done to one resource, attribute by attribute."""
    names = job.differing
    if names == {"present"}:
        names = frozenset(job.wanted or job.observed.attributes or {})
    before = job.observed.attributes or {}
    names -= {name for name in ("uid", "gid") if before.get(name) == -1 and name not in (job.wanted or {})}
    after = job.wanted or {}
    hidden = job.sensitive
    return {
        "address": job.address,
        "title": None,
        "action": job.action,
        "attributes": [
            {
                "name": name,
                "before": HIDDEN if hidden else before.get(name),
                "after": HIDDEN if hidden else after.get(name),
            }
            for name in sorted(names)
        ],
        "diff": job.diff,
        "reason": job.reason,
        "note": job.note or None,
        "drifted": bool(job.drifted),
        "line": call.site.line if call.site else None,
    }


def foretold(prediction: Predict, call: Call) -> Document:
    """What would be done by a call whose effect is not known beforehand."""
    known = prediction.changed is not None
    return {
        "address": prediction.address,
        "title": prediction.message or None,
        "action": ("update" if prediction.changed else "none") if known else "unknown",
        "attributes": [],
        "diff": None,
        "reason": prediction.reason or None,
        "note": None,
        "drifted": False,
        "line": call.site.line if call.site else None,
    }
