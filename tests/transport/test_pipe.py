"""Why: the agent is tried as a process, by the frames that every line carries, and hurt in all the ways a line can
be."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from sloth_runner.agent.pack import command, packed
from sloth_runner.errors import Indeterminate, TimedOut
from sloth_runner.ops import (
    Batch,
    Content,
    Done,
    Exec,
    Found,
    MakeDir,
    OpError,
    Pause,
    Ran,
    Read,
    Remove,
    Stat,
    WhoAmI,
    Write,
)
from sloth_runner.transport.local import LocalTransport
from sloth_runner.transport.pipe import PipeLine
from sloth_runner.transport.remote import Remote


def line(folder: Path) -> PipeLine:
    """An agent of our own user, kept in a cache of its own."""
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "LANG": "C.UTF-8"}
    return PipeLine("pipe://", ["/bin/sh", "-c", command(packed().name)], env)


@contextlib.asynccontextmanager
async def remote(folder: Path) -> AsyncIterator[Remote]:
    made = Remote("web1", line(folder))
    try:
        yield made
    finally:
        await made.aclose()


def test_files_and_programs(tmp_path: Path) -> None:
    async def go() -> None:
        async with remote(tmp_path) as there:
            path = str(tmp_path / "a")
            assert await there.do(Write(path, b"x" * 10, 0o640)) == Done(True)
            found = await there.do(Stat(path, digest=True))
            assert isinstance(found, Found)
            assert (found.mode, found.size, found.digest) == (
                0o640,
                10,
                hashlib.sha256(b"x" * 10).hexdigest(),
            )
            assert await there.do(Read(path, 100)) == Content(b"x" * 10)
            heard: list[tuple[str, bytes]] = []
            ran = await there.do(
                Exec("it", line="echo out; echo err >&2; pwd; exit 3"), lambda *piece: heard.append(piece)
            )
            assert isinstance(ran, Ran)
            assert (ran.exit_code, ran.stdout, ran.stderr) == (3, f"out\n{tmp_path}\n".encode(), b"err\n")
            assert b"".join(piece for stream, piece in heard if stream == "stdout") == ran.stdout
            with pytest.raises(OpError) as caught:
                await there.do(
                    Batch((MakeDir(str(tmp_path / "d"), 0o755), Read(str(tmp_path / "no"), 1), WhoAmI()))
                )
            assert (caught.value.kind, caught.value.results) == ("missing", (Done(True),))
            assert await there.do(Remove(path)) == Done(True)
            assert not Path(path).exists()

    asyncio.run(go())


def test_the_agent_travels_once(tmp_path: Path) -> None:
    async def go() -> list[int]:
        sent = []
        for _ in range(2):
            async with remote(tmp_path) as there:
                await there.do(WhoAmI())
                sent.append(there.traffic.lines)
        return sent

    assert asyncio.run(go()) == [1, 1]
    folder = tmp_path / ".cache" / "sloth-runner"
    (kept,) = folder.iterdir()
    assert kept.name.startswith(packed().name)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert kept.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("left", [0, 1000, 100_000])
def test_an_agent_that_was_damaged_is_brought_again(tmp_path: Path, left: int) -> None:
    async def go() -> None:
        async with remote(tmp_path) as there:
            await there.do(WhoAmI())

    asyncio.run(go())
    (kept,) = (tmp_path / ".cache" / "sloth-runner").iterdir()
    whole = kept.read_bytes()
    os.truncate(kept, left)
    asyncio.run(go())
    assert kept.read_bytes() == whole


def test_of_the_agents_of_other_versions_those_used_last_and_those_in_use_stay(tmp_path: Path) -> None:
    folder = tmp_path / ".cache" / "sloth-runner"
    folder.mkdir(parents=True, mode=0o700)

    def kept() -> set[str]:
        return {path.name.partition(".")[0] for path in folder.iterdir()}

    for number in range(12):
        path = folder / f"old{number}{'.' * (60 - number // 10)}-cpython-39.zip"
        path.write_bytes(b"x")
        os.utime(path, (number + 1e9, number + 1e9))
    (folder / "else").write_bytes(b"x")

    async def go() -> None:
        async with remote(tmp_path) as there:
            await there.do(WhoAmI())

    with (folder / f"old1{'.' * 60}-cpython-39.zip").open("rb") as used:
        fcntl.flock(used, fcntl.LOCK_SH)
        asyncio.run(go())
    (own,) = folder.glob(f"{packed().name}*")
    assert kept() == {"else", own.stem, "old1", *(f"old{number}" for number in range(5, 12))}
    os.utime(own, (0, 0))
    asyncio.run(go())
    assert own.stat().st_mtime > 1e9, "it was used just now"


def test_an_agent_that_lives_is_in_use(tmp_path: Path) -> None:
    async def go() -> None:
        async with remote(tmp_path) as there:
            await there.do(WhoAmI())
            (own,) = (tmp_path / ".cache" / "sloth-runner").iterdir()
            with own.open("r+b") as file, pytest.raises(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    asyncio.run(go())
    asyncio.run(go())


def test_a_folder_that_others_may_write_to_is_not_trusted(tmp_path: Path) -> None:
    folder = tmp_path / ".cache" / "sloth-runner"
    folder.mkdir(parents=True)
    folder.chmod(0o777)

    async def go() -> Any:
        async with remote(tmp_path) as there:
            return await there.do(Stat("/"))

    assert asyncio.run(go()).kind == "folder"
    assert list(folder.iterdir()) == []


def test_a_program_that_is_cancelled_is_gone_with_all_it_started(tmp_path: Path) -> None:
    mark = f"30.{os.getpid()}"

    async def go() -> None:
        async with remote(tmp_path) as there:
            started = asyncio.Event()
            running = asyncio.create_task(
                there.do(Exec("it", line=f"sleep {mark} & echo on; sleep {mark}"), lambda *_: started.set())
            )
            await started.wait()
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            assert not processes(mark)
            assert isinstance(await there.do(Stat("/")), Found)

    asyncio.run(go())


def test_a_program_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    async def go() -> None:
        async with remote(tmp_path) as there:
            with pytest.raises(TimedOut) as caught:
                await there.do(Exec("it", line="echo last words; sleep 60", timeout=3.0))
            assert caught.value.system == "last words"

    asyncio.run(go())


def test_what_takes_time_holds_nothing_else(tmp_path: Path) -> None:
    async def go() -> None:
        async with remote(tmp_path) as there:
            fifo = str(tmp_path / "fifo")
            os.mkfifo(fifo)
            waiting = asyncio.create_task(there.do(Exec("it", line=f"cat {fifo}")))
            assert isinstance(await there.do(Stat("/")), Found)
            ran = await there.do(Exec("other", line=f"echo go > {fifo}"))
            assert isinstance(ran, Ran)
            done = await waiting
            assert isinstance(done, Ran) and done.stdout == b"go\n"

    asyncio.run(go())


@pytest.mark.parametrize("far", [False, True])
def test_what_is_for_the_module_alone_is_not_told(tmp_path: Path, far: bool) -> None:
    """Also where it travels together with a program whose output is."""
    heard: list[bytes] = []
    looks = Exec("look", line="echo inner", mutating=False, quiet=True)

    async def go() -> Any:
        async with remote(tmp_path) as there:
            machine = there if far else LocalTransport(os.environ)
            await machine.do(looks, lambda stream, piece: heard.append(piece))
            return await machine.do(
                Batch((Exec("act", line="echo said"), looks)), lambda _, piece: heard.append(piece)
            )

    assert [ran.stdout for ran in asyncio.run(go())] == [b"said\n", b"inner\n"]
    assert heard == [b"said\n"]


def test_output_is_not_gathered_in_the_agent(tmp_path: Path) -> None:
    """A program that writes a hundred megabytes is slowed down to what is read, and what is kept has a limit."""
    total = 0

    def count(stream: str, piece: bytes) -> None:
        nonlocal total
        total += len(piece)

    async def go() -> Any:
        async with remote(tmp_path) as there:
            ran = await there.do(Exec("it", line="head -c 100000000 /dev/zero", output_limit=1000), count)
            memory = await there.do(Exec("m", line="grep VmHWM /proc/$PPID/status"))
            return ran, memory

    ran, memory = asyncio.run(go())
    assert total == 100_000_000
    assert ran.cut == (99_999_000, 0)
    assert int(memory.stdout.split()[1]) < 60_000


def test_a_content_travels_once_whatever_its_size(tmp_path: Path) -> None:
    content = os.urandom(3 << 20)

    async def go() -> int:
        async with remote(tmp_path) as there:
            await there.do(WhoAmI())
            before = there.traffic.sent
            for name in ("a", "b", "c"):
                await there.do(Write(str(tmp_path / name), content))
            await there.do(Batch(tuple([Write(str(tmp_path / name), b"y" * 5000) for name in ("d", "e")])))
            return there.traffic.sent - before

    sent = asyncio.run(go())
    assert len(content) < sent < len(content) * 1.01 + 3000
    assert [(tmp_path / name).read_bytes() == content for name in "abc"] == [True] * 3
    assert [(tmp_path / name).read_bytes() for name in "de"] == [b"y" * 5000] * 2


def test_pauses_are_waited_for_here(tmp_path: Path) -> None:
    async def go() -> int:
        async with remote(tmp_path) as there:
            await there.do(Pause(0.01))
            return there.traffic.lines

    assert asyncio.run(go()) == 0


def test_what_was_asked_ahead_is_answered_at_once_until_something_changes(tmp_path: Path) -> None:
    async def go() -> None:
        async with remote(tmp_path) as there:
            looks = [Stat(str(tmp_path / name)) for name in "abc"]
            await there.look_ahead([*looks, Read(str(tmp_path / "missing"), 10), Stat("/")])
            trips = there.traffic.trips
            assert there.at_once(looks[0]) is not None
            assert there.at_once(looks[0]) is None, "an answer is good for one question"
            assert there.at_once(Batch((looks[1], Stat("/")))) is not None
            assert await there.do(looks[2]) is not None
            assert there.traffic.trips == trips
            await there.look_ahead([looks[0], looks[1], looks[0]])
            trips = there.traffic.trips
            assert [there.at_once(looks[0]) is not None for _ in range(3)] == [True, True, False], (
                "as often as expected"
            )
            assert there.at_once(Batch(())) == ()
            assert there.traffic.trips == trips
            await there.look_ahead(looks)
            await there.do(Write(str(tmp_path / "a"), b""))
            assert there.at_once(looks[0]) is None

    asyncio.run(go())


def test_a_user_who_comes_while_something_changes_knows_of_it(tmp_path: Path) -> None:
    async def go() -> None:
        async with remote(tmp_path) as there:
            fifo = str(tmp_path / "fifo")
            os.mkfifo(fifo)
            waiting = asyncio.create_task(there.do(Exec("it", line=f"cat {fifo}")))
            await asyncio.sleep(0)
            ahead, root = there.as_user("ann").ahead, Stat("/")
            ahead.keep(root, Found("folder"), ahead.epoch)
            early = ahead.take(root)
            await there.do(Exec("other", line=f"echo go > {fifo}"))
            await waiting
            ahead.keep(root, Found("folder"), ahead.epoch)
            assert (early, ahead.take(root)) == (None, Found("folder"))

    asyncio.run(go())


def processes(mark: str) -> list[str]:
    """The command lines that hold a mark, of all processes."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if mark in line and folder.name != str(os.getpid()):
                    found.append(line)
    return found


