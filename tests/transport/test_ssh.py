"""Why: SSH is OpenSSH's server, real keys and real refusals; each way in which a machine can't be reached is told."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sloth_runner.agent.pack import packed
from sloth_runner.errors import Indeterminate, Unreachable
from sloth_runner.ops import Done, Exec, Found, Identity, OpError, Ran, Stat, WhoAmI, Write
from sloth_runner.transport.remote import Remote
from sloth_runner.transport.ssh import Jumps, line
from tests.services.base import free_port
from tests.services.proxy import Proxy
from tests.services.sshd import SSHServer, make_key


@pytest.fixture
def home(sshd: SSHServer, tmp_path: Path) -> Path:
    """A client's home of one's own, with the shared server's keys."""
    shutil.copytree(sshd.home / ".ssh", tmp_path / "me" / ".ssh")
    return tmp_path / "me"


def there(
    url: str, home: Path, work: Callable[[Remote], Awaitable[Any]], *, agent: str = "", **table: Any
) -> Any:
    """What ``work`` makes of the way to a machine."""

    async def go() -> Any:
        jumps = Jumps(home, {"SSH_AUTH_SOCK": agent} if agent else {})
        made = Remote("web1", line(url, jumps, **table))
        try:
            return await work(made)
        finally:
            await made.aclose()
            await jumps.aclose()

    return asyncio.run(go())


def refusal(url: str, home: Path, **more: Any) -> Unreachable:
    with pytest.raises(Unreachable) as caught:
        there(url, home, lambda remote: remote.do(WhoAmI()), **more)
    assert caught.value.code == "E-UNREACHABLE"
    assert caught.value.unchanged
    return caught.value


def test_files_and_programs(sshd: SSHServer, home: Path, tmp_path: Path) -> None:
    async def work(remote: Remote) -> None:
        heard: list[bytes] = []
        ran = await remote.do(
            Exec("it", line="echo one; echo two >&2; pwd"), lambda *piece: heard.append(piece[1])
        )
        assert isinstance(ran, Ran)
        assert ran.stdout == f"one\n{sshd.folder}/there\n".encode(), "it starts in the login's home"
        assert sorted(b"".join(heard)) == sorted(ran.stdout + ran.stderr)
        assert await remote.do(Write(str(tmp_path / "f"), b"x")) == Done(True)
        me = await remote.do(WhoAmI())
        assert isinstance(me, Identity) and me.uid == os.getuid()

    there(sshd.url, home, work)
    assert (tmp_path / "f").read_bytes() == b"x"


def test_the_agent_is_brought_once(sshd: SSHServer, home: Path) -> None:
    shutil.rmtree(sshd.cache, ignore_errors=True)

    async def work(remote: Remote) -> tuple[int, int]:
        await remote.do(WhoAmI())
        return remote.traffic.trips, remote.traffic.sent

    first = there(sshd.url, home, work)
    second = there(sshd.url, home, work)
    assert first[0] == second[0] + 1 == 3
    assert first[1] > 20_000 and second[1] < 500
    assert [path.name.partition("-")[0] for path in sshd.cache.iterdir()] == [packed().name]
    assert sshd.cache.stat().st_mode & 0o777 == 0o700


def test_a_login_shell_may_say_what_it_likes(sshd: SSHServer, home: Path) -> None:
    profile = sshd.folder / "there" / ".bashrc"
    profile.write_text("echo welcome; head -c 100000 /dev/zero; echo; echo more >&2\n")
    try:
        there(sshd.url, home, lambda remote: remote.do(WhoAmI()))
    finally:
        profile.unlink()


