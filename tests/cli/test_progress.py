"""Why: a run's account must lose no line, whatever is drawn below it, and say last what matters most."""

from __future__ import annotations

import json
from typing import Any

import pyte
import pytest
from syrupy.assertion import SnapshotAssertion

from sloth_runner.cli.progress import Progress, ending
from sloth_runner.cli.shell import Shell
from sloth_runner.cli.world import World
from sloth_runner.errors import CommandFailed
from sloth_runner.model import Event
from tests.cli.kit import NOW, Cli, Stream

ERROR = CommandFailed(
    "the command ended with status 1",
    file="/x/web.sloth",
    line=7,
    column=3,
    source='  cmd("useradd www-data")',
    system="useradd: user 'www-data' already exists",
    next=['if the user may exist: user.present, or unless = "id www-data"'],
).document(1)
DOCUMENT: dict[str, Any] = {
    "run": "20260131-090807-abcdef",
    "stack": "web",
    "file": "/x/web.sloth",
    "status": "failed",
    "exit_code": 1,
    "started": "2026-01-31T09:08:07.000Z",
    "seconds": 12.4,
    "summary": {"ok": 1, "changed": 1, "failed": 1, "skipped": 1, "state_writes": 2},
    "tasks": [
        {"name": "users", "agent": "local", "status": "failed", "seconds": 0.2, "reason": "x", "log": [], "calls": [],
         "state": [], "error": ERROR},
    ],
}  # fmt: skip

SAID = "reading 5%\rreading 99%\rread all\r\nuseradd: user exists\r"


def _events() -> list[Event]:
    def event(kind: str, task: str | None = None, agent: str | None = None, **data: object) -> Event:
        return Event(kind, NOW, task, agent, data)

    diff = "--- /etc/app.conf\n+++ /etc/app.conf\n@@ -1 +1 @@\n-port 80\n+port \x1b[31m8080\n"
    call = {"module": "file.write", "target": "local", "line": 4}
    title = {name: DOCUMENT[name] for name in ("run", "stack", "file")}
    skipped = "it depends on 'users', which failed"
    nothing = {"reason": None, "error": None, "state_writes": 0}
    return [
        event("run.started", **title, targets=["local", "web1"], tasks=4),
        event("task.output", stream="warn", text="values.host is missing", line=3),
        event("task.started", "config", "local"),
        event("task.output", "config", "local", stream="print", text="two\nlines \x1b[2J", line=4),
        event("task.output", "config", "local", stream="debug", text="only with -v", line=4),
        event(
            "call.finished", "config", "local", **call, changed=True, message="wrote /etc/app.conf", diff=diff
        ),
        event(
            "call.finished", "config", "local", **call, changed=False, message="as it should be", diff=None
        ),
        event(
            "task.finished",
            "config",
            "local",
            status="changed",
            seconds=0.31,
            **{**nothing, "state_writes": 2},
        ),
        event("task.started", "users", "web1"),
        event("task.output", "users", "web1", stream="stderr", text=SAID, line=7),
        event(
            "task.finished",
            "users",
            "web1",
            status="failed",
            seconds=12,
            **{**nothing, "reason": "exit status 1"},
        ),
        event(
            "task.finished", "later", "web1", status="skipped", seconds=0, **{**nothing, "reason": skipped}
        ),
    ]


def _told(cli: Cli, *, tty: bool = False, aside: bool = False, **options: bool) -> str:
    stream = Stream()
    world = World(
        Stream(), Stream() if aside else stream, stream if aside else Stream(), cli.environ, cli.work, lambda: NOW,
        lambda: "0" * 32, lambda seconds: None, lambda: 80, tty, tty, tty,
    )  # fmt: skip
    shell = Shell(world, "table", ["sloth-runner", "run", "web.sloth", "--set", "a=b c"])
    chosen = {"quiet": False, "verbose": False, "diffs": False, **options}
    progress = Progress(shell, aside=aside, **chosen)
    try:
        for event in _events():
            progress.emit(event)
    finally:
        progress.close()
    progress.finish(DOCUMENT, "sloth-runner run web.sloth --resume 20260131-090807-abcdef")
    return stream.text()


@pytest.mark.parametrize("options", [{}, {"quiet": True}, {"verbose": True}, {"diffs": True}], ids=str)
def test_piped(cli: Cli, options: dict[str, bool], snapshot: SnapshotAssertion) -> None:
    assert _told(cli, **options) == snapshot


@pytest.mark.parametrize("quiet", [False, True])
def test_on_a_terminal_the_same_lines_stay(cli: Cli, quiet: bool) -> None:
    screen = pyte.Screen(120, 60)
    pyte.Stream(screen).feed(_told(cli, tty=True, quiet=quiet).replace("\n", "\r\n"))
    shown = "\n".join(line.rstrip() for line in screen.display).rstrip("\n")
    assert shown == _told(cli, quiet=quiet).rstrip("\n")