def wait_until(holds: Any, seconds: float = 60.0) -> None:
    """Return once ``holds()`` is true; a test fails that waits too long."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it does not come true"
        time.sleep(0.02)


def test_the_agent_ends_with_its_input_and_leaves_nothing(tmp_path: Path) -> None:
    mark = f"40.{os.getpid()}"
    agent: list[int] = []

    async def go() -> None:
        there = Remote("web1", line(tmp_path))
        asked = await there.do(Exec("it", line="echo $PPID", mutating=False))
        assert isinstance(asked, Ran)
        agent.append(int(asked.stdout))
        started = asyncio.Event()
        running = asyncio.create_task(
            there.do(Exec("it", line=f"sleep {mark} & echo on; sleep {mark}"), lambda *_: started.set())
        )
        await started.wait()
        await there.aclose()
        with pytest.raises(Exception, match="whether it was done is not known"):
            await running

    asyncio.run(go())
    wait_until(lambda: not processes(mark))
    assert not Path(f"/proc/{agent[0]}").exists()


def first(said: asyncio.Future[bytes]) -> Callable[[str, bytes], None]:
    """Hears a program's first words."""

    def hear(stream: str, piece: bytes) -> None:
        if not said.done():
            said.set_result(piece)

    return hear


def test_what_a_killed_agent_has_begun_ends_too(tmp_path: Path) -> None:
    """With all that it has started, however little it heeds a request to end; what has ended before is let alone."""
    stays = "sleep 600 & echo $!"
    heedless = "trap '' TERM; echo $PPID $$; while :; do sleep 1; done"

    async def go() -> tuple[int, int]:
        async with remote(tmp_path) as there:
            before = await there.do(Exec("it", line=stays, cwd="/"))
            assert isinstance(before, Ran)
            said: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
            program = Exec("it", line=heedless, cwd="/")
            work = asyncio.create_task(there.do(program, first(said)))
            agent, group = map(int, (await said).split())
            os.kill(agent, signal.SIGKILL)
            with pytest.raises(Indeterminate):
                await work
            return group, int(before.stdout)

    group, other = asyncio.run(go())
    wait_until(lambda: not Path(f"/proc/{group}/exe").is_symlink())
    os.kill(other, signal.SIGKILL)  # it was there still