def test_an_unknown_host_key_is_told_and_accepted_by_the_command_that_is_told(
    sshd: SSHServer, home: Path
) -> None:
    known = home / ".ssh" / "known_hosts"
    known.unlink()
    told = refusal(sshd.url, home)
    fingerprint = subprocess.run(
        ["/usr/bin/ssh-keygen", "-lf", str(sshd.folder / "host_key.pub")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()[1]
    assert f"its host key is not known: {fingerprint}" in told.message
    accept = told.next[-1].partition("accept it: ")[2]
    subprocess.run(["/bin/sh", "-c", accept], check=True)
    there(sshd.url, home, lambda remote: remote.do(WhoAmI()))
    assert len(known.read_text().splitlines()) == 1


def test_a_changed_host_key_is_refused(sshd: SSHServer, home: Path, tmp_path: Path) -> None:
    make_key(tmp_path / "other")
    kind, key = (tmp_path / "other.pub").read_text().split()[:2]
    known = home / ".ssh" / "known_hosts"
    known.write_text(f"[127.0.0.1]:{sshd.port} {kind} {key}\n")
    told = refusal(sshd.url, home)
    assert "its host key has changed: SHA256:" in told.message and " instead of SHA256:" in told.message
    replace = told.next[-1].partition("the old one: ")[2]
    subprocess.run(["/bin/sh", "-c", replace], check=True, capture_output=True)
    there(sshd.url, home, lambda remote: remote.do(WhoAmI()))


@pytest.mark.parametrize(
    "setting", ["UserKnownHostsFile none", "UserKnownHostsFile /dev/null\nStrictHostKeyChecking no"]
)
def test_no_setting_switches_the_check_off(sshd: SSHServer, home: Path, setting: str) -> None:
    (home / ".ssh" / "config").write_text(f"{setting}\nGlobalKnownHostsFile none\n")
    assert "its host key is not known" in refusal(sshd.url, home).message


def test_a_key_that_is_not_accepted(sshd: SSHServer, home: Path) -> None:
    for path in (home / ".ssh").glob("id_*"):
        path.unlink()
    make_key(home / ".ssh" / "id_ed25519")
    told = refusal(sshd.url, home)
    assert "does not let root in" in told.message
    assert any(f"ssh -p {sshd.port} root@127.0.0.1 true" in line for line in told.next)


def test_a_port_where_nobody_listens(home: Path) -> None:
    assert "refuses the connection" in refusal(f"ssh://127.0.0.1:{free_port()}", home).message


def test_a_name_that_is_not_known(home: Path) -> None:
    assert "the name is not known" in refusal("ssh://no-such-host.invalid", home).message


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_server_that_says_nothing(home: Path, silent: int) -> None:
    (home / ".ssh" / "config").write_text("ConnectTimeout 1\n")
    assert "does not answer in time" in refusal(f"ssh://127.0.0.1:{silent}", home).message


def test_a_configuration_that_can_not_be_read(sshd: SSHServer, home: Path) -> None:
    (home / ".ssh" / "config").write_text("Port many\n")
    told = refusal(sshd.url, home)
    assert "configuration of ssh can't be read" in told.message and "line 1" in str(told.system)


def test_no_python(sshd: SSHServer, home: Path) -> None:
    told = refusal(sshd.url, home, python="/no/python3")
    assert "there is no /no/python3 on the machine" in told.message


@pytest.mark.parametrize(
    ("forced", "said"),
    [
        ("echo This account is closed; exit 1", "This account is closed"),
        ("echo unknown: $SSH_ORIGINAL_COMMAND; exit 1", "unknown: exec /bin/sh -c"),
    ],
)
def test_a_shell_that_runs_nothing(sshd: SSHServer, home: Path, forced: str, said: str) -> None:
    keys = sshd.folder / "authorized_keys"
    before = keys.read_text()
    keys.write_text(f'command="{forced}" {before}')
    try:
        told = refusal(sshd.url, home)
    finally:
        keys.write_text(before)
    assert "the agent could not be started" in told.message
    assert said in str(told.system) and len(str(told.system)) < 400


def test_lines_of_known_hosts_that_are_not_understood_are_left_alone(sshd: SSHServer, home: Path) -> None:
    known = home / ".ssh" / "known_hosts"
    known.write_bytes(
        b"alone\n@mark far ssh-ed25519 AAAA\n# caf\xe9\n|1|no|hash ssh-rsa A\n" + known.read_bytes()
    )
    there(sshd.url, home, lambda remote: remote.do(WhoAmI()))
    known.write_bytes(b"alone\n\xff\n")
    assert "its host key is not known" in refusal(sshd.url, home).message


def test_a_key_that_is_broken_or_encrypted_keeps_no_other_from_being_used(
    sshd: SSHServer, home: Path
) -> None:
    key = home / ".ssh" / "id_ed25519"
    (home / ".ssh" / "id_ecdsa").write_text("junk\n")
    shutil.copy(key, home / ".ssh" / "id_rsa")
    subprocess.run(["/usr/bin/ssh-keygen", "-qp", "-P", "", "-N", "sealed", "-f", str(key)], check=True)
    there(sshd.url, home, lambda remote: remote.do(WhoAmI()))
    there(sshd.url, home, lambda remote: remote.do(WhoAmI()), passphrase="another")
    (home / ".ssh" / "id_rsa").unlink()
    told = refusal(sshd.url, home)
    assert told.next[0].startswith(f"{key} was not used: it is encrypted: ") and "id_ecdsa" in told.next[1]
    assert "Incorrect passphrase" in refusal(sshd.url, home, passphrase="another").next[0]
    there(sshd.url, home, lambda remote: remote.do(WhoAmI()), passphrase="sealed")


def test_names_ports_users_and_keys_come_from_the_configuration(sshd: SSHServer, home: Path) -> None:
    (home / ".ssh" / "id_ed25519").rename(home / ".ssh" / "elsewhere")
    key = home / ".ssh" / "elsewhere"
    (home / ".ssh" / "config").write_text(
        f"Host prod\n  HostName 127.0.0.1\n  Port {sshd.port}\n  User root\n"
        f"  IdentityFile {key}\n  IdentitiesOnly yes\n"
    )
    there("ssh://prod", home, lambda remote: remote.do(WhoAmI()))


PROXY = """import os, pathlib, socket, sys, threading
pathlib.Path(sys.argv[2]).write_text(str(os.getpid()))
line = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
def there():
    while data := os.read(0, 65536): line.sendall(data)
threading.Thread(target=there, daemon=True).start()
while data := line.recv(65536): os.write(2, b"a word\\n"); os.write(1, data)
threading.Event().wait()
"""


def proxy_command(home: Path, sshd: SSHServer, words: str) -> None:
    """``far`` is reached by this command."""
    with (home / ".ssh" / "config").open("a") as file:
        file.write(f"\nHost far\n  HostName far.invalid\n  HostKeyAlias [127.0.0.1]:{sshd.port}\n")
        file.write(f"  ProxyCommand {words}\n")


def gone(pid: Path) -> bool:
    """Whether a process has ended, and was waited for."""
    try:
        os.kill(int(pid.read_text()), 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize("more", ["", " 2>>%d/said"])
def test_a_command_that_is_the_way_there_may_talk_and_is_waited_for(
    sshd: SSHServer, home: Path, tmp_path: Path, more: str
) -> None:
    script, pid = tmp_path / "proxy.py", tmp_path / "pid"
    script.write_text(PROXY)
    proxy_command(
        home, sshd, f"{sys.executable} {script} {sshd.port} {pid}" + more.replace("%d", str(tmp_path))
    )

    async def go() -> None:
        remote = Remote("far", line("ssh://far", Jumps(home, {})))
        await remote.do(WhoAmI())
        await remote.aclose()
        assert gone(pid)

    asyncio.run(go())
    assert not more or "a word" in (tmp_path / "said").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("no-such-program %h", "its ProxyCommand ended with status 127; "),
        ("sh -c 'echo $$ > {pid}; echo no way to %h >&2; exit 3'",
         "its ProxyCommand ended with status 3; no way to far.invalid"),
        ("sh -c 'echo $$ > {pid}; echo no server; echo asked >&2; exec cat > /dev/null'", "asked"),
    ],
)  # fmt: skip
def test_a_command_that_is_no_way_there_says_why_and_is_waited_for(
    sshd: SSHServer, home: Path, tmp_path: Path, words: str, said: str
) -> None:
    pid = tmp_path / "pid"
    (home / ".ssh" / "config").write_text("ConnectTimeout 1\n")
    proxy_command(home, sshd, words.format(pid=pid))

    async def go() -> str | None:
        with pytest.raises(Unreachable) as caught:
            await Remote("far", line("ssh://far", Jumps(home, {}))).do(WhoAmI())
        assert "no-such" in words or gone(pid)
        return caught.value.system

    assert str(asyncio.run(go())).startswith(said)


def test_a_command_that_was_the_way_there_and_ended_is_told(
    sshd: SSHServer, home: Path, tmp_path: Path
) -> None:
    script, pid = tmp_path / "proxy.py", tmp_path / "pid"
    script.write_text(PROXY)
    proxy_command(home, sshd, f"{sys.executable} {script} {sshd.port} {pid}")

    async def go(remote: Remote) -> str | None:
        await remote.do(WhoAmI())
        os.kill(int(pid.read_text()), 9)
        with pytest.raises(Indeterminate) as caught:
            await remote.do(Write("/dev/null/x", b""))
        return caught.value.system

    assert "its ProxyCommand ended with status -9; a word" in str(there("ssh://far", home, go))


def test_through_a_jump_host_that_is_known(sshd: SSHServer, home: Path) -> None:
    key = home / ".ssh" / "id_ed25519"
    config = (
        f"IdentityFile {key}\nHost inner\n  HostName 127.0.0.1\n  Port {sshd.port}\n"
        f"  ProxyJump root@127.0.0.1:{sshd.port}\n"
    )
    (home / ".ssh" / "config").write_text(config)
    there("ssh://root@inner", home, lambda remote: remote.do(WhoAmI()))
    (home / ".ssh" / "config").write_text(config.replace("Host inner", "UserKnownHostsFile none\nHost inner"))
    assert "its host key is not known" in refusal("ssh://root@inner", home).message


@pytest.fixture
def key_agent() -> Iterator[str]:
    """The socket of a key agent that holds no keys."""
    said = subprocess.run(["/usr/bin/ssh-agent", "-s"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"SSH_AUTH_SOCK=([^;]+);.*SSH_AGENT_PID=(\d+)", said, re.DOTALL)
    assert found is not None
    yield found[1]
    os.kill(int(found[2]), 15)


def test_keys_of_a_key_agent(sshd: SSHServer, home: Path, key_agent: str) -> None:
    key = home / ".ssh" / "id_ed25519"
    subprocess.run(
        ["/usr/bin/ssh-add", "-q", str(key)], env={**os.environ, "SSH_AUTH_SOCK": key_agent}, check=True
    )
    key.unlink()
    there(sshd.url, home, lambda remote: remote.do(WhoAmI()), agent=key_agent)


def test_a_key_agent_without_keys(sshd: SSHServer, home: Path, key_agent: str) -> None:
    for path in (home / ".ssh").glob("id_*"):
        path.unlink()
    assert "does not let root in" in refusal(sshd.url, home, agent=key_agent).message


def test_asyncssh_looks_for_nothing_that_takes_long() -> None:
    script = (
        "import ctypes.util, sys\n"
        "find = ctypes.util.find_library\n"
        "from sloth_runner.transport.ssh_library import load\n"
        "assert load() is load() is sys.modules['asyncssh'] and ctypes.util.find_library is find\n"
        "print(*sys.modules)\n"
    )
    argv = [sys.executable, "-c", script]
    loaded = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()
    assert "asyncssh.connection" in loaded
    assert not {"cryptography.x509", "OpenSSL"} & set(loaded)


@pytest.fixture
def proxy(sshd: SSHServer, home: Path) -> Iterator[Proxy]:
    """A way to the server that can be hurt."""
    made = Proxy(sshd.port)
    known = home / ".ssh" / "known_hosts"
    known.write_text(known.read_text().replace(str(sshd.port), str(made.port)))
    yield made
    made.close()


def test_what_only_looks_is_asked_again_over_a_new_line(proxy: Proxy, home: Path) -> None:
    async def work(remote: Remote) -> int:
        assert isinstance(await remote.do(Stat("/")), Found)
        proxy.cut()
        assert isinstance(await remote.do(Stat("/")), Found)
        return remote.traffic.lines

    assert there(f"ssh://127.0.0.1:{proxy.port}", home, work) == 2


def test_what_may_have_been_done_is_not_done_again(proxy: Proxy, home: Path, tmp_path: Path) -> None:
    count = tmp_path / "count"

    async def work(remote: Remote) -> None:
        await remote.do(WhoAmI())
        line = f"echo x >> {count}; echo on; sleep 60"
        with pytest.raises(Indeterminate, match="whether it was done is not known"):
            await remote.do(Exec("it", line=line), lambda *_: proxy.cut())
        assert isinstance(await remote.do(Stat("/")), Found)

    there(f"ssh://127.0.0.1:{proxy.port}", home, work)
    assert count.read_text() == "x\n"


def test_an_agent_that_is_killed(sshd: SSHServer, home: Path) -> None:
    async def work(remote: Remote) -> None:
        with pytest.raises(Indeterminate) as caught:
            await remote.do(Exec("it", line="kill -9 $PPID; sleep 1000"))
        assert caught.value.system == "it was ended by SIGKILL"

    there(sshd.url, home, work)


def test_a_machine_that_is_gone_for_good(proxy: Proxy, home: Path) -> None:
    async def work(remote: Remote) -> None:
        await remote.do(WhoAmI())
        proxy.refuse()
        with pytest.raises(Unreachable):
            await remote.do(Stat("/"))

    there(f"ssh://127.0.0.1:{proxy.port}", home, work)


def test_errors_of_operations_are_those_of_the_machine(sshd: SSHServer, home: Path) -> None:
    async def work(remote: Remote) -> None:
        with pytest.raises(OpError) as caught:
            await remote.do(Exec("it", ("no-such-program",)))
        assert caught.value.kind == "not-found"

    there(sshd.url, home, work)
