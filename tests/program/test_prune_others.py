"""Why: what others have put in the place of what we made, or into it, stays; what is ours is found again."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.program.kit import Home
from tests.program.leftovers import task, tree, tried_and_done


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A user, and an empty folder ``t`` that tasks may change."""
    home = Home(tmp_path / "home")
    (home.cwd / "t").mkdir()
    return home


def prune(home: Home) -> list[tuple[str, str]]:
    """Prune; actions and reasons."""
    return [(row["action"], row["reason"]) for row in tried_and_done(home)]


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


IDENTITY = ["-c", "user.name=a", "-c", "user.email=a@example.org"]


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", "-C", folder, *IDENTITY, *words], check=True, capture_output=True)


@pytest.fixture
def checkout(home: Home) -> Path:
    """A working copy that a run has made, and that no file names any more."""
    origin = home.folder / "origin"
    subprocess.run(["git", "init", "-q", "-b", "main", origin], check=True)
    (origin / "text").write_text("one\n")
    (origin / ".gitignore").write_text("*.log\n")
    git(origin, "add", ".")
    git(origin, "commit", "-qm", "one")
    git(origin, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(origin), "sub")
    git(origin, "commit", "-qm", "two")
    task(home, f'git({{repo = "{origin}", dest = "ROOT/a/g"}})')
    home.run("run", "site.sloth")
    task(home)
    return home.cwd / "t" / "a" / "g"


def ignored(place: Path) -> None:
    with (place / ".git" / "info" / "exclude").open("a") as file:
        file.write(".env\n")
    (place / ".env").write_text("theirs")


def unwatched(place: Path) -> None:
    git(place, "update-index", "--assume-unchanged", "text")
    (place / "text").write_text("theirs")


def skipped(place: Path) -> None:
    git(place, "update-index", "--skip-worktree", "text")
    (place / "text").write_text("theirs")


def linked(place: Path) -> None:
    git(place, "worktree", "add", "-q", "-b", "w", "../../linked")


def stashed(place: Path) -> None:
    (place / "text").write_text("theirs")
    git(place, "stash")


def committed(place: Path) -> None:
    git(place, "switch", "-qc", "theirs")
    git(place, "commit", "-q", "--allow-empty", "-m", "theirs")
    git(place, "switch", "-q", "main")


def in_a_submodule(place: Path) -> None:
    git(place, "-c", "protocol.file.allow=always", "submodule", "update", "-q", "--init")
    (place / "sub" / "x.log").write_text("theirs")


WORK = [
    (lambda place: (place / "x.log").write_text("theirs"), "files that git ignores"),
    (ignored, "files that git ignores"),
    (in_a_submodule, "files that git ignores in submodules"),
    (unwatched, "files whose changes git does not look for"),
    (skipped, "files whose changes git does not look for"),
    (linked, "other working copies that belong to it"),
    (lambda place: (place / "text").write_text("theirs"), "changed files"),
    (lambda place: (place / "new").write_text("theirs"), "files that git does not know"),
    (stashed, "work that no server has (a stash)"),
    (committed, "work that no server has"),
]


@pytest.mark.parametrize(("doing", "what"), WORK)
def test_a_working_copy_in_which_others_have_work_stays(
    home: Home, checkout: Path, doing: Callable[[Path], object], what: str
) -> None:
    doing(checkout)
    before = sorted(path.name for path in checkout.iterdir())
    ((action, reason),) = prune(home)
    assert action == "keep" and f"it has {what}" in reason
    assert sorted(path.name for path in checkout.iterdir()) == before


def test_a_working_copy_without_work_of_others_goes(home: Home, checkout: Path) -> None:
    (checkout / "empty").mkdir()
    git(checkout, "worktree", "add", "-q", "-b", "w", "../linked")
    subprocess.run(["rm", "-r", checkout.parent / "linked"], check=True)
    assert [action for action, _ in prune(home)] == ["remove"]
    assert list((home.cwd / "t").iterdir()) == []


