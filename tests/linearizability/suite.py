"""Why: every store gets the same effort, and its test says only how to open it and what may happen to it."""

from __future__ import annotations

import os
import random

from tests.linearizability.real import Report, Rig, Site

HISTORIES = 200
MANY = 5_000
"""Histories of the long version."""


def try_out(site: Site, soak: bool) -> Report:
    """Make the histories; fails if one of them is not linearizable."""
    seed = int(os.environ.get("SEED") or random.randrange(1 << 32))
    print(f"SEED={seed}")
    rig = Rig(site, seed)
    try:
        report = rig.run(MANY if soak else HISTORIES)
    finally:
        rig.close()
    print(report)
    assert not report.wrong, "\n\n".join(report.wrong[:3])
    # Faults must leave enough to be judged, and must have been felt.
    assert report.ops > 30 * report.histories
    assert report.unknown + report.failed > 0
    return report
