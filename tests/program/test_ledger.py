"""Why: what the ledger promises is tried as users have it: edits by hand, dropped resources, failures, kill -9."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from sloth_runner.state.backends.sqlite import SQLiteStore
from sloth_runner.state.reseal import status
from tests.program.kit import ENCRYPTION, Home, Said


@pytest.fixture(params=["plain", "sealed"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Home]:
    """A user, and a folder ``t`` that tasks may change. What they keep of it is sealed, or all of it isn't."""
    sealed = request.param == "sealed"
    home = Home(tmp_path / "home", ENCRYPTION if sealed else {})
    yield home
    store = SQLiteStore(home.state_folder)
    found = status(store)
    assert (found.plain == 0) is sealed and (sum(found.counts.values()) > 0) is sealed
    store.close()


def target(home: Home) -> Path:
    return home.cwd / "t"


def file(home: Home, text: str, name: str = "site.sloth") -> None:
    home.file(name, text.replace("ROOT", str(target(home))))


CHAIN = """
task({name = "chain", run = function()
  file.directory("ROOT")
  file.write({dest = "ROOT/a.conf", content = "one\\n", mode = "0640"})
  local made = cmd({command = "touch ROOT/made", creates = "ROOT/made"})
  if made.changed then print("made it") end
  local out = cmd("cat ROOT/a.conf").stdout
  file.write({dest = "ROOT/copy", content = out})
end})
task({name = "after", depends_on = "chain", run = function() file.write({dest = "ROOT/last", content = "x"}) end})
"""


def test_a_plan_rehearses_a_chain_and_invents_nothing(home: Home) -> None:
    file(home, CHAIN)
    plan = home.run("plan", "site.sloth", "-o", "json").json
    chain, after = plan["tasks"]
    assert [(a["action"], a["address"].partition(":")[0]) for a in chain["actions"]] == [
        ("create", "file"),
        ("create", "file"),
        ("update", "cmd"),
        ("unknown", "cmd"),
    ]
    assert chain["stopped_at"]["line"] == 7
    assert "stdout" in chain["stopped_at"]["reason"]
    assert after["status"] == "unknown"
    assert plan["complete"] is False
    assert not target(home).exists()
    assert home.run("runs", "list", "-o", "json").json["runs"] == []
    home.run("run", "site.sloth")
    assert (target(home) / "copy").read_text() == "one\n"


def test_what_a_command_promised_to_make_is_there_for_the_next(home: Home) -> None:
    text = """task({name = "t", run = function()
      cmd({command = "mkdir -p ROOT; touch ROOT/made", creates = "ROOT/made"})
      cmd({command = "echo again", creates = "ROOT/made"})
    end})"""
    file(home, text)
    plan = home.run("plan", "site.sloth", "-o", "json").json
    assert plan["complete"] and len(plan["tasks"][0]["actions"]) == 1
    home.run("run", "site.sloth")
    assert home.run("plan", "site.sloth", "-o", "json").json["summary"]["update"] == 0


def test_a_plan_is_what_a_run_does(home: Home) -> None:
    text = """task({name = "t", run = function()
      file.directory("ROOT/d")
      file.write({dest = "ROOT/d/a", content = "1\\n"})
      file.absent("ROOT/d/a")
      file.write({dest = "ROOT/b", content = tostring(state.get("n", 0))})
      state.increment("n")
    end})"""
    file(home, text)
    plan = home.run("plan", "site.sloth", "--detailed-exitcode", "-o", "json", code=2).json
    assert plan["summary"] == {"create": 3, "update": 0, "delete": 1, "unknown": 0, "state": 1}
    assert home.run("run", "site.sloth", "-o", "json").json["tasks"][0]["status"] == "changed"
    plan = home.run("plan", "site.sloth", "-o", "json").json
    assert [a["action"] for a in plan["tasks"][0]["actions"]] == ["none", "create", "delete", "update"]


