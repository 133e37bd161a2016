"""Why: what another process does is on the page within a second, without a reload."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import secrets
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from sloth_runner.app import App
from sloth_runner.engine import records
from sloth_runner.web.api import locks
from sloth_runner.web.application import Site
from sloth_runner.web.desk import Desk
from sloth_runner.web.doors import Doors
from sloth_runner.web.house import House
from sloth_runner.web.hub import Hub
from sloth_runner.web.index.index import Index
from sloth_runner.web.index.pulse import Pulse
from sloth_runner.web.options import Options
from sloth_runner.web.pages import Here, twin
from sloth_runner.web.view import NAV
from tests.web.kit import Ui

LONG = 60.0
"""Seconds after which what was to be told is missing."""


class Events:
    """An event stream under way."""

    def __init__(self, reply: http.client.HTTPResponse) -> None:
        self._reply = reply

    def until(self, topic: str) -> None:
        """Wait for a change of this topic."""
        end = time.monotonic() + LONG
        while True:
            line = self._reply.readline().decode()
            assert line, "the stream ended"
            assert time.monotonic() < end, "nothing but beats"
            if line.startswith("data: ") and topic in line.split():
                return


@contextmanager
def _events(ui: Ui) -> Iterator[Events]:
    connection = http.client.HTTPConnection(ui.host, ui.port, timeout=LONG)
    connection.request("GET", "/events", headers={"Cookie": ui.cookie})
    reply = connection.getresponse()
    assert reply.status == 200 and reply.getheader("content-type") == "text/event-stream; charset=utf-8"
    assert reply.readline() == b"retry: 1000\n"
    try:
        yield Events(reply)
    finally:
        connection.close()


def test_a_write_of_another_process_is_told_and_seen(ui: Ui) -> None:
    app = ui.home.app()  # a process of its own to the server
    state = app.state()
    with _events(ui) as events:
        for number in range(3):
            key = f"live:{number}"
            state.set(key, "here")
            events.until("state")
            end = time.monotonic() + LONG
            while key not in ui.get("/state", q=key).text.partition('class="tree"')[2]:
                assert time.monotonic() < end
            assert f"live%3A{number}" in ui.get("/state", prefix="live:").text
    app.close()


def test_what_is_told_while_a_page_is_made_makes_it_anew(ui: Ui) -> None:
    """It may have looked before: a browser that then listens must not believe that it has seen all."""
    hub, index, pulse = Hub(), Index(()), Pulse(time.time)
    doors = Doors(lambda: secrets.token_urlsafe(32), time.monotonic)
    desk = Desk(ui.home.app)
    house = House(Options(), desk, doors, hub, index, pulse, time.time)

    async def told_meanwhile(here: Here) -> Response:
        answer = await here.ask(locks.LIST)
        hub.tell(frozenset({"locks"}))
        await asyncio.sleep(0)
        assert hub.told == 1
        return here.page(
            "locks.html", "locks", locks=answer.body["locks"], given={"broken": None}, twin=twin(locks.LIST)
        )

    async def told() -> bytes:
        hub.bind()
        page = Site(house).page(told_meanwhile)
        scope = {"type": "http", "method": "GET", "path": "/locks", "query_string": b"", "headers": []}
        return bytes((await page(Request(scope))).body)

    try:
        assert b'data-told="0"' in asyncio.run(told())
    finally:
        desk.close()


def test_what_nobody_expected_is_told_once_and_answered() -> None:
    def broken() -> App:
        raise ZeroDivisionError("secret")

    hub, index, pulse = Hub(), Index(()), Pulse(time.time)
    doors = Doors(lambda: secrets.token_urlsafe(32), time.monotonic, "token")
    desk = Desk(broken)
    house = House(Options(), desk, doors, hub, index, pulse, time.time)
    told: list[Exception] = []
    house.fault = told.append
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"127.0.0.1:8787"), (b"authorization", b"Bearer token")]
    scope = {"type": "http", "method": "GET", "path": "/locks", "query_string": b"", "headers": headers}

    async def ask() -> None:
        await Site(house).asgi(scope, receive, send)

    try:
        asyncio.run(ask())
    finally:
        desk.close()
    assert [type(error) for error in told] == [ZeroDivisionError]
    body = b"".join(message.get("body", b"") for message in sent)
    assert sent[0]["status"] == 500
    assert b"this is a fault of sloth-runner itself: ZeroDivisionError" in body and b"secret" not in body


@pytest.mark.parametrize("path", [path for _, path, _, _ in NAV])
def test_each_page_says_what_had_been_told(ui: Ui, path: str) -> None:
    assert re.search(r'<div id="page" data-told="[0-9]+"', ui.get(path).text)


def counted(ui: Ui) -> Any:
    """What the UI counts, once that is what a command counts."""
    end = time.monotonic() + LONG
    while True:
        shown = ui.get("/api/v1/stats").body.decode()
        if shown == ui.home.run("state", "stats", "--all-agents", "-o", "json").out:
            return json.loads(shown)
        assert time.monotonic() < end


def test_counts_follow(ui: Ui) -> None:
    ui.home.run("state", "set", "live:count", "0")  # which puts on record what has expired before
    before = counted(ui)
    with _events(ui) as events:
        ui.home.run("state", "set", "live:count", "1")
        events.until("state")
        ui.home.run("state", "delete", "live:count", "--yes")
        events.until("state")
    assert counted(ui)["revisions"] == before["revisions"] + 2


def test_what_expires_goes(ui: Ui) -> None:
    ui.home.run("state", "set", "live:short", "x", "--ttl", "1s")
    with _events(ui) as events:
        while 'class="leaf' in ui.get("/state", prefix="live:short").text:
            events.until("state")


def test_our_own_change_is_seen_at_once(ui: Ui) -> None:
    ui.write("PUT", "/api/v1/state/key", {"value": 1}, {"If-None-Match": "*"}, key="live:own")
    assert "live%3Aown" in ui.get("/state", prefix="live:o").text.partition('class="tree"')[2]


def test_the_server_ends_while_pages_listen(ui: Ui) -> None:
    other = Ui(ui.home).enter()
    with _events(other):
        code, said = other.end(signal.SIGTERM)
    assert code == 0
    assert "Traceback" not in said and "error" not in said.lower(), said


def test_a_run_whose_process_is_gone_has_died(ui: Ui) -> None:
    ui.home.run("run", str(ui.home.file("died.sloth", 'task({name = "t", run = function() end})')))
    app = ui.home.app()
    (run,) = (head["run"] for head in records.list_runs(app.store(), stack="died"))
    document = records.show_run(app.store(), run)
    head = {name: item for name, item in document.items() if name != "tasks"}
    process = [app.settings.host, "another boot", 1, 1]
    left = {**head, "status": "running", "exit_code": None, "process": process}
    records.write(app.store(), [(records.run_key(run), left)])
    app.close()
    assert ui.get("/api/v1/run", run=run).json["status"] == "died"
    page = ui.get(f"/runs/{run}").text
    assert "its process is gone, and recorded no end" in page and "--resume" in page
    assert ">died</span>" in ui.get("/runs", stack="died").text
    assert 'sloth_runner_runs{status="died"} 1' in ui.get("/metrics").text
    app = ui.home.app()
    records.write(app.store(), [(records.run_key(run), {**left, "status": "ok", "exit_code": 0})])
    app.close()
    ui.home.run("stack", "forget", "died", "--yes")


def test_metrics_are_what_prometheus_reads(ui: Ui) -> None:
    reply = ui.get("/metrics")
    assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    named: dict[str, str] = {}
    for line in reply.text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            named[name] = kind
        elif not line.startswith("#"):
            found = re.fullmatch(r'(\w+)(\{(?:\w+="[^"\\]*",?)+\})? (-?[0-9.e+]+)', line)
            assert found is not None and found[1] in named, line
    keys = dict(re.findall(r'sloth_runner_keys\{namespace="(\w+)"\} (\d+)', reply.text))
    stats = ui.get("/api/v1/stats").json["namespaces"]
    assert keys == {row["namespace"]: str(row["keys"]) for row in stats if row["namespace"] in keys}
    assert {"local", "_shared", "web1"} <= set(keys)
    assert re.search(r"^sloth_runner_locks_held\{namespace=\"local\"\} [1-9]", reply.text, re.M)


def test_health_needs_no_session(ui: Ui) -> None:
    reply = ui.ask("GET", "/healthz", headers={"Cookie": ""})
    assert (reply.status, reply.text) == (200, "ok\n")
