"""Why: what a page shows, a program can read, and it is the very bytes that the command line prints."""

from __future__ import annotations

import re
from html import unescape

import pytest

from tests.web.kit import Ui

TWINS = {
    "/api/v1/stats": "state stats --all-agents",
    "/api/v1/state": "state list --limit 100",
    "/api/v1/state?limit=2": "state list --limit 2",
    "/api/v1/state?limit=2&after=config:limits": "state list --limit 2 --after config:limits",
    "/api/v1/state?prefix=config:&namespace=local": "state list config: --limit 100",
    "/api/v1/state?namespace=_shared": "state list --shared --limit 100",
    "/api/v1/state?namespace=web1": "state list --agent web1 --limit 100",
    "/api/v1/state/search?text=VERSION": "state search VERSION",
    "/api/v1/state/search?text=line&limit=1": "state search line --limit 1",
    "/api/v1/state/search?text=e&limit=2&after=key/deployment:version":
        "state search e --limit 2 --after key/deployment:version",
    "/api/v1/state/key?key=config:limits": "state show config:limits",
    "/api/v1/state/key?key=db:password": "state show db:password",
    "/api/v1/state/key?key=deployment:version&rev=1": "state show deployment:version --rev 1",
    "/api/v1/state/history?key=deployment:version": "state history deployment:version --limit 100",
    "/api/v1/state/history?key=db:password&limit=1": "state history db:password --limit 1",
    "/api/v1/state/diff?key=deployment:version&from=1": "state diff deployment:version@1 deployment:version@2",
    "/api/v1/state/diff?key=motd&from=1&to=1": "state diff motd@1 motd@1",
    "/api/v1/timeline": "state history --all-agents --limit 100",
    "/api/v1/timeline?limit=3": "state history --all-agents --limit 3",
    "/api/v1/timeline?namespace=local&prefix=d&by=ann": "state history --prefix d --by ann --limit 100",
    "/api/v1/timeline?namespace=local&by=last": "state history --by last --limit 100",
    "/api/v1/compare/agents?namespace=local&to=web1": "state diff --to-agent web1 --limit 100",
    "/api/v1/locks": "lock list --all-agents",
    "/api/v1/lock?name=deployment": "lock show deployment",
    "/api/v1/runs": "runs list",
    "/api/v1/runs?stack=site&limit=1": "runs list --stack site --limit 1",
    "/api/v1/run": "runs show",
    "/api/v1/run/logs?run=last": "runs logs",
    "/api/v1/stacks": "stack list",
    "/api/v1/graph?stack=site": "stack graph site",
    "/api/v1/resources": "resource list --all-agents",
    "/api/v1/agents": "agent list",
}  # fmt: skip
"""What is asked, and what the command line takes for the same."""


@pytest.mark.parametrize("path", TWINS)
def test_the_api_answers_what_the_command_prints(ui: Ui, path: str) -> None:
    reply = ui.get(path)
    assert reply.status == 200, reply
    assert reply.headers["content-type"] == "application/json"
    assert reply.text == ui.home.run(*TWINS[path].split(), "-o", "json").out


def test_errors_are_the_same_documents(ui: Ui) -> None:
    reply = ui.get("/api/v1/state/key", key="deploymint:version")
    assert reply.status == 404
    assert reply.text == ui.home.run("state", "show", "deploymint:version", "-o", "json", code=4).out


def test_a_page_of_the_timeline_goes_on_where_it_ended(ui: Ui) -> None:
    whole = ui.get("/api/v1/timeline").json["revisions"]
    rows, after = [], None
    while True:
        part = ui.get("/api/v1/timeline", limit=2, **({"after": after} if after else {}))
        said = ("--after", after) if after else ()
        assert (
            part.text
            == ui.home.run("state", "history", "--all-agents", "--limit", "2", *said, "-o", "json").out
        )
        rows += part.json["revisions"]
        after = part.json["next"]
        if after is None:
            break
    assert rows == whole and len(rows) > 4


def test_drift_is_what_the_command_finds(ui: Ui) -> None:
    (ui.home.cwd / "page.txt").write_text("changed by hand")
    reply = ui.write("POST", "/api/v1/drift", {})
    assert reply.status == 200, reply
    assert reply.json["drifted"] == 1
    said = ui.home.run("drift", "-o", "json").out
    assert reply.text == said == ui.get("/api/v1/drift").text
    assert "changed by hand" in ui.get("/drift").text


@pytest.mark.parametrize("prefix", ["", "cluster:"])
def test_two_moments_are_compared_as_the_command_does(ui: Ui, prefix: str) -> None:
    moments = {"from": "2026-01-01", "to": ui.get("/api/v1/stats").json["newest"]}
    reply = ui.get("/api/v1/compare", prefix=prefix, **moments)
    argv = ("state", "diff", "--from-time", moments["from"], "--to-time", moments["to"], "--prefix", prefix)
    assert reply.text == ui.home.run(*argv, "-o", "json").out
    assert {row["change"] for row in reply.json["changes"]} == {"added"}


PAGES = (
    *("/", "/state", "/state?q=version", "/state?open=config:", "/state?prefix=deployment:", "/timeline"),
    *(
        "/state/key?key=config:limits",
        "/state/key?key=motd&rev=1",
        "/state/diff?key=motd&from=1&to=2&view=sides",
    ),
    *("/state/diff?key=deployment:version&from=1", "/compare?from=1d", "/locks", "/runs", "/runs/last"),
    *(
        "/compare?of=agents&namespace=local&to=web1",
        "/graph",
        "/graph?stack=site",
        "/agents",
        "/drift?show=all",
    ),
    *(
        "/resource?address=file:PAGE",
        "/timeline?since=1d&by=last",
        "/timeline?by=nobody",
        "/state?q=nothinglikeit",
        "/state?prefix=none:",
    ),
)


@pytest.mark.parametrize("path", PAGES)
def test_pages_show_it_and_link_to_it(ui: Ui, path: str) -> None:
    reply = ui.get(path.replace("PAGE", str(ui.home.cwd / "page.txt")))
    assert reply.status == 200, reply
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    twin = re.search(r'class="json" href="(/api/v1/[^"]+)"', reply.text)
    assert twin is not None
    assert ui.get(unescape(twin[1])).status == 200


QUESTIONS = (
    *("/state/edit", "/state/edit?key=motd", "/state/delete?key=motd", "/state/restore?key=motd&rev=1"),
    "/locks/break?name=deployment",
)


@pytest.mark.parametrize("path", QUESTIONS)
def test_questions_are_asked_before_anything_is_done(ui: Ui, path: str) -> None:
    reply = ui.get(path)
    assert reply.status == 200, reply
    assert "<form" in reply.text and 'method="post"' in reply.text


def test_a_sensitive_value_is_never_sent(ui: Ui) -> None:
    paths = (
        *("/state", "/state/key?key=db:password", "/api/v1/state", "/api/v1/state/history?key=db:password"),
        *(
            "/timeline",
            "/state?q=battery",
            "/state?q=password",
            "/api/v1/state/search?text=battery",
            "/api/v1/timeline",
        ),
        *("/state/edit?key=db:password", "/state/delete?key=db:password", "/metrics", "/compare?from=1d"),
        *("/state/diff?key=db:password&from=1&to=2", "/api/v1/state/diff?key=db:password&from=1&to=2"),
    )
    for path in paths:
        reply = ui.get(path)
        assert reply.status == 200, reply
        assert "horse" not in reply.text, path