def wheel_in(folder: Path) -> None:
    """A package that also brings a file outside of the library."""
    folder.mkdir()
    with zipfile.ZipFile(folder / "tiny-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny.py", "")
        wheel.writestr("tiny-1.0.data/data/share/tiny/text", "")
        wheel.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        wheel.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("tiny-1.0.dist-info/RECORD", "")


def test_a_working_copy_stays_as_long_as_the_file_names_something_in_it(home: Home, checkout: Path) -> None:
    task(home, 'file.directory({path = "ROOT/a/g/data", mode = "0750"})')
    home.run("run", "site.sloth")
    assert [action for action, _ in prune(home)] == ["keep"]
    task(home)
    assert [action for action, _ in prune(home)] == ["remove", "remove"]
    assert not checkout.exists()


def test_an_environment_stays_as_long_as_others_have_something_in_it(home: Home) -> None:
    wheel_in(home.folder / "wheels")
    how = f'no_index = true, python = "{sys.executable}", find_links = "{home.folder}/wheels"'
    task(home, f'pip({{name = "tiny", virtualenv = "ROOT/a/env", {how}}})')
    home.run("run", "site.sloth")
    place = home.cwd / "t" / "a" / "env"
    subprocess.run([place / "bin" / "python", "-c", "import tiny"], check=True)
    task(home)
    (place / "data").symlink_to("/tmp")
    ((_, reason), (package, _)) = sorted(prune(home))
    assert package == "remove" and "others have put data into it" in reason
    (place / "data").unlink()
    for where in (".env", "data/db.sqlite", "bin/deploy", "lib/notes", "share/more"):
        (place / where).parent.mkdir(exist_ok=True)
        (place / where).write_text("theirs")
        ((action, reason),) = prune(home)
        assert action == "keep" and f"others have put {where} into it" in reason
        assert (place / where).read_text() == "theirs" and (place / "pyvenv.cfg").exists()
        (place / where).unlink()
    python = place / "bin" / "python"
    target = python.readlink()
    python.unlink()
    assert [action for action, _ in prune(home)] == ["keep"]
    python.symlink_to(target)
    assert [action for action, _ in prune(home)] == ["remove"]
    assert list((home.cwd / "t").iterdir()) == []


def test_a_setting_that_was_written_down_elsewhere_before_is_taken_out_there(home: Home) -> None:
    value = Path("/proc/sys/net/ipv4/ip_forward").read_text().strip()
    line = f'sysctl({{name = "net.ipv4.ip_forward", value = {value}, file = "ROOT/%s.conf"}})'
    task(home, line % "a")
    home.run("run", "site.sloth")
    task(home, line % "b")
    ((call,),) = [one["calls"] for one in home.run("run", "site.sloth", "-o", "json").json["tasks"]]
    assert call["message"] == f"created sysctl.line {home.cwd}/t/b.conf#net.ipv4.ip_forward"
    assert [action for action, _ in prune(home)] == ["remove"]
    assert [path.name for path in (home.cwd / "t").iterdir()] == ["b.conf"]
    task(home)
    assert sorted(action for action, _ in prune(home)) == ["forget", "remove"]
    assert list((home.cwd / "t").iterdir()) == []


def archived(home: Home, files: dict[str, str]) -> None:
    """The archive ``rel.tar``, beside the task file."""
    with tarfile.open(home.cwd / "rel.tar", "w") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))


def upgraded(home: Home) -> Path:
    """A folder into which two archives of one name were unpacked, one after the other."""
    task(home, 'archive({src = "rel.tar", dest = "ROOT/app"})')
    archived(home, {"d/a": "one", "d/b": "b", "e/f": "f"})
    home.run("run", "site.sloth")
    archived(home, {"d/a": "two", "d/c": "c"})
    return home.cwd / "t" / "app"


def test_an_archive_that_was_upgraded_goes_with_all_that_it_ever_brought(home: Home) -> None:
    upgraded(home)
    plan = home.run("plan", "site.sloth", "-o", "json").json
    assert {one["reason"] for one in plan["tasks"][0]["actions"]} == {"the file changed", None}
    ((call,),) = [one["calls"] for one in home.run("run", "site.sloth", "-o", "json").json["tasks"]]
    assert "by others" not in call["message"]
    assert drifted(home) == []
    archived(home, {"d/a": "three"})
    home.run("run", "site.sloth")
    assert home.run("run", "site.sloth", "-o", "json").json["summary"]["changed"] == 0
    task(home)
    assert [action for action, _ in prune(home) if action not in ("remove", "forget")] == []
    assert list((home.cwd / "t").iterdir()) == []


