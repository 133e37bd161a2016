"""Why: what is told to gRPC once, before it is imported, is told in one place."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress

from sloth_runner.plain import Any, Final

_TOLD: Final = {
    # Errors say what its log would, on standard error.
    "GRPC_VERBOSITY": "NONE",
    # It would have something to do in each child, between fork and exec, and one child in thirty dies of that: those
    # that become another user first. What we fork runs a program at once and needs no gRPC.
    "GRPC_ENABLE_FORK_SUPPORT": "0",
}


def keepalive(silence: float, answer: float) -> list[tuple[str, object]]:
    """Options by which a connection is tried after so many seconds of ``silence`` while something is under way, and
    counts as lost without an ``answer`` in so many more. (gRPC gives each such try a minute of its own, too.)"""
    wait = int(answer * 1000)
    return [
        ("grpc.keepalive_time_ms", int(silence * 1000)),
        ("grpc.keepalive_timeout_ms", wait),
        ("grpc.http2.ping_timeout_ms", wait),
    ]


def load(environ: Mapping[str, str]) -> Any:
    """gRPC, told how to be where the user has not said otherwise: it reads that from the process's environment while
    it is imported, and no child of ours finds it there. Raises ImportError."""
    ours = {name: word for name, word in _TOLD.items() if name not in environ and name not in os.environ}
    os.environ.update(ours)
    try:
        import grpc
    finally:
        for name in ours:
            with suppress(KeyError):  # another thread, which waited for the same import, was faster
                del os.environ[name]
    return grpc
