"""Law: each example of the reference is a task file's lines as they must be: it loads, and what it calls takes it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from sloth_runner.engine.module_calls import COMMON
from sloth_runner.model import Call
from sloth_runner.modules import check_args, modules, pure_functions
from sloth_runner.modules.base import Context
from sloth_runner.reference.entries import entries
from sloth_runner.reference.examples import examples
from tests.lua.driver import THIS, Desk

DEFINITIONS = {"task", "handler", "workflow.define"}
FOLDERS = Context("/", None, {}, "local", True)
ANSWERS: dict[str, Any] = {
    "state.list": {"a": 1},
    "state.history": [],
    "state.get": 1,
    "facts": {"total": 2**31},
}


def test_every_module_has_an_example_and_no_example_is_of_something_else() -> None:
    known = {entry.name: entry.is_module for entry in entries()}
    assert set(examples()) <= set(known)
    assert {name for name, is_module in known.items() if is_module} <= set(examples())
    assert list(examples()) == sorted(examples())


@pytest.mark.parametrize("name", sorted(examples()))
def test_an_example_is_as_it_must_be(name: str, tmp_path: Path) -> None:
    for folder in ("secrets", "keys"):
        (tmp_path / folder).mkdir()
    (tmp_path / "app.conf.j2").write_text("port = {{ port }}\n")
    found = {**pure_functions(tmp_path), "secret": lambda where: "s3cret"}
    desk = Desk(tmp_path).having(yielding=modules(), pure=found, values={"port": 80})
    code = examples()[name]
    if name in DEFINITIONS:
        program = desk.load(code).program
        assert program.tasks or program.handlers
        return
    assert f"{name}(" in code
    _drive(desk, f"local this = ...\n{code}")


def _drive(desk: Desk, code: str) -> None:
    """Run an example; what it calls must take its arguments."""
    body = desk.body(code, THIS)
    with suppress(StopIteration):
        call = body.send(None)
        while True:
            call = body.send(_answer(call))


def _answer(call: Call) -> object:
    module = modules().get(call.name)
    if module is None:
        return ANSWERS.get(call.name, True)
    only: Any = call.args[0]
    raw = dict(only) if isinstance(only, dict) else {module.positional: only}
    own = {str(key): item for key, item in raw.items() if key not in COMMON}
    steps = module.run(check_args(module, own), FOLDERS)
    next(steps, None)
    return {**dict.fromkeys(module.returns, "/a"), "changed": False, "message": ""}
