"""Why: what is sent to bare machines has to run there, whatever Python 3 they have, and to be the same from
everywhere."""

from __future__ import annotations

import ast
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from sloth_runner.agent.pack import command, packed

ROOT = Path(__file__).parents[2] / "src" / "sloth_runner"
SENT = sorted([ROOT / "plain.py", ROOT / "ops.py", *(ROOT / "agent").glob("*.py")])
LATER = {
    "removeprefix": 9, "removesuffix": 9, "batched": 12, "pairwise": 10, "is_relative_to": 9, "to_thread": 9,
    "timeout_at": 11, "TaskGroup": 11, "waitstatus_to_exitcode": 9, "pidfd_open": 9, "file_digest": 11, "tomllib": 11,
}  # fmt: skip
"""Names that the standard library has since Python 3.N."""


@pytest.mark.parametrize("path", SENT, ids=lambda path: path.name)
def test_every_file_is_python_3_8(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 8))
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
        if path.name not in ("pack.py", "resuming.py"):
            assert name not in LATER, f"{path.name}:{line}: {name} is of Python 3.{LATER[name]}"
        if isinstance(node, ast.Call):
            given = {word.arg for word in node.keywords}
            function = getattr(node.func, "id", "")
            assert not (function == "zip" and "strict" in given), f"{path.name}:{line}: zip has no strict"
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            assert not _types(node), f"{path.name}:{line}: types can't be joined by | at run time"


def _types(node: ast.BinOp) -> bool:
    """Whether both sides are names of classes, as in isinstance(x, A | B); annotations are texts by then."""
    sides = [side for side in (node.left, node.right) if isinstance(side, ast.Name)]
    return len(sides) == 2 and all(side.id[:1].isupper() and not side.id.isupper() for side in sides)


def test_the_bootstrap_says_to_an_old_python_that_it_is_too_old() -> None:
    """Python 2's grammar has no annotations, f-strings or keyword-only arguments."""
    tree = ast.parse((ROOT / "agent" / "bootstrap.py").read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        assert not isinstance(node, ast.JoinedStr | ast.AnnAssign | ast.NamedExpr | ast.AsyncFunctionDef)
        if isinstance(node, ast.FunctionDef):
            assert node.returns is None and not node.args.kwonlyargs


def test_it_is_the_same_wherever_it_is_made() -> None:
    script = "from sloth_runner.agent.pack import packed; print(packed().name)"
    names = {
        subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert names == {packed().name + "\n"}


def test_it_holds_the_agent_and_nothing_else() -> None:
    with zipfile.ZipFile(io.BytesIO(packed().data)) as archive:
        names = archive.namelist()
    assert "__main__.py" in names and "sloth_runner/agent/perform.py" in names
    assert all(name == "__main__.py" or name.startswith("sloth_runner/") for name in names)
    assert not any("pack" in name.rpartition("/")[2].split(".")[0] == "pack" for name in names)


def test_what_takes_long_is_not_imported_at_its_start(tmp_path: Path) -> None:
    (tmp_path / "agent").write_bytes(packed().data)
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import sloth_runner.agent.stdio; print(*sys.modules)"
    )
    argv = [sys.executable, "-I", "-S", "-c", script, str(tmp_path / "agent")]
    loaded = set(subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split())
    assert "sloth_runner.agent.serving" in loaded
    heavy = {"typing", "asyncio", "inspect", "zipfile", "tempfile", "tarfile", "email", "http.client", "ssl"}
    assert not loaded & heavy


def test_the_command_is_one_line_without_what_shells_quote_differently() -> None:
    words = command(packed().name)
    assert "\n" not in words and "!" not in words and "\\'" not in words
    assert words.count("'") == 4
