"""Why: scripts read the documents; each is what its schema says, and each schema is used."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import pytest

from tests.cli.kit import Cli
from tests.cli.schema import check, schemas

FILE = """
task({name = "first", tags = {"web"}, description = "says hello", run = function()
  print("hello")
  state.set("greeted", "yes")
end})
task({name = "second", depends_on = "first", run = function() error("no luck") end})
"""


def _document(cli: Cli, *argv: str, stdin: str = "", code: int = 0) -> dict[str, Any]:
    result = cli(*argv, "--output", "json", stdin=stdin)
    assert result.code == code, result.shown()
    document: dict[str, Any] = json.loads(result.out)
    check(document)
    return document


STATE = {
    "state.list": ("state", "list"),
    "state.show": ("state", "show", "config:limits"),
    "state.get": ("state", "get", "config:limits"),
    "state.search": ("state", "search", "deploy"),
    "state.diff.agents": ("state", "diff", "--to-agent", "local"),
    "state.exists": ("state", "exists", "motd"),
    "state.set": ("state", "set", "a", "b"),
    "state.increment": ("state", "increment", "config:version"),
    "state.delete": ("state", "delete", "motd", "--yes"),
    "state.clear": ("state", "clear", "--yes"),
    "state.rollback": ("state", "rollback", "deployment:version", "--rev", "1", "--yes"),
    "state.stats": ("state", "stats"),
    "state.watch": ("state", "watch", "--timeout", "0.01"),
    "state.history": ("state", "history", "db:password", "--reveal"),
    "state.history.list": ("state", "history", "--since", "2h30m", "--reveal"),
    "state.diff": ("state", "diff", "deployment:version"),
    "state.diff.list": ("state", "diff", "--from-time", "2h30m"),
    "state.rollback.list": ("state", "rollback", "--to-time", "2h30m", "--yes"),
    "state.tag": ("state", "tag", "v1"),
    "state.tag.list": ("state", "tag"),
    "state.tag.delete": ("state", "tag", "old", "--delete", "--yes"),
    "state.verify": ("state", "verify", "--all-agents"),
    "state.doctor": ("state", "doctor"),
    "state.export": ("state", "export", "--output-file", "all.jsonl"),
    "state.migrate": ("state", "migrate", "--to", "sqlite:///TMP/there", "--dry-run"),
    "state.import": ("state", "import", "given.json", "--format", "json", "--yes"),
    "lock.list": ("lock", "list"),
    "runs.list": ("runs", "list"),
    "stack.list": ("stack", "list"),
    "config.show": ("config", "show"),
    "explain": ("explain", "E-BUG"),
    "explain.list": ("explain",),
    "modules.list": ("modules",),
    "modules.show": ("modules", "file"),
    "types": ("types", "types", "--docs", "docs"),
    "init": ("init", "project"),
    "agent.list": ("agent", "list", "--check"),
    "version": ("version",),
}
SEALING = {
    "config.trust": ("config", "trust", "--yes"),
    "state.encrypt": ("state", "encrypt"),
    "state.rekey": ("state", "rekey", "--status"),
    "state.decrypt": ("state", "decrypt", "--yes"),
}
LOCKS = {
    "lock.list": ("lock", "list"),
    "lock.show": ("lock", "show", "deploy"),
    "lock.break": ("lock", "break", "deploy", "--yes", "--reason", "it is late"),
}
FILES = {
    "validate": ("validate", "deploy.sloth"),
    "list": ("list", "deploy.sloth"),
    "runs.list": ("runs", "list"),
    "run": ("runs", "show"),
    "runs.logs": ("runs", "logs", "last"),
    "stack.list": ("stack", "list"),
    "stack.graph": ("stack", "graph", "deploy"),
    "stack.rename": ("stack", "rename", "deploy", "web"),
    "stack.forget": ("stack", "forget", "deploy", "--yes"),
}


CONVERGED = """
task({name = "first", run = function()
  file.write({dest = "FOLDER/a", content = "a\\n", mode = "0600"})
  cmd({command = "true", once = true})
  state.set("k", {1, 2})
end})
"""
LEDGER = {
    "plan": ("plan", "deploy.sloth"),
    "drift": ("drift",),
    "prune": ("prune", "deploy.sloth", "--yes"),
    "resource.list": ("resource", "list"),
    "resource.show": ("resource", "show", "file:FOLDER/a"),
    "resource.forget": ("resource", "forget", "file:FOLDER/a", "--yes"),
}


@pytest.mark.parametrize("name", LEDGER)
def test_ledger_documents(cli: Cli, name: str) -> None:
    folder = str(cli.work)
    cli.file("deploy.sloth", CONVERGED.replace("FOLDER", folder))
    planned = _document(cli, "plan", "deploy.sloth")
    assert planned["summary"] == {"create": 1, "update": 1, "delete": 0, "unknown": 0, "state": 1}
    assert _document(cli, "run", "deploy.sloth")["status"] == "ok"
    (cli.work / "a").write_text("b\n")
    if name == "prune":
        (cli.work / "a").write_text("a\n")
        cli.file("deploy.sloth", 'task({name = "other", run = function() end})')
    document = _document(cli, *(word.replace("FOLDER", folder) for word in LEDGER[name]))
    assert document["format"] == f"sloth-runner/{name}"


@pytest.mark.parametrize("name", STATE)
def test_state_documents(filled: Cli, name: str) -> None:
    filled.ok("state", "tag", "old")
    settle(filled)
    filled.file("given.json", '{"motd": 1, "new": 2}')
    argv = [word.replace("/TMP", str(filled.folder)) for word in STATE[name]]
    assert _document(filled, *argv)["format"] == f"sloth-runner/{name}"


def test_sealing_documents(filled: Cli) -> None:
    line = f"command = ['echo', '{'ab' * 32}']"
    filled.file("sloth.toml", f'[state.encryption]\nsource = "command"\n{line}\n')
    for name, argv in SEALING.items():
        assert _document(filled, *argv)["format"] == f"sloth-runner/{name}"


def test_agent_documents(cli: Cli) -> None:
    """From no authority to an agent that was taken away; each step says what the next one needs."""
    steps = {
        "agent.ca": ("agent", "ca", "init"),
        "agent.keygen": ("agent", "keygen", "web1", "--folder", "there"),
        "agent.sign": ("agent", "sign", "there/agent.csr"),
        "agent.revoke": ("agent", "revoke", "web1", "--reason", "sold", "--yes"),
        "agent.enroll": ("agent", "enroll", "local://", "web1", "--no-service", "--python", sys.executable),
    }
    for name, argv in steps.items():
        more = ("--folder", str(cli.work / "there")) if name == "agent.enroll" else ()
        assert _document(cli, *argv, *more)["format"] == f"sloth-runner/{name}"
    assert _document(cli, "agent", "ca", "show")["agents"] == 1


@pytest.mark.parametrize("name", LOCKS)
def test_lock_documents(cli: Cli, name: str) -> None:
    hold(cli, "deploy")
    document = _document(cli, *LOCKS[name])
    assert document["format"] == f"sloth-runner/{name}"


@pytest.mark.parametrize("name", FILES)
def test_run_documents(cli: Cli, name: str) -> None:
    cli.file("deploy.sloth", FILE)
    assert _document(cli, "run", "deploy.sloth", code=1)["status"] == "failed"
    assert _document(cli, *FILES[name])["format"] == f"sloth-runner/{name}"


def test_an_error_is_a_document(cli: Cli) -> None:
    result = cli("state", "show", "nothing", "-o", "json")
    document = json.loads(result.out)
    check(document)
    assert document["error"]["code"] == "E-KEY-MISSING"
    assert document["error"]["exit_code"] == result.code == 4
    assert result.err.startswith("error[E-KEY-MISSING]")


def test_a_usage_error_is_a_document(cli: Cli) -> None:
    document = json.loads(cli("state", "shwo", "--output=json").out)
    check(document)
    assert document["error"]["exit_code"] == 64


def test_the_last_line_of_json_lines_is_the_error(cli: Cli) -> None:
    result = cli("state", "show", "nothing", "-ojsonl")
    assert [json.loads(line)["event"] for line in result.out.splitlines()] == ["error"]


def test_every_schema_is_covered() -> None:
    agents = {f"agent.{name}" for name in ("ca", "keygen", "sign", "revoke", "enroll")}
    more = {f"agent.{name}" for name in ("show", "add", "remove", "ping", "facts")}
    elsewhere = {"error", "ui", *agents, *more}  # tests/web, in one test above, test_agents
    assert set(schemas()) == {*STATE, *SEALING, *LOCKS, *FILES, *LEDGER, *elsewhere}


def test_a_schema_names_its_document() -> None:
    for name, schema in schemas().items():
        assert schema["properties"]["format"] == {"const": f"sloth-runner/{name}"}
        assert schema["title"]


def test_values_keep_their_types(cli: Cli) -> None:
    cli.ok(
        "state", "set", "t", "--json", '{"i": 1, "f": 1.0, "n": {"$float": "nan"}, "b": {"$bytes": "/w=="}}'
    )
    entry = _document(cli, "state", "show", "t")["entry"]
    assert entry["value"] == {"i": 1, "f": 1.0, "n": {"$float": "nan"}, "b": {"$bytes": "/w=="}}
    assert isinstance(entry["value"]["i"], int) and isinstance(entry["value"]["f"], float)


def test_all_agents_have_one_document(filled: Cli) -> None:
    document = _document(filled, "state", "stats", "--all-agents")
    assert document["namespace"] is None
    assert document["keys"] == sum(row["keys"] for row in document["namespaces"]) == 7
    listed = _document(filled, "state", "list", "--all-agents")
    assert {entry["namespace"] for entry in listed["entries"]} == {"local", "_shared"}


def test_json_lines_of_a_list(filled: Cli) -> None:
    rows = [json.loads(line) for line in filled.ok("state", "list", "-o", "jsonl").splitlines()]
    assert {row["event"] for row in rows} == {"entry"}
    assert [row["key"] for row in rows] == sorted(row["key"] for row in rows)


def test_json_without_unicode(cli: Cli) -> None:
    cli.ok("state", "set", "städte", "Köln")
    result = cli("state", "list", "-o", "json", encoding="ascii")
    assert json.loads(result.out)["entries"][0]["value"] == "Köln"


def settle(cli: Cli) -> None:
    """The files were written at the time of the clock that stands still."""
    for file in (cli.home / "state").glob("*.db"):
        os.utime(file, (cli.now, cli.now))


def hold(cli: Cli, name: str, holder: str = "task-123") -> None:
    """Take a lock as another process of this host would."""
    from sloth_runner.app import App, settings_for
    from sloth_runner.state.locks import Held, acquire

    settings = settings_for(cli.environ, cli.work)._replace(user="bob", host="host1")
    app = App(
        settings,
        clock=lambda: cli.now,
        new_id=lambda: "0" * 32,
        getenv=cli.environ.get,
        environ=cli.environ,
        cwd=cli.work,
    )
    view = app.state()
    held = acquire(app.store(), view.home(name), name, app.owner(holder, "1"), 300, cli.now)
    assert isinstance(held, Held)
    app.close()
