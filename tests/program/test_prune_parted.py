"""Why: what an archive has brought is many paths, of which other calls name some: these stay, and only these."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.archives import tar
from tests.program.kit import Home
from tests.program.leftovers import prune, task, tree, tried_and_done

ONE = 'archive({src = "one.tar", dest = "ROOT/app"})'
TWO = ONE.replace("one", "two")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A user, an empty folder ``t`` that tasks may change, and two archives that have ``d/b`` in common."""
    home = Home(tmp_path / "home")
    (home.cwd / "t").mkdir()
    for name, members in (("one", ("r", "d/a", "d/b")), ("two", ("d/b", "e"))):
        made = tar(*({"name": member, "content": f"{name} {member}\n"} for member in members))
        (home.cwd / f"{name}.tar").write_bytes(made)
    return home


@pytest.mark.parametrize(
    ("also", "ran"),
    [
        ('file.write({dest = "ROOT/app/d/a", content = "other\\n"})', True),
        ('file.attributes({path = "ROOT/app/d/a", mode = "0600"})', True),
        ('file.touch("ROOT/app/d/a")', False),
        ('file.line({path = "ROOT/app/d/a", line = "more"})', True),
        ("file.directory('ROOT/app/d')", True),
    ],
)
def test_what_another_call_names_of_an_archive_stays_and_goes_with_it(
    home: Home, also: str, ran: bool
) -> None:
    task(home, ONE, also)
    if not ran:
        task(home, ONE)
    home.run("run", "site.sloth")
    wanted = set(tree(home))
    task(home, also)
    actions = {row["address"].partition(":")[0]: row["action"] for row in tried_and_done(home)}
    assert actions["archive"] == "remove"
    assert set(tree(home)) == wanted & {"app", "app/d", *(["app/d/a"] if "d/a" in also else [])}
    again = home.run("run", "site.sloth", "-o", "json").json
    assert f"created {home.cwd}" not in str(again["tasks"]) and again["summary"]["failed"] == 0
    assert not {"remove", "restore"} & set(prune(home).values())
    task(home)
    tried_and_done(home)
    assert tree(home) == {}


def test_what_a_line_that_was_not_come_to_names_of_an_archive_stays(home: Home) -> None:
    one = 'if values.on ~= false then file.touch("ROOT/app/r") end'
    task(home, ONE, one)
    home.run("run", "site.sloth")
    task(home, one)
    prune(home, "--set", "on=false")
    assert set(tree(home)) == {"app", "app/r"}


def test_what_another_stack_names_of_an_archive_stays(home: Home) -> None:
    task(home, ONE)
    home.run("run", "site.sloth")
    task(home, 'file.touch("ROOT/app/r")', file="other.sloth")
    home.run("run", "other.sloth")
    task(home)
    tried_and_done(home)
    assert set(tree(home)) == {"app", "app/r"}


def test_of_an_archive_by_another_name_only_goes_what_the_new_one_has_not(home: Home) -> None:
    task(home, ONE)
    home.run("run", "site.sloth")
    task(home, TWO)
    home.run("run", "site.sloth")
    tried_and_done(home)
    assert set(tree(home)) == {"app", "app/d", "app/d/b", "app/e"}
    assert home.run("run", "site.sloth", "-o", "json").json["summary"]["changed"] == 0
    task(home)
    tried_and_done(home)
    assert tree(home) == {}


WRITE = 'file.write({dest = "ROOT/f", content = "new"})'
MODE = 'file.attributes({path = "ROOT/f", mode = "0600"})'


@pytest.mark.parametrize(("gone", "still", "what"), [(MODE, WRITE, "mode"), (WRITE, MODE, "content")])
def test_what_no_line_says_any_more_of_a_file_that_is_named_still_is_told(
    home: Home, gone: str, still: str, what: str
) -> None:
    path = home.cwd / "t" / "f"
    path.write_text("old")
    path.chmod(0o604)
    before = tree(home)
    task(home, gone, still)
    home.run("run", "site.sloth")
    task(home, still)
    for _ in range(2):
        (row,) = tried_and_done(home)
        assert row["action"] == "keep" and f"its {what} stays as an earlier run has set it" in row["reason"]
        home.run("run", "site.sloth")
    task(home)
    assert prune(home) == {"f": "restore"}
    assert tree(home) == before


def test_an_attribute_that_is_as_it_was_before_is_not_told_of(home: Home) -> None:
    (home.cwd / "t" / "f").write_text("old")
    task(home, MODE, WRITE)
    home.run("run", "site.sloth")
    (home.cwd / "t" / "f").chmod(0o640)
    task(home, WRITE)
    assert prune(home) == {}
