"""Why: what a module does is data: a tree before, a call, an outcome, a tree after. Laws hold for every case."""

from __future__ import annotations

import os
import re
from grp import getgrgid
from pathlib import Path
from pwd import getpwuid
from string import Template
from typing import Any

import pytest
import yaml

from sloth_runner.errors import SlothError
from sloth_runner.state.ledger_queries import entries
from tests.modules.kit import Killed, Machine, Way, make_tree, read_tree

CASES = Path(__file__).parent / "cases"


def load() -> list[Any]:
    found = []
    for file in sorted(CASES.glob("*.yaml")):
        for case in yaml.safe_load(file.read_text(encoding="utf-8")):
            found.append(pytest.param(case, id=f"{file.stem}: {case['name']}"))
    return found


ALL = load()


@pytest.fixture(params=["local", "stdio", "ssh", "grpc"])
def way(request: pytest.FixtureRequest) -> Way | None:
    """This machine itself, through an agent on a pipe, behind SSH, and as a service."""
    if request.param == "local":
        return None
    found: Way = request.getfixturevalue(f"{request.param}_way")
    return found


def machine_for(case: dict[str, Any], folder: Path, way: Way | None) -> Machine:
    folder.mkdir(exist_ok=True)
    machine = Machine(folder, way)
    machine.root.chmod(0o755)
    make_tree(machine.root, filled(case.get("before", {}), machine))
    make_tree(machine.source, case.get("source", {}))
    return machine


def filled(value: Any, machine: Machine) -> Any:
    """``$ROOT`` stands for the target's folder; ``$UID``, ``$USER`` and ``$GROUP`` for whom we are."""
    if isinstance(value, str):
        names = {"UID": str(os.getuid()), "USER": getpwuid(os.getuid())[0], "GROUP": getgrgid(os.getgid())[0]}
        return Template(value).safe_substitute(names, ROOT=str(machine.root))
    if isinstance(value, dict):
        return {key: filled(item, machine) for key, item in value.items()}
    return [filled(item, machine) for item in value] if isinstance(value, list) else value


def before_states(machine: Machine) -> dict[str, Any]:
    """What the ledger says was there before, by the place in the target."""
    return {
        entry.address.replace(str(machine.root), "$ROOT"): entry.before
        for entry in entries(machine.store, "local")
    }


@pytest.mark.parametrize("case", ALL)
def test_case(case: dict[str, Any], tmp_path: Path, way: Way | None) -> None:
    machine = machine_for(case, tmp_path, way)
    args = filled(case["args"], machine)
    if "error" in case:
        before = read_tree(tmp_path)
        with pytest.raises(SlothError) as caught:
            machine.call(case["module"], args)
        expected = filled(case["error"], machine)
        assert caught.value.code == expected["code"]
        assert re.search(expected["message"], caught.value.message), caught.value.message
        assert expected.get("next", "") in " ".join(caught.value.next)
        assert read_tree(tmp_path) == before
        assert machine.mutations == []
        return
    outcome = machine.call(case["module"], args)
    assert outcome.changed is case["changed"]
    assert machine.changing() == case.get("operations", [])
    assert read_tree(machine.root) == filled(case.get("after", case.get("before", {})), machine)
    if "source_after" in case:
        assert read_tree(machine.source) == case["source_after"]
    fields = filled(case.get("fields", {}), machine)
    assert {name: outcome.fields.get(name) for name in fields} == fields
    if "message" in case:
        assert outcome.message == filled(case["message"], machine)
    if "diff" in case:
        assert (outcome.diff or "").splitlines() == filled(case["diff"], machine).splitlines()


GOOD = [param for param in ALL if "error" not in param.values[0]]


@pytest.mark.parametrize("case", GOOD)
def test_a_second_run_changes_nothing(case: dict[str, Any], tmp_path: Path, way: Way | None) -> None:
    machine = machine_for(case, tmp_path, way)
    args = filled(case["args"], machine)
    machine.call(case["module"], args)
    after = read_tree(tmp_path)
    outcome = machine.call(case["module"], args)
    assert not outcome.changed
    assert outcome.diff is None
    assert machine.changing() == []
    assert machine.mutations == []
    assert read_tree(tmp_path) == after


@pytest.mark.parametrize("case", GOOD)
def test_check_tells_the_truth(case: dict[str, Any], tmp_path: Path, way: Way | None) -> None:
    machine = machine_for(case, tmp_path, way)
    args = filled(case["args"], machine)
    before = read_tree(tmp_path)
    machine.check(case["module"], args)
    would = machine.would_change()
    said = [(job.address, job.action, sorted(job.differing)) for job in machine.jobs]
    assert read_tree(tmp_path) == before
    assert list(machine.store.scan()) == []
    outcome = machine.call(case["module"], args)
    assert would is None or would is outcome.changed
    assert [(job.address, job.action, sorted(job.differing)) for job in machine.jobs] == said
    machine.check(case["module"], args)
    assert machine.would_change() in (False, None)


@pytest.mark.parametrize("case", GOOD)
def test_killed_after_any_operation_it_converges(
    case: dict[str, Any], tmp_path: Path, way: Way | None
) -> None:
    whole = machine_for(case, tmp_path / "whole", way)
    args = filled(case["args"], whole)
    whole.call(case["module"], args)
    count = len(whole.mutations)
    known = before_states(whole)
    for after in range(1, count + 1):
        machine = machine_for(case, tmp_path / str(after), way)
        args = filled(case["args"], machine)
        with pytest.raises(Killed):
            machine.call(case["module"], args, killed_after=after)
        machine.call(case["module"], args)
        assert read_tree(machine.root) == filled(case.get("after", case.get("before", {})), machine)
        assert not machine.call(case["module"], args).changed
        assert before_states(machine) == known, "the ledger knows what was there before the first operation"


def test_every_module_of_files_has_cases() -> None:
    from sloth_runner.modules import modules

    seen = {param.values[0]["module"] for param in ALL}
    assert seen == {name for name in modules() if name.startswith(("file.", "archive"))}


def test_no_module_has_an_argument_that_every_call_takes() -> None:
    from sloth_runner.engine.module_calls import COMMON
    from sloth_runner.modules import modules

    taken = [
        f"{name}: {arg.name}"
        for name, module in modules().items()
        for arg in module.args
        if arg.name in COMMON
    ]
    assert taken == [], "it would never reach the module"
