"""Why: services are told by a running systemd, so one is started to be asked."""

from __future__ import annotations

import json
from pathlib import Path

from tests.scratch import scratch_or_skip

CODE = """
import json
from sloth_runner.agent.perform import perform
from sloth_runner.ops import Facts
print(json.dumps([perform(Facts(name)).value for name in ("services", "virtualisation")]))
"""
UNIT = "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n"


def test_services_are_those_of_systemd(tmp_path: Path) -> None:
    with scratch_or_skip(tmp_path, systemd=True) as scratch:
        scratch.run("sh", "-c", f"printf %s '{UNIT}' >/etc/systemd/system/tried.service")
        scratch.run("systemctl", "enable", "--now", "tried")
        services, virtualisation = json.loads(scratch.python(CODE))
        assert services["tried"] == {"state": "active", "substate": "running", "enabled": "enabled"}
        scratch.run("systemctl", "disable", "--now", "tried")
        services, _ = json.loads(scratch.python(CODE))
        assert services["tried"] == {"state": "inactive", "substate": "dead", "enabled": "disabled"}
        assert services["systemd-journald"]["state"] in ("active", "inactive", "failed")
        assert virtualisation["kind"] == "container"
