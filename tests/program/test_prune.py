"""Why: prune takes things away: it must take no more than its own, and put everything back as it was."""

from __future__ import annotations

import hashlib
import os
import signal
import tarfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

import pytest

from sloth_runner.app import App
from sloth_runner.errors import StoreDown
from sloth_runner.execution.loading import RunOptions
from sloth_runner.execution.pruning import PRUNE, Pruning
from sloth_runner.execution.stack_lock import StackLock
from sloth_runner.state.layout import INTENT, LEDGER, LOCAL, place
from sloth_runner.state.ledger import Ledger
from sloth_runner.state.ledger_queries import entries, intents
from sloth_runner.state.store import Change, Check, Rev, Store
from tests.program.kit import Home
from tests.program.leftovers import prune, task, tree
from tests.services.base import free_port


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A user, and an empty folder ``t`` that tasks may change."""
    home = Home(tmp_path / "home")
    (home.cwd / "t").mkdir()
    return home


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


def test_what_is_on_a_machine_that_can_not_be_reached_is_kept_and_said(home: Home) -> None:
    two(home)
    text = """task({name = "t", delegate_to = {"web1", "web2"}, run = function(this)
      for i = 1, values.n do file.write({dest = "ROOT/" .. this.agent .. i, content = "x"}) end
    end})"""
    home.file("site.sloth", text.replace("ROOT", str(home.cwd / "t")))
    home.run("run", "site.sloth", "--set", "n=2")
    home.file("sloth.toml", f'[agents]\nweb1 = "local://"\nweb2 = "ssh://127.0.0.1:{free_port()}"\n')
    said = home.run("prune", "site.sloth", "--set", "n=1", "--yes", code=6)
    assert "refuses the connection" in said.out and "1 removed" in said.out
    assert sorted(tree(home)) == ["web11", "web21", "web22"]
    home.file("site.sloth", 'task({name = "other", run = function() end})')
    assert "refuses the connection" in home.run("prune", "site.sloth", "--check", code=6).out


def shrinking(home: Home, call: str, end: str = "") -> None:
    """A task whose loop names what the state says: ``a`` and ``b`` at first, then ``a`` alone."""
    task(home, f'for _, n in ipairs(state.get("names", {{"a", "b"}})) do\n{call}\nend\n{end}')
    home.run("run", "site.sloth")
    home.run("state", "set", "names", "--json", '["a"]')


def test_what_a_call_put_elsewhere_goes_when_its_task_names_it_no_more(home: Home) -> None:
    two(home)
    shrinking(home, 'file.write({dest = "ROOT/" .. n, content = "x", delegate_to = "web1"})')
    assert prune(home) == {"b": "remove"}
    assert sorted(tree(home)) == ["a"]


@pytest.mark.parametrize(
    "end",
    ['error("no")', 'if cmd({command = "true"}).stdout == "" then sleep(0) end'],
    ids=["fails", "unknown"],
)
def test_what_a_task_names_after_it_broke_off_can_not_be_known(home: Home, end: str) -> None:
    shrinking(
        home, 'file.write({dest = "ROOT/" .. n, content = "x"})', f'if state.get("stop") then {end} end'
    )
    home.run("state", "set", "stop", "--json", "true")
    assert prune(home) == {"b": "keep"}
    home.run("state", "delete", "stop", "--yes")
    assert prune(home) == {"b": "remove"}
    assert sorted(tree(home)) == ["a"]


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


@pytest.mark.parametrize(
    ("meanwhile", "action"), [("changed", "keep"), ("forgotten", "keep"), ("gone", "remove"), ("", "remove")]
)
def test_what_has_happened_since_it_was_shown_counts(home: Home, meanwhile: str, action: str) -> None:
    path = home.cwd / "t" / "a"
    task(home, 'file.write({dest = "ROOT/a", content = "x"})')
    home.run("run", "site.sloth")
    task(home)
    app = home.app()
    pruning = Pruning(app, RunOptions(home.cwd / "site.sloth"))
    verdicts = pruning.verdicts()
    if meanwhile == "changed":
        path.write_text("theirs")
    elif meanwhile == "forgotten":
        home.run("resource", "forget", f"file:{path}", "--yes")
    elif meanwhile == "gone":
        path.unlink()
    ((verdict, error),) = pruning.carry_out(verdicts)
    assert (verdict.action, error) == (action, None)
    assert path.exists() == (action == "keep")
    assert list(intents(app.store(), LOCAL)) == []
    assert (len(list(entries(app.store(), LOCAL))) == 1) == (meanwhile == "changed")


class Noting:
    """A store that notes what it is told of the ledger, and whether a file is there at that moment."""

    def __init__(self, inner: Store, path: Path) -> None:
        self.inner = inner
        self.traits = inner.traits
        self.get = inner.get
        self.scan = inner.scan
        self.close = inner.close
        self.path = path
        self.noted: list[tuple[str, bool, bool]] = []

    def commit(self, changes: Sequence[Change | Check]) -> list[Rev]:
        """See Store."""
        for one in changes:
            if isinstance(one, Change) and place(one.key).kind in (INTENT, LEDGER):
                self.noted.append((place(one.key).kind, one.value is not None, self.path.exists()))
        return self.inner.commit(changes)


class Full(Noting):
    """One that takes no more once all is done."""

    def commit(self, changes: Sequence[Change | Check]) -> list[Rev]:
        """See Store."""
        kinds = [place(one.key).kind for one in changes if isinstance(one, Change) and one.value is not None]
        if INTENT not in kinds and any(place(one.key).kind == LEDGER for one in changes):
            raise StoreDown("the disk is full")
        return super().commit(changes)


class Stopped(Noting):
    """One whose user asks to stop when something is begun."""

    def commit(self, changes: Sequence[Change | Check]) -> list[Rev]:
        """See Store."""
        first = not self.noted
        done = super().commit(changes)
        if first and self.noted:
            os.kill(os.getpid(), signal.SIGTERM)
        return done


def pruning_with(home: Home, kind: type[Noting], path: Path) -> tuple[Pruning, Noting]:
    """A prune of ``site.sloth`` and its store, which is of a ``kind`` that has an eye on ``path``."""

    class Noted(App):
        """Opens its store noted."""

        def store(self) -> Store:
            """See App."""
            if self._store is None:
                self._store = kind(self.stores.open(), path)
            return self._store

    app = Noted(home.app().settings, clock=time.time, new_id=lambda: uuid.uuid4().hex, getenv=home.env.get)
    pruning = Pruning(app, RunOptions(home.cwd / "site.sloth"))
    store = app.store()
    assert isinstance(store, Noting)
    return pruning, store


def test_what_is_about_to_be_undone_is_on_record_before_and_gone_from_it_after(home: Home) -> None:
    path = home.cwd / "t" / "a"
    task(home, *[f'file.write({{dest = "ROOT/{name}", content = "x"}})' for name in "ba"])
    home.run("run", "site.sloth")
    task(home)
    pruning, store = pruning_with(home, Noting, path)
    pruning.carry_out(pruning.verdicts())
    first = [(INTENT, True, True)]
    then = [(LEDGER, False, False), (INTENT, False, False)]
    assert store.noted == [*first, *then, (INTENT, True, False), *then], (
        "what is over goes with what comes next"
    )


def test_who_asks_to_stop_hears_what_was_undone_and_the_rest_stays(home: Home) -> None:
    path = home.cwd / "t" / "a"
    task(home, *[f'file.write({{dest = "ROOT/{name}", content = "x"}})' for name in "ba"])
    home.run("run", "site.sloth")
    task(home)
    pruning, _ = pruning_with(home, Stopped, path)
    said: list[str] = []
    done = pruning.carry_out(pruning.verdicts(), said.append)
    assert [(one.entry.id, one.action, error) for one, error in done] == [
        (str(path), "remove", None),
        (str(path.with_name("b")), "keep", None),
    ]
    assert pruning.stopped == signal.SIGTERM and len(said) == 1 and "not its turn" in done[1][0].reason
    assert home.run("lock", "list", "--shared").out == ""
    assert prune(home) == {"b": "remove"}


def test_what_can_not_be_recorded_at_the_end_is_done_again(home: Home) -> None:
    path = home.cwd / "t" / "a"
    task(home, *[f'file.write({{dest = "ROOT/{name}", content = "x"}})' for name in "ba"])
    home.run("run", "site.sloth")
    task(home)
    pruning, _ = pruning_with(home, Full, path)
    done = pruning.carry_out(pruning.verdicts())
    assert [(one.entry.id, one.action, getattr(error, "code", None)) for one, error in done] == [
        (str(path), "remove", None),
        (str(path.with_name("b")), "remove", StoreDown.code),
    ]
    assert tree(home) == {}
    assert prune(home) == {"b": "remove"}
    store = home.app().store()
    assert (list(entries(store, LOCAL)), list(intents(store, LOCAL))) == ([], [])


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


@pytest.mark.parametrize(
    "call",
    [
        'file.line({path = "ROOT/made/deep/f", line = "a", create = true})',
        'file.block({path = "ROOT/made/deep/f", block = "a", create = true})',
        'file.set_key({path = "ROOT/made/deep/f.ini", key = "a.b", value = "c", create = true})',
    ],
)
def test_folders_made_for_a_part_of_a_file_go_with_it(home: Home, call: str) -> None:
    task(home, call)
    assert home.run("plan", "site.sloth", "-o", "json").json["summary"]["create"] == 1
    home.run("run", "site.sloth")
    assert "made/deep" in tree(home)
    task(home)
    assert list(prune(home).values()) == ["remove"]
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


def write_then_only_the_mode(home: Home) -> None:
    """``a`` was "A" with mode 0604; our content and mode came, then a task that wants the mode alone."""
    path = home.cwd / "t" / "a"
    path.write_text("A")
    path.chmod(0o604)
    task(home, 'file.write({dest = "ROOT/a", content = "B", mode = "0640"})')
    home.run("run", "site.sloth")
    task(home, 'file.attributes({path = "ROOT/a", mode = "0640"})')
    home.run("run", "site.sloth")


def test_a_content_that_a_task_ceased_to_want_is_put_back(home: Home) -> None:
    write_then_only_the_mode(home)
    task(home)
    assert prune(home) == {"a": "restore"}
    assert tree(home) == {"a": ("-rw----r--", b"A")}


def test_a_content_that_a_task_ceased_to_want_is_kept_once_others_changed_it(home: Home) -> None:
    write_then_only_the_mode(home)
    (home.cwd / "t" / "a").write_text("theirs")
    task(home)
    said = home.run("prune", "site.sloth", "--yes", "-o", "json").json["resources"]
    assert [row["action"] for row in said] == ["keep"]
    assert "changed by others since (content)" in said[0]["reason"]
    assert tree(home) == {"a": ("-rw-r-----", b"theirs")}


def test_a_content_of_ours_that_others_took_back_themselves_is_no_conflict(home: Home) -> None:
    write_then_only_the_mode(home)
    (home.cwd / "t" / "a").write_text("A")
    task(home)
    assert prune(home) == {"a": "restore"}
    assert tree(home) == {"a": ("-rw----r--", b"A")}


def test_attributes_that_never_were_ours_stay_as_they_are(home: Home) -> None:
    path = home.cwd / "t" / "a"
    path.write_text("A")
    path.chmod(0o644)
    task(home, 'file.write({dest = "ROOT/a", content = "B"})')
    home.run("run", "site.sloth")
    path.chmod(0o600)
    task(home)
    assert prune(home) == {"a": "restore"}
    assert tree(home) == {"a": ("-rw-------", b"A")}


@pytest.mark.parametrize(
    "line",
    [
        'file.attributes({path = "ROOT/a", mode = "0600"})',
        'file.touch({path = "ROOT/a", mode = "0600"})',
        'file.attributes({path = "ROOT/a", mode = "0600"}); file.line({path = "ROOT/a", line = "ours"})',
    ],
)
def test_a_mode_goes_back_whatever_has_become_of_the_content(home: Home, line: str) -> None:
    path = home.cwd / "t" / "a"
    path.write_text("theirs\n")
    path.chmod(0o644)
    task(home, line)
    home.run("run", "site.sloth")
    with path.open("a") as file:
        file.write("more\n")
    task(home)
    assert set(prune(home).values()) <= {"restore", "remove"}
    assert tree(home) == {"a": ("-rw-r--r--", b"theirs\nmore\n")}


def test_the_mode_of_a_file_that_was_absent_between_goes_back(home: Home) -> None:
    path = home.cwd / "t" / "a"
    path.write_text("A")
    path.chmod(0o604)
    before = tree(home)
    task(home, 'file.absent("ROOT/a")')
    home.run("run", "site.sloth")
    task(home, 'file.write({dest = "ROOT/a", content = "B"})')
    home.run("run", "site.sloth")
    task(home)
    assert prune(home) == {"a": "restore"}
    assert tree(home) == before


@pytest.mark.parametrize("first", ['file.touch("ROOT/a")', 'file.write({dest = "ROOT/a", content = "ours"})'])
@pytest.mark.parametrize("filled", [True, False])
def test_a_touched_file_goes_unless_others_filled_it(home: Home, first: str, filled: bool) -> None:
    task(home, first)
    home.run("run", "site.sloth")
    task(home, 'file.touch("ROOT/a")')
    home.run("run", "site.sloth")
    if filled:
        (home.cwd / "t" / "a").write_text("theirs")
    task(home)
    assert prune(home) == {"a": "keep" if filled else "remove"}
    assert sorted(tree(home)) == (["a"] if filled else [])


def test_a_touched_file_with_a_line_of_ours_goes_with_it(home: Home) -> None:
    task(home, 'file.touch("ROOT/a")', 'file.line({path = "ROOT/a", line = "ours"})')
    home.run("run", "site.sloth")
    task(home)
    assert set(prune(home).values()) == {"remove"}
    assert tree(home) == {}


def test_a_touched_file_with_a_line_of_ours_and_one_of_others_stays(home: Home) -> None:
    task(home, 'file.touch("ROOT/a")', 'file.line({path = "ROOT/a", line = "ours"})')
    home.run("run", "site.sloth")
    (home.cwd / "t" / "a").write_text("theirs\nours\n")
    task(home)
    assert sorted(prune(home).values()) == ["keep", "remove"]
    assert tree(home) == {"a": ("-rw-r--r--", b"theirs\n")}


def test_a_sensitive_file_that_we_made_goes(home: Home) -> None:
    task(home, 'file.write({dest = "ROOT/a", content = "x", mode = "0600", sensitive = true})')
    home.run("run", "site.sloth")
    task(home)
    assert prune(home) == {"a": "remove"}
    assert tree(home) == {}


def test_a_sensitive_file_that_others_changed_stays(home: Home) -> None:
    task(home, 'file.write({dest = "ROOT/a", content = "x", sensitive = true})')
    home.run("run", "site.sloth")
    (home.cwd / "t" / "a").write_text("theirs")
    task(home)
    assert prune(home) == {"a": "keep"}
    assert sorted(tree(home)) == ["a"]


def test_a_stack_that_is_pruned_says_so(home: Home) -> None:
    task(home)
    with StackLock(home.app(), "site", 0, purpose=PRUNE):
        said = home.run("run", "site.sloth", code=3)
    assert "is being pruned by" in said.err
    assert "None" not in said.err


IN_A_FOLDER = [
    ('file.write({dest = "ROOT/d/f", content = "x"})', b"x"),
    ('file.write({dest = "ROOT/d/f", content = "x", sensitive = true})', b"x"),
    ('file.line({path = "ROOT/d/f", line = "x", create = true})', b"x\n"),
]


@pytest.mark.parametrize(("line", "content"), IN_A_FOLDER)
def test_a_link_in_the_place_of_a_folder_leads_prune_to_nobody(home: Home, line: str, content: bytes) -> None:
    root = home.cwd / "t"
    (root / "d").mkdir()
    (root / "other").mkdir()
    (root / "other" / "f").write_bytes(content)
    task(home, line)
    home.run("run", "site.sloth")
    (root / "d").rename(root / "d.real")
    (root / "d").symlink_to("other")
    before = tree(home)
    task(home)
    (row,) = home.run("prune", "site.sloth", "--yes", "-o", "json").json["resources"]
    assert row["action"] == "keep"
    assert "a link took the place of a folder above it" in row["reason"]
    assert tree(home) == before


@pytest.mark.parametrize(("line", "content"), IN_A_FOLDER)
def test_a_file_in_a_folder_that_was_a_link_already_is_taken(home: Home, line: str, content: bytes) -> None:
    root = home.cwd / "t"
    (root / "real").mkdir()
    (root / "d").symlink_to("real")
    task(home, line)
    home.run("run", "site.sloth")
    (root / "real" / "f").unlink()
    (root / "real" / "f").write_bytes(content)
    task(home)
    assert list(prune(home).values()) == ["remove"]
    assert sorted(tree(home)) == ["d", "real"]


@pytest.mark.parametrize("runs", [1, 2])
def test_a_folder_that_others_moved_behind_a_link_is_theirs(home: Home, runs: int) -> None:
    root = home.cwd / "t"
    task(home, 'file.write({dest = "ROOT/d/f", content = "x"})')
    for _ in range(runs):  # the second one knows the file by its inode: it is no longer new
        home.run("run", "site.sloth")
    (root / "d").rename(root / "elsewhere")
    (root / "d").symlink_to("elsewhere")
    before = tree(home)
    task(home)
    (row,) = home.run("prune", "site.sloth", "--yes", "-o", "json").json["resources"]
    assert row["action"] == "keep"
    assert "a link took the place of a folder above it" in row["reason"]
    assert tree(home) == before


def test_a_folder_that_was_made_for_a_file_stays_as_long_as_it_is_named_and_goes_then(home: Home) -> None:
    write, folder = 'file.write({dest = "ROOT/d/e/f", content = "x"})', 'file.directory("ROOT/d/e")'
    for lines in ((write,), (write, folder), (folder,)):
        task(home, *lines)
        home.run("run", "site.sloth")
    assert prune(home) == {"f": "remove"}
    assert sorted(tree(home)) == ["d", "d/e"]
    task(home)
    assert prune(home) == {"e": "remove"}
    assert tree(home) == {}


def test_a_file_that_was_made_for_a_line_stays_as_long_as_it_is_named_and_goes_then(home: Home) -> None:
    line, file = 'file.line({path = "ROOT/d/f", line = "x", create = true})', 'file.touch("ROOT/d/f")'
    for lines in ((line,), (line, file), (file,)):
        task(home, *lines)
        home.run("run", "site.sloth")
    assert list(prune(home).values()) == ["remove"]
    assert sorted(tree(home)) == ["d", "d/f"]
    task(home)
    assert list(prune(home).values()) == ["remove"]
    assert tree(home) == {}


def test_what_was_ours_in_a_folder_that_a_task_removes_is_forgotten_with_it(home: Home) -> None:
    made = 'file.write({dest = "ROOT/d/sub/f", content = "x"})'
    task(home, 'file.directory("ROOT/d")', made, 'file.line({path = "ROOT/d/sub/f", line = "y"})')
    home.run("run", "site.sloth")
    task(home, 'file.write({dest = "ROOT/d/theirs", content = "x"})', file="other.sloth")
    home.run("run", "other.sloth")
    task(
        home,
        'file.write({dest = "ROOT/dd", content = "x"})',
        'file.absent({path = "ROOT/d", recursive = true})',
    )
    home.run("run", "site.sloth")
    left = [entry.address for entry in entries(home.app().store(), LOCAL)]
    assert left == [f"file:{home.cwd}/t/{name}" for name in ("d", "d/theirs", "dd")]
    home.run("run", "site.sloth")
    found = home.run("drift", "-o", "json").json["resources"]
    assert [Path(row["address"]).name for row in found if row["status"] != "ok"] == ["theirs"]


def test_of_two_lines_alike_only_one_of_which_is_ours_none_is_taken(home: Home) -> None:
    (home.cwd / "t" / "a").write_text("first\n")
    task(home, 'file.line({path = "ROOT/a", line = "new"})')
    home.run("run", "site.sloth")
    (home.cwd / "t" / "a").write_text("new\nfirst\nnew\n")
    task(home)
    (row,) = home.run("prune", "site.sloth", "--yes", "-o", "json").json["resources"]
    assert row["action"] == "keep"
    assert "the line is there 2 times" in row["reason"]
    assert (home.cwd / "t" / "a").read_text() == "new\nfirst\nnew\n"
    (home.cwd / "t" / "a").write_text("new\nfirst\n")
    assert list(prune(home).values()) == ["remove"]
    assert (home.cwd / "t" / "a").read_text() == "first\n"


SSHD = 'file.line({path = "ROOT/f", regexp = "^Port", line = "Port 2200"})'
WHOLE = 'file.write({dest = "ROOT/f", content = "# ours\\nPort 2200\\n"})'
JSON = 'file.set_key({path = "ROOT/f.json", key = "a", value = 2})'
BLOCK = 'file.block({path = "ROOT/f", block = "Port 2200"})'


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (SSHD, WHOLE),
        (WHOLE, SSHD),
        (SSHD, SSHD.replace("^Port", "^#?Port")),
        (SSHD, 'file.line({path = "ROOT/f", line = "Port 2200"})'),
        ('file.line({path = "ROOT/f", line = "Port 2200"})', SSHD),
        (BLOCK, WHOLE.replace("Port 2200", "# BEGIN sloth-runner\\nPort 2200\\n# END sloth-runner")),
        (JSON, """file.write({dest = "ROOT/f.json", content = '{"a": 2}\\n'})"""),
        ('archive({src = "one.tar", dest = "ROOT"})', 'archive({src = "two.tar", dest = "ROOT"})'),
        ('archive({src = "one.tar", dest = "ROOT"})', 'file.copy({src = "a", dest = "ROOT/a"})'),
        (SSHD.replace("})", ", sensitive = true})"), SSHD.replace("^Port", "^#?Port")),
    ],
)  # fmt: skip
def test_what_the_file_names_in_another_way_is_not_undone(home: Home, old: str, new: str) -> None:
    (home.cwd / "t" / "f").write_text("Port 22\n")
    (home.cwd / "t" / "f.json").write_text('{"a": 1}\n')
    home.file("a", "ours\n")
    home.file("b", "ours, too\n")
    for name, members in (("one.tar", ("a",)), ("two.tar", ("a", "b"))):
        with tarfile.open(home.cwd / name, "w") as archive:
            for member in members:
                archive.add(home.cwd / member, member)
    task(home, old)
    home.run("run", "site.sloth")
    task(home, new)
    home.run("run", "site.sloth")
    wanted = tree(home)
    actions = set(prune(home).values())
    assert "keep" in actions and not actions & {"remove", "restore"}
    assert tree(home) == wanted
    assert home.run("run", "site.sloth", "-o", "json").json["summary"]["changed"] == 0


def test_a_part_that_is_named_no_more_goes_beside_one_that_is(home: Home) -> None:
    (home.cwd / "t" / "f").write_text("Port 22\n")
    one, two = (f'file.line({{path = "ROOT/f", line = "{line}"}})' for line in ("one", "two"))
    task(home, one, two)
    home.run("run", "site.sloth")
    task(home, two)
    assert prune(home) == {"f#one": "remove"}
    assert (home.cwd / "t" / "f").read_text() == "Port 22\ntwo\n"


@pytest.mark.parametrize("new", [SSHD.replace("^Port", "^#?Port"), WHOLE])
def test_named_in_no_way_any_more_all_is_as_it_was(home: Home, new: str) -> None:
    (home.cwd / "t" / "f").write_text("Port 22\n")
    before = tree(home)
    for line in (SSHD, new):
        task(home, line)
        home.run("run", "site.sloth")
        prune(home)
    task(home)
    prune(home)
    assert tree(home) == before
