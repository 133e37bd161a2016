"""A store of another package: built, installed and found as any user's would be; it passes the suite and serves the
command line. The package is the one that docs/stores/README.md shows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sloth_runner.state.backends import Options, open_store
from sloth_runner.state.backends.bootclock import LeaseClock, boot_id
from tests.conformance.suite import Conformance, Opener
from tests.state.kit import Clock

EXAMPLE = Path(__file__).parents[2] / "examples" / "backend"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package in it."""
    folder = tmp_path_factory.mktemp("site")
    argv = [
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--no-build-isolation",
        "--target",
        str(folder),
        str(EXAMPLE),
    ]
    subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", *argv], check=True)
    return folder


@pytest.fixture
def found(installed: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This process finds the package, and so do those that it starts."""
    monkeypatch.syspath_prepend(str(installed))
    monkeypatch.setenv("PYTHONPATH", str(installed))
    return installed


class TestJsonFile(Conformance):
    @pytest.fixture
    def opener(self, found: Path, tmp_path: Path) -> Opener:
        import sloth_runner_jsonfile

        clock, path = Clock(), tmp_path / "state.json"

        def advance(seconds: float) -> None:
            clock.now += seconds

        def opened() -> sloth_runner_jsonfile.JsonFile:
            return sloth_runner_jsonfile.JsonFile(path, LeaseClock(boot_id(), clock))

        return Opener(opened, advance, f"jsonfile://{path}", str(tmp_path))


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def sloth(found: Path, tmp_path: Path) -> Run:
    """The program, with the store named by a variable."""

    def sloth(
        *argv: str, store: str = f"jsonfile://{tmp_path}/state.json"
    ) -> subprocess.CompletedProcess[str]:
        environ = {
            **os.environ,
            "SLOTH_RUNNER_HOME": str(tmp_path / "home"),
            "SLOTH_RUNNER_STATE__STORE": store,
        }
        return subprocess.run(
            [sys.executable, "-m", "sloth_runner", *argv],
            cwd=tmp_path, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip

    return sloth


def test_the_program_works_on_it(sloth: Run, tmp_path: Path) -> None:
    assert sloth("state", "set", "a", "1").returncode == 0
    assert sloth("state", "get", "a").stdout == "1\n"
    (tmp_path / "t.sloth").write_text(
        'task({ name = "t", run = function()\n'
        '  state.with_lock("l", 30, function() state.increment("n") end)\n'
        "end })\n"
    )
    for _ in range(2):
        done = sloth("run", "t.sloth")
        assert done.returncode == 0, done.stderr
    history = json.loads(sloth("state", "history", "n", "-o", "json").stdout)
    assert [row["new"] for row in history["revisions"]] == [2, 1]
    listed = json.loads(sloth("state", "list", "-o", "json").stdout)
    assert listed["store"] == f"jsonfile://{tmp_path}/state.json"
    assert sloth("state", "doctor").returncode == 0
    document = json.loads((tmp_path / "state.json").read_text())
    assert "local\x1fk\x1fn" in document["entries"]


def test_its_own_errors_reach_the_user(sloth: Run) -> None:
    done = sloth("state", "get", "a", store="jsonfile://state.json")
    assert done.returncode == 5
    assert "error[E-CONFIG]" in done.stderr
    assert "jsonfile:///PATH" in done.stderr


def test_its_name_is_among_those_that_are_known(sloth: Run) -> None:
    done = sloth("state", "get", "a", store="jsonfiles:///x")
    assert done.returncode == 5
    assert "jsonfile," in done.stderr


def fake(folder: Path, name: str, target: str) -> None:
    """Another package's metadata, as pip writes them."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[sloth_runner.backends]\n{target}\n")


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("broken = no_such_module:open_store", "No module named 'no_such_module'"),
        ("broken = json:no_such_function", "no attribute 'no_such_function'"),
        ("broken = json:decoder", "what it names can't be called"),
    ],
)
def test_a_package_that_is_broken_is_named(
    sloth: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, why: str
) -> None:
    fake(tmp_path / "other", "sloth-runner-broken", target)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "other"))
    done = sloth("state", "get", "a", store="broken://x")
    assert done.returncode == 5
    assert "sloth-runner-broken 1.0" in done.stderr
    assert why in done.stderr


def test_a_package_that_gives_no_store_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sloth_runner.errors import BadConfig

    fake(tmp_path / "other", "sloth-runner-odd", "odd = builtins:print")
    monkeypatch.syspath_prepend(str(tmp_path / "other"))
    with pytest.raises(BadConfig, match=r"sloth-runner-odd 1\.0.*gave no store"):
        open_store("odd://x", Options(Path("/"), 1.0))


def test_two_packages_of_one_scheme_are_named(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sloth_runner.errors import BadConfig

    fake(tmp_path / "other", "sloth-runner-other", "jsonfile = json:loads")
    monkeypatch.syspath_prepend(str(installed))
    monkeypatch.syspath_prepend(str(tmp_path / "other"))
    with pytest.raises(BadConfig, match=r"sloth-runner-jsonfile 1\.0 and sloth-runner-other 1\.0"):
        open_store("jsonfile:///x", Options(Path("/"), 1.0))
