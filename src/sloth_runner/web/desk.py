"""Why: the store blocks and a handle belongs to one thread, while one event loop serves all browsers.

A few threads, each with an App (and so a store handle) of its own, do all that touches the store.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Concatenate, ParamSpec

from sloth_runner.plain import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from sloth_runner.app import App

P = ParamSpec("P")
T = TypeVar("T")
THREADS = 4


class Desk:
    """Work on the store, off the event loop. ``make_app`` gives each thread its own."""

    def __init__(self, make_app: Callable[[], App]) -> None:
        self._make_app = make_app
        self._own = threading.local()
        self._apps: list[App] = []
        self._guard = threading.Lock()
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="desk")

    async def do(self, work: Callable[Concatenate[App, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of ``work(app, …)``, done in one of the threads."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, lambda: work(self._app(), *args, **kwargs))

    def close(self) -> None:
        """Wait for what is under way and give the handles back."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        for app in self._apps:
            app.close()

    def _app(self) -> App:
        app: App | None = getattr(self._own, "app", None)
        if app is None:
            app = self._own.app = self._make_app()
            with self._guard:
                self._apps.append(app)
        return app
