"""Why: the UI changes state as its user; nobody but its user's own pages and programs may make it do so."""

from __future__ import annotations

from typing import Any

import pytest

from sloth_runner.web.api.table import OPERATIONS
from sloth_runner.web.pages.table import FORMS, PAGES
from tests.web.kit import Reply, Ui

WRITES = [operation for operation in OPERATIONS if operation.method != "GET"]
READS = sorted({f"/api/v1{operation.path}" for operation in OPERATIONS if operation.method == "GET"})
FORM = "application/x-www-form-urlencoded"
ELSEWHERE = (
    "https://evil.example",
    "null",
    "http://127.0.0.1",
    "http://127.0.0.1:1",
    "https://127.0.0.1:PORT",
)


@pytest.fixture(autouse=True)
def nothing_changes(ui: Ui) -> Any:
    """Whatever is tried here, the state stays as it is."""
    before = ui.get("/api/v1/timeline", limit=1).json["revisions"]
    locks = ui.get("/api/v1/locks").body
    yield
    assert ui.get("/api/v1/timeline", limit=1).json["revisions"] == before
    assert ui.get("/api/v1/locks").body == locks


def _write(ui: Ui, operation: Any, headers: dict[str, str]) -> Reply:
    """A write that would succeed, but for what ``headers`` spoil."""
    query = {"key": "motd", "name": "deployment"}
    known = {param.name for param in operation.params}
    fields = {"value": "x", "rev": 1, "reason": "r"}
    wanted = {param.name for param in operation.fields or () if param.required}
    body = {name: fields[name] for name in wanted}
    match = ui.get("/api/v1/state/key", key="motd").headers["etag"]
    given = {name: text for name, text in query.items() if name in known}
    return ui.write(
        operation.method, f"/api/v1{operation.path}", body, {"If-Match": match, **headers}, **given
    )


@pytest.mark.parametrize("operation", WRITES, ids=lambda one: str(one.name))
def test_a_write_needs_session_origin_and_csrf(ui: Ui, operation: Any) -> None:
    assert _write(ui, operation, {"Cookie": ""}).status == 401
    assert _write(ui, operation, {"Cookie": ui.cookie[:-2] + "xx"}).status == 401
    assert _write(ui, operation, {"Origin": ""}).status == 403
    for origin in ELSEWHERE:
        assert _write(ui, operation, {"Origin": origin.replace("PORT", str(ui.port))}).status == 403
    assert _write(ui, operation, {"X-CSRF-Token": ""}).status == 403
    assert _write(ui, operation, {"X-CSRF-Token": "0" * 64}).status == 403
    for site in ("cross-site", "same-site"):
        assert _write(ui, operation, {"Sec-Fetch-Site": site}).status == 403


@pytest.mark.parametrize("path", FORMS)
def test_a_form_of_another_site_does_nothing(ui: Ui, path: str) -> None:
    body = b"namespace=local&key=motd&name=deployment&version=1&rev=1&step=save&value=x&form=text"
    for headers in (
        {"Origin": "https://evil.example", "Content-Type": FORM, "Sec-Fetch-Site": "cross-site"},
        {"Origin": "https://evil.example", "Content-Type": FORM},
        {"Origin": "null", "Content-Type": FORM},
        {"Content-Type": FORM},
        {"Origin": ui.origin, "Content-Type": FORM},
        {"Origin": ui.origin, "Content-Type": "text/plain"},
    ):
        assert ui.ask("POST", path, body, headers).status == 403
    stolen = body + b"&csrf=" + ui.csrf.encode()
    assert (
        ui.ask("POST", path, stolen, {"Origin": "https://evil.example", "Content-Type": FORM}).status == 403
    )
    assert (
        ui.ask("POST", path, stolen, {"Origin": ui.origin, "Content-Type": FORM, "Cookie": ""}).status == 401
    )
    twice = stolen + b"&csrf=" + ui.csrf.encode()
    assert ui.ask("POST", path, twice, {"Origin": ui.origin, "Content-Type": FORM}).status == 403


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:PORT", "127.0.0.1", "127.0.0.1:1", "localhost", "", "[::1]:1"]
)
@pytest.mark.parametrize("path", ["/", "/api/v1/state", "/healthz", "/static/ui.css", "/open?token=x"])
def test_a_name_that_resolves_to_us_is_not_ours(ui: Ui, path: str, host: str) -> None:
    """DNS rebinding: the browser believes that another site's name is at our address."""
    reply = ui.ask("GET", path, headers={"Host": host.replace("PORT", str(ui.port)) or " "})
    assert reply.status in (400, 421), reply
    assert b"v1.2.3" not in reply.body


