"""Why: whatever happens to connections, an operation is done at most once, is heard in full, and leaves nothing."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from sloth_runner.agent import frames, wire
from sloth_runner.agent.resuming import HEADER
from sloth_runner.errors import Indeterminate, SlothError, Unreachable
from sloth_runner.ops import Exec, Ran, Stat
from sloth_runner.transport.remote import Remote
from tests.daemon.kit import Place, new_id, run, serving
from tests.linearizability.proxy import Proxy
from tests.transport.test_pipe import first

LIMIT = 100 << 20
"""Bytes of memory that an agent may take, whatever is sent to it."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with serving(tmp_path_factory.mktemp("stream")) as made:
        yield made


def shell(line: str) -> Exec:
    return Exec("it", line=line, cwd="/")


def test_operations_survive_cut_connections(place: Place, tmp_path: Path, soak: bool) -> None:
    """The connection is cut again and again, anywhere; each program has run exactly once and was heard in full."""
    rng = random.Random(seed := random.randrange(1 << 32))
    print("seed", seed)
    proxy = Proxy(place.port, rng)
    proxy.start()
    rounds = 300 if soak else 30

    async def go() -> int:
        there = place.remote(proxy.port)
        done = 0
        try:
            await there.ready()
            for number in range(rounds):
                proxy.arm("cut")
                heard: list[bytes] = []
                healing = asyncio.create_task(_heal_later(proxy, rng.uniform(0.0, 0.3)))
                script = (
                    f"echo {number} >> {tmp_path}/done; for i in 1 2 3 4 5; do echo line $i; sleep 0.01; done"
                )
                ran = await there.do(shell(script), _into(heard))
                await healing
                assert isinstance(ran, Ran)
                assert b"".join(heard) == ran.stdout == b"".join(b"line %d\n" % i for i in range(1, 6))
                done += 1
        finally:
            await there.aclose()
        return done

    try:
        assert run(go()) == rounds
    finally:
        proxy.stop()
    assert (tmp_path / "done").read_text().split() == [str(number) for number in range(rounds)]


def _into(heard: list[bytes]) -> Callable[[str, bytes], None]:
    return lambda stream, piece: heard.append(piece)


async def _heal_later(proxy: Proxy, seconds: float) -> None:
    await asyncio.sleep(seconds)
    proxy.heal()


