"""Why: what the local transport adds to single operations: lines for the shell, waiting, breaking off."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sloth_runner.engine.drive import Skipped
from sloth_runner.engine.rehearsal import Rehearsal
from sloth_runner.ops import Exec, Fetch, Identity, Pause, Paused, Ran, Reach, Reached, WhoAmI
from sloth_runner.transport.local import LocalTransport
from tests.loopback import Reply, Request, Server

if TYPE_CHECKING:
    from sloth_runner.ops import Op, Result


def do(op: Op) -> Result:
    return asyncio.run(LocalTransport(os.environ).do(op))


@pytest.mark.parametrize("line", ["-x; echo done", "+e; echo done", "-c 'echo done'"])
def test_a_line_that_begins_with_a_sign_is_no_option(line: str) -> None:
    ran = do(Exec("a line", line=line))
    assert isinstance(ran, Ran)
    assert b"not found" in ran.stderr


def test_pauses_tell_a_clock_that_goes_forward() -> None:
    first, second = do(Pause(0)), do(Pause(0))
    assert isinstance(first, Paused) and isinstance(second, Paused)
    assert second.clock >= first.clock


def test_a_cancelled_request_is_broken_off(tmp_path: Path) -> None:
    heard = asyncio.Event()

    async def go() -> None:
        loop = asyncio.get_running_loop()

        def answer(request: Request) -> Reply:
            loop.call_soon_threadsafe(heard.set)
            return Reply(hang=True)

        with Server(answer) as server:
            op = Fetch("the request", server.url, into=str(tmp_path / "x"), mutating=True)
            task = asyncio.ensure_future(LocalTransport(os.environ).do(op))
            await heard.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(go())
    assert list(tmp_path.iterdir()) == []


def test_a_rehearsal_looks_and_neither_sends_nor_waits() -> None:
    async def go() -> None:
        rehearsal = Rehearsal(LocalTransport(os.environ))
        with Server(lambda request: Reply(204)) as server:
            assert (await rehearsal.do(Reach("127.0.0.1", server.port))) == Reached(True)
            await rehearsal.do(Fetch("a look", server.url))
            for op in (Fetch("a change", server.url, mutating=True), Pause(1)):
                with pytest.raises(Skipped):
                    rehearsal.at_once(op)
                with pytest.raises(Skipped):
                    await rehearsal.do(op)
            assert len(server.heard) == 1
        assert isinstance(rehearsal.at_once(WhoAmI()), Identity)

    asyncio.run(go())
