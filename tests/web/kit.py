"""Why: the UI is tested as it is used: the program serves, and requests come in from outside."""

from __future__ import annotations

import http.client
import json
import re
import signal
import ssl
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

from sloth_runner.state.locks import Held, acquire
from tests.program.kit import Home

READY = 60.0
"""Seconds that the server may take to start, and to end."""


class Reply(NamedTuple):
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Ui:
    """A UI that runs on ``home``'s state, with a session of its own. ``tls``: how it is reached over TLS."""

    def __init__(self, home: Home, *args: str, tls: ssl.SSLContext | None = None) -> None:
        self.home = home
        self._tls = tls
        self._process = home.start("ui", "--port", "0", *args)
        self.link = self._first_line()
        self.origin = "{0.scheme}://{0.netloc}".format(urlsplit(self.link))
        self.host, self.port = str(urlsplit(self.link).hostname), int(urlsplit(self.link).port or 0)
        self.cookie = self.set_cookie = ""
        self.csrf = ""

    @property
    def pid(self) -> int:
        """The server's process."""
        return self._process.pid

    def enter(self) -> Ui:
        """Let this client in."""
        reply = self.get(self.link.removeprefix(self.origin))
        assert reply.status == 200, reply
        self.set_cookie = reply.headers["set-cookie"]
        self.cookie = self.set_cookie.partition(";")[0]
        found = re.search(r'<meta name="csrf" content="([0-9a-f]+)">', self.get("/").text)
        assert found is not None
        self.csrf = found[1]
        return self

    def get(self, path: str, headers: Mapping[str, str] | None = None, **query: object) -> Reply:
        """GET, with the session's cookie."""
        return self.ask("GET", path + (f"?{urlencode(query)}" if query else ""), headers=headers)

    def write(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        **query: object,
    ) -> Reply:
        """A write with everything that one needs; ``headers`` come on top (an empty one takes one away)."""
        usual = {"Origin": self.origin, "X-CSRF-Token": self.csrf, "Content-Type": "application/json"}
        data = b"" if body is None else json.dumps(body).encode()
        address = path + (f"?{urlencode(query)}" if query else "")
        return self.ask(method, address, data, {**usual, **(headers or {})})

    def form(self, path: str, **fields: object) -> Reply:
        """Post a form as a browser does."""
        data = urlencode({"csrf": self.csrf, **fields}).encode()
        kind = "application/x-www-form-urlencoded"
        return self.ask("POST", path, data, {"Origin": self.origin, "Content-Type": kind})

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Any request. ``headers`` replace what is sent by itself; an empty one is left out."""
        given = {"Cookie": self.cookie, **(headers or {})}
        connection = (
            http.client.HTTPConnection(self.host, self.port, timeout=READY)
            if self._tls is None
            else http.client.HTTPSConnection(self.host, self.port, timeout=READY, context=self._tls)
        )
        try:
            connection.putrequest(method, path, skip_host="Host" in given, skip_accept_encoding=True)
            if body is not None:
                given.setdefault("Content-Length", str(len(body)))
            for name, value in given.items():
                if value:
                    connection.putheader(name, value)
            connection.endheaders(body)
            reply = connection.getresponse()
            return Reply(
                reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read()
            )
        finally:
            connection.close()

    def close(self) -> str:
        """End the server; returns what it said on stderr."""
        return self.end(signal.SIGTERM)[1]

    def end(self, number: signal.Signals) -> tuple[int, str]:
        """End the server by a signal; its exit status and what it said on stderr."""
        self._process.send_signal(number)
        try:
            _, err = self._process.communicate(timeout=READY)
        except subprocess.TimeoutExpired:
            self._process.kill()
            _, err = self._process.communicate()
        return self._process.returncode, err

    def _first_line(self) -> str:
        assert self._process.stdout is not None
        timer = threading.Timer(READY, self._process.kill)
        timer.start()
        line = self._process.stdout.readline().strip()
        timer.cancel()
        if not line:
            raise RuntimeError(f"the UI did not start: {self._process.communicate()[1]}")
        return line


SITE = """
task({name = "folder", run = function() file.directory({path = FOLDER}) print("made <b>bold</b>") end})
task({name = "page", depends_on = "folder", run = function()
  file.write({dest = FOLDER .. "/page.txt", content = "hello\\n"})
  state.set("page:state", "written")
end})
"""


def make_home(folder: Path) -> Home:
    """A home with a little of everything."""
    home = Home(folder)
    home.file("sloth.toml", '[agents]\nweb1 = "local://"\n')
    for argv in (
        ("state", "set", "deployment:version", "v1.2.2"),
        ("state", "set", "deployment:version", "v1.2.3"),
        ("state", "set", "config:limits", "--json", '{"cpu": [1, 2.5], "on": true, "name": "büro"}'),
        ("state", "set", "db:password", "correct horse", "--sensitive"),
        ("state", "set", "db:password", "battery horse"),
        ("state", "set", "cluster:leader", "agent1"),
        ("state", "set", "motd", "first line\nsecond\tline"),
        ("state", "set", "motd", "first line\nsecond line\nthird"),
        ("state", "set", "version", "7", "--agent", "web1"),
    ):
        home.run(*argv)
    home.file("site.sloth", f"FOLDER = [[{home.cwd}]]\n{SITE}")
    home.run("run", "site.sloth")
    hold(home, "deployment")
    return home


def hold(home: Home, name: str, ttl: float = 3600.0, since: float = 0.0) -> None:
    """Take a lock that stays when we are gone, as if that was ``since`` seconds ago."""
    app = home.app()
    view = app.state()
    held = acquire(app.store(), view.home(name), name, app.owner("by hand", "1"), ttl, app.clock() - since)
    assert isinstance(held, Held)
    app.close()