def test_when_the_agent_is_gone_it_is_said_and_nothing_is_left(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    group: list[int] = []
    with serving(folder, ends=-signal.SIGKILL) as place:

        async def go() -> None:
            there = place.remote(patience=3.0)
            try:
                work, begun = _begun(there, shell("echo $$; exec sleep 600"))
                group.append(int(await begun))
                os.kill(place.pid, signal.SIGKILL)
                with pytest.raises(Indeterminate, match="not known"):
                    await work
                with pytest.raises(Unreachable):
                    await there.do(Stat("/"))
            finally:
                await there.aclose()

        run(go())
    _until(lambda: not _alive(group[0]))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may act as somebody else")
def test_programs_of_other_users_start_well(place: Place, soak: bool) -> None:
    """They are started in another manner, in which gRPC's own hands spoilt one in thirty."""

    async def go() -> list[Any]:
        there = place.remote()
        program = Exec("it", ("true",), cwd="/", user="nobody")
        try:
            return [
                ran
                for _ in range(100 if soak else 10)
                for ran in await asyncio.gather(*(there.do(program) for _ in range(20)))
            ]
        finally:
            await there.aclose()

    assert {ran.exit_code for ran in run(go())} == {0}


@pytest.mark.parametrize("cancelled", [False, True], ids=["its own timeout", "cancelled"])
def test_an_agent_that_is_gone_holds_a_call_no_longer_than_its_timeout(
    tmp_path: Path, cancelled: bool
) -> None:
    """However long the connection would be tried for; the program may be running still, and that is said."""
    folder = tmp_path / "a"
    folder.mkdir()
    group: list[int] = []
    with serving(folder, ends=-signal.SIGKILL) as place:

        async def go() -> None:
            there = place.remote(patience=600.0)
            program = shell("echo $$; exec sleep 600")._replace(timeout=None if cancelled else 5.0)
            work, begun = _begun(there, program)
            try:
                group.append(int(await begun))
                os.kill(place.pid, signal.SIGKILL)
                if cancelled:
                    work.cancel()
                async with asyncio.timeout(60):
                    with pytest.raises(Indeterminate, match="not known"):
                        await work
            finally:
                await there.aclose()

        run(go())
    _until(lambda: not _alive(group[0]))


def test_what_was_begun_ends_with_its_controller(place: Place, tmp_path: Path) -> None:
    async def go() -> None:
        there = place.remote()
        work = asyncio.create_task(there.do(shell(f"echo $$ > {tmp_path}/pid; sleep 600 & wait")))
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            await asyncio.sleep(0.02)
        await there.aclose()
        with pytest.raises(SlothError):
            await work

    run(go())
    group = int((tmp_path / "pid").read_text())
    _until(lambda: not _alive(group))


def test_cancelling_ends_the_whole_group(place: Place, tmp_path: Path) -> None:
    async def go() -> None:
        there = place.remote()
        try:
            work = asyncio.create_task(there.do(shell(f"echo $$ > {tmp_path}/pid; sleep 600 & sleep 600")))
            while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
                await asyncio.sleep(0.02)
            work.cancel()
            with pytest.raises(asyncio.CancelledError):
                await work
            assert not _alive(int((tmp_path / "pid").read_text()))
        finally:
            await there.aclose()

    run(go())


def _begun(there: Remote, program: Exec) -> tuple[asyncio.Task[Any], asyncio.Future[bytes]]:
    """A program that is running, and the first that it says."""
    said: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    work = asyncio.create_task(there.do(program, first(said)))
    return work, said


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _until(true: Any) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


async def _pour(place: Place, messages: Iterator[bytes]) -> Any:
    """Send messages as a controller that has gone mad; the status of the stream."""
    access = place.access()
    credentials = grpc.ssl_channel_credentials(access.authority, access.key, access.certificate)
    options = [("grpc.ssl_target_name_override", access.host), ("grpc.max_send_message_length", -1)]
    made: Any = grpc.aio.secure_channel(f"127.0.0.1:{place.port}", credentials, options)
    async with made as channel:
        stream = channel.stream_stream("/slothrunner.agent.v1.Agent/Work")(timeout=60)
        reading = asyncio.create_task(_drained(stream))
        try:
            for message in messages:
                await stream.write(message)
            await stream.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass  # it was ended meanwhile
        await reading
        return await stream.code()


async def _drained(stream: Any) -> None:
    try:
        while await stream.read() is not grpc.aio.EOF:  # type: ignore[attr-defined] # it is there
            pass
    except grpc.aio.AioRpcError:
        pass


def opening() -> bytes:
    return b'{"session": "%s", "received": 0}' % new_id().encode()


def carried(data: bytes, size: int = 200_000) -> Iterator[bytes]:
    """Messages of the stream that carry ``data``."""
    for start in range(0, len(data), size):
        yield HEADER.pack(start, 0) + data[start : start + size]


START = frames.message(frames.START, 0, wire.dumps(wire.Start(wire.VERSION, "0" * 32, 60.0)))


@pytest.mark.parametrize("number", range(4))
def test_random_bytes_end_the_stream_and_nothing_else(place: Place, number: int) -> None:
    rng = random.Random(number)

    def messages() -> Iterator[bytes]:
        if number % 2:
            yield opening()
            yield from carried(START + rng.randbytes(5000))
        else:
            yield rng.randbytes(rng.randrange(2000))

    assert run(_pour(place, messages())) is grpc.StatusCode.INVALID_ARGUMENT
    run(_look(place))


def test_a_frame_of_a_gibibyte_is_refused_before_it_comes(place: Place) -> None:
    def messages() -> Iterator[bytes]:
        yield opening()
        yield from carried(START + frames.HEADER.pack(frames.REQUEST, 0, 1 << 30, 1))

    assert run(_pour(place, messages())) is grpc.StatusCode.INVALID_ARGUMENT

    def one() -> Iterator[bytes]:
        yield bytes(256 << 20)

    assert run(_pour(place, one())) is grpc.StatusCode.RESOURCE_EXHAUSTED
    run(_look(place))
    assert place.memory() < LIMIT


def test_a_million_small_frames_cost_no_memory(place: Place, soak: bool) -> None:
    count = 1_000_000 if soak else 100_000
    pings = frames.message(frames.PING, 1) * 10_000

    def messages() -> Iterator[bytes]:
        yield opening()
        data = START + pings * (count // 10_000)
        yield from carried(data)

    run(_pour(place, messages()))
    run(_look(place))
    assert place.memory() < LIMIT


def test_frames_that_come_again_have_no_effect(place: Place, tmp_path: Path) -> None:
    """A request is in the stream twice, and its bytes come twice as well: it was done once."""
    request = frames.message(
        frames.REQUEST, 1, wire.dumps(wire.Request(shell(f"echo done >> {tmp_path}/done")))
    )
    data = START + request + request

    def messages() -> Iterator[bytes]:
        yield opening()
        yield from carried(data, 50)
        yield from carried(data, 70)

    async def go() -> None:
        work = asyncio.create_task(_pour(place, messages()))
        while not (tmp_path / "done").exists() or not (tmp_path / "done").read_text():
            await asyncio.sleep(0.02)
        await work

    run(go())
    run(_look(place))
    assert (tmp_path / "done").read_text() == "done\n"


async def _look(place: Place) -> None:
    there = place.remote()
    try:
        await there.do(Stat("/"))
    finally:
        await there.aclose()