def test_the_area_is_drawn_below_and_never_wider_than_the_terminal(cli: Cli) -> None:
    screen = pyte.Screen(120, 60)
    feed = pyte.Stream(screen).feed
    told = _told(cli, tty=True).replace("\n", "\r\n")
    cut = told.rindex("1 of 4 done")
    feed(told[: told.index("\r\n", told.index("\r\n", cut) + 1) + 2])
    lines = [line.rstrip() for line in screen.display if line.strip()]
    assert lines[-2:] == ["1 of 4 done, 0.0s", "  [web1] users  0.0s  useradd: user exists"]
    assert all(len(line) < 80 for line in lines[-2:])


def test_beside_the_result_it_goes_to_standard_error(cli: Cli) -> None:
    assert _told(cli, aside=True) == _told(cli)


FILE = """
task({name = "first", tags = {"a"}, run = function() print("hello"); state.set("k", 1) end})
task({name = "second", depends_on = "first", run = function()
  if state.get("broken", true) then error("no luck") end
  print("well")
end})
task({name = "third", depends_on = "second", run = function() end})
"""


def test_what_failed_alike_on_several_machines_is_told_once() -> None:
    users = DOCUMENT["tasks"][0]
    other = {**users, "agent": "web2", "error": CommandFailed("the command ended with status 2").document(1)}
    alike = [{**users, "agent": name} for name in ("web1", "web3", "web4")]
    packages = {**users, "agent": "web1", "name": "packages"}
    told = ending({**DOCUMENT, "tasks": [alike[0], other, *alike[1:], packages]}, "", 80, False)
    titles = ["[web1, web3, web4] users failed", "[web2] users failed", "[web1] packages failed"]
    assert [line for line in told if line.endswith(" failed")] == titles
    assert sum("useradd: user 'www-data' already exists" in line for line in told) == 2


def test_a_run_fails_and_goes_on(cli: Cli) -> None:
    cli.file("web.sloth", FILE)
    result = cli("run", "web.sloth")
    assert result.code == 1
    lines = result.out.splitlines()
    assert "[local] first | hello" in lines
    assert "  --> /TMP/work/web.sloth:4" in result.out
    assert "○ skipped: it depends on 'second', which failed" in result.out
    assert lines[-1].startswith("1 ok, 0 changed, 1 failed, 1 skipped; state: 1 write; ")
    again = next(line for line in lines if line.startswith("to go on where it stopped: ")).partition(": ")[2]
    cli.ok("state", "set", "broken", "--json", "false")
    cli.now += 1
    resumed = cli(*again.split()[1:])
    assert resumed.code == 0, resumed.shown()
    assert "hello" not in resumed.out and "[local] second | well" in resumed.out
    assert resumed.out.splitlines()[-1].startswith("3 ok, 0 changed, 0 failed, 0 skipped; ")
    runs = [line.split("\t")[2] for line in cli.ok("runs", "list").splitlines()]
    assert runs == ["ok", "failed"]


def test_json_and_json_lines(cli: Cli) -> None:
    cli.file("web.sloth", FILE)
    result = cli("run", "web.sloth", "-o", "json")
    document = json.loads(result.out)
    assert document["exit_code"] == result.code == 1 and "[local] first | hello" in result.err
    events = [json.loads(line) for line in cli("run", "web.sloth", "-o", "jsonl").out.splitlines()]
    assert events[0]["event"] == "run.started" and events[-1]["event"] == "run.finished"
    assert events[-1]["document"]["format"] == "sloth-runner/run"
    quiet = cli("run", "web.sloth", "-q")
    assert "hello" not in quiet.out and "error[E-TASK]" in quiet.out


def test_selection_values_and_stacks(cli: Cli) -> None:
    cli.file("v.yaml", "who: world\n")
    cli.file("web.sloth", 'task({name = "hi", tags = {"x"}, run = function() print("hi " .. values.who) end})\n'
             'task({name = "no", run = function() print("no") end})')  # fmt: skip
    one = cli("run", "-f", "web.sloth", "production", "--values", "v.yaml", "--tags", "x", "--yes")
    assert one.code == 0 and "| hi world" in one.out and "| no" not in one.out
    two = cli("run", "web.sloth", "--task", "hi", "--set-string", "who=5")
    assert "| hi 5" in two.out
    stacks = [line.split("\t")[0] for line in cli.ok("stack", "list").splitlines()]
    assert stacks == ["production", "web"]
    assert cli("run", "web.sloth", "--task", "ih").code in (5, 64)
    assert cli("run", "web.sloth", "-v", "-q").code == 64
    assert cli("run", "web.sloth", "-j", "0").code == 64
    assert cli("run", "wbe.sloth").code == 4


def test_targets(cli: Cli) -> None:
    cli.file("sloth.toml", '[agents]\nweb1 = "local://"\nweb2 = "local://"\ndb = "smoke://db.example"\n')
    cli.file("web.sloth", 'task({name = "t", run = function(this) print("on " .. this.agent) end})')
    result = cli("run", "web.sloth", "--delegate-to", "web*", "--limit", "web2")
    assert result.code == 0 and "[web2] t | on web2" in result.out and "on web1" not in result.out
    nowhere = cli("run", "web.sloth", "--delegate-to", "db")
    assert nowhere.code == 5 and "there is no way to an agent called smoke://" in nowhere.err
    assert "sloth.toml:4" in nowhere.err
    assert cli("run", "web.sloth", "--delegate-to", "@web").code == 4


