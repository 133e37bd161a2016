"""Why: a link is printed when the UI is ready, and another one for each Enter: a link lets in one browser, once."""

from __future__ import annotations

import threading
from collections.abc import Callable

from sloth_runner.cli.shell import Shell


class Telling:
    """What the terminal shows while the UI runs."""

    def __init__(self, shell: Shell, *, browser: bool) -> None:
        self._shell = shell
        self._browser = browser

    def ready(self, make_link: Callable[[], str]) -> None:
        """The UI accepts connections."""
        link = make_link()
        self._tell(link)
        if self._browser:
            import webbrowser

            if not webbrowser.open(link):
                self._shell.warn("no browser could be opened: open the link by hand")
        if self._shell.world.stdin_tty:
            self._shell.say("Enter: another link for another browser. Ctrl-C: end.")
            threading.Thread(target=self._more, args=(make_link,), name="links", daemon=True).start()

    def _more(self, make_link: Callable[[], str]) -> None:
        while self._shell.world.stdin.readline():
            self._tell(make_link())

    def _tell(self, link: str) -> None:
        if self._shell.structured:
            self._shell.document("ui", {"link": link})
        else:
            self._shell.print(link)
        self._shell.flush()
