"""Why: a change that goes wrong should meet few machines: a task for many goes on in batches, and stops in time."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, repeat

from sloth_runner.plain import TYPE_CHECKING

if TYPE_CHECKING:
    from sloth_runner.model import Share


def of(share: Share, count: int) -> int:
    """How many of ``count`` a share is; of a percentage the whole ones, at least one."""
    return max(1, count * share.amount // 100) if share.percent else share.amount


def batches(count: int, serial: Sequence[Share]) -> list[int]:
    """The number of the batch, from 0, of each of ``count`` machines; the last size goes on. All are one batch if
    ``serial`` is empty."""
    if not serial:
        return [0] * count
    found: list[int] = []
    for number, share in enumerate(chain(serial, repeat(serial[-1]))):
        size = min(of(share, count), count - len(found))
        found += [number] * size
        if len(found) == count:
            return found
    return found


def most_failures(
    count: int, allowed: Share | None, serial: Sequence[Share], *, keep_going: bool
) -> int | None:
    """After how many failures no further machine is begun; None: after none. What is not said is none with batches,
    and any number without."""
    if allowed is not None:
        return count * allowed.amount // 100 if allowed.percent else allowed.amount
    return 0 if serial and not keep_going else None
