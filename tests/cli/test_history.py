"""Questions about the past, going back and verifying, as they are typed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sloth_runner.state.edits import put
from tests.cli.kit import Cli
from tests.cli.schema import check

ROOT = Path(__file__).resolve().parents[2]


def _json(cli: Cli, *argv: str, code: int = 0) -> Any:
    result = cli("state", *argv, "-o", "json")
    assert result.code == code, result.shown()
    document = json.loads(result.out)
    check(document)
    return document


def _tamper(cli: Cli, statement: str) -> None:
    path = str(cli.home / "state" / "local.db")
    subprocess.run([sys.executable, "-m", "tests.state.tamper", path, statement], check=True, cwd=ROOT)


def _values(cli: Cli) -> dict[str, Any]:
    return {entry["key"]: entry["value"] for entry in _json(cli, "list")["entries"]}


RUN = """
task({name = "t", run = function()
  state.set("a", "by the run") state.set("n", 1) state.delete("gone") state.set("cluster:c", 1)
end})
"""


def test_history_of_a_namespace_can_be_asked_about(filled: Cli) -> None:
    filled.file("r.sloth", RUN)
    filled.ok("run", "r.sloth")
    filled.now += 60
    filled.ok("state", "set", "a", "by hand")
    run = json.loads(filled.ok("runs", "list", "-o", "json"))["runs"][0]["run"]

    def asked(*argv: str) -> list[tuple[str, int]]:
        return [(row["key"], row["rev"]) for row in _json(filled, "history", *argv)["revisions"]]

    assert asked("--since", "1m") == [("a", 2), ("a", 1), ("n", 1)]
    assert asked("--since", "59s") == [("a", 2)]
    for by in (run, run[:15], "last"):
        assert asked("--by", by) == [("a", 1), ("n", 1)]
    assert asked("--by", "ann@host1", "--limit", "1") == asked("--by", "ann", "--limit", "1") == [("a", 2)]
    assert asked("--by", "bob") == []
    assert asked("--prefix", "deployment:", "--until", "3h") == [("deployment:version", 1)]
    assert asked("--prefix", "cluster:", "--since", "1m") == [("cluster:c", 1)]
    assert asked("--shared", "--since", "1m") == [("cluster:c", 1)]


def test_history_of_a_key_can_be_filtered(filled: Cli) -> None:
    def asked(*argv: str) -> list[int]:
        rows = _json(filled, "history", "deployment:version", *argv)["revisions"]
        return [row["rev"] for row in rows]

    assert asked() == [2, 1]
    assert asked("--since", "2h30m") == [2]
    assert asked("--until", "2h30m") == [1]
    assert asked("--by", "bob") == []
    assert asked("--limit", "1") == [2]
    assert asked("--before", "2") == [1]
    assert filled("state", "history", "deployment:version", "--prefix", "x").code == 64
    assert filled("state", "history", "--before", "2").code == 64
    assert filled("state", "history", "--after", "x").code == 64
    assert filled("state", "history", "--since", "soon").code == 64
    assert asked("--since", "1h", "--until", "1h") == []
    for key in ((), ("deployment:version",)):
        result = filled("state", "history", *key, "--since", "1h", "--until", "2h")
        assert result.code == 64 and "--until lies before --since" in result.err
    assert filled("state", "history", "--by", "").code == 64


def test_pages_of_a_namespace_make_up_the_whole(filled: Cli) -> None:
    whole = _json(filled, "history")["revisions"]
    pages: list[Any] = []
    after: tuple[str, ...] = ()
    while True:
        page = _json(filled, "history", "--limit", "2", *after)
        pages += page["revisions"]
        if page["next"] is None:
            break
        after = ("--after", page["next"])
    assert pages == whole and len(whole) == 7


def test_secrets_are_masked_everywhere(filled: Cli) -> None:
    filled.now += 60
    filled.ok("state", "set", "db:password", "battery staple")
    filled.ok("state", "set", "late", "correct horse")
    filled.ok("state", "set", "late", "correct horse", "--sensitive")
    filled.ok("state", "tag", "t")
    for argv in (
        ("history",),
        ("history", "late"),
        ("show", "late", "--rev", "1"),
        ("diff", "--from-time", "30m"),
        ("diff", "late@1", "late@1"),
        ("diff", "db:password"),
        ("rollback", "--to-time", "30m"),
        ("rollback", "--to-time", "30m", "--yes"),
    ):
        for mode in ("plain", "json", "jsonl"):
            result = filled("state", *argv, "-o", mode)
            assert "horse" not in result.out + result.err, argv
            assert "battery" not in result.out + result.err, argv
    assert "battery staple" in filled.ok("state", "history", "--reveal")
    shown = _json(filled, "history", "db:password")["reveals"]
    assert len(shown) == 1


def test_two_moments_are_compared(filled: Cli) -> None:
    filled.ok("state", "delete", "motd", "--yes")
    document = _json(filled, "diff", "--from-time", "90m")
    rows = {row["key"]: (row["change"], row["old"], row["new"]) for row in document["changes"]}
    assert rows["db:password"] == ("added", None, None)
    assert set(rows) == {"db:password", "file:/etc/a-rather-long-name/that-goes-on/and-on.conf"}
    kinds = {row["key"]: row["change"] for row in _json(filled, "diff", "--from-time", "30m")["changes"]}
    assert kinds == {"motd": "deleted"}
    row = _json(filled, "diff", "--from-time", "3h", "--to-time", "2h")["changes"][-1]
    assert (row["key"], row["old"], row["new"]) == ("deployment:version", "v1.2.2", "v1.2.3")
    assert (row["old_rev"], row["new_rev"]) == (1, 2)
    filled.now += 3 * 3600
    kinds = {row["key"]: row["change"] for row in _json(filled, "diff", "--from-time", "2h30m")["changes"]}
    assert kinds == {"config:limits": "deleted"}, "it expired"
    for wrong in (
        ("--from-time", "1h", "--to-time", "2h"),
        ("--to-time", "1h"),
        ("a", "--from-time", "1h"),
        ("a", "--to-time", "1h"),
        (),
    ):
        assert filled("state", "diff", *wrong).code == 64


@pytest.mark.parametrize("where", [(), ("--agent", "web1"), ("--shared",)])
def test_a_shared_prefix_is_compared_where_its_keys_are(filled: Cli, where: tuple[str, ...]) -> None:
    filled.file("sloth.toml", "[agents]\nweb1 = 'local://'\n")
    filled.ok("state", "set", "cluster:d", "1", "--sensitive")
    filled.ok("state", "set", "below", "1")
    argv = ("diff", "--from-time", "1s", "--prefix", "cluster:", *where)
    document = _json(filled, *argv)
    assert document["namespace"] == "_shared"
    rows = [(row["key"], row["change"], row["new"]) for row in document["changes"]]
    assert rows == [("cluster:d", "added", None)]
    assert _json(filled, *argv, "--reveal")["changes"][0]["new"] == "1"
    assert "shown to" in filled("state", "history", "cluster:d").err


def test_what_is_compacted_is_named(cli: Cli) -> None:
    cli.file("sloth.toml", "[state.history]\nkeep = 1\nmax = 2\n")
    cli.ok("state", "set", "calm", "1")
    for _ in range(4):
        cli.now += 60
        cli.ok("state", "increment", "busy")
    changes = _json(cli, "diff", "--from-time", "2m30s")["changes"]
    assert [(row["key"], row["change"]) for row in changes] == [("busy", "compacted")]
    result = cli("state", "rollback", "--to-time", "2m30s", "--yes")
    assert result.code == 4 and "1 of the keys held then is compacted: busy" in result.err
    assert cli("state", "show", "busy", "--at", "2m30s").code == 4
    assert cli("state", "show", "busy", "--rev", "1").code == 4
    assert _values(cli) == {"busy": 4, "calm": "1"}
    assert "revisions before 3 are compacted" in cli("state", "history", "busy").err


def test_back_to_a_run_and_forth_again(cli: Cli) -> None:
    cli.file("r.sloth", RUN)
    cli.ok("state", "set", "gone", "x")
    cli.now += 1
    cli.ok("run", "r.sloth")
    wanted = _values(cli)
    cli.now += 1
    cli.ok("state", "set", "a", "by hand")
    cli.ok("state", "set", "new", "x")
    cli.ok("state", "increment", "n")
    later = _values(cli)
    cli.now += 1
    plan = cli("state", "rollback", "--to-run", "last", tty=True, stdin="n\n")
    assert plan.code == 8
    assert "  a  by hand → by the run\n  n  2 → 1\n  new  x → (no value)\n3 keys of local" in plan.err
    assert _values(cli) == later
    document = _json(cli, "rollback", "--to-run", "last", "--yes")
    assert (document["count"], document["commits"]) == (3, 1)
    assert _values(cli) == {**wanted, "cluster:c": 1}
    assert "nothing to do" in cli.ok("state", "rollback", "--to-run", "last", "--yes")
    cli.now += 1
    undo = document["undo"].split()[1:]
    cli.ok(*undo, "--yes")
    assert _values(cli) == later
    assert [row["op"] for row in _json(cli, "history", "a")["revisions"]] == [
        "rollback",
        "rollback",
        "set",
        "set",
    ]


def test_the_end_of_a_run_that_never_ended_is_not_guessed(cli: Cli) -> None:
    cli.file("r.sloth", RUN)
    cli.ok("run", "r.sloth")
    from tests.cli.test_doctor import unend

    unend(cli)
    result = cli("state", "rollback", "--to-run", "last", "--yes")
    assert result.code == 64 and "is not known" in result.err and "state history --by" in result.err


def test_back_to_a_tag(filled: Cli) -> None:
    before = _values(filled)
    filled.ok("state", "tag", "v1")
    filled.now += 1
    filled.ok("state", "clear", "--yes")
    assert [tag["name"] for tag in _json(filled, "tag")["tags"]] == ["v1"], "tags survive clearing"
    assert filled("state", "clear", "--purge", "--yes").code == 64
    filled.now += 1
    filled.ok("state", "rollback", "--to-tag", "v1", "--yes")
    assert _values(filled) == before
    assert filled("state", "rollback", "--to-tag", "v2", "--yes").code == 4
    filled.ok("state", "tag", "v1", "--delete", "--yes")
    assert "6 keys" in filled.ok("state", "clear", "--purge", "--yes")


@pytest.mark.parametrize(
    "argv",
    [
        ("motd",),
        ("--rev", "1"),
        ("motd", "--rev", "1", "--to-time", "1h"),
        ("motd", "--to-run", "last"),
        ("--to-time", "1h", "--to-tag", "x"),
        ("--to-time", "soon"),
        ("--to-time", "1h", "--all-agents"),
    ],
)
def test_going_back_wants_one_aim(filled: Cli, argv: tuple[str, ...]) -> None:
    assert filled("state", "rollback", *argv, "--yes").code == 64


def test_a_question_shows_no_more_than_can_be_read(cli: Cli) -> None:
    for number in range(30):
        cli.ok("state", "set", f"k{number:02d}", "x")
    result = cli("state", "rollback", "--to-time", "1h", tty=True, stdin="y\n")
    assert "k19" in result.err and "k20" not in result.err and "… and 10 more" in result.err
    assert _values(cli) == {}


def test_verify_says_what_is_wrong(filled: Cli) -> None:
    digest = filled.ok("state", "tag", "v1").strip()
    document = _json(filled, "verify", "--head", digest)
    assert document["ok"] and document["namespaces"][0]["keys"] == 6
    assert document["namespaces"][0]["tags"] == [
        {"name": "v1", "digest": digest, "verified": 6, "compacted": 0}
    ]
    assert filled.ok("state", "verify").split("\t")[:4] == ["local", "6", "7", "0"]
    shown = filled("state", "verify", tty=True)
    assert "6 keys verified from the tag v1 on" in shown.err and digest in shown.out
    assert filled("state", "verify", "--head", digest, "--all-agents").code == 64
    _tamper(filled, "UPDATE entry SET value = CAST(replace(value, 'v1.2.2', 'v1.2.1') AS BLOB)")
    _tamper(filled, "DELETE FROM entry WHERE key LIKE 'h' || char(31) || 'motd%'")
    result = filled("state", "verify", "--all-agents")
    assert result.code == 7 and result.out == ""
    assert "error[E-CORRUPT]: 2 faults" in result.err
    assert (
        "local: deployment:version@1: the hash of revision 1 differs from what revision 2 says" in result.err
    )
    assert "local: motd@1: revision 1 is missing from the history" in result.err
    document = _json(filled, "verify", code=7)
    assert not document["ok"]
    found = document["namespaces"][0]["findings"]
    assert [(f["key"], f["revision"], f["problem"]) for f in found] == [
        ("deployment:version", 1, "changed"),
        ("motd", 1, "missing"),
    ]
    assert filled("state", "verify", "--shared").code == 0


def test_a_long_verification_is_told_on_a_terminal(cli: Cli) -> None:
    from tests.cli.test_doctor import _app

    app = _app(cli)
    view = app.state()
    view.writer.apply([view.edit(f"k{number:05d}", put(number)) for number in range(10_001)])
    app.close()
    told = "\r\x1b[Klocal: 10,000 keys verified\r\x1b[K"
    shown = cli("state", "verify", tty=True)
    assert "10,001" in shown.out and shown.err.startswith(told)
    assert "10,000" not in cli("state", "verify").err
    assert "\x1b" not in cli("state", "verify", tty=True, environ={"TERM": "dumb"}).err


def test_an_empty_state_is_whole(cli: Cli) -> None:
    assert _json(cli, "verify")["namespaces"][0]["keys"] == 0
    assert not cli.home.exists()
    assert cli("state", "verify", "--agent", "web1").code == 4


def test_tags(filled: Cli) -> None:
    made = _json(filled, "tag", "v1")["tag"]
    assert (made["keys"], made["by"]["user"]) == (6, "ann")
    assert filled("state", "tag", "v1").code == 64
    assert filled("state", "tag", "--delete").code == 64
    assert filled("state", "tag", "v1", "--all-agents").code == 64
    listed = filled("state", "tag", tty=True, columns=120).out
    assert "v1" in listed and made["digest"] in listed
    result = filled("state", "tag", "v1", "--delete", tty=True, stdin="n\n")
    assert result.code == 8 and "the tag v1 of 6 keys in local" in result.err
    assert filled("state", "tag", "v1", "--delete").code == 8
    filled.ok("state", "tag", "v1", "--delete", "--yes")
    assert _json(filled, "tag")["tags"] == []
    assert filled.ok("state", "tag", "v1", "--shared") != ""


def test_two_moments_are_compared_page_by_page(cli: Cli) -> None:
    for name in ("a", "b:1", "b:2", "b:3"):
        cli.ok("state", "set", name, "1")
    cli.now += 60
    for name in ("b:1", "b:3", "b:4"):
        cli.ok("state", "set", name, "2")
    seen, after = [], ""
    while True:
        more = ("--after", after) if after else ()
        argv = ("state", "diff", "--from-time", "30s", "--prefix", "b:", "--limit", "2", *more)
        body = json.loads(cli.ok(*argv, "-o", "json"))
        seen += [(row["key"], row["change"]) for row in body["changes"]]
        after = body["next"]
        if after is None:
            break
    assert seen == [("b:1", "changed"), ("b:3", "changed"), ("b:4", "added")]
    assert "--after 'b:3'" in cli("state", "diff", "--from-time", "30s", "--limit", "2").err
    assert cli("state", "diff", "a", "--limit", "2").code == 64
