"""Why: the laws of ``laws`` hold for every case in ``cases``, whatever the module."""

from __future__ import annotations

import os
import shutil
from importlib import import_module
from pathlib import Path
from zlib import crc32

import pytest

from sloth_runner.modules import FAMILIES
from tests.modules.real.laws import Driver, Facts, load, obey

CASES = Path(__file__).parent / "cases"


def _all(systemd: bool) -> list[object]:
    return [
        pytest.param(case, id=f"{file.stem}: {case['name']}")
        for file in sorted(CASES.glob("*.yaml"))
        for case in load(file)
        if bool(case.get("systemd")) is systemd
    ]


def need(case: Facts) -> None:
    """Skip where a program that the case ``needs`` is not installed (in CI: go on, and fail)."""
    missing = [name for name in case.get("needs", ()) if shutil.which(name) is None]
    if missing and not os.environ.get("CI"):
        pytest.skip(f"not installed: {', '.join(missing)} (scripts/test-packages.txt)")


@pytest.mark.parametrize("case", _all(systemd=False))
def test_a_case_obeys_the_laws(case: Facts, driver: Driver) -> None:
    need(case)
    obey(driver, case)


@pytest.mark.parametrize("case", _all(systemd=False))
def test_a_case_obeys_the_laws_through_an_agent(
    case: Facts, agent_driver: Driver, request: pytest.FixtureRequest, soak: bool
) -> None:
    """Of each way one case in ten (others for each), unless all are asked for: each round begins with an
    agent of its own."""
    if not soak and crc32(request.node.name.encode()) % 10 != 7:
        pytest.skip("only with --soak")
    need(case)
    obey(agent_driver, case)


@pytest.mark.parametrize("case", _all(systemd=True))
def test_a_case_obeys_the_laws_under_systemd(case: Facts, systemd_driver: Driver) -> None:
    need(case)
    obey(systemd_driver, case)


def test_every_module_of_a_machines_set_up_has_cases() -> None:
    actions = {"service.restart", "service.reload"}  # test_service_actions
    families = [name for name in FAMILIES if name.startswith("system.")]
    named = {m.name for name in families for m in import_module(f"sloth_runner.modules.{name}").MODULES}
    assert named - actions <= {case["module"] for file in CASES.glob("*.yaml") for case in load(file)}
