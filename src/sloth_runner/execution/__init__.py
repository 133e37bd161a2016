"""Why: what can be done with a task file, each put together in a file of its own; this is the way in."""

from __future__ import annotations

from sloth_runner.execution.checking import check, validate
from sloth_runner.execution.drifting import drift
from sloth_runner.execution.loading import RunOptions
from sloth_runner.execution.pruning import Pruning, prune_document
from sloth_runner.execution.running import make_run_id, run

__all__ = ["Pruning", "RunOptions", "check", "drift", "make_run_id", "prune_document", "run", "validate"]