def test_an_edit_by_hand_is_shown_by_drift_and_repaired_by_run(home: Home) -> None:
    file(home, 'task({name = "t", run = function() file.write({dest = "ROOT/a", content = "1\\n2\\n"}) end})')
    home.run("run", "site.sloth")
    assert home.run("drift", "--detailed-exitcode").out.endswith("1 resource checked, 0 drifted\n")
    first = home.run("runs", "show", "last", "-o", "json").json["run"]
    home.run("run", "site.sloth")
    path = target(home) / "a"
    path.write_text("1\n2\n3\n")
    assert home.run("drift", "-o", "json").json["resources"][0]["last"]["run"] == first, (
        "the run that applied it"
    )
    said = home.run("drift", "--detailed-exitcode", code=2)
    assert "+3" in said.out
    for pattern in ("file:*/a.content", "*content", f"file:{target(home)}/a.c*"):
        assert home.run("drift", "--detailed-exitcode", "--ignore", pattern).err == "", pattern
    idle = home.run("drift", "--detailed-exitcode", "--ignore", "fiel:/a.content", code=2).err
    assert "--ignore 'fiel:/a.content' is of no resource that is recorded" in idle
    action = home.run("plan", "site.sloth", "-o", "json").json["tasks"][0]["actions"][0]
    assert (action["action"], action["drifted"]) == ("update", True)
    home.run("run", "site.sloth")
    assert path.read_text() == "1\n2\n"
    path.unlink()
    assert home.run("drift", "-o", "json").json["resources"][0]["status"] == "missing"


def test_a_resource_that_drift_cant_look_at_is_not_well(home: Home) -> None:
    target(home).mkdir()
    path = target(home) / "a"
    path.write_text("one\n")
    (target(home) / "b").write_text("one\n")
    lines = (f'file.line({{path = "ROOT/{name}", line = "two"}})' for name in "ab")
    file(home, f'task({{name = "t", run = function() {" ".join(lines)} end}})')
    home.run("run", "site.sloth")
    path.unlink()
    path.mkdir()
    said = home.run("drift", "--detailed-exitcode", code=1)
    assert said.out.endswith("2 resources checked, 0 drifted, 1 could not be looked at\n")
    (target(home) / "b").write_text("one\n")
    home.run("drift", "--detailed-exitcode", code=2)
    home.run("drift", code=1)


def test_the_three_checksums_tell_who_changed_what(home: Home) -> None:
    def write(content: str) -> None:
        text = f'task({{name = "t", run = function() file.write({{dest = "ROOT/a", content = "{content}"}}) end}})'
        file(home, text)

    def reason() -> str:
        return str(home.run("plan", "site.sloth", "-o", "json").json["tasks"][0]["actions"][0]["reason"])

    target(home).mkdir()
    (target(home) / "a").write_text("1")
    write("1")
    assert "adopted" in reason()
    home.run("run", "site.sloth")
    write("2")
    assert reason() == "the file changed"
    (target(home) / "a").write_text("3")
    assert "conflict" in reason()
    write("1")
    assert reason().startswith("the machine drifted")


def traceless(home: Home, said: Said, canary: str) -> bool:
    """Whether neither a run's output nor anything that is kept of it holds a secret."""
    later = home.run("runs", "show", "last", "-o", "json")
    stored = b"".join(path.read_bytes() for path in home.state_folder.rglob("*") if path.is_file())
    return canary.encode() not in stored and canary not in said.out + said.err + later.out


OVER_LINES = [
    'file.write({dest = "ROOT/a", content = "1"}); file.write({\n'
    '  content = "CANARY",\nEXTRA\n  sensitive = true,\n})',
    'file.write({\n  sensitive = true,\n  content = "CANARY" .. cmd("true").stdout, dest = "ROOT/b"EXTRA\n})',
    'file.write({\n  content = "CANARY", dest = file.directory("ROOT/d").path .. "/f"EXTRA,\n  sensitive = true })',
]


@pytest.mark.parametrize("extra", ["", " .. missing", ", bogus = 1"])
@pytest.mark.parametrize("call", OVER_LINES)
def test_a_secret_in_a_call_over_several_lines_leaves_no_trace(home: Home, call: str, extra: str) -> None:
    canary = "c4n4ry-s3cr3t"
    own = f'  dest = "ROOT/b"{extra},'
    call = call.replace("CANARY", canary).replace("EXTRA", own if "\nEXTRA" in call else extra)
    file(home, f'task({{name = "t", run = function()\n{call}\nend}})')
    said = home.run("run", "site.sloth", code=1 if extra else 0)
    assert traceless(home, said, canary)
    file(home, f'task({{name = "t", run = function()\n{call}\nend}})')
    assert home.run("prune", "site.sloth", "--yes", "-o", "json").json["summary"]["remove"] == 0
    file(home, 'task({name = "t", run = function()\nend})')
    removed = home.run("prune", "site.sloth", "--yes", "-o", "json").json["summary"]["remove"]
    assert removed > 0 or extra


