"""Runs as users see them: what is started after a failure, what is left out and why, and how a run goes on."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.program.kit import PROGRAM, Home

CHAIN = """
task({name="a", run=function() error("broken") end})
task({name="b", depends_on="a", run=function() state.set("b", 1) end})
task({name="c", depends_on="b", run=function() state.set("c", 1) end})
task({name="d", run=function() state.set("d", 1) end})
"""


def tasks(document: Any) -> dict[str, tuple[str, str | None]]:
    """Status and reason of each task."""
    return {task["name"]: (task["status"], task["reason"]) for task in document["tasks"]}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.mark.parametrize("jobs", ["1", "4"])
def test_what_depends_on_a_failure_at_any_distance_is_skipped(home: Home, jobs: str) -> None:
    home.file("t.sloth", CHAIN)
    found = tasks(home.run("run", "t.sloth", "-k", "-j", jobs, "-o", "json", code=1).json)
    assert {name: status for name, (status, _) in found.items()} == {
        "a": "failed",
        "b": "skipped",
        "c": "skipped",
        "d": "ok",
    }
    assert found["b"][1] == "it depends on 'a', which failed"
    assert found["c"][1] == "it depends on 'b', which was skipped"
    assert home.run("state", "list").out.split("\t")[0] == "d"


def test_without_keep_going_nothing_new_starts(home: Home) -> None:
    home.file("t.sloth", CHAIN)
    found = tasks(home.run("run", "t.sloth", "-o", "json", code=1).json)
    assert found["d"] == ("skipped", "not started after 'a' failed (-k goes on)")
    assert home.run("state", "list").out == ""


def test_a_run_goes_on_where_it_stopped(home: Home) -> None:
    text = """
    task({name="first", run=function() state.increment("first") return {n = 7} end})
    task({name="second", depends_on="first", run=function(this, params, deps)
      if not state.get("fixed") then error("not yet") end
      state.set("seen", deps.first.n)
    end})
    """
    home.file("t.sloth", text)
    run = home.run("run", "t.sloth", "-o", "json", code=1).json["run"]
    home.run("state", "set", "fixed", "yes")
    home.run("run", "t.sloth", "--resume", run)
    assert home.value("first") == "1"
    assert home.value("seen") == "7"


def test_runs_belong_to_the_stack_that_they_were_of_whatever_its_name(home: Home) -> None:
    text = 'task({name="a", run=function() state.increment("a") end})'
    home.file("r1.sloth", text)
    (home.cwd / "other").mkdir()
    home.file("other/r1.sloth", text)

    def run(*words: str) -> str:
        return str(home.run("run", *words, "-o", "json").json["run"])

    def stacks(*words: str) -> dict[str, str]:
        rows = home.run("runs", "list", *words, "-o", "json").json["runs"]
        return {row["run"]: row["stack"] for row in rows}

    def counts() -> dict[str, tuple[int, str]]:
        rows = home.run("stack", "list", "-o", "json").json["stacks"]
        return {row["stack"]: (row["runs"], row["last_run"]) for row in rows}

    first = run("r1.sloth")
    home.run("stack", "rename", "r1", "old")
    second = run("other/r1.sloth")
    assert home.run("runs", "show", first, "-o", "json").json["stack"] == "old"
    said = home.run("run", "other/r1.sloth", "--resume", first, code=64)
    assert "was of the stack 'old', this is 'r1'" in said.err
    third = run("-f", "r1.sloth", "old", "--resume", first)
    assert home.value("a") == "2"
    assert stacks() == {first: "old", second: "r1", third: "old"}
    home.run("stack", "forget", "old", "--yes")
    assert stacks() == {first: "old", second: "r1", third: "old"}
    assert stacks("--stack", "r1") == {second: "r1"}
    assert set(stacks("--stack", "old")) == {first, third}
    assert counts() == {"r1": (1, second)}
    said = home.run("run", "other/r1.sloth", "--resume", first, code=64)
    assert "was of the stack 'old', this is 'r1'" in said.err
    fourth = run("-f", "r1.sloth", "old")
    assert counts() == {"old": (1, fourth), "r1": (1, second)}
    assert stacks("--stack", "old") == {fourth: "old"}
    said = home.run("run", "-f", "r1.sloth", "old", "--resume", first, code=64)
    assert "was of the stack 'old', which was forgotten since" in said.err
    assert "unchanged: nothing was run" in said.err
    assert home.value("a") == "3"


def test_what_a_transaction_says_is_shown_once_also_if_it_fails(home: Home) -> None:
    text = """task({name = "t", run = function()
      pcall(state.transaction, function()
        print("looking")
        state.set("never", values.missing or 1)
        error("no")
      end)
    end})"""
    home.file("t.sloth", text)
    said = home.run("run", "t.sloth")
    assert said.err.count("looking") + said.out.count("looking") == 1
    assert "values.missing is missing" in said.err + said.out
    assert home.run("state", "list").out == ""


RETURNS = """
task({name = "nothing", run = function() end})
task({name = "yes", run = function() return true end})
task({name = "text", run = function() return "s" end})
task({name = "message", run = function() return true, "all well" end})
task({name = "all", run = function() return true, "three of them", {n = 3} end})
task({name = "last", depends_on = {"nothing", "yes", "text", "message", "all"}, run = function(this, params, deps)
  state.set("seen", {deps.nothing == nil, deps.yes, deps.text, deps.message, deps.all.n})
  if values.fail then error("later") end
end})
"""


def test_a_task_gets_what_those_before_it_returned_also_when_the_run_goes_on(home: Home) -> None:
    home.file("t.sloth", RETURNS)
    first = home.run("run", "t.sloth", "--set", "fail=true", "-o", "json", code=1).json
    assert [[line["text"] for line in task["log"]] for task in first["tasks"][3:5]] == [
        ["all well"],
        ["three of them"],
    ]
    seen = home.value("seen", "-o", "json")
    home.run("state", "delete", "seen", "--yes")
    home.run("run", "t.sloth", "--resume", first["run"])
    assert home.value("seen", "-o", "json") == seen
    assert json.loads(seen)["value"] == [True, True, "s", True, 3]


def test_a_failing_task_is_tried_again_and_its_hooks_are_called(home: Home) -> None:
    text = """
    task({name="shaky", retries=2, retry_delay=0.01,
      run=function() if state.increment("tries") < 3 then error("again") end return {v = 1} end,
      on_success=function(this, result) state.set("won", this.name .. result.v) end,
      on_failure=function() state.set("lost", true) end})
    task({name="hopeless", retries=1, retry_delay=0.01,
      run=function() state.increment("hopeless") return false, "no use" end,
      on_failure=function(this, err) state.set("why", err.message) end})
    """
    home.file("t.sloth", text)
    home.run("run", "t.sloth", code=1)
    assert home.value("tries") == "3"
    assert home.value("won") == "shaky1"
    assert home.run("state", "exists", "lost", code=1).out == "false\n"
    assert home.value("hopeless") == "2"
    assert home.value("why") == "no use"


def test_conditions_leave_tasks_out_without_holding_up_others(home: Home) -> None:
    text = """
    task({name="no", run_if=false, run=function() error("ran") end})
    task({name="shell", run_if="exit 1", run=function() error("ran") end})
    task({name="done", unless=function() return true end, run=function() error("ran") end})
    task({name="yes", depends_on={"no", "done"}, run_if="test -d /", run=function() end})
    """
    home.file("t.sloth", text)
    found = tasks(home.run("run", "t.sloth", "-o", "json").json)
    assert [found[name][0] for name in ("no", "shell", "done", "yes")] == ["skipped"] * 3 + ["ok"]
    assert all(found[name][1] for name in ("no", "shell", "done"))


def test_only_what_is_selected_runs(home: Home) -> None:
    text = "\n".join(
        f'task({{name="{name}", tags={{"{tag}"}}, run=function() end}})'
        for name, tag in (("a", "x"), ("b", "y"), ("c", "x"))
    )
    home.file("t.sloth", text)

    def ran(*options: str) -> list[str]:
        return list(tasks(home.run("run", "t.sloth", "-o", "json", *options).json))

    assert ran("--tags", "x") == ["a", "c"]
    assert ran("--skip-tags", "x") == ["b"]
    assert ran("--task", "b") == ["b"]
    assert "did you mean" in home.run("run", "t.sloth", "--task", "bb", code=64).err
    for verb in ("run", "plan"):
        said = home.run(verb, "t.sloth", "--task", "a", "--tags", "y", code=64)
        assert "--task and --tags exclude each other" in said.err and "nothing was run" in said.err


def test_a_workflow_that_lists_tasks_runs_those_and_what_they_need(home: Home) -> None:
    text = """
    task({name="need", run=function() end})
    task({name="a", tags="x", depends_on="need", run=function() end})
    task({name="b", tags={"x", "y"}, run=function() end})
    task({name="c", run=function() end})
    workflow.define("w", {tasks = {"c", "a"}})
    """
    home.file("t.sloth", text)

    def ran(*options: str, code: int = 0) -> list[str]:
        return list(tasks(home.run(*options[:1], "t.sloth", "-o", "json", *options[1:], code=code).json))

    assert ran("run") == ran("plan") == ["need", "a", "c"]
    assert ran("run", "--tags", "x") == ["need", "a"]
    assert ran("run", "--task", "b") == ["b"]
    assert ran("run", "--skip-tags", "y") == ["need", "a", "c"]
    said = home.run("run", "t.sloth", "--tags", "y", code=64)
    assert "no task that the workflow lists has the tag 'y'" in said.err
    home.file("t.sloth", text.replace('{"c", "a"}', "{}"))
    said = home.run("run", "t.sloth", code=5)
    assert "tasks is empty: leave it out if all tasks of the file belong to the workflow" in said.err


def test_what_on_complete_raises_is_shown_with_its_place(home: Home) -> None:
    text = """task({name="a", run=function() state.set("k", 1) end})
    workflow.define("w", {on_complete=function(ok)
      error("the end is bad")
    end})
    """
    file = home.file("t.sloth", text)
    said = home.run("run", "t.sloth", code=1)
    block, summary = said.out.split("\n[run] on_complete failed\n")[1].rsplit("\n", 2)[0:2]
    assert block.startswith("error[E-TASK]: the end is bad\n")
    assert f"  --> {file}:3:7\n" in block and '3 |       error("the end is bad")' in block
    assert summary.startswith("1 ok, 0 changed, 0 failed, 0 skipped, on_complete failed; state: 1 write")
    document = home.run("run", "t.sloth", "-o", "json", code=1).json
    (error,) = document["hook_errors"]
    assert (error["code"], error["message"], error["file"], error["line"]) == (
        "E-TASK", "the end is bad", str(file), 3,
    )  # fmt: skip
    assert home.run("runs", "show", "-o", "json").json["hook_errors"] == [error]
    home.file("t.sloth", text.replace("error", "print"))
    assert "hook_errors" not in home.run("run", "t.sloth", "-o", "json").json


def test_a_selection_that_leaves_nothing_is_refused(home: Home) -> None:
    home.file("t.sloth", 'task({name="a", tags={"x"}, run=function() state.set("a", 1) end})')
    for verb in ("run", "plan"):
        for options in (("--tags", "x"), ()):
            said = home.run(verb, "t.sloth", *options, "--skip-tags", "x", code=64)
            assert "error[E-USAGE]: --skip-tags leaves none of the tasks" in said.err
            assert "nothing was run" in said.err
    assert home.run("runs", "list").out == ""
    home.file("empty.sloth", "")
    home.run("run", "empty.sloth")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ("--task a --task c --skip-tags x", "--skip-tags leaves out the task 'a', which --task names"),
        ("--task a --skip-tags x", "--skip-tags leaves out the task 'a', which --task names"),
        ("--task b --limit here", "--limit leaves out the task 'b', which --task names"),
        ("--task c --task b --limit here", "--limit leaves out the task 'b', which --task names"),
        ("--tags y --limit here", "--limit leaves none of the tasks that were chosen"),
        ("--task b --delegate-to here,!here", "delegate_to leaves out the task 'b', which --task names"),
    ],
)
def test_a_task_that_was_asked_for_is_never_left_out_silently(home: Home, options: str, why: str) -> None:
    home.file("sloth.toml", '[agents]\nhere = "local://"')
    home.file(
        "t.sloth",
        """
        task({name="a", tags="x", delegate_to="here", run=function() state.set("a", 1) end})
        task({name="b", tags="y", depends_on="a", run=function() end})
        task({name="c", delegate_to="here", run=function() end})
        """,
    )
    for verb in ("run", "plan"):
        said = home.run(verb, "t.sloth", *options.split(), code=64)
        assert f"error[E-USAGE]: {why}" in said.err
        assert "unchanged: nothing was run" in said.err
    assert "1 ok" in home.run("run", "t.sloth", "--task", "b", "--skip-tags", "x").out


def test_a_task_that_takes_too_long_is_ended_and_its_lock_is_free(home: Home) -> None:
    text = """
    task({name="slow", timeout=0.3, run=function()
      state.with_lock("door", 60, function() cmd("sleep 30") end)
    end})
    """
    home.file("t.sloth", text)
    said = home.run("run", "t.sloth", code=1)
    assert "E-TIMEOUT" in said.out
    assert home.run("lock", "list").out == ""


@pytest.mark.parametrize(
    "line",
    [
        'task({name = "t", run = function() SECRET end})',
        "SECRET",
        'task({name = "t", run = function() SECRET + + end})',
        'task({name = "t", run = function() end}) workflow({on_complete = function() SECRET end})',
    ],
)
def test_the_line_of_a_sensitive_call_is_not_shown_with_what_is_wrong_in_it(home: Home, line: str) -> None:
    call = 'file.line({path = "/missing", line = "c4n4ry-s3cr3t", regexp = "^c4", sensitive = true})'
    home.file("site.sloth", line.replace("SECRET", call))
    out = ""
    for command in ("validate", "plan", "run", "prune --yes"):
        for more in ([], ["-o", "json"]):
            said = home.run(*command.split(), "site.sloth", *more, code=None)
            out += said.out + said.err
    assert "site.sloth" in out and "c4n4ry-s3cr3t" not in out


FAILING = {
    "a program that ran and failed": ('cmd({command = "exit 3"', False, ["perhaps something, by `exit 3`"]),
    "a program that was stopped": ('cmd({command = "sleep 30", timeout = 0.1', False, ["perhaps something, by"]),
    "a program that is not there": ('cmd({argv = {"no-such-program"}', False, []),
    "a program that succeeded, judged a failure": ('cmd({command = "true", failed_when = true', True, ["ran `true`"]),
    "a request that reached nobody": (
        'http.request({url = "http://127.0.0.1:1/", method = "POST"', False, ["perhaps something, by POST"]
    ),
    "a folder that was made, and no file in it": (
        'file.write({dest = "ROOT/x", content = "", owner = "nobody-of-here"', True, ["made the folder"]
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", FAILING)
def test_a_failed_call_counts_as_a_change_only_if_something_is_known_to_have_changed(
    home: Home, what: str
) -> None:
    call, changed, told = FAILING[what]
    first, second = (call.replace("ROOT", str(home.cwd / folder)) for folder in ("first", "second"))
    body = f"local r = {first}, ignore_errors = true}}) print(r.changed, r.failed)"
    home.file("t.sloth", f'task({{name = "t", run = function() {body} end}})')
    document = home.run("run", "t.sloth", "-o", "json").json["tasks"][0]
    assert document["status"] == ("changed" if changed else "ok")
    assert [one["changed"] for one in document["calls"]] == [changed]
    home.file("t.sloth", f'task({{name = "t", run = function() {second}}}) end}})')
    error = home.run("run", "t.sloth", "-o", "json", code=1).json["tasks"][0]["error"]
    assert len(error["changed"]) == len(told), error
    assert all(map(str.startswith, error["changed"], told)), error


def test_what_was_changed_before_a_run_goes_on_is_named(home: Home) -> None:
    text = """
    require("lib")
    task({name = "a", run = function() return {n = values.n} end})
    task({name = "b", depends_on = "a", run = function(this, params, deps) error("broken " .. deps.a.n) end})
    """
    home.file("lib.lua", "return 1")
    home.file("t.sloth", text)
    first = home.run("run", "t.sloth", "--set", "n=1", "-o", "json", code=1).json["run"]
    same = home.run("run", "t.sloth", "--set", "n=1", "--resume", "last", "-o", "json", code=1)
    assert same.json["resumes"] == first
    assert "changed since" not in same.err
    home.file("t.sloth", text.replace("broken", "mended"))
    second = home.run("run", "t.sloth", "--set", "n=2", "--resume", first, code=1)
    assert (
        f"changed since run {first}: t.sloth, the values; tasks that are done keep their results"
        in second.out
    )
    assert "mended 1" in second.out
    home.file("lib.lua", "return 2")
    third = home.run("run", "t.sloth", "--set", "n=2", "--resume", "last", code=1)
    assert ": lib.lua; tasks" in third.out
    shown = home.run("runs", "show", "last", "-o", "json").json
    assert "made_of" not in shown


TALKING = """
task({name = "a", run = function() for i = 1, 30000 do print("line " .. i) end end})
task({name = "b", run = function() state.set("b", 1) end})
"""


@pytest.mark.parametrize("form", ["plain", "jsonl"])
def test_a_run_that_nobody_reads_any_more_is_interrupted_and_says_so_in_its_record(
    home: Home, form: str
) -> None:
    home.file("t.sloth", TALKING)
    with home.start("run", "t.sloth", "-o", form) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(60) == 141
    shown = home.run("runs", "show", "last", "-o", "json").json
    assert (shown["status"], shown["exit_code"]) == ("interrupted", 141)
    assert tasks(shown)["b"] == ("skipped", "its output can't be written any more")
    assert home.run("lock", "list", "--shared").out == ""


def test_so_is_one_whose_output_has_no_room(home: Home) -> None:
    home.file("t.sloth", TALKING)
    with open("/dev/full", "w") as full:
        done = subprocess.run([*PROGRAM, "run", "t.sloth"], stdout=full, env=home.env, cwd=home.cwd)
    assert done.returncode == 6
    shown = home.run("runs", "show", "last", "-o", "json").json
    assert (shown["status"], shown["exit_code"]) == ("interrupted", 6)


@pytest.mark.parametrize("kind", ["dumb", "xterm"])
def test_so_is_one_whose_terminal_is_gone(home: Home, kind: str) -> None:
    home.file("t.sloth", TALKING)
    terminal, end = pty.openpty()
    with subprocess.Popen(
        [*PROGRAM, "run", "t.sloth"], stdout=end, env={**home.env, "TERM": kind}, cwd=home.cwd
    ) as process:
        os.close(end)
        os.read(terminal, 10)
        os.close(terminal)
        assert process.wait(60) == 6
    shown = home.run("runs", "show", "last", "-o", "json").json
    assert (shown["status"], shown["exit_code"]) == ("interrupted", 6)


def test_a_condition_may_be_asserted_in_short(home: Home) -> None:
    home.file("t.sloth", 'task({name="a", run=function() assert.that(1 == 1) assert.that("true") end})')
    home.run("run", "t.sloth")
    home.file("t.sloth", 'task({name="a", run=function() assert.that(1 == 2) end})')
    assert "the condition is false" in home.run("run", "t.sloth", code=1).out


def test_only_a_commands_secret_is_refused_outside_tasks(home: Home) -> None:
    home.file("t.sloth", 'local s = secret({command = "echo secret"}) task({name="a", run=function() end})')
    assert (
        "secret({ command = … }) can't be called at the top level" in home.run("run", "t.sloth", code=5).err
    )


@pytest.mark.parametrize(
    ("body", "message"),
    [("return false", "the task returned false"), ("return {success = false, message = 'no'}", "no")],
)
def test_a_task_that_says_it_failed_is_told_with_its_line(home: Home, body: str, message: str) -> None:
    home.file("t.sloth", f'\ntask({{name = "t", run = function()\n  {body} end}})')
    error = home.run("run", "t.sloth", "-o", "json", code=1).json["tasks"][0]["error"]
    assert (error["message"], error["line"]) == (message, 2)
    assert error["file"].endswith("t.sloth")


def test_a_misspelt_argument_that_all_calls_have_is_suggested(home: Home) -> None:
    home.file(
        "t.sloth", 'task({name = "t", run = function() cmd({command = "true", ignore_error = true}) end})'
    )
    error = home.run("run", "t.sloth", "-o", "json", code=1).json["tasks"][0]["error"]
    assert error["next"] == ["did you mean 'ignore_errors'?"]


def test_what_a_task_does_as_a_text_is_told_how_to_write(home: Home) -> None:
    home.file("t.sloth", 'task({name = "t", run = "echo"})')
    error = home.run("run", "t.sloth", "-o", "json", code=5).json["error"]
    assert "run is a function, not a string" in error["message"]
    assert "run = function() cmd({ command = … }) end" in error["next"][0]
