"""Why: what can't be meant is refused in words, before anything is changed, and is never a fault of ours."""

from __future__ import annotations

import json

import pytest

from sloth_runner.app import App, settings_for
from tests.cli.kit import Cli

BYTE = "\udcff"
TASK = 'task({name = "t", run = function() %s end})\n'


@pytest.mark.parametrize(
    "line",
    [
        "state list B",
        "state list --after B",
        "state list --after local/B --all-agents",
        "state history B",
        "state history --prefix B",
        "state history --by B",
        "state history --after 1/2/B",
        "state watch B --timeout 1s",
        "state watch B --timeout 1s --all-agents",
        "state diff B",
        "state diff B@1",
        "state diff --from-time 1h --prefix B",
        "state diff --from-time 1h --after B",
        "state diff --to-agent local --prefix B",
        "state rollback --to-tag B --yes",
        "state rollback --to-run B --yes",
        "state tag B --delete --yes",
        "state search k --prefix B",
        "state export --prefix B",
        "runs show B",
        "stack rename B x",
        "run t.sloth --resume B",
        "state get B",
        "lock show B",
    ],
)
def test_a_name_that_is_no_text(cli: Cli, line: str) -> None:
    cli.file("t.sloth", TASK % "")
    cli.ok("state", "set", "k", "v")
    result = cli(*(word.replace("B", BYTE) for word in line.split()))
    assert (result.code, "error[E-NAME]" in result.err) == (64, True), result.shown()
    assert "must be UTF-8 text" in result.err
    assert "nothing was changed" in result.err
    assert r"'\xff'" in result.err


@pytest.mark.parametrize(
    "code",
    [
        'state.list("\\xff")',
        'state.keys("\\xff")',
        'state.watch("\\xff", function() end, {prefix = true, timeout = 1})',
        'state.transaction(function() state.list("\\xff") end)',
        'state.transaction(function() state.keys("\\xff") end)',
    ],
)
def test_a_prefix_in_a_task_that_is_no_text(cli: Cli, code: str) -> None:
    cli.file("t.sloth", TASK % code)
    result = cli("run", "t.sloth")
    assert (result.code, "E-NAME" in result.err + result.out) == (1, True), result.shown()
    assert "a prefix must be UTF-8 text" in result.out + result.err


def test_bytes_are_shown_alike(cli: Cli) -> None:
    cli.ok("state", "set", "k", "v")
    assert r"'\xff'" in cli("state", "list", "--agent", BYTE).err
    assert r"holds '\xff'" in cli("state", "search", BYTE, tty=True).err
    assert json.loads(cli.ok("state", "search", BYTE, "-o", "json"))["text"] == r"\xff"
    assert r"not '\xff'" in cli("state", "increment", "k", "--", BYTE).err


def test_a_value_that_is_no_text_is_kept_as_it_is(cli: Cli) -> None:
    cli.file("t.sloth", TASK % 'print(values.x == "a\\xff", values.y == "\\xff")')
    for option in ("--set", "--set-string"):
        assert "| true    true" in cli.ok("run", "t.sloth", option, f"x=a{BYTE}", option, f"y={BYTE}")
    refused = cli("run", "t.sloth", "--set", f"x=[{BYTE}]")
    assert (refused.code, "--set-string" in refused.err) == (64, True), refused.shown()


LONG = "9999999999999999d"


@pytest.mark.parametrize(
    "line",
    [
        f"state set k x --ttl {LONG}",
        f"lock run m --ttl {LONG} -- true",
        f"state rollback --to-time {LONG} --yes",
        f"state diff --from-time {LONG}",
        f"state show k --at {LONG}",
        f"state history k --since {LONG}",
    ],
)
def test_what_is_longer_than_anybody_means(cli: Cli, line: str) -> None:
    cli.ok("state", "set", "k", "v")
    result = cli(*line.split())
    assert (result.code, "at most 100 years" in result.err) == (64, True), result.shown()
    assert "nothing was changed" in result.err
    assert cli.ok("state", "get", "k") == "v\n"


