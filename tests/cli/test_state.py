"""Why: what the state commands do, and what they never do."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sloth_runner.app import App, settings_for
from sloth_runner.cli import purging
from sloth_runner.state.layout import AUDIT, BLOB, FENCE, HEAD, HISTORY, prefix_of
from tests.cli.kit import Cli
from tests.cli.test_documents import hold


def _app(cli: Cli) -> App:
    settings = settings_for(cli.environ, cli.work)
    return App(settings, clock=lambda: cli.now, new_id=lambda: "f" * 32, getenv=cli.environ.get)


def _kinds(cli: Cli, kind: str, namespace: str = "local") -> int:
    app = _app(cli)
    try:
        return sum(1 for _ in app.store().scan(prefix_of(namespace, kind)))
    finally:
        app.close()


def test_reading_creates_nothing(cli: Cli) -> None:
    cli.ok("state", "list")
    cli.ok("state", "stats")
    cli.ok("lock", "list")
    assert cli("state", "get", "a").code == 4
    assert not cli.home.exists()


@pytest.mark.parametrize("value", ["", "v1", "-x", "a b\n", "ünï", "5", "\udcff\udcfe", "\x00\x1b[m"])
def test_get_gives_back_what_was_set(cli: Cli, value: str) -> None:
    cli.ok("state", "set", "k", "--stdin", stdin=value + "\n")
    assert cli("state", "get", "k", "--raw").out == value.encode("utf-8", "surrogateescape").decode(
        "utf-8", "backslashreplace"
    )


VALUES = st.recursive(
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.text(max_size=9)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3)
        | st.dictionaries(st.from_regex("[a-z]{1,4}", fullmatch=True), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=VALUES)
def test_json_values_go_round(cli: Cli, value: object) -> None:
    cli.ok("state", "set", "k", "--json", "--", json.dumps(value))
    found = json.loads(cli.ok("state", "get", "k", "-o", "json"))["value"]
    assert found == value and json.dumps(found, sort_keys=True) == json.dumps(value, sort_keys=True)


def test_plain_cells_can_be_taken_apart(filled: Cli) -> None:
    rows = [line.split("\t") for line in filled.ok("state", "list").splitlines()]
    assert {len(row) for row in rows} == {7}
    motd = next(row for row in rows if row[0] == "motd")
    assert motd[1] == "first line\\nsecond\\tline ␛[31mred\\\\n"


def test_nothing_moves_the_cursor(filled: Cli) -> None:
    filled.ok("state", "set", "bidi", "a\u202eb\x9bc")
    for argv in (("list",), ("show", "motd"), ("history", "motd"), ("get", "motd"), ("get", "bidi")):
        for tty in (True, False) if argv[0] != "get" else (True,):
            out = filled("state", *argv, tty=tty).out
            assert not set(out) & {chr(c) for c in (*range(9), *range(11, 32), 127, 0x9B, 0x202E)}, argv


def test_no_colour_unless_wanted(filled: Cli) -> None:
    argv = ("state", "list")
    assert "\x1b" in filled(*argv, tty=True, environ={"NO_COLOR": ""}).out
    assert "\x1b" not in filled(*argv, tty=True).out
    assert "\x1b" not in filled(*argv, tty=True, environ={"NO_COLOR": "", "TERM": "dumb"}).out
    assert "\x1b" not in filled(*argv, environ={"NO_COLOR": ""}).out


def test_set_and_its_options(cli: Cli) -> None:
    assert "revision 1" in cli.ok("state", "set", "k", "v", "--ttl", "1h")
    assert "revision 2" in cli.ok("state", "set", "k", "w", "--keep-ttl")
    cli.now += 3599
    assert cli.ok("state", "get", "k") == "w\n"
    cli.now += 2
    assert cli("state", "get", "k").code == 4
    assert cli("state", "set", "k", "v", "--stdin").code == 64
    assert cli("state", "set", "k", "v", "--ttl", "0").code == 64
    assert cli("state", "set", "k", "v", "--ttl", "1m", "--keep-ttl").code == 64
    assert cli("state", "set", "", "v").code == 64
    assert "unchanged" in cli.ok("state", "set", "z", "1") + cli.ok("state", "set", "z", "1")


@pytest.mark.parametrize(
    "text", ["null", "NaN", "[1, null]", '{"$odd": 1}', "{", "[" * 5000 + "]" * 5000, str(2**70)]
)
def test_what_is_no_value_is_refused(cli: Cli, text: str) -> None:
    assert cli("state", "set", "k", "--json", text).code == 5
    assert cli("state", "exists", "k").code == 1


def test_increment(cli: Cli) -> None:
    assert cli.ok("state", "increment", "n") == "1\n"
    assert cli.ok("state", "increment", "n", "-3") == "-2\n"
    assert cli.ok("state", "increment", "n", "0.5") == "-1.5\n"
    assert cli("state", "increment", "n", "nan").code == 64
    assert cli.ok("state", "get", "n") == "-1.5\n"


def test_a_sensitive_sum_is_masked_and_its_reveal_recorded(cli: Cli) -> None:
    cli.ok("state", "set", "pin", "4711", "--json", "--sensitive")
    for mode in ("table", "json", "jsonl", "plain"):
        result = cli("state", "increment", "pin", "0", "-o", mode)
        assert result.code == 0 and "4711" not in result.out + result.err, mode
    told = json.loads(cli.ok("state", "increment", "pin", "0", "-o", "json"))
    assert (told["value"], told["sensitive"]) == (None, True)
    assert _kinds(cli, AUDIT) == 0
    assert cli.ok("state", "increment", "pin", "1", "--reveal") == "4712\n"
    assert _kinds(cli, AUDIT) == 1
    told = json.loads(cli.ok("state", "increment", "pin", "--reveal", "-o", "json"))
    assert (told["value"], told["sensitive"]) == (4713, True)
    assert _kinds(cli, AUDIT) == 2
    told = json.loads(cli.ok("state", "increment", "n", "--reveal", "-o", "json"))
    assert (told["value"], told["sensitive"]) == (1, False)
    assert _kinds(cli, AUDIT) == 2
    cli.ok("state", "set", "word", "s3cret", "--sensitive")
    result = cli("state", "increment", "word")
    assert result.code == 5 and "s3cret" not in result.out + result.err


def test_secrets_are_masked_and_reveals_recorded(filled: Cli) -> None:
    secret = "correct horse"
    for argv in (("list",), ("show", "db:password"), ("history", "db:password"), ("get", "db:password")):
        for mode in ("table", "json", "jsonl", "plain"):
            result = filled("state", *argv, "-o", mode)
            assert secret not in result.out + result.err, argv
    assert _kinds(filled, AUDIT) == 0
    assert filled.ok("state", "get", "db:password", "--reveal") == secret + "\n"
    assert _kinds(filled, AUDIT) == 1
    filled.ok("state", "list", "--reveal")
    filled.ok("state", "get", "motd", "--reveal")
    assert _kinds(filled, AUDIT) == 2
    history = json.loads(filled.ok("state", "history", "db:password", "-o", "json"))
    assert [shown["by"]["user"] for shown in history["reveals"]] == ["ann", "ann"]
    filled.ok("state", "set", "db:password", "open", "--no-sensitive")
    old = json.loads(filled.ok("state", "history", "db:password", "-o", "json"))["revisions"][0]
    assert (old["old"], old["new"]) == (None, "open")
    assert secret not in filled("state", "diff", "db:password@1").out


def test_pages_make_up_the_whole(filled: Cli) -> None:
    for everywhere in ((), ("--all-agents",)):
        whole = json.loads(filled.ok("state", "list", *everywhere, "-o", "json"))["entries"]
        pages, after = [], ""
        while True:
            argv = ("state", "list", *everywhere, "--limit", "2", "--after", after, "-o", "json")
            page = json.loads(filled.ok(*argv))
            pages += page["entries"]
            if page["next"] is None:
                break
            after = page["next"]
        assert pages == whole


def test_delete_asks(filled: Cli) -> None:
    result = filled("state", "delete", "motd", tty=True, stdin="n\n")
    assert result.code == 8 and "1 key in local of sqlite:///TMP/home/state" in result.err
    assert filled("state", "delete", "motd", tty=True, stdin="").code == 8
    assert filled("state", "exists", "motd").code == 0
    assert filled("state", "delete", "motd", tty=True, stdin="Y\n").code == 0
    assert filled("state", "exists", "motd").code == 1
    assert filled("state", "delete", "motd", "--yes").code == 4


def test_delete_is_all_or_nothing(filled: Cli) -> None:
    assert filled("state", "delete", "motd", "nothing", "--yes").code == 4
    assert filled("state", "exists", "motd").code == 0
    assert filled("state", "delete", "--yes").code == 64
    assert "2 keys" in filled.ok("state", "delete", "motd", "config:version", "--yes")


def test_clear_wants_the_name_and_takes_only_own_keys(filled: Cli) -> None:
    hold(filled, "deploy")
    assert filled("state", "clear", tty=True, stdin="yes\n").code == 8
    assert "7 keys" not in filled("state", "clear", tty=True, stdin="y\n").err
    assert filled("state", "clear", tty=True, stdin="local\n").code == 0
    listed = json.loads(filled.ok("state", "list", "-o", "json"))["entries"]
    assert [entry["key"] for entry in listed] == ["cluster:leader"]
    assert filled.ok("state", "rollback", "motd", "--rev", "1", "--yes")
    assert "deploy" in filled.ok("lock", "list")
    assert "1 key" in filled.ok("state", "clear", "--shared", "--yes")
    assert filled("state", "clear", "--all-agents", "--yes").code == 64


def test_purge_erases_history_and_nothing_else(filled: Cli) -> None:
    hold(filled, "deploy")
    filled.ok("state", "set", "big", "x" * 100_000)
    filled.ok("state", "delete", "big", "--yes")
    filled.ok("state", "get", "db:password", "--reveal")
    assert "6 keys and their history" in filled.ok("state", "clear", "--purge", "--yes")
    assert [_kinds(filled, kind) for kind in (HEAD, HISTORY, BLOB)] == [0, 0, 0]
    assert [_kinds(filled, kind) for kind in (FENCE, AUDIT)] == [1, 1]
    assert filled("state", "exists", "cluster:leader").code == 0
    assert filled("state", "history", "motd").code == 4
    assert "nothing to clear" in filled.ok("state", "clear", "--purge", "--yes")
    filled.ok("state", "set", "motd", "new")


def test_purge_in_small_steps(cli: Cli) -> None:
    app = _app(cli)
    view = app.state()
    for number in range(300):
        view.set(f"k{number % 40}", number)
    batches = purging.AT_ONCE // 300
    assert len(purging.purge(view)) == 40 and batches >= 1
    assert not list(app.store().scan(prefix_of("local", HISTORY)))
    app.close()


def test_rollback_and_diff(filled: Cli) -> None:
    key = "deployment:version"
    assert filled("state", "rollback", key, "--rev", "1", tty=True, stdin="n\n").code == 8
    filled.ok("state", "rollback", key, "--rev", "1", "--yes")
    assert filled.ok("state", "get", key) == "v1.2.2\n"
    assert filled("state", "diff", f"{key}@1", f"{key}@3").out == ""
    assert "-v1.2.2" in filled.ok("state", "diff", f"{key}@1", "@2")
    assert filled("state", "diff", f"{key}@1", "motd").code == 64
    assert filled("state", "diff", f"{key}@7").code == 4
    document = json.loads(filled.ok("state", "diff", f"{key}@1", f"{key}@2", "-o", "json"))
    assert document["differ"] and "+v1.2.3" in document["diff"]


def test_agents_are_known_by_state_or_configuration(cli: Cli) -> None:
    cli.file("sloth.toml", '[agents]\nweb1 = "local://"\n')
    cli.ok("state", "list", "--agent", "web1")
    cli.ok("state", "set", "a", "1", "--agent", "web1")
    (cli.work / "sloth.toml").unlink()
    assert cli.ok("state", "get", "a", "--agent", "web1") == "1\n"
    wrong = cli("state", "list", "--agent", "web2")
    assert wrong.code == 4 and "did you mean 'web1'?" in wrong.err
    assert cli("state", "get", "a").code == 4
    cli.ok("state", "set", "cluster:x", "1", "--agent", "web1")
    assert cli.ok("state", "get", "cluster:x") == "1\n"


def test_a_folder_can_be_chosen(cli: Cli) -> None:
    cli.file("sub/sloth.toml", '[agents]\nweb1 = "local://"\n')
    assert cli("state", "list", "--agent", "web1").code == 4
    assert cli("-C", "sub", "state", "list", "--agent", "web1").code == 0
    assert cli("--config", "sub/sloth.toml", "state", "list", "--agent", "web1").code == 0


@pytest.mark.parametrize(
    "words", ["state stats", "state list", "runs list", "lock list", "stack list", "drift", "state set a 1"]
)
def test_a_home_that_is_a_file_is_no_empty_state(cli: Cli, words: str) -> None:
    cli.home.write_text("x")
    result = cli(*words.split())
    assert (
        result.code == 6
        and "error[E-STORE-DOWN]" in result.err
        and "choose another SLOTH_RUNNER_HOME" in result.err
    )
