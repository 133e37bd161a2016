"""Why: the application is given a socket, threads and an end: everything that was opened is given back."""

from __future__ import annotations

import secrets
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from sloth_runner.errors import UsageError
from sloth_runner.plain import TYPE_CHECKING
from sloth_runner.state.bells import ring
from sloth_runner.web.application import Site
from sloth_runner.web.desk import Desk
from sloth_runner.web.doors import Doors
from sloth_runner.web.house import House
from sloth_runner.web.hub import Hub
from sloth_runner.web.index.index import Index
from sloth_runner.web.index.keeper import Keeper
from sloth_runner.web.index.pulse import Pulse
from sloth_runner.web.options import Options, check

if TYPE_CHECKING:
    from sloth_runner.app import App

GRACE = 3
"""Seconds that requests under way get when the server ends."""


def serve(
    app: App,
    options: Options,
    ready: Callable[[Callable[[], str]], None],
    fault: Callable[[Exception], None],
) -> None:
    """Serve until SIGINT or SIGTERM. ``ready`` is called when connections are accepted, with what makes a link that
    lets one browser in; ``fault`` with what nobody expected, while it serves. Raises UsageError: the
    address is taken, or not safe; StoreDown and others: the store."""
    options = check(options)
    app.namespaces()  # a store that can't be used is told here, not in a browser
    listening = _listen(options)
    options = options._replace(port=listening.getsockname()[1])
    doors = Doors(lambda: secrets.token_urlsafe(32), time.monotonic, options.token)
    desk = Desk(app.sibling)
    hub, index, pulse = Hub(), Index(app.settings.shared_prefixes), Pulse(app.clock)
    house = House(options, desk, doors, hub, index, pulse, app.clock)
    keeper = Keeper(app.sibling, lambda app: ring(app.store()), hub.tell, index, pulse)
    house.trouble = lambda: keeper.trouble
    house.fault = fault
    site = Site(house)
    config = uvicorn.Config(
        site.asgi,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=GRACE,
        ssl_certfile=options.certificate,
        ssl_keyfile=options.key,
    )

    def link() -> str:
        return f"{options.url}/open?token={doors.link()}"

    def started() -> None:
        hub.bind()
        keeper.start()
        ready(link)

    try:
        _Server(config, started, hub.close).run(sockets=[listening])
    finally:
        listening.close()
        keeper.stop()
        desk.close()


class _Server(uvicorn.Server):
    """uvicorn's server that says when it accepts connections, and when no more are wanted."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None], ending: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready
        self._ending = ending

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn."""
        await super().startup(sockets)
        if self.started:
            self._ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """See uvicorn; the signal that ended us is not raised once more: we have things to give back."""
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.handle_exit) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn; lines that stay open by themselves end first."""
        self._ending()
        await super().shutdown(sockets)


def _listen(options: Options) -> socket.socket:
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    try:
        address = socket.getaddrinfo(options.host, options.port, type=socket.SOCK_STREAM)[0]
        one = socket.socket(address[0] or family, socket.SOCK_STREAM)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind(address[4])
        one.listen(128)
    except OSError as error:
        raise UsageError(
            f"can't listen on {options.host}, port {options.port}: {error.strerror or error}",
            system=repr(error),
            unchanged=["nothing was started"],
            next=["choose another: --port 8788 (0: any that is free)"],
        ) from error
    return one
