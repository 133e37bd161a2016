"""Why: pages are driven as a person does it, in Debian's Chromium, and nothing may go wrong on the way."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.web.kit import Ui

CHROMIUM = "/usr/bin/chromium"
PICTURES = Path(__file__).parents[2] / "build" / "screenshots"
"""Where screenshots are kept for people to look at; not part of the repository."""
PATIENCE = 60_000.0
"""Milliseconds after which a page that does not become as expected has failed, also on a slow machine."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser; without one the tests are skipped, but not in CI."""
    if not Path(CHROMIUM).exists() and not os.environ.get("CI"):
        pytest.skip(f"{CHROMIUM} is not installed")
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Window:
    """A browser's window that is let in, and that notes what is wrong: errors on the console, requests elsewhere."""

    def __init__(self, browser: Browser, ui: Ui, **options: Any) -> None:
        self.ui = ui
        self.context: BrowserContext = browser.new_context(
            **{"viewport": {"width": 1280, "height": 900}, **options}
        )
        name, _, value = ui.cookie.partition("=")
        if value:
            self.context.add_cookies([{"name": name, "value": value, "url": ui.origin, "sameSite": "Strict"}])
        self.wrong: list[str] = []
        self.context.set_default_timeout(PATIENCE)
        self.page: Page = self.context.new_page()
        self.page.on("console", lambda said: self._said(said.type, said.text))
        self.page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        self.page.on("request", lambda request: self._asked(request.url))

    def go(self, path: str) -> Page:
        """Open a page of the UI."""
        self.page.goto(self.ui.origin + path)
        return self.page

    def close(self) -> None:
        """Close it; nothing may have been wrong."""
        self.context.close()
        assert self.wrong == [], self.wrong

    def _said(self, kind: str, text: str) -> None:
        if kind in ("error", "warning") and "Failed to load resource" not in text:
            self.wrong.append(f"{kind}: {text}")

    def _asked(self, url: str) -> None:
        if not url.startswith((self.ui.origin + "/", "data:")):
            self.wrong.append(f"asked {url}")
