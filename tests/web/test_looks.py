"""Why: pages look finished with three keys and with 300,000, on a phone and on a wide screen; all may use them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from benchmarks.web import fill
from playwright.sync_api import Browser, expect

from tests.program.kit import Home
from tests.web.browser import PICTURES, Window, chromium
from tests.web.kit import SITE, Ui, hold

WIDTHS = (360, 768, 1280, 1920)
MAIN = {
    "overview": "/", "state": "/state", "timeline": "/timeline", "locks": "/locks", "runs": "/runs",
    "run": "/runs/last", "graph": "/graph", "drift": "/drift?show=all", "agents": "/agents",
    "compare": "/compare?from=1h",
}  # fmt: skip
OTHERS = {
    "key": "/state/key?key=motd", "edit": "/state/edit?key=motd", "new": "/state/edit",
    "delete": "/state/delete?key=motd",
    "restore": "/state/restore?key=motd&rev=1", "diff": "/state/diff?key=motd&from=1&to=2",
    "sides": "/state/diff?key=motd&from=1&to=2&view=sides", "secret": "/state/key?key=password",
    "break": "/locks/break?name=deployment", "search": "/state?q=o", "nothing": "/state?q=nothinglikeit",
    "missing": "/state/key?key=none", "folded": "/state?open=web:",
}  # fmt: skip
MANY = 300_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all of them."""
    with chromium() as one:
        yield one


@pytest.fixture(scope="module", params=[3, MANY], ids=["few", "many"])
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Ui]]:
    """A UI on few keys, and one on many."""
    home = Home(tmp_path_factory.mktemp("looks"))
    home.file("sloth.toml", '[agents]\nweb1 = "local://"\n')
    if request.param == MANY:
        fill(home.state_folder, MANY, time.time())
    home.run("state", "set", "motd", "first line\nsecond line")
    home.run("state", "set", "motd", "first line\nsecond line changed\nthird line")
    home.run("state", "set", "password", "correct horse", "--sensitive")
    home.file("site.sloth", f"FOLDER = [[{home.cwd}]]\n{SITE}")
    home.run("run", "site.sloth")
    (home.cwd / "page.txt").write_text("changed\nby hand\n")
    hold(home, "deployment")
    ui = Ui(home).enter()
    assert ui.write("POST", "/api/v1/drift", {}).status == 200
    while "being read" in ui.get("/").text:
        time.sleep(0.1)
    yield ("many" if request.param == MANY else "few"), ui
    ui.close()


@pytest.mark.parametrize("width", WIDTHS)
def test_main_pages_fit_and_are_kept_to_be_looked_at(
    browser: Browser, site: tuple[str, Ui], width: int
) -> None:
    size, ui = site
    PICTURES.mkdir(parents=True, exist_ok=True)
    window = Window(browser, ui, viewport={"width": width, "height": 900})
    for name, path in {**MAIN, "key": OTHERS["key"], "folded": OTHERS["folded"]}.items():
        page = window.go(path)
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= width, (name, width)
        _no_empty_boxes(page)
        page.screenshot(path=PICTURES / f"{name}-{size}-{width}.png", full_page=True, animations="disabled")
    window.close()
    if width == WIDTHS[2]:
        dark = Window(browser, ui, color_scheme="dark")
        for name, path in MAIN.items():
            dark.go(path).screenshot(path=PICTURES / f"{name}-{size}-{width}-dark.png", full_page=True)
        dark.close()


@pytest.mark.parametrize("width", [320, 360])
def test_locks_fit_however_long_they_are_held(browser: Browser, tmp_path: Path, width: int) -> None:
    home = Home(tmp_path)
    for number, since in enumerate((0, 3, 83, 3599, 86399, 8640000)):
        hold(home, f"lock{number}", since + 3599.9, since)
    with (
        closing(Ui(home).enter()) as ui,
        closing(Window(browser, ui, viewport={"width": width, "height": 900})) as window,
    ):
        page = window.go("/locks")
        expect(page.locator("[data-row]")).to_have_count(6)
        assert page.evaluate("document.documentElement.scrollWidth") <= width


LONG = "x" * 110
AGENT = "m" * 60
UNBROKEN = f"""
task({{name = "{LONG}", delegate_to = "{AGENT}", run = function()
  file.write({{dest = FOLDER .. "/{LONG}", content = "a"}})
  state.set("{LONG}{LONG}", "{LONG}{LONG}")
  state.lock("{LONG}", "{LONG}", 3000, {{keep = true}})
end}})
task({{name = "fails", depends_on = "{LONG}", run = function() cmd("false {LONG}") end}})
"""


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_names_without_a_blank_are_broken(browser: Browser, unbroken: Ui, width: int) -> None:
    key = f"namespace={AGENT}&key={LONG}{LONG}"
    more = {"key": f"/state/key?{key}", "edit": f"/state/edit?{key}", "tree": f"/state?namespace={AGENT}"}
    with closing(Window(browser, unbroken, viewport={"width": width, "height": 900})) as window:
        wide = {name: _width(window, path) for name, path in {**MAIN, **more}.items()}
        assert max(wide.values()) <= width, wide
    assert "Changed: perhaps something, by" in unbroken.get("/runs/last").text


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    """A UI on long names that have no place to break."""
    home = Home(tmp_path_factory.mktemp("unbroken"))
    home.file("sloth.toml", f'[agents]\n{AGENT} = "local://"\n')
    home.file("site.sloth", f"FOLDER = [[{home.cwd}]]\n{UNBROKEN}")
    home.run("run", "-f", "site.sloth", LONG, code=1)
    with closing(Ui(home).enter()) as ui:
        yield ui


def _width(window: Window, path: str) -> int:
    """How wide a page is."""
    page = window.go(path)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    return int(page.evaluate("document.documentElement.scrollWidth"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nobody_is_kept_out(browser: Browser, site: tuple[str, Ui], scheme: str) -> None:
    size, ui = site
    if size == "many" and scheme == "dark":
        pages = {}  # the same elements in the same colours as with few keys
    else:
        pages = {**MAIN, **OTHERS}
    window = Window(browser, ui, color_scheme=scheme)
    bad: list[Any] = []
    for name, path in pages.items():
        page = window.go(path)
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        found = Axe().run(page).response["violations"]
        bad += [
            (name, one["id"], [node["html"][:200] for node in one["nodes"][:3]])
            for one in found
            if one["impact"] in ("serious", "critical")
        ]
    window.close()
    assert bad == []


def _no_empty_boxes(page: Any) -> None:
    """No table without rows, no list without items, no picture without anything on it."""
    boxes = ", ".join(f"#page {tag}" for tag in ("table", "ul", "ol", "dl", "svg", "pre", "section"))
    empty = page.evaluate(
        f"[...document.querySelectorAll('{boxes}')].filter(one => !one.textContent.trim() && "
        "!one.querySelector('rect')).map(one => one.outerHTML.slice(0, 200))"
    )
    assert empty == []
    hollow = page.evaluate(
        "[...document.querySelectorAll('#page tbody')].filter(one => !one.rows.length).length"
    )
    assert hollow == 0


def test_pictures_are_no_part_of_the_repository() -> None:
    ignored = (Path(__file__).parents[2] / ".gitignore").read_text().split()
    assert "/build/" in ignored
