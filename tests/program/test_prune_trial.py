"""Why: prune shows what it will do, and then does that; what a kind refuses to undo is kept as a conflict."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.archives import tar
from tests.program.kit import Home
from tests.program.leftovers import task, tree, tried_and_done


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A user, and an empty folder ``t`` that tasks may change."""
    home = Home(tmp_path / "home")
    (home.cwd / "t").mkdir()
    return home


def refused(home: Home, line: str, meanwhile: str) -> str:
    """A line is applied, a command run in ``t``, the line taken out, and pruned: why all is kept."""
    root = home.cwd / "t"
    task(home, line)
    home.run("run", "site.sloth")
    subprocess.run(["sh", "-ec", meanwhile], cwd=root, check=True)
    before = tree(home)
    task(home)
    (row,) = tried_and_done(home)
    assert (row["action"], row["error"]) == ("keep", None)
    assert tree(home) == before
    return str(row["reason"])


def git(*words: str, at: Path) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", "-C", str(at), *identity, *words], check=True)


def origin(home: Home) -> Path:
    """A repository with a commit on main."""
    made = home.cwd / "origin"
    made.mkdir()
    git("init", "-q", "-b", "main", at=made)
    (made / "f").write_text("one\n")
    git("add", ".", at=made)
    git("commit", "-qm", "one", at=made)
    return made


@pytest.mark.parametrize(
    ("work", "why"),
    [
        ("echo more >> app/f", "has changed files"),
        ("echo mine > app/new", "has files that git does not know"),
        (
            "git -C app checkout -q -b own; git -C app COMMIT; git -C app checkout -q main",
            "work that no server has",
        ),
    ],
)
def test_a_checkout_with_work_in_it_is_kept(home: Home, work: str, why: str) -> None:
    line = f'git({{repo = "{origin(home)}", dest = "ROOT/app", version = "main"}})'
    commit = "-c user.name=a -c user.email=a@b.c commit -q --allow-empty -m own"
    reason = refused(home, line, work.replace("COMMIT", commit))
    assert why in reason
    assert "force" not in reason


def test_a_checkout_without_work_in_it_goes(home: Home) -> None:
    task(home, f'git({{repo = "{origin(home)}", dest = "ROOT/app", version = "main"}})')
    home.run("run", "site.sloth")
    task(home)
    assert [row["action"] for row in tried_and_done(home)] == ["remove"]
    assert tree(home) == {}


def test_what_held_a_certificate_before_is_not_known(home: Home) -> None:
    (home.cwd / "t" / "c.pem").write_text("theirs")
    task(
        home,
        'certificate.key({path = "ROOT/k.pem", type = "ed25519"})',
        'certificate.self_signed({path = "ROOT/c.pem", key = "ROOT/k.pem", subject = {CN = "x"}, days = 365})',
    )
    home.run("run", "site.sloth")
    task(home)
    rows = {Path(row["address"]).name: row for row in tried_and_done(home)}
    assert {name: row["action"] for name, row in rows.items()} == {"k.pem": "remove", "c.pem": "keep"}
    assert "what it held is not kept" in rows["c.pem"]["reason"]


def test_a_key_that_others_mean_too_is_kept(home: Home) -> None:
    (home.cwd / "t" / "m.yaml").write_text("base: &b\n  l: 1\nuse:\n  <<: *b\n  z: 2\n")
    line = 'file.set_key({path = "ROOT/m.yaml", key = "use.l", value = 9})'
    assert "can't be changed without changing more than it" in refused(home, line, "true")


def test_a_folder_in_the_place_of_a_link_is_kept(home: Home) -> None:
    (home.cwd / "t" / "l").symlink_to("one")
    task(home, 'file.link({path = "ROOT/l", target = "two"})')
    home.run("run", "site.sloth")
    task(home, 'file.absent("ROOT/l")', 'file.directory("ROOT/l")')
    home.run("run", "site.sloth")
    before = tree(home)
    task(home)
    (row,) = tried_and_done(home)
    assert row["action"] == "keep"
    assert "is a folder, not a link" in row["reason"]
    assert tree(home) == before


def test_a_folder_of_an_archive_that_others_edited_is_kept_as_well(home: Home) -> None:
    (home.cwd / "app.tar").write_bytes(tar({"name": "a", "content": "a"}, {"name": "b", "content": "b"}))
    task(home, 'archive({src = "app.tar", dest = "ROOT/app"})')
    home.run("run", "site.sloth")
    (home.cwd / "t" / "app" / "a").write_text("theirs")
    task(home)
    assert [row["action"] for row in tried_and_done(home)] == ["forget", "keep", "keep"]
    assert (home.cwd / "t" / "app" / "a").read_text() == "theirs"


def test_a_folder_that_was_recorded_after_what_is_in_it_goes_with_it(home: Home) -> None:
    made = (
        'file.directory("ROOT/d")',
        'file.directory("ROOT/d/sub")',
        'file.write({dest = "ROOT/d/sub/f", content = "x"})',
    )
    task(home, *made)
    home.run("run", "site.sloth")
    shutil.rmtree(home.cwd / "t" / "d")
    home.run("resource", "forget", f"file:{home.cwd}/t/d", "--yes")
    home.run("resource", "forget", f"file:{home.cwd}/t/d/sub", "--yes")
    home.run("run", "site.sloth")
    task(home)
    rows = [(Path(row["address"]).name, row["action"]) for row in tried_and_done(home)]
    assert rows == [("f", "remove"), ("sub", "remove"), ("d", "remove")]
    assert tree(home) == {}
