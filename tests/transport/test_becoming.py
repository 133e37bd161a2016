"""Why: what belongs to others is handled as they would: by root directly, by others through sudo and its password."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sloth_runner.agent.pack import command, packed
from sloth_runner.errors import Indeterminate
from sloth_runner.ops import Batch, Done, Exec, Found, Identity, OpError, Ran, Read, Stat, WhoAmI, Write
from sloth_runner.transport.pipe import PipeLine
from sloth_runner.transport.remote import Remote
from tests.scratch import Scratch, scratch_or_skip

ENV = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/", "LANG": "C.UTF-8"}
AGENT = command(packed().name, "/usr/bin/python3", keep=False)

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can become others, and lend itself to a sudo"
)


def there(argv: list[str], work: Any, password: str | None = None) -> Any:
    async def go() -> Any:
        remote = Remote("web1", PipeLine("pipe://", argv, ENV), password=password)
        try:
            return await work(remote)
        finally:
            await remote.aclose()

    return asyncio.run(go())


def test_root_becomes_another_user_for_files_and_programs(tmp_path: Path) -> None:
    folder = Path("/var/tmp") / f"sloth-becoming-{os.getpid()}"
    folder.mkdir()
    nobody = pwd.getpwnam("nobody")
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)

    async def work(remote: Remote) -> None:
        other = remote.as_user("nobody")
        me = await other.do(WhoAmI())
        assert isinstance(me, Identity) and me.name == "nobody"
        assert other.at_once(WhoAmI()) == me, "it is asked once"
        assert await other.do(Write(str(folder / "f"), b"x" * 9000, 0o600)) == Done(True)
        found = await remote.do(Stat(str(folder / "f")))
        assert isinstance(found, Found) and found.owner == "nobody"
        with pytest.raises(OpError) as caught:
            await other.do(Batch((Stat("/"), Read("/etc/shadow", 1 << 20))))
        assert caught.value.kind == "denied" and len(caught.value.results) == 1
        ran = await other.do(Exec("it", ("id", "-un"), cwd="/"), lambda *piece: heard.append(piece))
        assert isinstance(ran, Ran) and ran.stdout == b"nobody\n"
        root = await remote.as_user("root").do(WhoAmI())
        assert isinstance(root, Identity) and root.uid == 0, "that is who we are: no other agent is needed"

    heard: list[Any] = []
    try:
        there(["/bin/sh", "-c", AGENT], work)
    finally:
        shutil.rmtree(folder)
    assert heard == [("stdout", b"nobody\n")]


def test_an_agent_of_another_user_that_is_killed(tmp_path: Path) -> None:
    async def work(remote: Remote) -> None:
        other = remote.as_user("nobody")
        with pytest.raises(Indeterminate) as caught:
            await other.do(Exec("it", line="kill -9 $PPID; sleep 1000", cwd="/"))
        assert caught.value.system == "the agent that acts as nobody ended"
        me = await other.do(WhoAmI())
        assert isinstance(me, Identity) and me.name == "nobody", "there is another one"

    there(["/bin/sh", "-c", AGENT], work)


def test_a_python_that_the_other_user_may_not_run(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir(mode=0o700)
    (tmp_path / "own" / "python3").symlink_to("/usr/bin/python3")
    agent = command(packed().name, str(tmp_path / "own" / "python3"), keep=False)

    async def work(remote: Remote) -> None:
        me = await remote.as_user("nobody").do(WhoAmI())
        assert isinstance(me, Identity) and me.name == "nobody"

    there(["/bin/sh", "-c", agent], work)


def test_a_user_that_is_not_there(tmp_path: Path) -> None:
    async def work(remote: Remote) -> None:
        with pytest.raises(OpError) as caught:
            await remote.as_user("no-such-user").do(WhoAmI())
        assert caught.value.kind == "no-login"

    there(["/bin/sh", "-c", AGENT], work)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scratch]:
    """A machine with users of its own, one of whom may use sudo with a password, one without."""
    with scratch_or_skip(tmp_path_factory.mktemp("sudo")) as scratch:
        script = """set -e
        useradd --create-home --shell /bin/sh ann; useradd --create-home --shell /bin/sh bob
        useradd --create-home --shell /bin/sh eve
        echo ann:let-me-in | chpasswd
        echo 'ann ALL=(ALL) ALL' > /etc/sudoers.d/ann; echo 'bob ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/bob
        chmod 0440 /etc/sudoers.d/*; mkdir -p /run/sudo"""
        scratch.run("/bin/sh", "-c", script)
        yield scratch


def as_login(machine: Scratch, user: str) -> list[str]:
    return [*machine.argv(()), "/bin/su", user, "-c", AGENT]


async def writes_as_root(remote: Remote) -> str:
    path = f"/etc/sloth-{os.urandom(4).hex()}"
    root = remote.as_user("root")
    assert await root.do(Write(path, b"secret\n", 0o600)) == Done(True)
    ran = await remote.do(Exec("it", ("id", "-un"), user="root"))
    assert isinstance(ran, Ran) and ran.stdout == b"root\n", ran
    with pytest.raises(OpError):
        await remote.do(Read(path, 100))
    found = await root.do(Stat(path))
    assert isinstance(found, Found) and found.owner == "root"
    shown = await root.do(Exec("it", line="cat /proc/[0-9]*/cmdline | tr '\\0' ' '"))
    assert isinstance(shown, Ran)
    return shown.stdout.decode(errors="replace")


