"""Why: an agent that needs no server: a process that gets its requests on standard input and answers on standard
output.

It lives as long as its input: when that ends (the connection was closed or cut) or is silent for too long, everything
under way is stopped and the process ends. Standard library only; runs on Python 3.8.
"""

from __future__ import annotations

import os
import select
import signal
import sys

from sloth_runner.agent import frames, wire
from sloth_runner.agent.frames import MAGIC, BadFrame, Reader
from sloth_runner.agent.looking import who_am_i
from sloth_runner.agent.serving import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

OPENING = 60.0
"""Seconds within which the controller has to open the stream."""
PIECE = 256 << 10


class _Ended(BaseException):
    """We were asked to end."""


def serve(build: str, environ: Mapping[str, str]) -> int:
    """Serve what comes on standard input; the exit status. ``build`` is the agent's own hash."""
    out = os.dup(1)
    os.dup2(2, 1)  # whatever is printed by mistake must not get between the frames
    write = _writer(out)
    write(MAGIC + frames.message(frames.HELLO, 0, wire.dumps(hello(build))))
    session = Session(write, environ)
    try:
        _on_signals(_end)
        return _read(session)
    except _Ended:
        return 0
    except BadFrame as error:
        sys.stderr.write(f"sloth-runner agent: {error}\n")
        return 2
    finally:
        _on_signals(signal.SIG_IGN)
        session.close()


def hello(build: str) -> wire.Hello:
    """What an agent says of itself."""
    me = who_am_i()
    return wire.Hello(wire.VERSION, build, tuple(sys.version_info[:3]), me.name, me.uid, me.home, os.getpid())


def _writer(fd: int) -> Callable[[bytes], None]:
    def write(data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest) :]

    return write


def _read(session: Session) -> int:
    reader = Reader()
    while True:
        ready, _, _ = select.select([0], [], [], session.patience or OPENING)
        if not ready:
            sys.stderr.write("sloth-runner agent: the controller is silent\n")
            return 3
        data = os.read(0, PIECE)
        if not data:
            return 0
        for frame in reader.feed(data):
            session.receive(frame)


def _on_signals(handler: Any) -> None:
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, handler)


def _end(number: int, frame: object) -> None:
    raise _Ended
