"""Why: a link is printed when the UI is ready, and another one for each Enter: a link lets in one browser, once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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
        if self._shell.world.stdin_tty and self._in_foreground():
            self._shell.say("Enter: another link for another browser. Ctrl-C: end.")
            threading.Thread(target=self._more, args=(make_link,), name="links", daemon=True).start()

    def fault(self, error: Exception) -> None:
        """Something that nobody expected went wrong while the UI goes on."""
        from sloth_runner.cli.main import report

        report(self._shell, error)

    def _in_foreground(self) -> bool:
        try:
            return os.tcgetpgrp(self._shell.world.stdin.fileno()) == os.getpgrp()
        except OSError:
            return False

    def _more(self, make_link: Callable[[], str]) -> None:
        try:
            while self._shell.world.stdin.readline():
                self._tell(make_link())
        except OSError:
            return  # it was sent to the background, where a terminal gives nothing

    def _tell(self, link: str) -> None:
        if self._shell.structured:
            self._shell.document("ui", {"link": link})
        else:
            self._shell.print(link)
        self._shell.flush()


@contextmanager
def unstopped() -> Iterator[None]:
    """A program in the background that reads from its terminal is stopped with all that it serves; in here, what
    reads gets an error instead."""
    before = signal.signal(signal.SIGTTIN, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGTTIN, before)
