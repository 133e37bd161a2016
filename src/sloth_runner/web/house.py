"""Why: what all requests share is in one place, made once and handed to each."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sloth_runner.web.desk import Desk
    from sloth_runner.web.doors import Doors
    from sloth_runner.web.options import Options


class House:
    """The server's lasting parts. ``clock``: seconds since the epoch."""

    def __init__(self, options: Options, desk: Desk, doors: Doors, clock: Callable[[], float]) -> None:
        self.options = options
        self.desk = desk
        self.doors = doors
        self.clock = clock