@pytest.mark.parametrize("first", ["", ", bogus = 1", ', mode = "9"'])
def test_a_secret_beside_another_call_on_its_line_leaves_no_trace(home: Home, first: str) -> None:
    canary = "c4n4ry-s3cr3t"
    plain = f'file.write({{dest = "ROOT/a", content = "1"{first}}})'
    secret = f'file.write({{dest = "ROOT/b", content = "{canary}", sensitive = true}})'
    file(home, f'task({{name = "t", run = function()\n{plain}; {secret}\nend}})')
    said = home.run("run", "site.sloth", code=1 if first else 0)
    assert traceless(home, said, canary)
    file(home, 'task({name = "t", run = function()\nend})')
    actions = home.run("prune", "site.sloth", "--yes", "-o", "json").json["summary"]
    assert actions["remove"] == (0 if first else 2)


def test_a_sensitive_file_that_only_the_machine_changed_is_no_conflict(home: Home) -> None:
    target(home).mkdir()
    text = 'file.write({dest = "ROOT/a", content = "1", sensitive = true})'
    file(home, f'task({{name = "t", run = function() {text} end}})')
    home.run("run", "site.sloth")
    (target(home) / "a").write_text("3")
    plan = home.run("plan", "site.sloth", "-o", "json").json
    assert plan["tasks"][0]["actions"][0]["reason"].startswith("the machine drifted")


PRUNED = """
task({name = "keep", run = function()
  file.directory("ROOT")
  for _, n in ipairs({NAMES}) do
    file.write({dest = "ROOT/" .. n, content = n})
  end
EXTRA
end})
"""


def pruned(home: Home, names: str, extra: str = "", more: str = "") -> None:
    file(home, PRUNED.replace("NAMES", names).replace("EXTRA", extra) + more)


def test_what_is_dropped_from_the_file_is_pruned(home: Home) -> None:
    target(home).mkdir()
    (target(home) / "old").write_text("before")
    (target(home) / "old").chmod(0o604)
    extra = '  file.write({dest = "ROOT/old", content = "ours", mode = "0600"})'
    more = 'task({name = "gone", run = function() file.write({dest = "ROOT/deep/er/x", content = "x"}) end})'
    pruned(home, '"a", "b"', extra, more)
    home.run("run", "site.sloth")
    assert "nothing" not in home.run("prune", "site.sloth", "--yes").out
    assert (target(home) / "b").exists(), "nothing was dropped yet"
    pruned(home, '"a"')
    shown = home.run("prune", "site.sloth", code=8)
    assert "shrunk" not in shown.out
    assert (target(home) / "b").exists(), "without consent nothing is done"
    document = home.run("prune", "site.sloth", "--yes", "-o", "json").json
    assert document["summary"] == {"remove": 2, "restore": 1, "forget": 0, "keep": 0}
    left = sorted(str(p.relative_to(target(home))) for p in target(home).rglob("*"))
    assert left == ["a", "old"]
    assert (target(home) / "old").read_text() == "before"
    assert (target(home) / "old").stat().st_mode & 0o7777 == 0o604
    assert home.run("prune", "site.sloth", "--yes", "-o", "json").json["resources"] == []


def test_prune_keeps_conflicts_and_what_was_not_evaluated(home: Home) -> None:
    extra = '  if state.get("more", true) then file.write({dest = "ROOT/later", content = "l"}) end'
    pruned(home, '"a", "b"', extra)
    home.run("run", "site.sloth")
    home.run("state", "set", "more", "--json", "false")
    (target(home) / "b").write_text("by hand")
    pruned(home, '"a"', extra)
    document = home.run("prune", "site.sloth", "--yes", "-o", "json").json
    kept = {Path(row["address"]).name: row["reason"] for row in document["resources"]}
    assert "conflict" in kept["b"] and "not evaluated" in kept["later"]
    assert (target(home) / "b").read_text() == "by hand"
    assert (target(home) / "later").exists()
    said = home.run("prune", "site.sloth", "--yes", "--max-prune", "1")
    assert "2 to keep" in said.out


def test_what_somebody_else_made_is_never_touched(home: Home) -> None:
    target(home).mkdir()
    (target(home) / "a").write_text("a")
    pruned(home, '"a"')
    home.run("run", "site.sloth")
    pruned(home, '"z"')
    row = home.run("prune", "site.sloth", "--yes", "-o", "json").json["resources"][0]
    assert row["action"] == "forget"
    assert (target(home) / "a").read_text() == "a"


HANDLED = """
handler({name = "restart", run = function() cmd("echo restarted >> ROOT/log") end})
task({name = "conf", run = function()
  file.write({dest = "ROOT/conf", content = "VALUE", notify = "restart"})
  cmd({command = "touch ROOT/once", creates = "ROOT/once", notify = "restart"})
end})
task({name = "next", depends_on = "conf", run = function() BODY end})
"""


def log(home: Home) -> int:
    path = target(home) / "log"
    return len(path.read_text().splitlines()) if path.exists() else 0


