"""Why: start-up is a feature: what a command loads is what it costs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {
    "asyncio", "click", "concurrent.futures", "cryptography", "dataclasses", "email", "hashlib", "http",
    "importlib.metadata", "jinja2", "logging", "lupa", "rich", "socket", "sqlite3", "ssl", "subprocess", "tempfile",
    "tomllib", "typing", "yaml",
}  # fmt: skip
SCRIPT = """
import sys
from sloth_runner.__main__ import main
code = main(sys.argv[1:])
sys.stdout.flush()
print("\\n".join(sorted(sys.modules)), file=sys.stderr)
sys.exit(code)
"""


def _loaded(home: Path, *argv: str) -> set[str]:
    environ = {**os.environ, "SLOTH_RUNNER_HOME": str(home)}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *argv],
        env=environ,
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stderr.splitlines())


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with a key."""
    _loaded(tmp_path, "state", "set", "deployment:version", "v1")
    return tmp_path


@pytest.mark.parametrize(
    "argv",
    [
        ("state", "list"),
        ("state", "show", "deployment:version"),
        ("state", "get", "deployment:version"),
        ("state", "list", "-o", "json"),
        ("state", "stats"),
        ("state", "watch", "--timeout", "0.01"),
        ("lock", "list"),
        ("--help",),
        ("--version",),
    ],
    ids=" ".join,
)
def test_what_reading_loads(home: Path, argv: tuple[str, ...]) -> None:
    allowed = {"click", "typing"} if argv[0].startswith("-") else set()
    assert not _loaded(home, *argv) & (HEAVY - allowed)


@pytest.mark.parametrize("argv", [("state", "set", "a", "b"), ("state", "increment", "n")], ids=" ".join)
def test_what_writing_loads(home: Path, argv: tuple[str, ...]) -> None:
    # A revision of a key that exists needs the digest of the one before.
    assert not _loaded(home, *argv) & (HEAVY - {"hashlib"})


def test_a_sealed_state_costs_its_cipher_alone(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLOTH_RUNNER_STATE__ENCRYPTION__SOURCE", "env")
    monkeypatch.setenv("SLOTH_RUNNER_STATE__ENCRYPTION__VARIABLE", "KEY")
    monkeypatch.setenv("KEY", "ab" * 32)
    _loaded(home, "state", "encrypt")
    loaded = _loaded(home, "state", "get", "deployment:version")
    assert loaded & HEAVY == {"cryptography", "hashlib", "typing"}
    assert not {"sloth_runner.state.kms", "sloth_runner.state.reseal"} & loaded


def test_an_open_state_loads_nothing_of_encryption(home: Path) -> None:
    loaded = _loaded(home, "state", "set", "a", "b")
    assert not {name for name in loaded if "seal" in name or "keyring" in name or "encryption" in name}


def test_help_loads_no_command(home: Path) -> None:
    loaded = _loaded(home, "--help")
    assert "sloth_runner.cli.state_read" not in loaded
    assert "apsw" not in loaded
    assert "sloth_runner.app" not in loaded


def test_reading_loads_no_writing(home: Path) -> None:
    loaded = _loaded(home, "state", "get", "deployment:version")
    assert "sloth_runner.engine" not in loaded
    assert "sloth_runner.execution" not in loaded
    assert "sloth_runner.cli.state_write" not in loaded


def test_a_file_to_parse_brings_the_parser(home: Path) -> None:
    (home / "config.toml").write_text("[run]\njobs = 2\n")
    assert "tomllib" in _loaded(home, "state", "list")


LOCAL = """
task({ name = "t", run = function()
  state.with_lock("l", 30, function() state.increment("n") end)
  file.write({ dest = folder .. "/f", content = "x" })
  parallel({ function() return state.get("n") end })
end })
"""


def test_a_run_without_waits_loads_no_event_loop(home: Path) -> None:
    file = home / "local.sloth"
    file.write_text(f"local folder = [[{home}]]\n{LOCAL}")
    loaded = _loaded(home, "run", str(file), "--quiet")
    assert not {"asyncio", "click", "typing"} & loaded
    only_for_errors = {"difflib", "unicodedata", "sloth_runner.lua.meant", "sloth_runner.modules.habits"}
    assert not only_for_errors & loaded


def test_a_run_that_finds_all_as_it_was_loads_no_openssl(home: Path) -> None:
    file = home / "again.sloth"
    writes = "".join(
        f'  file.write({{dest = [[{home / str(number)}]], content = "x"}})\n' for number in range(20)
    )
    file.write_text(f'task({{name = "t", run = function()\n{writes}end}})')
    for _ in range(3):
        loaded = _loaded(home, "run", str(file), "--quiet")
    assert not HEAVY - {"lupa"} & loaded
