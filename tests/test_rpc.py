"""Why: several handles on servers are opened at once, each in a thread of its own; all of them load gRPC."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import os, sys, threading
from sloth_runner.rpc import load

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