@pytest.mark.parametrize(
    "code", ['state.set("k", 1, 1e300)', 'state.set_ttl("k", 1e300)', 'sleep("99999999w")']
)
def test_what_a_task_means_for_too_long(cli: Cli, code: str) -> None:
    cli.file("t.sloth", TASK % code)
    result = cli("run", "t.sloth")
    assert (result.code, "at most 100 years" in result.out + result.err) == (1, True), result.shown()


def test_a_key_that_was_stored_for_ever_is_listed(cli: Cli) -> None:
    app = App(
        settings_for(cli.environ, cli.work),
        clock=lambda: cli.now,
        new_id=lambda: "f" * 32,
        getenv=cli.environ.get,
    )
    app.state("local").set("huge", "x", ttl=1e300)
    app.close()
    for line in ("state list", "state show huge", "state list -o json", "state stats", "state history huge"):
        for tty in (True, False):
            assert cli(*line.split(), tty=tty).code == 0
    assert "9999-12-31T23:59:59.999Z" in cli.ok("state", "show", "huge")
    assert "in over 100 years" in cli("state", "show", "huge", tty=True).out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"$bytes": "!!"}', "takes base64; '!!' is none"),
        ('[{"$bytes": "YQ"}]', "takes base64"),
        ('{"$table": [[1, 2], [1, 3]]}', "names the key 1 twice"),
        ('{"$table": [[1, 2], [1.0, 3]]}', "names the key 1.0 twice"),
        ('{"$table": [["a"]]}', 'takes pairs [key, value]; ["a"] is none'),
        ('{"$table": [[[1], 2]]}', "[1] can't be a key"),
        ('{"a": 1, "a": 2}', "the key 'a' stands twice"),
        ('[{"a": {"b": 1, "b": 1}}]', "the key 'b' stands twice"),
        ("1e400", "too large for a number"),
        ("[-1e400]", "too large for a number"),
        ("9" * 5000, "does not fit into 64 bits"),
    ],
)
def test_what_would_be_stored_otherwise_than_written(cli: Cli, text: str, message: str) -> None:
    result = cli("state", "set", "k", "--json", "--", text)
    assert (result.code, message in result.err) == (5, True), result.shown()
    assert "nothing was changed" in result.err
    assert cli("state", "exists", "k").code == 1


def test_what_has_a_form_of_its_own_is_still_taken(cli: Cli) -> None:
    cli.ok("state", "set", "k", "--json", '{"$table": [[1, {"$bytes": "/w=="}], [true, {"$float": "inf"}]]}')
    found = json.loads(cli.ok("state", "get", "k", "-o", "json"))["value"]
    assert found == {"$table": [[True, {"$float": "inf"}], [1, {"$bytes": "/w=="}]]}


@pytest.mark.parametrize(
    "delta", ["1_000", " 1", "1 ", "٥", "+1", "1e3", ".5", "5.", "inf", "0x10", "", "9" * 50]
)
def test_what_is_no_amount(cli: Cli, delta: str) -> None:
    result = cli("state", "increment", "k", "--", delta)
    assert (result.code, "DELTA is a number" in result.err) == (64, True), result.shown()
    assert cli("state", "exists", "k").code == 1


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("true", "true"),
        ('{"a": [false]}', '{"a":[false]}'),
        ('"x"', "'x'"),
        ('{"$bytes": "//4="}', r"'\xff\xfe'"),
    ],
)
def test_what_does_not_count_is_named_as_it_was_written(cli: Cli, value: str, said: str) -> None:
    cli.ok("state", "set", "k", "--json", value)
    assert f"is not a number: {said}\n" in cli("state", "increment", "k").err


def test_nobody_goes_back_to_the_future(cli: Cli) -> None:
    for _ in range(2):
        result = cli("state", "rollback", "--to-time", "2099-01-01", "--yes")
        assert (result.code, "lies in the future" in result.err) == (64, True), result.shown()
        assert "nothing was changed" in result.err
        cli.ok("state", "set", "k", "v")
    cli.ok("state", "rollback", "--to-time", "0s", "--yes")
    cli.now -= 3600  # what a clock that is ahead has written is the past
    cli.ok("state", "rollback", "--to-time", "2026-09-21T14:13:20Z", "--yes")
    assert cli.ok("state", "get", "k") == "v\n"


