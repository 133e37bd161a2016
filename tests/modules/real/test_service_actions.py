"""Why: a restart is done whenever it is called, so the laws of what converges don't hold for it, but others do."""

from __future__ import annotations

import pytest

from tests.modules.real.laws import Driver, Facts

FILE = "/etc/systemd/system/tock.service"
UNIT = "[Service]\nExecStart=/bin/sleep infinity\nExecReload=/bin/sh -c 'echo again >>/run/reloads'\n"
RUN_ID, RELOADS = "systemctl show -p InvocationID,Description tock", "cat /run/reloads"


def case(module: str, *before: str, name: str = "tock") -> Facts:
    return {
        "module": module,
        "args": {"name": name},
        "before": [f"cat >{FILE} <<'END'\n{UNIT}END", "systemctl start tock", *before],
        "reset": [
            f"systemctl stop tock; rm -f {FILE} /run/reloads; systemctl daemon-reload; systemctl reset-failed"
        ],
        "look": [RUN_ID, RELOADS],
        "restores": False,
    }


def test_restart_restarts_each_time_and_a_check_does_not(systemd_driver: Driver) -> None:
    facts = systemd_driver.play(case("service.restart"))
    assert facts["check"]["changed"] is True
    assert facts["check"]["message"] == "would restart tock.service"
    assert facts["checked"] == facts["before"]
    assert facts["call"]["changed"] and facts["call"]["message"] == "restarted tock.service"
    assert facts["call"]["mutations"] == ["ran `systemctl restart -- tock.service`"]
    assert facts["after"][RUN_ID] != facts["before"][RUN_ID]
    assert facts["again"]["changed"] and facts["still"][RUN_ID] != facts["after"][RUN_ID]


def test_a_changed_file_is_read_before_the_restart(systemd_driver: Driver) -> None:
    edit = f"echo '[Unit]\nDescription=new words' >>{FILE}; touch -d '+9 seconds' {FILE}"
    facts = systemd_driver.play(case("service.restart", edit))
    assert "new words" not in facts["checked"][RUN_ID] and "new words" in facts["after"][RUN_ID]
    assert facts["call"]["mutations"][0] == "ran `systemctl daemon-reload`"
    assert len(facts["again"]["mutations"]) == 1, "read again only when that is needed"


def test_reload_keeps_the_process(systemd_driver: Driver) -> None:
    facts = systemd_driver.play(case("service.reload"))
    assert facts["call"]["message"] == "reloaded tock.service"
    assert facts["after"][RUN_ID] == facts["before"][RUN_ID]
    assert facts["check"]["message"] == "would reload tock.service"
    assert "No such file" in facts["checked"][RELOADS] and facts["after"][RELOADS] == "again\n"


@pytest.mark.parametrize("module", ["service.restart", "service.reload"])
def test_a_unit_that_nobody_knows(systemd_driver: Driver, module: str) -> None:
    facts = systemd_driver.play(case(module, name="nosuch"))
    assert facts["call"]["error"]["message"] == "service nosuch.service: systemd knows no unit of that name"
    assert facts["check"]["error"]["code"] == "E-TASK" and facts["call"]["mutations"] == []
