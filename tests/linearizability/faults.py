"""Why: what may happen to a server, its network and its clients is the same for all stores."""

from __future__ import annotations

import random
import re
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.linearizability.proxy import MODES, Proxy
from tests.linearizability.real import Around, Fault
from tests.services.base import Server


def kill_client(around: Around) -> None:
    """kill -9 of a client; its next request is made by another process."""
    around.random.choice(around.far).signal(signal.SIGKILL)


def stop_client(around: Around) -> None:
    """SIGSTOP of a client, in the midst of whatever it does."""
    one = around.random.choice(around.far)
    one.signal(signal.SIGSTOP)
    around.during(12, around.random.uniform(0.05, 0.3))
    one.signal(signal.SIGCONT)


def kill_server(server: Server) -> Fault:
    """kill -9 of the server, which then comes back with what it had."""

    def fault(around: Around) -> None:
        server.kill()
        server.start()

    return fault


def stop_server(server: Server, longest: float) -> Fault:
    """SIGSTOP of the server for up to ``longest`` seconds."""

    def fault(around: Around) -> None:
        server.signal(signal.SIGSTOP)
        around.during(100, around.random.uniform(0.1, 1.0) * longest)
        server.signal(signal.SIGCONT)

    return fault


def network(proxies: Sequence[Proxy], timeout: float) -> dict[str, tuple[int, Fault]]:
    """All that a proxy can do, to one or to all of them. ``timeout``: seconds that clients wait for a reply."""

    def make(kind: str) -> Fault:
        def fault(around: Around) -> None:
            chosen = list(proxies) if around.random.random() < 0.5 else [around.random.choice(proxies)]
            for proxy in chosen:
                proxy.arm(kind, {"late": 1.3 * timeout, "slow": 0.05}.get(kind, 0.0))
            quick = kind in ("cut", "slow", "refuse")
            around.during(20 if quick else 6, 0.5 if quick else 1.5 * timeout)
            for proxy in chosen:
                proxy.heal()

        return fault

    weights = {"cut": 9, "slow": 3, "refuse": 3}
    return {kind: (weights.get(kind, 2), make(kind)) for kind in MODES}


@contextmanager
def behind(url: str, rng: random.Random) -> Iterator[tuple[str, list[Proxy]]]:
    """The store's URL with a proxy before each server that it names, and the proxies."""
    proxies: list[Proxy] = []

    def one(found: re.Match[str]) -> str:
        proxy = Proxy(int(found[2]), random.Random(rng.random()))
        proxy.start()
        proxies.append(proxy)
        return f"127.0.0.1{found[1]}{proxy.port}"

    try:
        yield re.sub(r"127\.0\.0\.1(:|%3A)([0-9]+)", one, url), proxies
    finally:
        for proxy in proxies:
            proxy.stop()
