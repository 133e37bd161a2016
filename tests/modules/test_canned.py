"""Why: what a module asks of a machine, and what it makes of the answers, is data: also answers that are hard to get.

A case in ``canned`` is a mapping: ``module``, ``args``, ``context`` (what differs in it); ``replies``, in the order
in which they are asked for: ``op`` (the operation's name), the fields of it that matter, and ``result`` (its fields)
or ``fails`` (kind and reason of an OpError); then ``outcome`` (changed, message) or ``error`` (code, message, next:
patterns). An operation that no reply fits fails the case, and so does a reply that nobody asked for.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
import yaml

from sloth_runner import ops
from sloth_runner.errors import SlothError
from sloth_runner.ops import Batch, OpError
from tests.modules.kit import Machine

if TYPE_CHECKING:
    from sloth_runner.model import Sink
    from sloth_runner.ops import Op, Result
    from sloth_runner.transport.base import Transport

CASES = Path(__file__).parent / "canned"
RESULTS = {
    "Stat": "Found", "Read": "Content", "Glob": "Matches", "List": "Listing", "WhoAmI": "Identity", "Exec": "Ran",
}  # fmt: skip
DEFAULTS: dict[str, dict[str, Any]] = {
    "Ran": {"exit_code": 0, "signal": None, "stdout": b"", "stderr": b""},
    "Done": {"changed": True},
}


class Canned:
    """A machine that gives the answers of a case."""

    is_local = True

    def __init__(self, replies: list[dict[str, Any]]) -> None:
        self.replies = list(replies)

    def as_user(self, user: str | None) -> Canned:
        """The same."""
        return self

    def at_once(self, op: Op) -> Result | None:
        """The next answer, if it is one to this operation."""
        if isinstance(op, Batch):
            return tuple(cast("Result", self.at_once(inner)) for inner in op.ops)
        name = type(op).__name__
        assert self.replies, f"nothing is said of {op}"
        reply = self.replies.pop(0)
        assert reply["op"] == name, f"{op} came where {reply} was expected"
        for field, value in reply.items():
            if field not in ("op", "result", "fails"):
                have = getattr(op, field)
                have = (
                    have.decode()
                    if isinstance(have, bytes)
                    else list(have)
                    if isinstance(have, tuple)
                    else have
                )
                assert have == value, f"{op} came where {reply} was expected"
        if "fails" in reply:
            raise OpError(
                reply["fails"]["kind"],
                getattr(op, "path", getattr(op, "argv", ("",))[0]),
                reply["fails"]["reason"],
            )
        kind = RESULTS.get(name, "Done")
        fields = {**DEFAULTS.get(kind, {}), **reply.get("result", {})}
        made = {
            k: v.encode() if k in ("stdout", "stderr", "data") and isinstance(v, str) else v
            for k, v in fields.items()
        }
        return cast("Result", getattr(ops, kind)(**made))

    async def do(self, op: Op, on_output: Sink) -> Result:
        """Never needed: every answer is there at once."""
        raise AssertionError(op)

    async def ready(self) -> None:
        pass

    async def aclose(self) -> None:
        """Nothing is open."""


def _load() -> list[Any]:
    return [
        pytest.param(case, id=f"{file.stem}: {case['name']}")
        for file in sorted(CASES.glob("*.yaml"))
        for case in yaml.safe_load(file.read_text(encoding="utf-8"))
    ]


@pytest.mark.parametrize("case", _load())
def test_case(case: dict[str, Any], tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    canned = Canned(case.get("replies", []))
    machine.transport = cast("Any", cast("Transport", canned))
    context = machine.context(**case.get("context", {}))
    if "error" in case:
        with pytest.raises(SlothError) as caught:
            machine.call(case["module"], case["args"], context=context)
        expected, error = case["error"], caught.value
        assert error.code == expected["code"]
        assert re.search(expected["message"], error.message), error.message
        assert re.search(expected.get("next", ""), " ".join(error.next)), error.next
    else:
        outcome = machine.call(case["module"], case["args"], context=context)
        assert outcome.changed is case["outcome"]["changed"]
        assert outcome.message == case["outcome"].get("message", "")
    assert canned.replies == [], "nobody asked for these"