def test_what_others_changed_of_an_earlier_archive_stays(home: Home) -> None:
    place = upgraded(home)
    home.run("run", "site.sloth")
    (place / "d" / "b").write_text("theirs")
    task(home)
    assert "keep" in [action for action, _ in prune(home)]
    assert sorted(str(one.relative_to(place)) for one in place.rglob("*")) == ["d", "d/b"]


def test_an_archive_of_which_others_changed_something_is_told_so_when_it_is_upgraded(home: Home) -> None:
    place = upgraded(home)
    (place / "d" / "a").write_text("theirs")
    plan = home.run("plan", "site.sloth", "-o", "json").json
    assert "(conflict)" in str([one["reason"] for one in plan["tasks"][0]["actions"]])


def test_what_was_there_before_an_archive_brought_anything_is_not_taken_with_it(home: Home) -> None:
    task(home, 'archive({src = "rel.tar", dest = "ROOT"})')
    archived(home, {"a": "a"})
    (home.cwd / "t" / "a").write_text("a")
    home.run("run", "site.sloth")
    archived(home, {"b": "b"})
    home.run("run", "site.sloth")
    (home.cwd / "t" / "a").write_text("and changed since")
    task(home)
    assert "remove" in [action for action, _ in prune(home)]
    assert [path.name for path in (home.cwd / "t").iterdir()] == ["a"]


def test_what_an_archive_brought_into_folders_of_others_goes_and_they_stay(home: Home) -> None:
    (home.cwd / "t" / "d").mkdir(mode=0o700)
    (home.cwd / "t" / "d" / "same").write_text("same")
    before = tree(home)
    archived(home, {"d/same": "same", "d/new": "n", "e/f": "f"})
    task(home, 'archive({src = "rel.tar", dest = "ROOT"})')
    home.run("run", "site.sloth")
    archived(home, {"d/same": "same", "d/newer": "n"})
    home.run("run", "site.sloth")
    task(home)
    assert "restore" in [action for action, _ in prune(home)]
    assert tree(home) == before


@pytest.mark.parametrize("first", ["theirs", "one"])
def test_what_an_archive_took_the_place_of_comes_back(home: Home, first: str) -> None:
    place = home.cwd / "t" / "app"
    (place / "d").mkdir(parents=True)
    (place / "d" / "a").write_text(first)
    (place / "d" / "a").chmod(0o600)
    (place / "d" / "c").symlink_to("a")
    (place / "e").mkdir(mode=0o700)
    before = tree(home)
    upgraded(home)
    home.run("run", "site.sloth")
    task(home)
    assert {action for action, _ in prune(home)} <= {"remove", "restore", "forget"}
    assert tree(home) == before


def test_what_a_later_archive_of_the_name_took_the_place_of_comes_back(home: Home) -> None:
    place = upgraded(home)
    (place / "d" / "c").write_text("theirs")
    home.run("run", "site.sloth")
    assert (place / "d" / "c").read_text() == "c"
    task(home)
    assert "remove" in [action for action, _ in prune(home)]
    assert {str(one.relative_to(place)) for one in place.rglob("*")} == {"d", "d/c"}
    assert (place / "d" / "c").read_text() == "theirs"


def test_an_archive_that_took_the_place_of_something_large_stays_and_says_of_what(home: Home) -> None:
    (home.cwd / "t" / "app" / "d").mkdir(parents=True)
    (home.cwd / "t" / "app" / "d" / "a").write_bytes(bytes((1 << 20) + 1))
    upgraded(home)
    home.run("run", "site.sloth")
    before = tree(home)
    task(home)
    reasons = [reason for action, reason in prune(home) if action == "keep"]
    assert len(reasons) == 1 and "took the place of d/a, of which nothing is kept" in reasons[0]
    assert tree(home) == before
