"""Why: a proof that finds nothing must be shown to find something: stores with one fault each, of the kinds that real
stores had.

Each is a store in a world of its own (``sim``), and gives handles. What a network does to calls lies outside of them.
"""

from __future__ import annotations

from typing import Final

from tests.linearizability.broken.base import Broken, Shared
from tests.linearizability.broken.commits import (
    AbsentAsAny,
    CheckIgnored,
    CheckTouches,
    ConflictNamesAll,
    DoubleApplied,
    ExpectedBefore,
    ForeignCheckIgnored,
    HalfCommit,
    LateWrite,
    LostCompareAndSet,
    LostWrite,
    OwnConflict,
    PresentAsAny,
    RevByClock,
    RevReused,
    SaysNotApplied,
    TornCommit,
    WriteSkew,
)
from tests.linearizability.broken.locks import (
    FenceIgnored,
    LeaseEndsEarly,
    LeaseIgnored,
    LeaseNeverEnds,
    RenewalBumpsFence,
    ShiftedClock,
)
from tests.linearizability.broken.reads import (
    DeleteUnseen,
    DirtyRead,
    HandleCache,
    MissingScan,
    PhantomScan,
    StaleRead,
    StaleScan,
)

__all__ = ["FAULTS", "Broken", "Shared"]

FAULTS: Final[tuple[type[Broken], ...]] = (
    AbsentAsAny,
    CheckIgnored,
    CheckTouches,
    ConflictNamesAll,
    DeleteUnseen,
    DirtyRead,
    DoubleApplied,
    ExpectedBefore,
    FenceIgnored,
    ForeignCheckIgnored,
    HalfCommit,
    HandleCache,
    LateWrite,
    LeaseEndsEarly,
    LeaseIgnored,
    LeaseNeverEnds,
    LostCompareAndSet,
    LostWrite,
    MissingScan,
    OwnConflict,
    PhantomScan,
    PresentAsAny,
    RenewalBumpsFence,
    RevByClock,
    RevReused,
    SaysNotApplied,
    ShiftedClock,
    StaleRead,
    StaleScan,
    TornCommit,
    WriteSkew,
)
