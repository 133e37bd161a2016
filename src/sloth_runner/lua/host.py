"""Why: the Lua side reaches nothing by itself; what it may use of the world comes in here."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from sloth_runner.model import Site
from sloth_runner.plain import NamedTuple


class Limits(NamedTuple):
    """``seconds`` of Lua computing without a call in between; ``memory`` in bytes for one program."""

    seconds: float = 60.0
    memory: int = 512 << 20


class Host(NamedTuple):
    """Everything the Lua side gets from outside.

    ``say(level, text, site)`` takes a line; levels are print, debug, info, warn, error. ``values`` is the table of
    that name; reading what it lacks warns once for each place, or raises BadValues if ``strict_values``.
    ``yielding`` has the dotted names of functions that the engine performs; ``pure`` those of Python functions over
    Values that are called in place. ``stop`` is asked about every millisecond of computing: an
    exception it returns ends the running body. ``getenv`` reads the controller's environment. ``before_reading`` is
    told before a file is read from Lua: what calls have made has to be in its place.
    """

    say: Callable[[str, str, Site | None], None]
    values: Mapping[str, object]
    strict_values: bool
    yielding: Collection[str]
    pure: Mapping[str, Callable[..., object]]
    getenv: Callable[[str], str | None]
    limits: Limits
    stop: Callable[[], BaseException | None]
    before_reading: Callable[[], None] = lambda: None