def test_what_keeps_us_from_a_machine_is_told_before_the_run(cli: Cli) -> None:
    far = 'far = { url = "ssh://far.invalid", sudo_password_env = "NOT_SET" }'
    cli.file("sloth.toml", f'[agents]\nhere = "local://"\n{far}\n')
    first = 'task({name = "first", delegate_to = "here", run = function() print("begun") end})\n'
    cli.file("web.sloth", first + 'task({name = "second", delegate_to = "far", run = function() end})\n')
    result = cli("run", "web.sloth")
    assert result.code == 5 and "the variable NOT_SET" in result.err and "begun" not in result.out
    assert cli.ok("runs", "list") == "" and cli.ok("lock", "list", "--all-agents") == ""


def test_validate_and_list(cli: Cli) -> None:
    cli.file("web.sloth", FILE)
    assert cli.ok("validate", "web.sloth") == "web.sloth: 3 tasks, nothing wrong\n"
    assert cli.ok("list", "web.sloth").splitlines()[1] == "second\tlocal\tfirst\t-\t"
    cli.file("bad.sloth", 'task({name = "x", rnu = function() end})')
    bad = cli("validate", "bad.sloth")
    assert bad.code == 5 and "E-FIELD" in bad.err and "bad.sloth:1" in bad.err
    assert cli("runs", "list").out == ""


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ('pkg({ nme = "nginx" })', "pkg has no argument 'nme'"),
        ('pkg({ "nginx" })', "pkg takes arguments by name"),
        ('pkg({ name = "nginx", version = v })', "pkg has no version: say name"),
        ('file.write({ dest = "/x" .. y, mode = "0644" })', "file.write needs content"),
        ('file.write({ dest = where, content = text, mode = 644 })', "mode is octal text"),
        ('cmd({ command = line, notify = { "reload" } })', "there is no handler 'reload' in this file"),
        ('cmd({ command = line, timeout = "5 parsecs" })', "timeout is a number of seconds"),
        ('pkg({ name = names, sate = f() })', "did you mean 'state'"),
        ('ssh_key.authorized({ user = "ann", key = line })', "say account = … for whom it is about"),
        ('file.lineinfile({ path = "/x" })', "there is no function file.lineinfile"),
        ('print(apt({ name = "x" }))', "here that is pkg"),
        ('state.gett("x")', "did you mean 'get'"),
        ('values.f() env("A") os.time() string.rep("a", 2) local b = facts.os.name if c then c() end', ""),
        ('pkg({ [field] = 1 }) cmd({ command = line, when = x, notify = n }) file.write(t) pkg(names)', ""),
    ],
)  # fmt: skip
def test_validate_checks_what_calls_are_given_literally(cli: Cli, call: str, said: str) -> None:
    cli.file("site.sloth", f'task({{name = "t", run = function()\n  local a = 1 {call}\nend}})')
    result = cli("validate", "site.sloth")
    assert said in result.err and result.code == (5 if said else 0)
    assert not said or ("site.sloth:2" in result.err and "nothing was run" in result.err)
    assert cli("runs", "list").out == ""


def test_validate_checks_calls_of_files_that_are_required(cli: Cli) -> None:
    cli.file("web.lua", 'return { up = function()\n  service({ name = "nginx", enable = true })\nend }')
    cli.file("site.sloth", 'local web = require("web") task({name = "t", run = web.up})')
    result = cli("validate", "site.sloth")
    assert result.code == 5 and "web.lua:2" in result.err and "did you mean 'enabled'" in result.err


def test_logs_and_show(cli: Cli) -> None:
    cli.file("web.sloth", FILE)
    cli("run", "web.sloth")
    assert "[local] first | hello" in cli.ok("runs", "logs")
    assert cli.ok("runs", "logs", "--task", "second") == ""
    shown = cli("runs", "show", tty=True).out
    assert "error[E-TASK]" in shown and shown.splitlines()[-1].startswith("1 ok, 0 changed, 1 failed")
    rows = [line.split("\t") for line in cli.ok("runs", "show", "last").splitlines()]
    assert [row[:3] for row in rows] == [
        ["local", "first", "ok"],
        ["local", "second", "failed"],
        ["local", "third", "skipped"],
    ]


def test_a_stack_that_was_renamed_says_how_it_is_run(cli: Cli) -> None:
    cli.file("web.sloth", 'task({ name = "a", run = function() end })')
    cli.ok("run", "web.sloth")
    result = cli("stack", "rename", "web", "shop")
    assert result.out == "the stack web is shop now\n"
    assert f"sloth-runner run -f {cli.work}/web.sloth shop" in result.err.replace("/TMP/work", str(cli.work))
