"""Why: what others have put in the place of what we made, or into it, is theirs: prune leaves it alone."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.program.kit import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A user, and an empty folder ``t`` that tasks may change."""
    home = Home(tmp_path / "home")
    (home.cwd / "t").mkdir()
    return home


def task(home: Home, *lines: str) -> None:
    """A task file with one task of these lines; ROOT is the folder ``t``."""
    body = "\n".join(lines)
    text = f'task({{name = "t", run = function()\n{body}\nend}})\n'
    home.file("site.sloth", text.replace("ROOT", str(home.cwd / "t")))


def prune(home: Home) -> list[tuple[str, str]]:
    """Prune; actions and reasons."""
    document = home.run("prune", "site.sloth", "--yes", "-o", "json").json
    return [(row["action"], row["reason"]) for row in document["resources"]]


def drifted(home: Home) -> list[str]:
    """The attributes in which something is not as it was applied."""
    found = home.run("drift", "-o", "json").json["resources"]
    return [one["name"] for row in found for one in row["attributes"]]


def new_key(path: Path) -> None:
    """Somebody else's key, of the kind and mode that ours has."""
    subprocess.run(
        ["openssl", "genpkey", "-algorithm", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-out", path],
        check=True,
    )
    path.chmod(0o600)


KEY = 'certificate.key({path = "ROOT/k.pem"})'


def test_a_key_of_ours_goes(home: Home) -> None:
    task(home, KEY)
    home.run("run", "site.sloth")
    home.run("run", "site.sloth")
    assert drifted(home) == []
    task(home)
    assert [action for action, _ in prune(home)] == ["remove"]
    assert list((home.cwd / "t").iterdir()) == []


@pytest.mark.parametrize("more", ["", ", sensitive = true"])
def test_a_key_that_others_put_there_is_seen_and_stays(home: Home, more: str) -> None:
    task(home, KEY.replace("}", f"{more}}}"))
    home.run("run", "site.sloth")
    path = home.cwd / "t" / "k.pem"
    new_key(path)
    theirs = path.read_bytes()
    assert drifted(home) == ["public"]
    task(home)
    ((action, reason),) = prune(home)
    assert action == "keep" and "changed by others since (public): a conflict" in reason
    assert path.read_bytes() == theirs


@pytest.mark.parametrize("more", [("", ", sensitive = true"), (", sensitive = true", "")])
def test_a_key_is_ours_still_when_its_task_becomes_sensitive_or_ceases_to_be(
    home: Home, more: tuple[str, str]
) -> None:
    for one in more:
        task(home, KEY.replace("}", f"{one}}}"))
        home.run("run", "site.sloth")
        assert drifted(home) == []
    task(home)
    assert [action for action, _ in prune(home)] == ["remove"]


def test_a_key_of_others_that_a_run_is_content_with_is_theirs_from_then_on(home: Home) -> None:
    task(home, KEY)
    home.run("run", "site.sloth")
    path = home.cwd / "t" / "k.pem"
    new_key(path)
    theirs = path.read_bytes()
    assert home.run("run", "site.sloth", "-o", "json").json["summary"]["changed"] == 0
    assert drifted(home) == []
    task(home)
    assert [action for action, _ in prune(home)] == ["forget"]
    assert path.read_bytes() == theirs


def test_a_key_of_others_stays_theirs_when_a_run_corrects_its_mode(home: Home) -> None:
    task(home, KEY)
    home.run("run", "site.sloth")
    path = home.cwd / "t" / "k.pem"
    new_key(path)
    path.chmod(0o644)
    theirs = path.read_bytes()
    home.run("run", "site.sloth")
    task(home)
    assert [action for action, _ in prune(home)] == ["keep"]
    assert path.read_bytes() == theirs
