"""Why: a person with a browser does all of it: search, open, compare, restore, edit, break a lock, watch a run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.web.browser import Window, chromium
from tests.web.kit import Ui, hold, make_home

SLOW = """
task({name = "first", run = function() print("at once") end})
task({name = "second", depends_on = "first", run = function()
  print("it begins")
  cmd({command = "n=0; while [ ! -e GO ] && [ $n -lt 6000 ]; do sleep 0.05; n=$((n+1)); done; echo it ends",
       changed_when = false})
  state.set("slow:done", true)
end})
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all of them."""
    with chromium() as one:
        yield one


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    """A UI of their own."""
    made = Ui(make_home(tmp_path_factory.mktemp("browser"))).enter()
    yield made
    made.close()


@pytest.fixture
def window(browser: Browser, site: Ui) -> Iterator[Window]:
    """A window that is let in."""
    one = Window(browser, site)
    yield one
    one.close()


def test_the_link_opens_the_overview_once(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> None:
    ui = Ui(make_home(tmp_path_factory.mktemp("link")))
    try:
        window = Window(browser, ui)
        page = window.go(ui.link.removeprefix(ui.origin))
        expect(page.get_by_role("heading", name="Overview")).to_be_visible()
        expect(page).to_have_url(ui.origin + "/")
        expect(page.locator("dl.figures")).to_contain_text("Keys")
        window.close()
        other = Window(browser, ui)
        page = other.go(ui.link.removeprefix(ui.origin))
        expect(page.get_by_role("heading")).to_contain_text(["this link was used already"])
        other.close()
    finally:
        ui.close()


def test_search_while_typing_then_open(window: Window) -> None:
    page = window.go("/state")
    rows = page.locator("ul.tree > li")
    expect(rows).not_to_have_count(0)
    page.keyboard.press("/")
    page.keyboard.type("VERS", delay=30)
    expect(rows).to_have_count(1)
    expect(page.locator("mark")).to_have_text("vers")
    expect(page).to_have_url(re.compile(r"q=VERS"))
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("deployment:version")
    expect(page.locator("pre.value")).to_have_text("v1.2.3")
    page.go_back()
    expect(page.get_by_role("searchbox")).to_have_value("VERS")


def test_search_looks_into_values(window: Window) -> None:
    page = window.go("/state")
    page.get_by_role("searchbox").fill("büro")
    expect(page.locator("ul.tree > li")).to_have_count(1)
    expect(page.locator("ul.tree")).to_contain_text("config:limits")
    page.get_by_role("searchbox").fill("battery")
    expect(page.locator("#page")).to_contain_text("No key holds “battery”")


def test_the_tree_folds(window: Window) -> None:
    for name in ("tree:a/one", "tree:a/two", "tree:b"):
        window.ui.home.run("state", "set", name, "x")
    page = window.go("/state")
    tree = page.locator("ul.tree")
    fold = page.get_by_role(
        "link", name="Open tree:", exact=True
    )  # there as soon as there is more than tree:a/
    expect(fold).to_be_visible()
    expect(tree).not_to_contain_text("a/one")
    expect(tree).to_contain_text("3 keys")
    fold.click()
    page.get_by_role("link", name="Open tree:a/", exact=True).click()
    expect(tree.get_by_role("link", name="one", exact=True)).to_be_visible()
    expect(page).to_have_url(re.compile("open="))
    page.reload()  # what is open stands in the address
    expect(tree.get_by_role("link", name="one", exact=True)).to_be_visible()
    page.get_by_role("link", name="Close tree:", exact=True).click()
    expect(tree.get_by_role("link", name="one", exact=True)).to_have_count(0)


FOLDED = """() => {
  window.folded = 0;
  document.addEventListener("htmx:afterSwap", () => {
    if (location.search.includes("open=") && !document.querySelector('[aria-label="Close late:"]')) window.folded++;
  });
}"""


def test_what_was_asked_before_does_not_undo_what_was_opened_since(window: Window) -> None:
    for name in ("late:a/one", "late:a/two", "late:b"):
        window.ui.home.run("state", "set", name, "x")
    page, held = window.go("/state"), list[Route]()
    fold = page.get_by_role("link", name="Open late:", exact=True)
    expect(fold).to_be_visible()  # the page has seen all three; what it asks from now on is late

    def delay(route: Route) -> None:
        if "hx-request" in route.request.headers and "open=" not in route.request.url:
            held.append(route)
        else:
            route.continue_()

    page.route("**/state*", delay)
    with page.expect_request(lambda request: "hx-request" in request.headers):
        window.ui.home.run("state", "set", "late:b", "y")
    page.evaluate(FOLDED)
    fold.click()
    inner = page.get_by_role("link", name="Open late:a/", exact=True)
    expect(inner).to_be_visible()
    with page.expect_request(re.compile("open=")):
        for route in held:
            route.continue_()
    expect(inner).to_be_visible()
    assert page.evaluate("window.folded") == 0


def test_compare_and_restore(window: Window) -> None:
    page = window.go("/state/key?key=motd")
    page.get_by_label("Compare revision").select_option("1")
    page.get_by_role("button", name="Compare").click()
    expect(page.locator(".diff .plus").first).to_be_visible()
    expect(page.locator(".diff .minus")).to_contain_text("second\tline")
    page.get_by_role("link", name="Side by side").click()
    expect(page.locator("table.sides td.plus:not(.no)")).to_have_count(2)
    page.get_by_role("link", name="motd").click()
    page.get_by_role("link", name="Restore revision 1").click()
    expect(page.locator(".diff")).to_be_visible()
    page.get_by_role("button", name="Restore").click()
    expect(page.get_by_role("status").first).to_contain_text("Restored, as revision 3")
    assert window.ui.home.value("motd") == "first line\nsecond\tline"


def test_edit_shows_what_another_did_meanwhile(window: Window) -> None:
    window.ui.home.run("state", "set", "edited", "before")
    page = window.go("/state/key?key=edited")
    page.get_by_role("link", name="Edit").click()
    page.locator("textarea").fill("mine")
    window.ui.home.run("state", "set", "edited", "theirs")
    page.get_by_role("button", name="Look at the change").click()
    expect(page.get_by_role("alert")).to_contain_text("Somebody else was faster")
    expect(page.locator(".diff .minus")).to_have_text("-theirs")
    assert window.ui.home.value("edited") == "theirs"
    page.get_by_role("button", name="Save anyway").click()
    expect(page.get_by_role("status").first).to_contain_text("Saved as revision 3")
    assert window.ui.home.value("edited") == "mine"


def test_what_goes_while_one_looks_is_no_longer_shown(window: Window) -> None:
    home, place = window.ui.home, ("--agent", "web1")
    home.run("state", "set", "leaves", "here", *place)
    page = window.go("/state/key?key=leaves&namespace=web1")
    expect(page.locator("pre.value")).to_have_text("here")
    home.run("state", "delete", "leaves", "--yes", *place)
    expect(page.locator("#page")).to_contain_text("There is no value now")
    expect(page.get_by_role("link", name="Delete")).to_have_count(0)
    home.run("state", "clear", "--purge", "--yes", *place)
    expect(page.get_by_role("heading", level=1)).to_contain_text("there is no key 'leaves'")
    home.run("state", "set", "version", "7", *place)
    home.run("state", "set", "leaves", "again", *place)
    expect(page.locator("pre.value")).to_have_text("again")


def test_a_session_that_ends_while_one_looks_is_told(window: Window) -> None:
    window.ui.home.run("state", "set", "private", "here")
    page = window.go("/state/key?key=private")
    expect(page.locator("pre.value")).to_be_visible()
    window.context.clear_cookies()
    window.ui.home.run("state", "set", "private", "only for those who are let in")
    expect(page.get_by_role("heading", level=1)).to_have_text("this needs a session")
    expect(page.locator("body")).to_contain_text("open the link")


def test_signing_out(browser: Browser, site: Ui) -> None:
    window = Window(browser, Ui(site.home).enter())
    page = window.go("/locks")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Signed out")
    window.go("/locks")
    expect(page.get_by_role("heading", level=1)).to_have_text("this needs a session")
    window.close()
    window.ui.close()


def test_a_page_that_waits_for_a_store_that_is_away_says_so(window: Window) -> None:
    page = window.page
    page.clock.install()
    window.go("/state")
    expect(page.locator("#page")).to_be_visible()
    kept: list[Route] = []
    page.route("**/state", lambda route: kept.append(route))  # no answer, as from a server that is frozen
    with page.expect_request("**/state"):
        window.ui.home.run("state", "set", "slow", "1")
    page.clock.run_for(4000)
    expect(page.locator("#live")).to_have_text("Not live: the state takes long to be read")
    page.unroute("**/state")  # goes on with them, too
    expect(page.locator("#live")).to_have_text("")


def test_a_search_that_fails_says_why(window: Window) -> None:
    with window.page.expect_response("**/events"):  # else that is what finds the session ended
        page = window.go("/state?prefix=keyboard:")
    window.context.clear_cookies()
    page.get_by_role("searchbox").fill("anything")
    expect(page.get_by_role("heading", level=1)).to_have_text("this needs a session")


def test_a_new_key_and_its_end(window: Window) -> None:
    page = window.go("/state")
    page.get_by_role("link", name="New key").click()
    page.get_by_label("Key in local").fill("made:here")
    page.locator("textarea").fill('{"n": [1, 2]}')
    page.get_by_label("Read as").select_option("json")
    page.get_by_label("Expiry").select_option("new")
    page.get_by_label("… this long").fill("2h")
    page.get_by_role("button", name="Look at the change").click()
    expect(page.locator(".diff")).to_contain_text('"n": [')
    page.get_by_role("button", name="Save").click()
    expect(page.locator("dl.fields")).to_contain_text("in 1h 59m")
    page.get_by_role("link", name="Delete").click()
    page.get_by_role("button", name="Delete").click()
    expect(page).to_have_url(re.compile(r"/state(\?|$)"))  # not the key's page, on which the button is
    assert window.ui.get("/api/v1/state/key", key="made:here").status == 404


def test_a_secret_is_revealed_on_purpose(window: Window) -> None:
    page = window.go("/state/key?key=db:password")
    assert "battery horse" not in page.content()
    page.get_by_role("button", name="Reveal the value").click()
    expect(page.locator("pre.value")).to_have_text("battery horse")
    expect(page.locator("#page")).to_contain_text("Shown to")


def test_a_lock_appears_counts_down_and_is_broken(window: Window) -> None:
    page = window.go("/locks")
    expect(page.locator("table")).to_contain_text("deployment")
    page.evaluate("window.same = true")
    hold(window.ui.home, "fresh", 600.0)
    row = page.get_by_role("row", name=re.compile("fresh"))
    expect(row).to_be_visible()
    bar = row.get_by_role("progressbar")
    first = float(bar.evaluate("bar => bar.value"))
    left = row.get_by_text(re.compile(r" left$")).inner_text()
    expect(row).not_to_contain_text(left)
    expect(row).to_contain_text(re.compile(r" left"))
    assert float(bar.evaluate("bar => bar.value")) < first
    assert page.evaluate("window.same") is True  # no reload
    row.get_by_role("link", name="Break fresh").click()
    page.get_by_label("Reason").fill("it is late")
    page.get_by_role("button", name="Break it").click()
    expect(page.get_by_role("status").first).to_contain_text("fresh was taken from its holder")
    expect(page.get_by_role("link", name="Break fresh")).to_have_count(0)


def test_a_run_is_watched_live(window: Window) -> None:
    home = window.ui.home
    go = home.cwd / "go"
    home.file("slow.sloth", SLOW.replace("GO", str(go)))
    page = window.go("/runs")
    page.evaluate("window.same = true")
    process = home.start("run", "slow.sloth")
    try:
        row = page.get_by_role("row", name=re.compile("running"))
        expect(row).to_be_visible()
        assert page.evaluate("window.same") is True
        row.get_by_role("link").first.click()
        expect(page.locator("pre.log")).to_contain_text("it begins")
        expect(page.locator("pre.log")).not_to_contain_text("it ends")
        page.evaluate("window.same = true")
        expect(page.locator(".waterfall rect.running")).to_have_count(1)
    finally:
        go.touch()
        process.communicate(timeout=60)
    expect(page.locator("pre.log")).to_contain_text("it ends")
    expect(page.locator("dl.fields")).to_contain_text("ok")
    assert page.evaluate("window.same") is True
    page.get_by_text("second", exact=True).last.click()
    expect(page.locator("#tasks ~ details[open]")).to_contain_text("slow:done")


def test_a_failure_is_shown_with_its_line_and_the_way_on(window: Window) -> None:
    home = window.ui.home
    home.file("broken.sloth", 'task({name = "bad", run = function()\n  cmd({command = "exit 3"})\nend})\n')
    home.run("run", "broken.sloth", code=1)
    page = window.go("/runs/last")
    note = page.locator("section.note.bad")
    expect(note).to_contain_text("broken.sloth:2:3")
    expect(note.locator("pre")).to_contain_text('cmd({command = "exit 3"})')
    expect(page.get_by_role("row", name=re.compile("cmd local"))).to_contain_text("failed")
    window.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    command = page.evaluate("navigator.clipboard.readText()")
    assert re.fullmatch(r"sloth-runner run -f \S+/broken\.sloth broken --resume \S+", command)


def test_a_failure_that_is_ignored_is_none_the_less_one(window: Window) -> None:
    home = window.ui.home
    call = 'cmd({argv = {"ls", "/nowhere"}, reads_only = true, ignore_errors = true})'
    home.file("ignored.sloth", f'task({{name = "try", run = function() {call} end}})')
    home.run("run", "ignored.sloth")
    assert home.run("runs", "show", "last", "-o", "json").json["tasks"][0]["calls"][0]["failed"] is True
    page = window.go("/runs/last")
    page.locator("summary", has_text="try").click()
    expect(page.locator("#task-0 tbody tr").first).to_contain_text("failed")


def test_drift_is_checked_now(window: Window) -> None:
    page = window.go("/drift")
    expect(page.locator("#page")).to_contain_text("was not checked")
    (window.ui.home.cwd / "page.txt").write_text("by hand")
    page.get_by_role("button", name="Check now").click()
    expect(page.locator(".diff .plus")).to_have_text("+by hand")
    expect(page.locator("#page")).to_contain_text("1 of 2 resources differ")
    window.go("/")
    expect(page.locator("dl.figures")).to_contain_text("≠ 1")


def test_agents_are_asked_now(window: Window) -> None:
    page = window.go("/agents")
    page.get_by_role("button", name="Check now").click()
    expect(page.get_by_role("row", name=re.compile("web1"))).to_contain_text("yes")


def test_moments_and_agents_are_compared(window: Window) -> None:
    page = window.go("/compare")
    page.get_by_label("Between").fill("1d")
    page.get_by_role("button", name="Compare moments").click()
    expect(page.get_by_role("row", name=re.compile("deployment:version"))).to_contain_text("added")
    page.get_by_role("button", name="Compare agents").click()
    expect(page.get_by_role("row", name=re.compile("version")).first).to_be_visible()


def test_the_timeline_is_filtered(window: Window) -> None:
    page = window.go("/timeline")
    expect(page.locator("ol.past li").first).to_be_visible()
    page.get_by_label("Keys that start with").fill("deploy")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("ol.past li")).to_have_count(2)
    page.get_by_label("Since").fill("nonsense")
    page.get_by_role("button", name="Show").click()
    expect(page.locator(".note.bad")).to_contain_text("since: a time such as")


def test_the_graph_leads_on(window: Window) -> None:
    page = window.go("/graph?stack=site")
    expect(page.locator("svg.graph rect")).to_have_count(5)
    page.locator("svg.graph a.key").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("page:state")


def test_the_keyboard_goes_everywhere(window: Window) -> None:
    page = window.go("/")
    heading = page.get_by_role("heading", level=1)
    for key, title in (
        ("s", "State"),
        ("l", "Locks"),
        ("r", "Runs"),
        ("t", "Timeline"),
        ("d", "Drift"),
        ("o", "Overview"),
    ):
        while heading.inner_text() != title:  # keys that come too far apart lead nowhere
            page.keyboard.press("g")
            page.keyboard.press(key)
            with suppress(AssertionError):
                expect(heading).to_have_text(title, timeout=5000)
        page.wait_for_load_state()  # its keys do something once its script has run
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.press("Escape")
    for _ in range(3):
        page.keyboard.press("j")
    page.keyboard.press("k")
    expect(page.locator("[data-row]").nth(1)).to_have_attribute("aria-selected", "true")


def test_the_keyboard_stays_where_it_is(window: Window) -> None:
    home = window.ui.home
    home.run("state", "set", "keyboard:b", "here")
    page = window.go("/state?prefix=keyboard:")
    link = page.get_by_role("link", name="b", exact=True)
    expect(link).to_be_visible()  # as soon as the index has seen it
    page.keyboard.press("j")
    expect(link).to_be_focused()
    home.run("state", "set", "keyboard:a", "above it")
    expect(page.get_by_role("link", name="a", exact=True)).to_be_visible()
    expect(link).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("keyboard:b")
    page = window.go("/state")
    for chosen in ("web1", "_shared"):
        page.get_by_label("Namespace").press("ArrowDown")
        expect(page).to_have_url(re.compile(f"namespace={chosen}"))
        expect(page.get_by_label("Namespace")).to_be_focused()


def test_a_task_is_opened_from_the_keyboard(window: Window) -> None:
    page = window.go(f"/runs/{window.ui.get('/api/v1/runs?stack=site').json['runs'][0]['run']}")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.locator("details.task").first).to_have_attribute("open", "")


def test_it_is_light_or_dark_as_the_system_is(browser: Browser, site: Ui) -> None:
    seen = {}
    for scheme in ("light", "dark"):
        window = Window(browser, site, color_scheme=scheme)
        page = window.go("/state")
        seen[scheme] = [_luminance(page, "backgroundColor"), _luminance(page, "color")]
        window.close()
    assert seen["light"][0] > 200 > 90 > seen["light"][1]
    assert seen["dark"][1] > 200 > 90 > seen["dark"][0]


def test_it_can_be_read_without_a_script(browser: Browser, site: Ui) -> None:
    window = Window(browser, site, java_script_enabled=False)
    for name in ("plain:x/1", "plain:x/2"):
        site.home.run("state", "set", name, "here")
    page = window.go("/")
    expect(page.locator("dl.figures")).to_contain_text("Keys")
    page.get_by_role("link", name="State", exact=True).click()
    page.get_by_role("link", name="Open plain:x/").click()
    page.get_by_role("link", name="1", exact=True).click()
    expect(page.locator("pre.value")).to_have_text("here")
    page.get_by_role("link", name="Edit").click()
    page.locator("textarea").fill("there")
    page.get_by_role("button", name="Look at the change").click()
    page.get_by_role("button", name="Save").click()
    expect(page.locator("pre.value")).to_have_text("there")
    window.go("/state")
    page.get_by_role("searchbox").fill("plain:x/2")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("ul.tree > li")).to_have_count(1)
    expect(page.get_by_role("button", name="Keys")).to_have_count(0)
    window.close()


def _luminance(page: Page, what: str) -> float:
    found: Any = page.evaluate(
        f"getComputedStyle(document.body).{what} + ' ' + getComputedStyle(document.documentElement).backgroundColor"
    )
    if what == "backgroundColor":
        found = page.evaluate("getComputedStyle(document.body).getPropertyValue('--bg')")
        numbers = [int(found.strip()[i : i + 2], 16) for i in (1, 3, 5)]
    else:
        numbers = [int(number) for number in re.findall(r"\d+", found)[:3]]
    return sum(numbers) / 3