def test_an_error_says_what_to_do_where_it_is_known(cli: Cli) -> None:
    bad = cli("agent", "add", "Web", "local://")
    assert (bad.code, bad.err.split("]")[0]) == (64, "error[E-NAME")
    cli.file("sloth.toml", '[agents]\nweb1 = "local://"\n')
    assert "take it out there first" in cli("agent", "add", "web1", "local://").err
    cli.ok("state", "set", "k", "v")
    assert (
        "it is there now; since when: sloth-runner state history k"
        in cli("state", "show", "k", "--at", "2h").err
    )
    cli.file("all.json", cli.ok("state", "export", "--format", "json"))
    assert "then say --format json" in cli("state", "import", "all.json").err
    (cli.work / ".sloth").mkdir()
    assert "did you mean" not in cli("run", "s.sloth").err
    missing = cli(
        "state", "migrate", "--to", "postgres://a@127.0.0.1:1/x", "--to-password-env", "NONE", "--dry-run"
    )
    assert "--to-password-env: the variable NONE" in missing.err


def test_drift_is_not_asked_of_a_file(cli: Cli) -> None:
    cli.file("t.sloth", TASK % "")
    result = cli("drift", "t.sloth")
    assert (result.code, result.out) == (4, ""), result.shown()
    assert "no recorded resource begins with 't.sloth'" in result.err
    assert "t.sloth is a file: leave it out to look at all resources" in result.err
    assert "is a file" not in cli("drift", "file:/x").err


TASKS = """
task({ name = "build", tags = "slow", run = function() end })
task({ name = "deploy", run = function() file.directory({ path = "/tmp", mode = values.mode }) end })
"""


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (("--task", "biuld"), "did you mean 'build'?"),
        (("--task", "x"), "the tasks are: build, deploy"),
        (("--tags", "nginx"), "the tags are: slow"),
        (("--limit", "web9"), "tasks run on: local"),
        (("--values", "."), "can't be read: it is a folder"),
        (("--values", "latin.yaml"), "latin.yaml is not UTF-8: there is the byte 0xe9 in this line"),
    ],
)
def test_what_is_not_in_the_file_says_what_is(cli: Cli, line: tuple[str, ...], said: str) -> None:
    cli.file("a.sloth", TASKS)
    (cli.work / "latin.yaml").write_bytes(b"name: a\ncity: Orl\xe9ans\n")
    result = cli("run", "a.sloth", *line)
    assert said in result.err
    assert "unchanged: nothing was run" in result.err


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("crlf.toml", b"\xef\xbb\xbfmode = '0755'\r\n"),
        ("bom.json", b'\xef\xbb\xbf{"mode": "0755"}'),
        ("bom.yaml", b"\xef\xbb\xbfmode: '0755'\r\n"),
    ],
)
def test_values_from_another_system_are_read(cli: Cli, name: str, text: bytes) -> None:
    cli.file("a.sloth", 'task({ name = "a", run = function() print("mode=" .. values.mode) end })')
    (cli.work / name).write_bytes(text)
    assert "mode=0755" in cli.ok("run", "a.sloth", "--values", name)


def test_a_mode_of_a_file_of_values_is_text(cli: Cli) -> None:
    cli.file("a.sloth", TASKS)
    cli.file("a.yaml", "mode: 0755\n")
    assert "in a file of values in quotes, too, not 493" in cli("plan", "a.sloth", "--values", "a.yaml").out


def test_what_ignores_nothing_is_refused(cli: Cli) -> None:
    for pattern in ("", "mode", "file:/etc/motd"):
        assert "names no attribute of a resource" in cli("drift", "--ignore", pattern).err
    for pattern in ("*", "*.mode", "file:/etc/motd.mode"):
        cli.ok("drift", "--ignore", pattern)


def test_a_run_is_not_asked_for_a_task_that_it_had_not(cli: Cli) -> None:
    cli.file("a.sloth", TASKS)
    cli("run", "a.sloth")
    assert "did you mean 'build'?" in cli("runs", "logs", "--task", "biuld").err
    assert "no runs of the stack b; the stacks are: a" in cli("runs", "list", "--stack", "b").err
