"""Why: what a page shows, a program can read, and it is the very bytes that the command line prints."""

from __future__ import annotations

import pytest

from tests.web.kit import Ui

TWINS = {
    "/api/v1/stats": ("state", "stats", "--all-agents"),
    "/api/v1/state": ("state", "list", "--limit", "100"),
    "/api/v1/state?limit=2": ("state", "list", "--limit", "2"),
    "/api/v1/state?prefix=config:&namespace=local": ("state", "list", "config:", "--limit", "100"),
    "/api/v1/state?namespace=_shared": ("state", "list", "--shared", "--limit", "100"),
    "/api/v1/state/key?key=config:limits": ("state", "show", "config:limits"),
    "/api/v1/state/key?key=db:password": ("state", "show", "db:password"),
    "/api/v1/state/key?key=deployment:version&rev=1": ("state", "show", "deployment:version", "--rev", "1"),
    "/api/v1/state/history?key=deployment:version": (
        "state",
        "history",
        "deployment:version",
        "--limit",
        "100",
    ),
}


@pytest.mark.parametrize("path", TWINS)
def test_the_api_answers_what_the_command_prints(ui: Ui, path: str) -> None:
    reply = ui.get(path)
    assert reply.status == 200, reply
    assert reply.headers["content-type"] == "application/json"
    assert reply.text == ui.home.run(*TWINS[path], "-o", "json").out


def test_errors_are_the_same_documents(ui: Ui) -> None:
    reply = ui.get("/api/v1/state/key", key="deploymint:version")
    assert reply.status == 404
    assert reply.text == ui.home.run("state", "show", "deploymint:version", "-o", "json", code=4).out


def test_pages_show_it_and_link_to_it(ui: Ui) -> None:
    for path in ("/", "/state", "/state/key?key=config:limits"):
        reply = ui.get(path)
        assert reply.status == 200, reply
        assert reply.headers["content-type"] == "text/html; charset=utf-8"
        assert 'class="json" href="/api/v1/' in reply.text
    assert "büro" in reply.text


def test_a_sensitive_value_is_never_sent(ui: Ui) -> None:
    for path in (
        "/state",
        "/state/key?key=db:password",
        "/api/v1/state",
        "/api/v1/state/history?key=db:password",
    ):
        reply = ui.get(path)
        assert reply.status == 200, reply
        assert "correct horse" not in reply.text