def test_our_own_names_are_ours(ui: Ui) -> None:
    for host in ("127.0.0.1", "localhost", "LOCALHOST", "[::1]"):
        assert ui.ask("GET", "/healthz", headers={"Host": f"{host}:{ui.port}"}).status == 200


@pytest.mark.parametrize(
    "path", [*READS, "/metrics", "/events", "/api/v1/openapi.json", "/api/v1/session", *PAGES]
)
def test_reading_needs_a_session_and_no_other_site(ui: Ui, path: str) -> None:
    reply = ui.ask("GET", path, headers={"Cookie": ""})
    assert reply.status == 401
    for site in ("cross-site", "same-site"):
        headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}
        assert ui.ask("GET", path, headers=headers).status == 403


def test_a_link_on_another_site_leads_to_a_question(ui: Ui) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    reply = ui.ask("GET", "/state/key?key=motd", headers={**headers, "Cookie": ""})
    assert reply.status == 403
    assert 'href="/state/key?key=motd"' in reply.text
    assert 'href="//' not in ui.ask("GET", "//evil.example/x", headers={**headers, "Cookie": ""}).text


def test_every_answer_is_closed_to_others(ui: Ui) -> None:
    for path in ("/", "/api/v1/state", "/healthz", "/static/ui.js", "/nothing", "/state/key?key=none"):
        reply = ui.get(path, headers={"Origin": "https://evil.example"})
        assert not {name for name in reply.headers if name.startswith("access-control")}
        policy = reply.headers["content-security-policy"]
        assert (
            "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        )
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["x-frame-options"] == "DENY"
        assert reply.headers["referrer-policy"] == "same-origin"
        assert "server" not in reply.headers
        if not path.startswith("/static/"):
            assert reply.headers["cache-control"] == "no-store"


def test_what_is_not_there_says_so(ui: Ui) -> None:
    for path in ("/api/v1/nothing", "/api/v2/state", "/api/", "/api/v1/run?run=none"):
        reply = ui.get(path)
        assert reply.status == 404 and reply.json["error"]["code"] == "E-KEY-MISSING", path
    for path in ("/nothing", "/static/nothing"):
        reply = ui.get(path)
        assert reply.status == 404 and "there is nothing here" in reply.text and "E-KEY-MISSING" in reply.text


def test_a_method_that_is_not_there_names_those_that_are(ui: Ui) -> None:
    for path, allowed in (
        ("/api/v1/state/key", "DELETE, GET, HEAD, PUT"),
        ("/api/v1/state", "GET, HEAD"),
        ("/state/edit", "GET, HEAD, POST"),
        ("/static/ui.js", "GET, HEAD"),
    ):
        reply = ui.write("PATCH", path)
        assert reply.status == 405 and reply.headers["allow"] == allowed and "E-USAGE" in reply.text
    assert ui.get("/state/reveal").headers["allow"] == "POST"


def test_other_methods_are_refused(ui: Ui) -> None:
    for method in ("OPTIONS", "TRACE", "PATCH", "DELETE"):
        assert ui.write(method, "/api/v1/stats").status == 405
    assert ui.ask("OPTIONS", "/api/v1/state/key", headers={"Origin": ui.origin}).status == 403


def test_the_link_lets_in_once(ui: Ui) -> None:
    reply = ui.ask("GET", ui.link.removeprefix(ui.origin), headers={"Cookie": ""})
    assert reply.status == 401
    assert "set-cookie" not in reply.headers
    again = ui.get(ui.link.removeprefix(ui.origin))  # who is in already goes on
    assert again.status == 200 and "set-cookie" not in again.headers


def test_the_cookie_is_the_servers_alone(ui: Ui) -> None:
    assert ui.set_cookie.endswith("; HttpOnly; Path=/; SameSite=strict")


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/static/../../application.py",
            "/static/..%2f..%2fapplication.py",
            "/static/%2e%2e/%2e%2e/application.py",
        ),
        *(
            "/static//etc/passwd",
            "/static/%2fetc%2fpasswd",
            "/static/..\\\\..\\\\application.py",
            "/static/vendor/../../guard.py",
        ),
        *(
            "/runs/..%2f..%2fetc%2fpasswd",
            "/runs/%00",
            "/state?namespace=../../etc",
            "/state?namespace=%2e%2e%2f",
        ),
        *(
            "/api/v1/state?namespace=../local",
            "/api/v1/run?run=../../etc/passwd",
            "/graph?stack=../../etc/passwd",
        ),
        *("/resource?agent=../local&address=file:/etc/passwd", "/api/v1/state?namespace=local%00"),
    ],
)
def test_no_path_leads_out(ui: Ui, path: str) -> None:
    reply = ui.get(path)
    assert reply.status in (400, 404), reply
    assert b"root:" not in reply.body and b"import" not in reply.body


