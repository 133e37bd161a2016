"""Why: several handles on servers are opened at once, each in a thread of its own; all of them load gRPC."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from sloth_runner.rpc import keepalive, load
from tests.services.proxy import Proxy

SCRIPT = """
import os, sys, threading
from sloth_runner.rpc import keepalive, load

sys.setswitchinterval(1e-6)
together = threading.Barrier(32)
failed = []

def one():
    together.wait()
    try:
        load({})
    except BaseException as error:
        failed.append(repr(error))

threads = [threading.Thread(target=one) for _ in range(32)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(failed, [name for name in os.environ if name.startswith("GRPC_")])
"""


def test_many_threads_load_it_at_once_and_leave_no_trace() -> None:
    environ = {"PATH": "/usr/bin:/bin"}
    for _ in range(5):  # it matters who is faster
        done = subprocess.run([sys.executable, "-c", SCRIPT], env=environ, capture_output=True, text=True)
        assert (done.stdout, done.stderr) == ("[] []\n", "")


def test_a_peer_that_falls_silent_is_noticed() -> None:
    rpc: Any = load(os.environ)
    over = threading.Event()

    def talk(request: bytes, context: Any) -> Iterator[bytes]:
        yield request
        over.wait()

    server = rpc.server(ThreadPoolExecutor(1))
    handler = rpc.unary_stream_rpc_method_handler(talk)
    server.add_generic_rpc_handlers((rpc.method_handlers_generic_handler("test", {"Talk": handler}),))
    proxy = Proxy(server.add_insecure_port("127.0.0.1:0"))
    server.start()
    try:
        with rpc.insecure_channel(f"127.0.0.1:{proxy.port}", keepalive(0.5, 0.5)) as channel:
            answers = channel.unary_stream("/test/Talk")(b"hello", timeout=40)
            assert next(answers) == b"hello"
            proxy.hold()
            with pytest.raises(rpc.RpcError) as caught:
                next(answers)
            assert caught.value.code() == rpc.StatusCode.UNAVAILABLE  # not only because its time is over
    finally:
        over.set()
        proxy.close()
        server.stop(None)
