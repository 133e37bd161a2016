"""A run's records fit into any store, and say what they leave out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sloth_runner.engine.fitting import encode, fitted


def line(text: str) -> dict[str, Any]:
    return {"time": "2026-01-01T00:00:00Z", "stream": "stdout", "text": text}


def task(**more: Any) -> dict[str, Any]:
    """A task's record as the journal makes it."""
    call = {"module": "cmd", "target": None, "line": 1, "changed": True, "message": "", "diff": None}
    change = {"namespace": "local", "key": "k", "op": "set", "old": None, "new": 1, "sensitive": False}
    document: dict[str, Any] = {
        "name": "t", "status": "changed", "log": [line("hello")], "calls": [call], "state": [change], "error": None,
        "result": None, "run": "r",
    }  # fmt: skip
    for field, value in more.items():
        if field in ("diff", "new"):
            row = document["calls" if field == "diff" else "state"][0]
            row[field] = value
        else:
            document[field] = value
    return document


def test_what_fits_stays_as_it_is() -> None:
    document = task(diff="+x\n" * 1000, new="y" * 1000, result={"value": "z" * 1000})
    assert json.loads(fitted(document, 1 << 20)) == document


def test_the_longest_parts_go_first_and_say_so() -> None:
    document = task(
        diff="+x\n" * 100_000, new="y" * 200_000, result={"value": "z" * 200_000}, log=[line("a" * 99)] * 2000
    )
    document["calls"].append({**document["calls"][0], "diff": "+short\n"})
    found = json.loads(fitted(document, 100_000))
    assert found["calls"][0]["diff"] == "… a difference of 300,000 characters is not kept …\n"
    assert found["calls"][1]["diff"] == "+short\n"
    assert found["state"][0]["new"] == {"$cut": 200_002}
    assert found["result"] is None
    assert 0 < len(found["log"]) < 2000
    assert any("lines are not kept" in row["text"] for row in found["log"])
    assert (found["name"], found["status"], found["run"]) == ("t", "changed", "r")


@pytest.mark.parametrize("field", ["calls", "state"])
def test_too_many_of_them(field: str) -> None:
    document = task()
    document[field] *= 20_000
    found = json.loads(fitted(document, 360 << 10))
    assert len(found[field]) == 1000
    assert f"{19_000}" in found["log"][-1]["text"]
    assert "not kept" in found["log"][-1]["text"]


def test_tasks_that_wait() -> None:
    waiting = {"name": "t", "agent": "local", "status": "waiting", "log": [], "calls": [], "state": []}
    found = json.loads(fitted({"tasks": [waiting] * 10_000}, 360 << 10))
    assert found["tasks"] == [waiting] * 1000


@settings(max_examples=50)
@given(
    st.integers(4_000, 30_000),
    st.lists(st.text(max_size=400).map(lambda text: line(text)), max_size=60),
    st.text(max_size=100).map(lambda text: text * 20),
    st.one_of(st.none(), st.text(max_size=50).map(lambda text: {"value": text * 10})),
    st.integers(0, 200),
)
def test_anything_fits(most: int, log: list[Any], diff: str, result: Any, count: int) -> None:
    document = task(log=log, diff=diff, new=diff, result=result)
    document["calls"] *= count
    document["state"] *= count
    data = fitted(document, most)
    assert len(data) <= most
    assert len(encode(document)) > most or json.loads(data) == document
