"""Why: most modules end with what ``ensure`` makes of the resources that they name: one outcome of many."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from sloth_runner.model import Outcome
from sloth_runner.modules.base import Converged, Ensure, Resource, Want, ensure

THING = Resource("thing", "a")
SAME = Converged(THING, "none", "of no concern", "of no concern")
QUIET = Converged(THING, "update")
MADE = Converged(THING, "create", "made a", "+a")
GONE = Converged(THING, "delete", "removed b", "-b")


@pytest.mark.parametrize(
    ("done", "fields", "outcome"),
    [
        ([SAME], None, Outcome(False)),
        ([QUIET], {"path": "/a"}, Outcome(True, "", {"path": "/a"})),
        ([QUIET, MADE, SAME, GONE], None, Outcome(True, "made a; removed b", {}, "+a\n-b")),
    ],
)
def test_many_are_summed_up(
    done: list[Converged], fields: Mapping[str, object] | None, outcome: Outcome
) -> None:
    wants = [Want(one.resource, {}) for one in done]
    steps = ensure(*wants, fields=fields)
    assert next(steps) == Ensure(tuple(wants))
    with pytest.raises(StopIteration) as ended:
        steps.send(tuple(done))
    assert ended.value.value == outcome
