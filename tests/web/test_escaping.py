"""Why: whatever a key, a value, a task's name or a log line holds, a browser only shows it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.program.kit import Home
from tests.web.kit import Ui

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'><svg/onload=alert(3)>"
FILE = """
task({name = "bold", run = function()
  print([[EVIL]])
  log.warn([[EVIL]])
  state.set([[EVIL]], [[EVIL]])
  state.set("j:" .. [[EVIL]], {[ [[EVIL]] ] = [[EVIL]]})
  file.write({dest = FOLDER .. "/<b>&\\"'", content = [[EVIL]]})
end})
task({name = "fails", run = function() error([[EVIL]]) end})
"""


@pytest.fixture(scope="module")
def evil(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    """A UI on a state in which everything is a trap."""
    home = Home(tmp_path_factory.mktemp("evil"))
    home.file("evil.sloth", f"FOLDER = [[{home.cwd}]]\n" + FILE.replace("EVIL", EVIL))
    home.run("run", "evil.sloth", "-k", code=1)
    home.run("state", "set", EVIL, EVIL + "\nagain " + EVIL)
    home.run("state", "set", "javascript:alert(4)", "x")
    made = Ui(home).enter()
    yield made
    made.close()


class _Tags(HTMLParser):
    """What a browser would make of a page: elements, and attributes that run or lead somewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts = 0
        self.bad: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """See HTMLParser."""
        given = dict(attrs)
        if tag == "script":
            self.scripts += 1
            if not str(given.get("src")).startswith("/static/"):
                self.bad.append("an inline script")
        if tag in ("img", "iframe", "object", "embed", "base", "style", "b"):
            self.bad.append(tag)
        for name, text in attrs:
            if name.startswith("on") or name == "style":
                self.bad.append(name)
            if name in ("href", "src", "action") and text and not re.match(r"[/#?]", text):
                self.bad.append(f"{name}={text}")


PATHS = (
    *(
        "/",
        "/state",
        "/state?open=j:",
        "/state?q=script",
        "/state?prefix=j:",
        "/timeline",
        "/runs",
        "/runs/last",
    ),
    *("/graph", "/drift?show=all", "/compare?from=1d", "/locks", "/agents", "/state/edit?key=EVIL"),
    *(
        "/state/key?key=EVIL",
        "/state/diff?key=EVIL&from=1&to=2",
        "/state/diff?key=EVIL&from=1&to=2&view=sides",
    ),
    *("/state/delete?key=EVIL", "/state/restore?key=EVIL&rev=1", "/state/key?key=javascript:alert(4)"),
    *("/state?q=EVIL", "/state?prefix=EVIL", "/state/key?key=none EVIL", "/runs/EVIL", "/graph?stack=EVIL"),
    *("/timeline?since=EVIL", "/timeline?by=EVIL", "/state?namespace=EVIL", "/state?nothing=EVIL", "/EVIL"),
    *("/locks/break?name=EVIL", "/compare?from=EVIL", "/open?token=EVIL", "/resource?address=EVIL"),
)


@pytest.mark.parametrize("path", PATHS)
def test_what_is_stored_or_asked_is_only_shown(evil: Ui, path: str) -> None:
    from urllib.parse import quote

    reply = evil.get(path.replace("EVIL", quote(EVIL)).replace(" ", "%20"))
    assert reply.status < 500, reply
    assert reply.headers["content-type"].startswith("text/html")
    page = _Tags()
    page.feed(reply.text)
    assert page.bad == [] and page.scripts in (0, 3)
    assert "<script>alert" not in reply.text and "onerror=alert" not in re.sub(r"&lt;.*?&gt;", "", reply.text)


def test_json_is_never_taken_for_a_page(evil: Ui) -> None:
    reply = evil.get("/api/v1/state")
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert "<script>alert" in reply.text  # as it is: nothing reads it as HTML


def test_no_template_leaves_text_unescaped() -> None:
    folder = Path(__file__).parents[2] / "src" / "sloth_runner" / "web" / "templates"
    for file in folder.glob("*.html"):
        text = file.read_text()
        assert "|safe" not in text and "autoescape false" not in text, file
        assert not re.search(r"\son\w+=|\sstyle=|<style|<script>", text), file