def test_sudo_with_a_password(machine: Scratch) -> None:
    shown = there(as_login(machine, "ann"), writes_as_root, "let-me-in")
    assert "sudo" in shown and "let-me-in" not in shown


def test_sudo_that_needs_no_password_gets_one_all_the_same(machine: Scratch) -> None:
    there(as_login(machine, "bob"), writes_as_root, "not-asked-for")
    there(as_login(machine, "bob"), writes_as_root)


@pytest.mark.parametrize(("user", "password"), [("ann", "wrong"), ("ann", None), ("eve", "any")])
def test_sudo_that_refuses(machine: Scratch, user: str, password: str | None) -> None:
    async def work(remote: Remote) -> None:
        with pytest.raises(OpError) as caught:
            await remote.as_user("root").do(Write("/etc/never", b""))
        assert caught.value.kind == "no-rights" and "can't become this user" in caught.value.reason
        with pytest.raises(
            OpError, match="can't become this user"
        ):  # not the exit status of a program that never began
            await remote.do(Exec("it", ("true",), user="root"))
        assert isinstance(await remote.do(Stat("/etc")), Found)

    there(as_login(machine, user), work, password)


def test_why_sudo_refuses_is_told_though_it_is_said_late(machine: Scratch) -> None:
    late = """exec <&- >&-
    for _ in 1 2 3 4 5 6 7 8 9 10; do sha256sum /usr/bin/python3 >/dev/null; done
    echo 'sudo: not in this house' >&2; exit 1"""
    machine.run(
        "/bin/sh",
        "-c",
        'mkdir /late; printf %s "$0" > /late/sudo; chmod 755 /late/sudo',
        f"#!/bin/sh\n{late}",
    )

    async def work(remote: Remote) -> None:
        with pytest.raises(OpError, match="not in this house"):
            await remote.as_user("root").do(WhoAmI())

    there([*machine.argv(()), "/bin/su", "eve", "-c", f"PATH=/late:$PATH; export PATH; {AGENT}"], work)


def test_a_wrong_password_is_tried_once(machine: Scratch) -> None:
    async def work(remote: Remote) -> None:
        for _ in range(3):
            with pytest.raises(OpError, match="1 incorrect password attempt"):
                await remote.do(Exec("it", ("true",), user="root"))

    machine.run("/bin/sh", "-c", "echo 'Defaults:ann logfile=/tmp/sudo.log' >> /etc/sudoers.d/ann")
    there(as_login(machine, "ann"), work, "wrong")
    assert machine.run("cat", "/tmp/sudo.log").count("incorrect password") == 1


def test_what_runs_as_root_by_sudo_can_be_stopped(machine: Scratch) -> None:
    heard: list[bytes] = []

    async def work(remote: Remote) -> None:
        begun = asyncio.Event()

        def hear(stream: str, piece: bytes) -> None:
            heard.append(piece)
            begun.set()

        running = asyncio.ensure_future(
            remote.do(Exec("it", line="echo $$; exec sleep 1000", user="root"), hear)
        )
        await begun.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    there(as_login(machine, "ann"), work, "let-me-in")
    machine.run("kill", "-0", heard[0].decode().strip(), code=1)
