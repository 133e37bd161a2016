"""Why: a pipe, SSH and gRPC carry the same frames; what differs is how a line to the agent is opened, and no more."""

from __future__ import annotations

import zlib

from sloth_runner.agent.frames import MAGIC
from sloth_runner.errors import Unreachable
from sloth_runner.plain import TYPE_CHECKING, Protocol
from sloth_runner.transport.told import last_lines

if TYPE_CHECKING:
    from sloth_runner.agent.pack import Packed

NOISE = 256 << 10
"""Bytes that a login shell may print before the agent's first word."""
NEEDS = b"\n\x00sloth-runner needs its agent\x00\n"
OLD = b"\n\x00sloth-runner python is too old\x00\n"
NONE = b"\n\x00sloth-runner finds no python\x00\n"


class Channel(Protocol):
    """An open line to one agent, on which only frames are sent. ``sent`` and ``received`` count bytes, ``trips`` how
    often an answer was waited for before the first frame."""

    sent: int
    received: int
    trips: int

    def send(self, data: bytes) -> None:
        """Send; what can't be sent now is kept."""
        ...

    async def drain(self) -> None:
        """Wait until not too much is kept. Raises ConnectionError."""
        ...

    async def receive(self) -> bytes:
        """Some bytes; none at the end."""
        ...

    def away(self) -> bool:
        """Whether nobody is at the other end just now, and the line is not given up yet."""
        ...

    async def aclose(self, *, idle: bool = False) -> None:
        """Hang up, and wait for the agent's end where it ends with the line, unless it is ``idle`` and has nothing to
        end."""
        ...

    def why(self) -> str:
        """Why the line has ended, as far as is known, in words."""
        ...


class Line(Protocol):
    """A way to one agent. ``address`` is for people: ``ssh://web1:22``."""

    @property
    def address(self) -> str: ...

    async def open(self) -> Channel:
        """Open it, up to the agent's first frame. Raises Unreachable."""
        ...


async def greet(channel: Channel, agent: Packed, address: str) -> bytes:
    """Get an agent that is started by a command to its first frame: give it what it needs, skip what a login shell
    prints. Returns the bytes of the first frame that have come already. Raises Unreachable."""
    heard = b""
    while True:
        piece = await channel.receive()
        heard += piece
        for word in (MAGIC, NEEDS, OLD, NONE):
            _, found, after = heard.partition(word)
            if found:
                break
        if found and word == MAGIC:
            return after
        if found and word == NEEDS:
            data = zlib.compress(agent.data, 6)
            channel.send(len(data).to_bytes(4, "big") + data)
            channel.trips += 1
            await channel.drain()
            heard = after
        elif found:
            while b"\n" not in after and (rest := await channel.receive()):
                after += rest
            raise _no_python(address, word, after)
        elif not piece:
            raise _not_started(address, heard, channel.why())
        elif len(heard) > NOISE:
            raise _not_started(address, heard, "the login shell prints without end")


def _no_python(address: str, word: bytes, after: bytes) -> Unreachable:
    """``after``: the newest version there, or the Python that is missing where one was named."""
    said = after.decode("ascii", "replace").strip()
    if word == NONE and said:
        return Unreachable(
            f"{address}: there is no {said} on the machine, the Python that was named for it",
            unchanged=["nothing was done there"],
            next=["correct python in the agent's table, or leave it out: the first that is found is taken"],
        )
    what = "there is none" if word == NONE else f"the newest there is {said or 'older'}"
    return Unreachable(
        f"{address}: Python 3.8 or later is needed on the machine, and {what}",
        unchanged=["nothing was done there"],
        next=[
            "install it there (package python3)",
            'or name it: python = "/a/path/python3" in the agent\'s table',
        ],
    )


def _not_started(address: str, heard: bytes, why: str) -> Unreachable:
    return Unreachable(
        f"{address}: the agent could not be started{': ' + why if why else ''}",
        system="\n".join(last_lines(heard)) or None,
        unchanged=["nothing was done there"],
        next=["the account needs a login shell that runs commands, and a Python that starts"],
    )
