"""Why: the API is what its OpenAPI file says, whatever it is asked, and never ends in a server's error."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance

from sloth_runner.web import openapi
from sloth_runner.web.api.table import OPERATIONS
from tests.cli.schema import check, schemas
from tests.web.kit import Ui, make_home

TOKEN = "t" * 40
EXAMPLES = 6
FILE = Path(__file__).parents[2] / "docs" / "api" / "openapi.json"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    """A UI whose state may be changed at will."""
    home = make_home(tmp_path_factory.mktemp("api"))
    home.env["UI_TOKEN"] = TOKEN
    made = Ui(home, "--token-env", "UI_TOKEN").enter()
    yield made
    made.close()


SCHEMA = schemathesis.openapi.from_dict(openapi.document())
ASKED = [(path, method) for path, methods in openapi.document()["paths"].items() for method in methods]


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: str(mode.value))
@pytest.mark.parametrize(("path", "method"), ASKED)
def test_whatever_is_asked_the_answer_is_as_described(
    site: Ui, path: str, method: str, mode: GenerationMode
) -> None:
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    session = site.ask("GET", "/api/v1/session", headers={**bearer, "Cookie": ""}).json
    headers = {**bearer, "Origin": site.origin, "X-CSRF-Token": session["csrf"]}
    operation: Any = SCHEMA[path][method]

    @settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), database=None)
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        reply = case.call(base_url=f"{site.origin}/api/v1", headers=headers)
        # What is well-formed may still name nothing: a moment that is none, a mark of another list. And who is let in
        # stands in the headers that we add, so generated ones don't count: tests/web/test_guard.py tries those.
        case.validate_response(reply, excluded_checks=[positive_data_acceptance, ignored_auth])
        assert reply.status_code != 500

    ask()


def test_the_file_is_the_table() -> None:
    """docs/api/openapi.json is made by ``python -m sloth_runner.web.openapi``."""
    assert FILE.read_text(encoding="utf-8") == openapi.text()


def test_the_server_hands_out_the_file(ui: Ui) -> None:
    assert ui.get("/api/v1/openapi.json").text == openapi.text()


def test_every_answer_has_a_schema(ui: Ui) -> None:
    known = schemas()
    assert {name for operation in OPERATIONS for name in operation.documents} <= set(known)
    for path in (
        "/state",
        "/stats",
        "/runs",
        "/run",
        "/locks",
        "/stacks",
        "/resources",
        "/agents",
        "/timeline",
    ):
        check(ui.get(f"/api/v1{path}").json)


def test_operations_are_named_once() -> None:
    assert len({operation.name for operation in OPERATIONS}) == len(OPERATIONS)
    assert len({(operation.method, operation.path) for operation in OPERATIONS}) == len(OPERATIONS)
    for operation in OPERATIONS:
        assert operation.method == "GET" or operation.fields is not None or operation.guarded
        assert not (operation.method == "GET" and (operation.fields is not None or operation.guarded))


def test_a_parameter_that_is_not_there_is_said(ui: Ui) -> None:
    reply = ui.get("/api/v1/state", prefx="a")
    assert reply.status == 400
    error = reply.json["error"]
    assert error["message"] == "there is no parameter 'prefx'" and "did you mean 'prefix'?" in error["next"]
    assert ui.get("/api/v1/state?limit=1&limit=2").status == 400
    for path in ("/api/v1/state/key?key=%ff", "/api/v1/state?prefix=%ED%A0%80", "/state/key?key=a%80"):
        reply = ui.get(path)
        assert reply.status == 400 and "the address is no UTF-8" in reply.text
    for empty in ("state/search?text=", "compare/agents?to=", "graph?stack="):
        reply = ui.get(f"/api/v1/{empty}")
        assert reply.status == 400 and "is empty" in reply.json["error"]["message"]
    for limit in ("0", "-1", "x", "1001", "٣", "1e3"):
        assert ui.get("/api/v1/state", limit=limit).status == 400
    for path in ("timeline", "state/history?key=motd"):
        reply = ui.get(f"/api/v1/{path}{'&' if '?' in path else '?'}since=1h&until=2h")
        assert reply.status == 400 and reply.json["error"]["message"] == "until lies before since"
    assert json.loads(ui.get("/api/v1/state/key").body)["error"]["message"] == "key is missing"
