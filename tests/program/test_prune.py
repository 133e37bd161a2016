"""Why: prune takes things away: it must take no more than its own, and put everything back as it was."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path

import pytest

from sloth_runner.execution.loading import RunOptions
from sloth_runner.execution.pruning import Pruning
from sloth_runner.state.layout import LOCAL
from sloth_runner.state.ledger import Ledger
from sloth_runner.state.ledger_queries import entries
from tests.program.kit import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A user, and an empty folder ``t`` that tasks may change."""
    home = Home(tmp_path / "home")
    (home.cwd / "t").mkdir()
    return home


def task(home: Home, *lines: str, name: str = "t", file: str = "site.sloth", more: str = "") -> None:
    """A task file with one task of these lines; ROOT is the folder ``t``."""
    body = "\n".join(lines)
    text = f'task({{name = "{name}", run = function()\n{body}\nend}})\n{more}'
    home.file(file, text.replace("ROOT", str(home.cwd / "t")))


def tree(home: Home) -> dict[str, object]:
    """All below ``t``: kind, mode, content."""
    root = home.cwd / "t"
    found: dict[str, object] = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        what = path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(root))] = (stat.filemode(status.st_mode), what)
    return found


def prune(home: Home, *more: str) -> dict[str, str]:
    """Prune; the actions by file name."""
    document = home.run("prune", "site.sloth", "--yes", "-o", "json", *more).json
    return {Path(row["address"]).name: row["action"] for row in document["resources"]}


def test_a_link_that_a_file_took_the_place_of_is_put_back(home: Home) -> None:
    (home.cwd / "t" / "l").symlink_to("nowhere")
    before = tree(home)
    task(home, 'file.write({dest = "ROOT/l", content = "x"})')
    home.run("run", "site.sloth")
    task(home)
    assert prune(home) == {"l": "restore"}
    assert tree(home) == before


def test_a_content_first_touched_after_the_mode_is_put_back(home: Home) -> None:
    path = home.cwd / "t" / "a"
    path.write_text("old")
    path.chmod(0o604)
    before = tree(home)
    task(home, 'file.write({dest = "ROOT/a", content = "old", mode = "0600"})')
    home.run("run", "site.sloth")
    task(home, 'file.write({dest = "ROOT/a", content = "new", mode = "0600"})')
    home.run("run", "site.sloth")
    task(home)
    assert prune(home) == {"a": "restore"}
    assert tree(home) == before


def two(home: Home) -> None:
    home.file("sloth.toml", '[agents]\nweb1 = "local://"\nweb2 = "local://"\n')


def test_a_site_counts_as_reached_only_on_the_agent_where_it_was(home: Home) -> None:
    two(home)
    text = """task({name = "t", delegate_to = {"web1", "web2"}, run = function(this)
      if state.get("on", true) then file.write({dest = "ROOT/" .. this.agent, content = "x"}) end
    end})"""
    home.file("site.sloth", text.replace("ROOT", str(home.cwd / "t")))
    home.run("run", "site.sloth")
    home.run("state", "set", "on", "--json", "false", "--agent", "web2")
    assert prune(home) == {"web2": "keep"}
    assert prune(home, "--delegate-to", "web1") == {"web2": "keep"}
    assert sorted(tree(home)) == ["web1", "web2"]


def test_a_resource_that_another_stack_names_too_is_kept(home: Home) -> None:
    line = 'file.write({dest = "ROOT/a", content = "x"})'
    task(home, line, file="other.sloth")
    task(home, line)
    home.run("run", "other.sloth")
    home.run("run", "site.sloth")
    task(home)
    assert prune(home) == {"a": "forget"}
    assert sorted(tree(home)) == ["a"]
    assert prune(home) == {}
    task(home, file="other.sloth")
    home.run("prune", "other.sloth", "--yes")
    assert tree(home) == {}


def test_what_a_run_named_since_it_was_shown_is_not_taken(home: Home) -> None:
    line = 'file.write({dest = "ROOT/a", content = "x"})'
    task(home, line)
    home.run("run", "site.sloth")
    task(home)
    app = home.app()
    pruning = Pruning(app, RunOptions(home.cwd / "site.sloth"))
    verdicts = pruning.verdicts()
    assert [v.action for v in verdicts] == ["remove"]
    task(home, line, name="new")
    home.run("run", "site.sloth")
    ((verdict, error),) = pruning.carry_out(verdicts)
    assert error is None
    assert verdict.action == "keep"
    assert sorted(tree(home)) == ["a"]


def test_a_folder_with_things_of_others_in_it_stays_and_says_so(home: Home) -> None:
    task(home, 'file.directory("ROOT/d")')
    home.run("run", "site.sloth")
    (home.cwd / "t" / "d" / "theirs").write_text("theirs")
    task(home)
    assert prune(home) == {"d": "keep"}
    assert sorted(tree(home)) == ["d", "d/theirs"]


def test_a_folder_made_for_two_files_goes_with_the_last_of_them(home: Home) -> None:
    first = 'file.write({dest = "ROOT/made/deep/a", content = "a"})'
    second = 'file.write({dest = "ROOT/made/deep/b", content = "b"})'
    task(home, first, second)
    home.run("run", "site.sloth")
    task(home, second)
    assert prune(home) == {"a": "remove"}
    task(home)
    assert prune(home) == {"b": "remove"}
    assert tree(home) == {}


SECRET = "pl41n-c4n4ry"


def stored(home: Home) -> bytes:
    return b"".join(p.read_bytes() for p in home.state_folder.rglob("*") if p.is_file())


def test_a_resource_that_becomes_sensitive_loses_what_was_kept_of_it(home: Home) -> None:
    (home.cwd / "t" / "a").write_text("before-" + SECRET)
    task(home, f'file.write({{dest = "ROOT/a", content = "{SECRET}"}})')
    home.run("run", "site.sloth")
    task(home, f'file.write({{dest = "ROOT/a", content = "{SECRET}", sensitive = true}})')
    home.run("run", "site.sloth")
    (entry,) = entries(home.app().store(), LOCAL)
    assert SECRET not in repr(entry)
    assert entry.before_content is None
    for text in (SECRET, "before-" + SECRET):
        digest = hashlib.sha256(text.encode()).hexdigest()
        assert digest not in repr(entry)
        assert Ledger(home.app().store(), LOCAL, tuple).content(digest) is None
    task(home)
    assert prune(home) == {"a": "keep"}


def test_a_resource_that_is_no_longer_sensitive_cant_be_restored_and_says_so(home: Home) -> None:
    (home.cwd / "t" / "a").write_text("before")
    task(home, 'file.write({dest = "ROOT/a", content = "x", mode = "0600", sensitive = true})')
    home.run("run", "site.sloth")
    task(home, 'file.write({dest = "ROOT/a", content = "y", mode = "0600"})')
    home.run("run", "site.sloth")
    home.run("drift", "--detailed-exitcode")
    home.run("resource", "show", f"file:{home.cwd}/t/a")
    task(home)
    assert prune(home) == {"a": "keep"}