def test_bodies_have_a_limit(ui: Ui) -> None:
    large = {"value": "x" * (5 << 20)}
    reply = ui.write("PUT", "/api/v1/state/key", large, {"If-None-Match": "*"}, key="large")
    assert reply.status == 413
    longer = {"value": "x" * ((1 << 20) + 1)}
    assert ui.write("PUT", "/api/v1/state/key", longer, {"If-None-Match": "*"}, key="large").status == 413


def test_a_read_only_ui_changes_and_reveals_nothing(ui: Ui) -> None:
    other = Ui(ui.home, "--read-only").enter()
    try:
        for operation in WRITES:
            reply = _write(other, operation, {})
            assert reply.status == 403 and "read-only" in reply.json["error"]["message"]
        assert other.form("/state/reveal", namespace="local", key="db:password").status == 403
        for path in ("/state", "/state/key?key=motd", "/state/key?key=db:password", "/locks", "/drift"):
            text = other.get(path).text.replace('method="post" action="/leave"', "")
            assert 'method="post"' not in text and "/state/edit" not in text and ">Break<" not in text
        for path in ("/state/edit?key=motd", "/state/delete?key=motd", "/state/restore?key=motd&rev=1"):
            assert " disabled>" in other.get(path).text, "a form from a link that somebody else has shared"
    finally:
        other.close()


def test_a_token_stands_for_a_session_and_needs_the_rest(ui: Ui) -> None:
    token = "t" * 40
    ui.home.env["UI_TOKEN"] = token
    other = Ui(ui.home, "--token-env", "UI_TOKEN")
    try:
        bearer = {"Authorization": f"Bearer {token}", "Cookie": ""}
        assert other.ask("GET", "/metrics", headers=bearer).status == 200
        assert other.ask("GET", "/metrics", headers={"Authorization": f"Bearer {token}x"}).status == 401
        other.csrf = other.ask("GET", "/api/v1/session", headers=bearer).json["csrf"]
        put = {"If-None-Match": "*", **bearer}
        assert (
            other.write("PUT", "/api/v1/state/key", {"value": 1}, {**put, "Origin": ""}, key="n").status
            == 403
        )
        assert (
            other.write("PUT", "/api/v1/state/key", {"value": 1}, {**put, "X-CSRF-Token": ""}, key="n").status
            == 403
        )
    finally:
        other.close()
        del ui.home.env["UI_TOKEN"]
