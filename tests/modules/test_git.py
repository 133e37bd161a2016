"""Why: passwords go to git by a way that nobody else can read, and addresses can't make git run programs."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path

import pytest

from sloth_runner.errors import SlothError
from sloth_runner.ops import Exec
from tests.loopback import Reply, Request, Server
from tests.modules.kit import Machine

SECRET = "c4n4ry-p4ss"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def served(tmp_path: Path) -> Path:
    """A bare repository that can be fetched over plain HTTP, as files."""
    bare, work = tmp_path / "origin.git", tmp_path / "work"
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", "init", "-q", "-b", "main", str(work)], check=True)
    (work / "text").write_text("one\n")
    subprocess.run(["git", "-C", str(work), "add", "."], check=True)
    subprocess.run(["git", "-C", str(work), *identity, "commit", "-qm", "one"], check=True)
    subprocess.run(["git", "clone", "-q", "--bare", str(work), str(bare)], check=True)
    subprocess.run(["git", "-C", str(bare), "update-server-info"], check=True)
    return bare


def test_a_password_is_handed_over_and_never_told(machine: Machine, served: Path, tmp_path: Path) -> None:
    wanted = "Basic " + base64.b64encode(f"ann:{SECRET}".encode()).decode()

    def answer(request: Request) -> Reply:
        if request.headers.get("authorization") != wanted:
            return Reply(401, b"", {"WWW-Authenticate": 'Basic realm="x"'})
        file = served / request.path.partition("?")[0].removeprefix("/origin.git/")
        return Reply(200, file.read_bytes()) if file.is_file() else Reply(404)

    dest = machine.root / "app"
    with Server(answer) as server:
        url = server.url.replace("http://", f"http://ann:{SECRET}@") + "/origin.git"
        outcome = machine.call("git", {"repo": url, "dest": str(dest)})
        operations = list(machine.operations)
        assert not machine.call("git", {"repo": url, "dest": str(dest)}).changed
        wrong = url.replace(SECRET, SECRET + "x")
        with pytest.raises(SlothError) as caught:
            machine.call("git", {"repo": wrong, "dest": str(dest)})
        with pytest.raises(SlothError) as without:
            machine.call("git", {"repo": server.url + "/origin.git", "dest": str(dest)})
    assert outcome.changed and (dest / "text").read_text() == "one\n"
    told = [
        repr(outcome),
        repr(list(machine.store.scan())),
        json.dumps(caught.value.document(), default=repr),
    ]
    told += [repr((op.argv, op.line, op.label)) for op in operations if isinstance(op, Exec)]
    told += [path.read_bytes().decode("latin-1") for path in (dest / ".git").rglob("*") if path.is_file()]
    assert SECRET not in "".join(told) and SECRET not in repr(machine.output)
    assert "it wants a user and a password" in " ".join(caught.value.next)
    assert "it wants a user and a password" in " ".join(without.value.next)


@pytest.mark.parametrize(
    "repo",
    [
        "ext::sh -c touch% /tmp/x", "-uhelper", "--upload-pack=touch /tmp/x", "fd::17", "file://host/x", "x", "",
        "ssh://-oProxyCommand=x/y", "ssh://host", "-x@host:path", "host:path", "user@-host:path", "user@host::x",
        "https://host/a b", "ssh://u:pw@host/x", "https:///x", "ftp://host/x", "git@host:", "/x\n",
    ],
)  # fmt: skip
def test_what_is_no_address(machine: Machine, repo: str) -> None:
    with pytest.raises(SlothError) as caught:
        machine.call("git", {"repo": repo, "dest": str(machine.root / "x")})
    assert caught.value.code == "E-ARGUMENT" and machine.operations == []


@pytest.mark.parametrize(
    "version", ["-f", "a..b", "a b", "a^{}", "a~1", "x.lock", "a//b", "@", "", "a\n", "/a", "a:b", "@{0}"]
)
def test_what_is_no_version(machine: Machine, version: str) -> None:
    with pytest.raises(SlothError) as caught:
        machine.call("git", {"repo": "/x", "dest": str(machine.root / "x"), "version": version})
    assert caught.value.code == "E-ARGUMENT" and machine.operations == []


def test_a_key_is_named_to_ssh_as_one_word(machine: Machine) -> None:
    args = {"repo": "git@127.0.0.1:x", "dest": str(machine.root / "x"), "key_file": "/k'; touch /tmp/x"}
    with pytest.raises(SlothError):
        machine.call("git", {**args, "version": "main"})
    (op,) = [op for op in machine.operations if isinstance(op, Exec)]
    command = op.env["GIT_SSH_COMMAND"]
    assert command == """ssh -o BatchMode=yes -o IdentitiesOnly=yes -i '/k'"'"'; touch /tmp/x'"""