def test_a_handler_survives_a_failure_and_runs_once(home: Home) -> None:
    file(home, HANDLED.replace("BODY", 'error("no")').replace("VALUE", "1"))
    said = home.run("run", "site.sloth", code=1)
    assert "still due on local" in said.out
    assert log(home) == 0
    file(home, HANDLED.replace("BODY", "").replace("VALUE", "1"))
    home.run("run", "site.sloth")
    assert log(home) == 1
    home.run("run", "site.sloth")
    assert log(home) == 1
    file(home, HANDLED.replace("BODY", "").replace("VALUE", "2"))
    home.run("run", "site.sloth")
    assert log(home) == 2


def test_a_handler_survives_kill_9(home: Home) -> None:
    body = 'cmd("echo ready; sleep 60")'
    file(home, HANDLED.replace("BODY", body).replace("VALUE", "1"))
    with home.start("run", "site.sloth") as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "ready" in line:
                break
        os.kill(process.pid, signal.SIGKILL)
    file(home, HANDLED.replace("BODY", "").replace("VALUE", "1"))
    home.run("lock", "break", "stack:site", "--shared", "--yes", "--reason", "it was killed")
    home.run("run", "site.sloth")
    assert log(home) == 1


def test_an_unknown_handler_is_refused(home: Home) -> None:
    file(home, HANDLED.replace('notify = "restart"', 'notify = "restrat"').replace("BODY", ""))
    said = home.run("run", "site.sloth", code=1)
    assert "did you mean 'restart'?" in said.out


@pytest.mark.parametrize("there", [False, True])
def test_a_sensitive_resource_leaves_no_trace_of_its_content(home: Home, there: bool) -> None:
    canary, before = "c4n4ry-s3cr3t", "0ld-c4n4ry"
    if there:
        target(home).mkdir(exist_ok=True)
        (target(home) / "secret").write_text(before)
    text = f"""task({{name = "t", run = function()
      file.write({{dest = "ROOT/secret", content = "{canary}", mode = "0600", sensitive = true}})
    end}})"""
    file(home, text)
    out = ""
    for line in ("plan site.sloth -v", "run site.sloth --diff -v", "drift -v"):
        said = home.run(*line.split())
        out += said.out + said.err
    (target(home) / "secret").write_text("other")
    for argv in (
        ("drift",),
        ("plan", "site.sloth"),
        ("run", "site.sloth", "--diff"),
        ("runs", "show", "last"),
    ):
        said = home.run(*argv)
        out += said.out + said.err
    out += home.run("resource", "show", f"file:{target(home)}/secret", "-o", "json").out
    for secret in (canary, before):
        digest = hashlib.sha256(secret.encode()).hexdigest()
        assert secret not in out and digest not in out
        for path in home.state_folder.rglob("*"):
            if path.is_file():
                data = path.read_bytes()
                assert secret.encode() not in data and digest.encode() not in data
    assert (target(home) / "secret").read_text() == canary


WRITE = 'file.write({dest = "ROOT/f.ini", content = "[a]\\nb = 1\\n"})'
PARTS = {
    "file.line": 'file.line({path = "ROOT/f.ini", line = "c = 2", create = true})',
    "file.block": 'file.block({path = "ROOT/f.ini", block = "c = 2", create = true})',
    "file.set_key": 'file.set_key({path = "ROOT/f.ini", key = "a.c", value = "2", create = true})',
    "file.replace": 'file.replace({path = "ROOT/f.ini", regexp = "b = 1", replacement = "b = 3"})',
}


@pytest.mark.parametrize("part", PARTS)
def test_what_another_call_of_ours_made_of_a_file_is_not_told_as_others_work(home: Home, part: str) -> None:
    file(home, f'task({{name = "t", run = function() {WRITE}\n{PARTS[part]} end}})')
    home.run("run", "site.sloth")
    assert home.run("drift", "--detailed-exitcode").out.endswith(" 0 drifted\n")
    actions = home.run("plan", "site.sloth", "-o", "json").json["tasks"][0]["actions"]
    assert [action["drifted"] for action in actions] == [False, False]
    assert actions[0]["reason"].startswith(f"{part} of task t changed it since, in run 2")
    said = home.run("run", "site.sloth")
    assert f"{part} of task t changed it since, in run 2" in said.out
    assert "by others" not in said.out
    if part != "file.replace":  # there is something to replace again, whoever brought it
        assert actions[1]["reason"] == "a call before it changes it"
        assert "file.write of task t changed it since" in said.out
    with (target(home) / "f.ini").open("a") as stream:
        stream.write("d = 4\n")
    told = home.run("drift", "--detailed-exitcode", code=2).out
    assert f"file:{target(home)}/f.ini drifted" in told
    assert f"    {part} of task t changed it since, in run 2" in told
    assert ", and others have: both show here\n" in told
    assert "by others" in home.run("run", "site.sloth").out


