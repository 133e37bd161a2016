"""Why: two stacks may work on one resource at the same time; what one knows of it must not undo the other's claim."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tests.program.kit import PROGRAM, Home

OTHER = "task({name = 'b', run = function() file.write({dest = 'ROOT/f', content = 'x'}) end})"
NOTHING = "task({name = 'none', run = function() end})"
MEANWHILE = {
    "it makes what was just seen to be missing": """
      file.write({dest = 'ROOT/f', content = 'x', validate = 'sh ROOT/other %s'})""",
    "it makes what is then met as it should be": """
      file.write({dest = 'ROOT/first', content = '1', validate = 'sh ROOT/other %s'})
      file.write({dest = 'ROOT/f', content = 'x'})""",
}
"""What a stack does while another runs."""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A user with two stacks, of which the second is run by ``ROOT/other``."""
    home = Home(tmp_path / "home")
    root = home.cwd / "t"
    root.mkdir()
    file(home, "b.sloth", OTHER)
    words = shlex.join([*PROGRAM, "run", str(home.cwd / "b.sloth")])
    settings = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in home.env.items())
    (root / "other").write_text(f"{settings}{words}\n")
    return home


def file(home: Home, name: str, text: str) -> None:
    home.file(name, text.replace("ROOT", str(home.cwd / "t")))


@pytest.mark.parametrize("calls", MEANWHILE.values(), ids=MEANWHILE)
@pytest.mark.parametrize("first", ["a", "b"])
def test_what_another_stack_made_meanwhile_is_of_both(home: Home, calls: str, first: str) -> None:
    made = home.cwd / "t" / "f"
    file(home, "a.sloth", f"task({{name = 'a', run = function() {calls} end}})")
    home.run("run", "a.sloth")
    assert made.exists()
    second = "b" if first == "a" else "a"
    file(home, f"{first}.sloth", NOTHING)
    said = home.run("prune", f"{first}.sloth", "--yes").out
    assert f"but the stack '{second}' names it too: it stays" in said and made.exists()
    file(home, f"{second}.sloth", NOTHING)
    home.run("prune", f"{second}.sloth", "--yes")
    assert not made.exists()
