"""``facts`` in task files: asked for when they are read, values and no more."""

from __future__ import annotations

import pytest

from sloth_runner.errors import BadArgument
from sloth_runner.model import Call, Returned
from tests.lua.driver import Desk, drive

REPLIES = {"os": {"id": "debian"}, "cpu": {"count": 2}, "packages": None}


def answer(call: Call) -> object:
    if not call.args:
        return list(REPLIES)
    return REPLIES[str(call.args[0])]


def asked_for(desk: Desk, code: str) -> tuple[object, list[tuple[object, ...]]]:
    ended = drive(desk.body(code), {"facts": answer})
    return ended.result, [tuple(arg for arg in call.args if arg is not None) for call in ended.calls]


def test_reading_gathers_only_what_is_read(desk: Desk) -> None:
    found, calls = asked_for(
        desk, "local a = facts.cpu return a.count, facts.cpu.count, rawequal(a, facts.cpu)"
    )
    assert found == Returned((2, 2, True))
    assert calls == [("cpu",)]


def test_pairs_gathers_all_and_leaves_out_what_is_not_there(desk: Desk) -> None:
    code = "local n = {} for name, value in pairs(facts) do n[#n + 1] = name end return n"
    found, calls = asked_for(desk, code)
    assert found == ["os", "cpu"]
    assert calls == [(), ("os", True), ("cpu", True), ("packages", True)]


def test_facts_are_plain_values_of_the_body_alone(desk: Desk) -> None:
    """What a body does to them is seen by no other; nothing in them is code or a template."""
    loaded = desk.load(
        """
        task({name = "a", run = function() facts.cpu.count = 99 return facts.cpu.count end})
        task({name = "b", run = function() return facts.cpu.count, getmetatable(facts.cpu) end})
        """
    )
    first, second = loaded.program.tasks
    assert drive(first.run(), {"facts": answer}).result == 99
    assert drive(second.run(), {"facts": answer}).result == Returned((2, None))


def test_facts_can_not_be_set(desk: Desk) -> None:
    found, _ = asked_for(desk, "return pcall(function() facts.cpu = 1 end)")
    assert isinstance(found, Returned) and "can't be set" in str(found.values[1])


def test_facts_are_no_business_of_the_top_level(desk: Desk) -> None:
    with pytest.raises(BadArgument, match="top level"):
        desk.load("local x = facts.cpu")