@pytest.mark.parametrize("whole_first", [True, False])
@pytest.mark.parametrize("part", ["file.line", "file.block", "file.set_key"])
def test_what_a_task_names_otherwise_now_has_not_drifted(home: Home, part: str, whole_first: bool) -> None:
    lines = (WRITE, PARTS[part]) if whole_first else (PARTS[part], WRITE)
    for line in lines:
        file(home, f'task({{name = "t", run = function() {line} end}})')
        home.run("run", "site.sloth")
    assert home.run("drift", "--detailed-exitcode").out.endswith(" 0 drifted\n")
    row = home.run("drift", "file:", "-o", "json").json["resources"][0]
    assert whole_first is (row["reason"] is not None), "whoever came first has been changed since"
    (target(home) / "f.ini").write_text("others\n")
    assert home.run("drift", "--detailed-exitcode", code=2).out.endswith(" 2 drifted\n")


def test_what_others_took_back_is_their_work_though_a_call_of_ours_had_it_so(home: Home) -> None:
    file(home, f'task({{name = "t", run = function() {WRITE}\n{PARTS["file.line"]} end}})')
    home.run("run", "site.sloth")
    (target(home) / "f.ini").write_text("[a]\nb = 1\n")
    said = home.run("drift", "--detailed-exitcode", code=2).out
    assert "file.line" in said and said.endswith(" 1 drifted\n")


def test_what_a_sensitive_call_made_of_a_file_is_told_without_what_it_is(home: Home) -> None:
    hidden = 'file.line({path = "ROOT/f.ini", regexp = "^word=", line = "word=c4n4ry", sensitive = true})'
    file(home, f'task({{name = "t", run = function() {WRITE}\n{hidden} end}})')
    home.run("run", "site.sloth")
    digest = hashlib.sha256((target(home) / "f.ini").read_bytes()).hexdigest().encode()
    assert not any(digest in path.read_bytes() for path in home.state_folder.rglob("*") if path.is_file())
    assert home.run("drift", "--detailed-exitcode").out.endswith(" 0 drifted\n")
    said = home.run("run", "site.sloth").out
    assert "file.line of task t changed it since" in said and "c4n4ry" not in said


def test_what_a_purge_of_ours_took_away_is_not_missed_as_taken_by_others(home: Home) -> None:
    (home.cwd / "tree").mkdir()
    (home.cwd / "tree" / "a").write_text("a")
    copy = 'file.copy({src = "tree", dest = "ROOT/d", purge = true})'
    more = (
        'file.write({dest = "ROOT/d/more", content = "x\\n"}) file.line({path = "ROOT/d/more", line = "y"})'
    )
    beside = 'file.write({dest = "ROOT/d2", content = "x"})'
    file(home, f'task({{name = "t", run = function() {copy} {more} {beside} end}})')
    home.run("run", "site.sloth")
    actions = home.run("plan", "site.sloth", "-o", "json").json["tasks"][0]["actions"]
    reasons = {
        action["address"].rpartition("/")[2]: action["reason"] for action in actions if action["reason"]
    }
    assert reasons["more"] == "a call before it changes it" == reasons["more#y"]
    assert reasons["d"].startswith("file.write of task t changed it since")
    assert home.run("drift", "--detailed-exitcode").out.endswith(" 0 drifted\n")
    (target(home) / "d" / "others").write_text("")
    assert home.run("drift", "--detailed-exitcode", code=2).out.endswith(" 1 drifted\n")
    (target(home) / "d" / "others").unlink()
    said = home.run("run", "site.sloth").out
    assert "removed from" in said and "by others" not in said
    file(home, f'task({{name = "t", run = function() {copy} {beside} end}})')
    home.run("run", "site.sloth")
    rows = home.run("resource", "list", "-o", "json").json["resources"]
    assert {Path(row["address"]).name for row in rows} == {"d", "a", "d2"}
    assert home.run("drift", "--detailed-exitcode").out.endswith(" 0 drifted\n")


def test_forgetting_leaves_the_machine_alone(home: Home) -> None:
    pruned(home, '"a"')
    home.run("run", "site.sloth")
    address = f"file:{target(home)}/a"
    home.run("resource", "forget", address, "--yes")
    home.run("resource", "show", address, code=4)
    assert (target(home) / "a").exists()
