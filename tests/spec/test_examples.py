"""The page that users read: every example runs unchanged, twice, and every command works as written.

They stand beside the project where it is developed; a user's clone has none.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.program.kit import Home

SPEC = Path(__file__).resolve().parents[3] / "shared" / "spec"
EXAMPLES = SPEC / "examples"

pytestmark = pytest.mark.skipif(not EXAMPLES.is_dir(), reason="the page's examples are not beside this clone")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def run(home: Home, name: str, code: int = 0) -> str:
    """Run an example as its README says."""
    values = str(EXAMPLES / "values.yaml")
    said = home.run("run", str(EXAMPLES / f"{name}.sloth"), "--values", values, code=code)
    return said.out + said.err


def stand_ins(home: Home, tmp_path: Path, **programs: str) -> Path:
    """Programs earlier on PATH that only write down how they were called."""
    folder = tmp_path / "bin"
    folder.mkdir()
    log = tmp_path / "called"
    log.touch()
    for name, more in programs.items():
        path = folder / name.replace("_", "-")
        path.write_text(f'#!/bin/sh\necho "{path.name} $*" >> {log}\n{more}\n')
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    home.env["PATH"] = f"{folder}:{home.env['PATH']}"
    return log


def test_track_deployment(home: Home) -> None:
    home.run("state", "set", "deployment:old-version", "v1.0.0")
    for _ in range(2):
        assert "Current version: v1.2.3" in run(home, "track-deployment")
    assert home.value("deployment:version") == "v1.2.3"
    home.run("state", "get", "deployment:old-version", code=4)
    assert home.run("state", "history", "deployment:version", "-o", "json").json["revisions"][0]["rev"] == 1
    home.run("state", "set", "deployment:rollback", "v1.1.0")
    assert "Rollback state available" in run(home, "track-deployment")


@pytest.mark.parametrize(
    ("name", "status"), [("critical-update", "in-progress"), ("safe-update", "complete")]
)
def test_locks(home: Home, name: str, status: str) -> None:
    for _ in range(2):
        run(home, name)
    assert home.value("deployment:status") == status
    assert home.run("lock", "list", "-o", "json").json["locks"] == []
    run(home, "is-locked")


def test_is_locked_says_by_whom(home: Home) -> None:
    holder = home.file(
        "holder.sloth",
        'task({name = "hold", run = function() state.lock("deployment", "task-9", 60, {keep = true}) end})',
    )
    home.run("run", str(holder))
    assert "Locked by: task-9" in run(home, "is-locked")


def test_install_package(home: Home, tmp_path: Path) -> None:
    log = stand_ins(home, tmp_path, apt_get="")
    assert "Package nginx installed" in run(home, "install-package")
    assert "Package nginx already installed (skipping)" in run(home, "install-package")
    assert log.read_text() == "apt-get install -y nginx\n"
    assert home.value("package:installed:nginx").isdigit()
    home.run("state", "delete", "package:installed:nginx", "--yes")
    home.run("state", "get", "package:installed:nginx", code=4)


def test_setup_webserver(home: Home, tmp_path: Path) -> None:
    log = stand_ins(home, tmp_path, useradd="", mkdir="", systemctl="")
    run(home, "setup-webserver")
    assert log.read_text() == "useradd www-data\nmkdir -p /var/www\nsystemctl enable nginx\n"
    run(home, "setup-webserver")
    assert log.read_text().count("\n") == 3
    for key in ("user:www-data", "dir:/var/www", "service:nginx"):
        assert home.value(key) == "created"


def test_setup_webserver_where_the_user_exists_fails_with_a_hint(home: Home, tmp_path: Path) -> None:
    log = stand_ins(home, tmp_path, useradd="echo \"useradd: user 'www-data' already exists\" >&2; exit 9")
    said = run(home, "setup-webserver", code=1)
    assert "already exists" in said
    assert "unless" in said
    assert log.read_text() == "useradd www-data\n"
    home.run("state", "get", "user:www-data", code=4)


def test_update_config(home: Home, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("it writes below /etc: that needs root and a mount namespace")
    script = (
        'cp -a /etc "$1"; mount --bind "$1" /etc; shift\n'
        '"$@" && "$@" && cat /etc/app/config.ini && ls -ld /etc/app && "$@" --set port=9090'
    )
    argv = [
        "unshare",
        "--mount",
        "sh",
        "-ec",
        script,
        "sh",
        str(tmp_path / "etc"),
        sys.executable,
        "-m",
        "sloth_runner",
    ]
    argv += ["run", str(EXAMPLES / "update-config.sloth"), "--values", str(EXAMPLES / "values.yaml")]
    done = subprocess.run(argv, env=home.env, cwd=home.cwd, capture_output=True, text=True, check=False)
    if "unshare: " in done.stderr:
        pytest.skip(f"no mount namespaces here: {done.stderr}")
    assert done.returncode == 0, done
    said = done.stdout + done.stderr
    assert said.count("Configuration updated") == 2
    assert said.count("Configuration unchanged (skipping)") == 1
    assert (EXAMPLES / "templates" / "config.ini.tmpl").read_text() in done.stdout
    assert "drwxr-xr-x" in done.stdout
    assert "does not render" in said
    assert home.value("config:hash:/etc/app/config.ini")


def test_leader_election(home: Home) -> None:
    first = run(home, "leader-election")
    assert "Became cluster leader" in first
    assert "Current leader: agent1" in first
    second = run(home, "leader-election")
    assert "Became cluster leader" not in second
    assert "Current leader: agent1" in second
    assert home.value("cluster:leader", "--shared") == "agent1"


def test_conditional_deployment(home: Home) -> None:
    for _ in range(2):
        run(home, "conditional-deployment")
    assert home.value("deployment:replicas") == "1"
    home.run("state", "set", "environment:type", "production")
    run(home, "conditional-deployment")
    assert home.value("deployment:replicas") == "5"


def test_versioned_config(home: Home) -> None:
    for version in ("1", "2"):
        run(home, "versioned-config")
        assert home.value("config:current") == version
        assert home.value(f"config:v{version}") == "workers = 4\n"
    assert home.run("state", "show", "config:version", "-o", "json").json["entry"]["type"] == "integer"


def test_cleanup_old_state(home: Home) -> None:
    for key in ("temporary:a", "temporary:b", "kept"):
        home.run("state", "set", key, "x")
    for _ in range(2):
        run(home, "cleanup-old-state")
    listed = home.run("state", "list", "--output", "json").json
    assert [entry["key"] for entry in listed["entries"]] == ["kept"]


def test_the_commands_of_the_page(home: Home) -> None:
    run(home, "track-deployment")
    run(home, "leader-election")
    home.run("state", "set", "file:/etc/hosts", "x", "--agent", "local")
    assert "deployment:version" in home.run("state", "list").out
    assert "file:/etc/hosts" in home.run("state", "list", "file").out
    assert "deployment" not in home.run("state", "list", "file").out
    home.run("state", "list", "--agent", "mariaguica", code=4)
    (home.folder / ".sloth-runner" / "config.toml").write_text('[agents]\nmariaguica = "local://"\n')
    home.run("state", "list", "--agent", "mariaguica")
    document = home.run("state", "list", "--output", "json").json
    assert (document["format"], document["version"]) == ("sloth-runner/state.list", 1)
    assert "v1.2.3" in home.run("state", "show", "deployment:version").out
    shown = home.run("state", "show", "deployment:version", "--output", "json").json
    assert shown["entry"]["value"] == "v1.2.3"
    assert shown["entry"]["by"]["task"] == "track-deployment"
    assert "1" in home.run("state", "stats").out
    assert home.run("state", "stats", "--output", "json").json["keys"] == 2
    home.run("state", "delete", "deployment:version", code=8)
    home.run("state", "delete", "deployment:version", "--yes")
    home.run("state", "clear", code=8)
    assert home.value("file:/etc/hosts") == "x"
    home.run("state", "clear", "--yes")
    assert home.run("state", "list", "-o", "json").json["count"] == 1  # the shared key
    assert home.value("cluster:leader") == "agent1"


def test_everything_on_the_page_can_be_defined(home: Home) -> None:
    for file in sorted(EXAMPLES.glob("*.sloth")):
        home.run("validate", str(file))
        assert file.stem in home.run("list", str(file)).out or file.stem == "leader-election"
