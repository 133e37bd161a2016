"""A store on a server: tried before it is written to, shown by the doctor, refused when it is broken."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator

import pytest
from syrupy.assertion import SnapshotAssertion

from tests.cli.kit import Cli, Result
from tests.cli.schema import check
from tests.loopback import Reply, Request
from tests.services import shared_url
from tests.services.meddler import Forward, Meddler

STEADY = [
    (r"://[\w.@]*127\.0\.0\.1:\d+", "://SERVER"), (r"[0-9a-f]{32}", "PART"), (r"[\d,.]+ (MB|ms)\b", r"N \1"),
    (r"\d+ of \d+ connections", "N of N connections"), (r"\b\d+\.\d+\.\d+\S*", "VERSION"), (r"\b0\.\d+ s\b", "N s"),
    (r"\bin \d+\.\d+ s", "in N s"), (r"; \d+\.\d+ s were tried", "; N s were tried"),
    (r"is N s (ahead of|behind)", "is N s off"), (r"it is \S+Z", "it is TIME"),
    (r"PostgreSQL [^\t\n]+", "PostgreSQL N"),
]  # fmt: skip


def part(name: str) -> str:
    """A part of a shared server that is this test's own."""
    own = uuid.uuid4().hex
    url = shared_url(name)
    if name == "postgres":
        return f"{url}{'&' if '?' in url else '?'}schema=t{own}"
    if name == "s3":
        from tests.services.s3 import part as part_of

        return part_of(url, own)
    return f"{url}/{own}"


def at(cli: Cli, url: str) -> Cli:
    """The same user, with state there."""
    cli.environ["SLOTH_RUNNER_STATE__STORE"] = url
    return cli


def steady(text: str) -> str:
    """Without what differs from run to run."""
    for pattern, word in STEADY:
        text = re.sub(pattern, word, text)
    return text


@pytest.mark.parametrize("name", ["consul", "etcd", "postgres", "s3"])
def test_it_is_tried_once_and_used(cli: Cli, name: str) -> None:
    at(cli, part(name))
    assert cli("state", "get", "a").code == 4
    cli.ok("state", "set", "a", "1")
    cli.ok("state", "set", "a", "2")
    assert cli.ok("state", "get", "a") == "2\n"
    assert [
        row["namespace"]
        for row in json.loads(cli.ok("state", "list", "-o", "json", "--all-agents"))["entries"]
    ] == ["local"]
    assert json.loads(cli.ok("state", "doctor", "-o", "json"))["ok"] is True
    cli.ok("state", "verify")


@pytest.mark.parametrize("name", ["consul", "etcd", "postgres"])
def test_what_the_doctor_shows(cli: Cli, name: str, snapshot: SnapshotAssertion) -> None:
    at(cli, part(name))
    cli.ok("state", "set", "a", "1")
    assert steady(cli("state", "doctor").shown()) == snapshot(name="script")
    assert steady(cli("state", "doctor", tty=True).shown()) == snapshot(name="terminal")


def test_sealed_state_begins_on_a_server(cli: Cli) -> None:
    at(cli, part("consul"))
    cli.environ |= {
        "SLOTH_RUNNER_STATE__ENCRYPTION__SOURCE": "env",
        "SLOTH_RUNNER_STATE__ENCRYPTION__VARIABLE": "KEY",
        "KEY": "ab" * 32,
    }
    cli.ok("state", "set", "a", "1")
    assert cli.ok("state", "get", "a") == "1\n"
    assert json.loads(cli.ok("state", "doctor", "-o", "json"))["ok"] is True


@pytest.mark.parametrize("name", ["consul", "etcd", "postgres", "s3"])
def test_what_a_run_has_done_it_knows_when_it_tries_again(cli: Cli, name: str) -> None:
    at(cli, part(name))
    text = """
    task({name = "t", retries = 2, retry_delay = "1ms", run = function()
      local try = state.increment("tries")
      cmd({command = "echo ran >> once", once = true})
      for i = 1, 3 do file.write({dest = FOLDER .. "/made" .. i, content = "try " .. try}) end
      if try < 3 then error("not yet") end
    end})
    """
    file = cli.file("a.sloth", f"local FOLDER = {json.dumps(str(cli.work))}\n{text}")
    document = json.loads(cli.ok("run", str(file), "-o", "json"))
    assert document["summary"]["changed"] == 1
    assert (cli.work / "once").read_text() == "ran\n"
    assert (cli.work / "made1").read_text() == "try 3"
    cli.file("a.sloth", 'task({name = "t", run = function() end})')
    cli.ok("run", str(file))
    cli.ok("prune", str(file), "--yes")
    assert not list(cli.work.glob("made*")), "what was there before was taken for ours, or ours for that"


class Careless:
    """Consul behind a gateway that leaves conditions out."""

    def __init__(self, port: int) -> None:
        self.writes: list[str] = []
        self.proxy = Meddler(port, self._meddle)

    def _meddle(self, request: Request, forward: Forward) -> Reply:
        if not request.path.startswith("/v1/txn"):
            return forward(request)
        ops = []
        for row in json.loads(request.body):
            op = row["KV"]
            if op["Verb"] == "cas":
                op = {name: value for name, value in op.items() if name != "Index"} | {"Verb": "set"}
            if op["Verb"] not in ("check-index", "check-not-exists", "check-session"):
                ops.append({"KV": op})
            if op["Verb"] in ("set", "lock"):
                self.writes.append(op["Key"])
        if not ops:
            return Reply(200, b'{"Results": []}', {"Content-Type": "application/json"})
        return forward(request._replace(body=json.dumps(ops).encode()))


@pytest.fixture
def careless() -> Iterator[Careless]:
    url = shared_url("consul")
    careless = Careless(int(url.split(":")[2].partition("/")[0]))
    yield careless
    careless.proxy.close()


def refused(cli: Cli, *argv: str) -> Result:
    result = cli(*argv)
    assert result.code == 7, result.shown()
    return result


def test_a_broken_server_is_refused(cli: Cli, careless: Careless, snapshot: SnapshotAssertion) -> None:
    good = part("consul")
    broken = re.sub(r":\d+/", f":{careless.proxy.port}/", good)
    at(cli, broken)
    file = cli.file("a.sloth", 'task({name = "t", run = function() state.set("a", 1) end})')
    assert steady(refused(cli, "state", "set", "a", "1").shown()) == snapshot(name="set")
    error = json.loads(refused(cli, "run", str(file), "-o", "json").out)["error"]
    assert (error["code"], error["unchanged"]) == ("E-UNFIT", ["nothing was stored"])
    refused(cli, "lock", "run", "a", "--", "true")
    assert cli("state", "get", "a").code == 4  # reading is not kept from it
    doctor = refused(cli, "state", "doctor", "-o", "json")
    document = json.loads(doctor.out)
    check(document)
    bad = [row["message"] for row in document["checks"] if row["status"] == "problem"]
    assert any("create once: an entry that was there was created a second time" in message for message in bad)
    assert careless.writes
    assert {key.rpartition("!")[2].partition("-")[0] for key in careless.writes} == {"probe"}
    at(cli, good)
    assert cli.ok("state", "list") == ""
    cli.ok("state", "set", "a", "1")
    at(cli, broken)
    refused(cli, "state", "set", "a", "2")  # that it was proven by another URL does not count
    assert at(cli, good).ok("state", "get", "a") == "1\n"
