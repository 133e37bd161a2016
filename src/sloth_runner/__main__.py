"""Why: ``python -m sloth_runner`` and the installed command start here, and load nothing they don't need."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from sloth_runner.plain import TYPE_CHECKING

if TYPE_CHECKING:
    from sloth_runner.cli.world import World

GARBAGE = 20_000
"""Objects that are made before unreachable ones are looked for. Most of what a command makes stays until it ends:
Python's default (700 in 3.11) costs it a twentieth of its time."""


def main(argv: Sequence[str] | None = None, world: World | None = None) -> int:
    """Run one command line; returns its exit status. ``world`` stands in for streams, environment and clock."""
    if world is not None:
        return _run(argv, world)
    import gc  # a process of our own

    gc.set_threshold(GARBAGE)
    try:
        return _run(argv, world)
    finally:
        gc.freeze()  # else Python looks through all that was loaded before it ends: a seventh of a small run's time


def _run(argv: Sequence[str] | None, world: World | None) -> int:
    from sloth_runner.cli.main import main as run

    return run(argv, world)


if __name__ == "__main__":
    sys.exit(main())
