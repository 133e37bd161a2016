"""Why: ``python -m sloth_runner`` and the installed command start here, and load nothing they don't need."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sloth_runner.cli.world import World


def main(argv: Sequence[str] | None = None, world: World | None = None) -> int:
    """Run one command line; returns its exit status. ``world`` stands in for streams, environment and clock."""
    from sloth_runner.cli.main import main as run

    return run(argv, world)


if __name__ == "__main__":
    sys.exit(main())
