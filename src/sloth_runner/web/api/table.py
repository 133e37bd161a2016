"""Why: all that the API can be asked, in one list: routes, the OpenAPI file and the tests are made from it."""

from __future__ import annotations

from sloth_runner.plain import Final
from sloth_runner.web.api import Operation, changes, keys, locks, machines, runs, times

OPERATIONS: Final[tuple[Operation, ...]] = (
    *keys.OPERATIONS,
    *changes.OPERATIONS,
    *times.OPERATIONS,
    *locks.OPERATIONS,
    *runs.OPERATIONS,
    *machines.OPERATIONS,
)
