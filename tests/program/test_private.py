"""What a module asks for itself stays out of the log; what a task's own command prints is in it."""

from __future__ import annotations

import json
import os
import shutil
import stat
from pathlib import Path

import pytest

from tests.cli.kit import Cli
from tests.program.kit import Home

FILE = """
task({ name = "t", run = function()
  certificate.key({ path = folder .. "/key.pem", type = "ed25519" })
  certificate.self_signed({ path = folder .. "/cert.pem", key = folder .. "/key.pem", common_name = "a" })
  cmd({ argv = { "echo", "told" } })
end })
"""


@pytest.mark.skipif(
    shutil.which("openssl") is None, reason="openssl is not installed (scripts/test-packages.txt)"
)
def test_looks_are_not_logged_and_keys_are_nowhere(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    cli.file("t.sloth", f"local folder = [[{tmp_path}]]\n{FILE}")
    ran = cli("run", "t.sloth", "-v")
    assert ran.code == 0, ran.shown()
    logs = cli.ok("runs", "logs", "last")
    assert "told" in logs
    key = (tmp_path / "key.pem").read_bytes()
    assert b"PRIVATE KEY" in key and (tmp_path / "key.pem").stat().st_mode & 0o777 == 0o600
    body = key.splitlines()[1]
    public = "PUBLIC KEY"
    assert public not in ran.out + ran.err + logs
    for path in cli.home.rglob("*"):
        assert not path.is_file() or body not in path.read_bytes()
    assert "0 changed" not in cli("run", "t.sloth").out  # the echo
    again = cli("run", "t.sloth", "-o", "json")
    assert [call["changed"] for call in json.loads(again.out)["tasks"][0]["calls"]] == [False, False, True]


def test_the_home_folder_is_private_whatever_the_umask(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        for number, args in enumerate(
            (["state", "set", "a", "1"], ["agent", "add", "w", "ssh://x@127.0.0.1"])
        ):
            home = Home(
                tmp_path / str(number), {"SLOTH_RUNNER_HOME": str(tmp_path / str(number) / "new" / "home")}
            )
            home.run(*args)
            for folder in (home.folder / "new", home.folder / "new" / "home"):
                assert stat.S_IMODE(folder.stat().st_mode) == 0o700, (args, folder)
    finally:
        os.umask(old)
