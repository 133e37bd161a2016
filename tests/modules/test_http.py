"""Why: requests and downloads are tried against a real server; a file that came once is not fetched again."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sloth_runner.errors import SlothError
from sloth_runner.ops import Fetch, Reach
from sloth_runner.state.ledger_queries import entries
from tests.loopback import Reply, Request, Server
from tests.modules.kit import Killed, Machine

LARGE = os.urandom(1 << 20) + b"and more than fits into memory"
SMALL = b"one\n"
SECRET = "c4n4ry-s3cr3t"


class Files:
    """What the server has; each with an ETag if ``tags``."""

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {"/small": SMALL, "/large": LARGE}
        self.tags = True

    def answer(self, request: Request) -> Reply:
        body = self.content.get(request.path.partition("?")[0])
        if body is None:
            return Reply(404, b"there is nothing here\n")
        tag = f'"{hashlib.sha256(body).hexdigest()}"'
        headers = {"ETag": tag} if self.tags else {}
        if self.tags and request.headers.get("if-none-match") == tag:
            return Reply(304, b"", headers)
        return Reply(200, body, headers)


@pytest.fixture
def files() -> Files:
    return Files()


@pytest.fixture
def server(files: Files) -> Iterator[Server]:
    with Server(files.answer) as one:
        yield one


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def failing(machine: Machine, name: str, args: dict[str, Any], **context: Any) -> SlothError:
    with pytest.raises(SlothError) as caught:
        machine.call(name, args, context=machine.context(**context))
    return caught.value


def sums(content: bytes) -> dict[str, str | None]:
    return {
        "none": None,
        "sha256": "sha256:" + hashlib.sha256(content).hexdigest(),
        "sha512": "sha512:" + hashlib.sha512(content).hexdigest(),
    }


@pytest.mark.parametrize("checksum", ["none", "sha256", "sha512"])
@pytest.mark.parametrize("name", ["/small", "/large"])
@pytest.mark.parametrize("before", [None, b"old\n"], ids=["new", "replaced"])
@pytest.mark.parametrize("tags", [True, False], ids=["tags", "no tags"])
def test_the_laws_of_a_download(
    machine: Machine, files: Files, server: Server, checksum: str, name: str, before: bytes | None, tags: bool
) -> None:
    files.tags = tags
    content, dest = files.content[name], machine.root / "f"
    args = {"url": server.url + name, "dest": str(dest), "mode": "0640"}
    if checksum != "none":
        args["checksum"] = str(sums(content)[checksum])
    if before is not None:
        dest.write_bytes(before)
    machine.check("http.download", args)
    assert machine.would_change() is True
    assert (dest.read_bytes() if dest.exists() else None) == before
    assert list(machine.store.scan()) == []
    assert machine.call("http.download", args).changed
    assert (dest.read_bytes(), dest.stat().st_mode & 0o777) == (content, 0o640)
    assert not machine.call("http.download", args).changed
    assert machine.changing() == [] and machine.mutations == []
    machine.check("http.download", args)
    assert machine.would_change() is False
    (entry,) = [entry for entry in entries(machine.store, "local") if entry.kind == "file"]
    assert entry.applied is not None
    assert entry.applied["content"] == hashlib.sha256(content).hexdigest(), "drift can be seen"
    assert (entry.before is None) is (before is None)
    if before is not None:
        assert entry.before_content == hashlib.sha256(before).hexdigest(), "and what was there brought back"


@pytest.mark.parametrize("name", ["/small", "/large"])
def test_killed_after_the_file_came_it_knows_what_was_there(
    machine: Machine, server: Server, name: str
) -> None:
    dest = machine.root / "a/f"
    args = {"url": server.url + name, "dest": str(dest)}
    for there in (False, True):  # after its folder was made, and after it came itself
        with pytest.raises(Killed):
            machine.call("http.download", args, killed_after=1)
        assert dest.exists() is there
    machine.call("http.download", args)
    assert not machine.call("http.download", args).changed
    (entry,) = [entry for entry in entries(machine.store, "local") if entry.kind == "file"]
    assert (entry.before, entry.touched) == (None, True)


def test_a_known_file_is_asked_for_and_not_fetched(machine: Machine, files: Files, server: Server) -> None:
    args = {"url": server.url + "/large", "dest": str(machine.root / "f")}
    machine.call("http.download", args)
    server.heard.clear()
    assert not machine.call("http.download", args).changed
    assert [request.headers.get("if-none-match", "")[:1] for request in server.heard] == ['"']
    files.content["/large"] = b"new\n"
    outcome = machine.call("http.download", args)
    assert outcome.changed and (machine.root / "f").read_bytes() == b"new\n"


def test_a_file_with_the_right_checksum_needs_no_server(machine: Machine) -> None:
    for checksum in filter(None, sums(SMALL).values()):
        (machine.root / "f").write_bytes(SMALL)
        args = {"url": "http://no-such-host.invalid/", "dest": str(machine.root / "f"), "checksum": checksum}
        assert not machine.call("http.download", args).changed
        assert not [op for op in machine.operations if isinstance(op, Fetch)]


def test_a_file_spoilt_by_hand_is_repaired(machine: Machine, server: Server) -> None:
    args = {"url": server.url + "/small", "dest": str(machine.root / "f")}
    machine.call("http.download", args)
    (machine.root / "f").write_text("spoilt\n")
    outcome = machine.call("http.download", args)
    assert outcome.changed and "changed by others" in outcome.message
    assert outcome.diff is not None and outcome.diff.splitlines()[-2:] == ["-spoilt", "+one"]


def test_what_a_large_file_replaces_is_not_shown_as_removed(machine: Machine, server: Server) -> None:
    (machine.root / "f").write_text("old\n")
    args = {"url": server.url + "/large", "dest": str(machine.root / "f")}
    assert machine.call("http.download", args).diff is None


@pytest.mark.parametrize("name", ["/small", "/large"])
def test_a_file_that_is_replaced_keeps_its_mode(machine: Machine, server: Server, name: str) -> None:
    dest = machine.root / "f"
    dest.write_text("old\n")
    dest.chmod(0o604)
    assert machine.call("http.download", {"url": server.url + name, "dest": str(dest)}).changed
    assert dest.stat().st_mode & 0o777 == 0o604


@pytest.mark.parametrize("name", ["/small", "/large"])
def test_a_wrong_checksum_leaves_what_was_there(machine: Machine, server: Server, name: str) -> None:
    (machine.root / "f").write_text("old\n")
    for algorithm, digits in (("sha256", 64), ("sha512", 128)):
        args = {
            "url": server.url + name,
            "dest": str(machine.root / "f"),
            "checksum": f"{algorithm}:{'0' * digits}",
        }
        error = failing(machine, "http.download", args)
        assert re.search(f"the {algorithm} of what came is [0-9a-f]+, not 000", error.message)
        assert (machine.root / "f").read_text() == "old\n" and machine.mutations == []


def test_a_download_that_is_not_there(machine: Machine, server: Server) -> None:
    for checksum in (None, "sha256:" + "0" * 64):
        args = {"url": server.url + "/none", "dest": str(machine.root / "f")}
        error = failing(
            machine, "http.download", args if checksum is None else {**args, "checksum": checksum}
        )
        assert "the server answered 404 Not Found" in error.message
        assert not (machine.root / "f").exists() and machine.mutations == []


def test_a_request_and_its_answer(machine: Machine, files: Files, server: Server) -> None:
    server.answer = lambda request: Reply(
        201, request.body, {"Content-Type": "application/json; charset=utf-8"}
    )
    args = {"url": server.url + "/x?a=1", "method": "post", "json": {"a": [1, True, "ü"]}, "status": 201}
    outcome = machine.call("http.request", args)
    assert outcome.changed
    assert outcome.message == f"POST {server.url}/x?…: 201 Created"
    assert (outcome.fields["status"], outcome.fields["json"]) == (201, {"a": [1, True, "ü"]})
    heard = server.heard[0]
    assert (heard.path, json.loads(heard.body)) == ("/x?a=1", {"a": [1, True, "ü"]})
    assert heard.headers["content-type"] == "application/json"


def test_a_request_that_asks_changes_nothing(machine: Machine, server: Server) -> None:
    outcome = machine.call("http.request", {"url": server.url + "/small"})
    assert (outcome.changed, outcome.fields["body"]) == (False, "one\n")
    assert machine.changing() == []


def test_in_check_mode_only_what_asks_is_sent(machine: Machine, server: Server) -> None:
    machine.check("http.request", {"url": server.url + "/small"})
    assert (len(server.heard), machine.would_change()) == (1, False)
    outcome = machine.check("http.request", {"url": server.url + "/small", "method": "DELETE"})
    assert (len(server.heard), machine.would_change()) == (1, True)
    assert outcome.message == f"would send DELETE {server.url}/small"
    machine.check("http.request", {"url": server.url + "/small", "method": "POST", "changed_when": False})
    assert (len(server.heard), machine.would_change()) == (2, False)


@pytest.mark.parametrize(
    ("args", "words", "advice"),
    [
        ({"path": "/none"}, "answered 404 Not Found", "spelling"),
        ({"path": "/small", "status": [201, 204]}, "answered 200 OK, not 201 or 204", "status ="),
        ({"path": "/small", "body": "x", "json": 1}, "either body", ""),
        (
            {"path": "/small", "username": "a", "headers": {"authorization": "x"}},
            "either an Authorization",
            "",
        ),
        ({"path": "/small", "json": {"a": float("nan")}}, "JSON has no word for", ""),
        ({"path": "/small", "headers": {"X": "a\r\nY: b"}}, "no text of one line", ""),
        ({"path": "/small", "headers": {"X Y": "a"}}, "can't name a header", ""),
        ({"path": "/small", "verify": False}, "certificates are always checked", ""),
    ],
)
def test_what_a_request_refuses(
    machine: Machine, server: Server, args: dict[str, Any], words: str, advice: str
) -> None:
    error = failing(machine, "http.request", {"url": server.url + args.pop("path"), **args})
    assert words in error.message
    assert advice in " ".join(error.next)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "-x",
        "ftp://h/",
        "http://",
        "http:///x",
        "http://h:1x/",
        "http://h/a b",
        "http://:80/",
        "",
    ],
)
def test_what_is_no_url(machine: Machine, url: str) -> None:
    assert "url is a URL" in failing(machine, "http.request", {"url": url}).message
    assert machine.operations == []


def test_an_answer_that_is_no_json(machine: Machine, server: Server) -> None:
    server.answer = lambda request: Reply(200, b"{", {"Content-Type": "application/json"})
    assert "says that it is JSON, but is not" in failing(machine, "http.request", {"url": server.url}).message


def test_passwords_are_sent_and_never_told(machine: Machine, server: Server) -> None:
    url = server.url.replace("http://", f"http://ann:{SECRET}@")
    told = []
    outcome = machine.call("http.request", {"url": url + "/small"})
    told += [outcome.message, repr(machine.mutations)]
    assert server.heard[0].headers["authorization"].startswith("Basic ")
    error = failing(machine, "http.request", {"url": url + "/none"})
    told.append(json.dumps(error.document(), default=repr))
    machine.call("http.download", {"url": f"{url}/small?token={SECRET}", "dest": str(machine.root / "f")})
    told += [repr(list(machine.store.scan())), repr(machine.jobs[-1].want.resource)]
    machine.check("http.request", {"url": url + "/small", "method": "POST"})
    told.append(repr(machine.predictions))
    for label in [op.label for op in machine.operations if isinstance(op, Fetch)]:
        told.append(label)
    assert SECRET not in "".join(told)
    assert f"GET http://ann:••••••@127.0.0.1:{server.port}/none" in error.message


def test_a_sensitive_request_tells_nothing(machine: Machine, server: Server) -> None:
    server.answer = lambda request: Reply(500, SECRET.encode())
    args = {"url": f"{server.url}/{SECRET}", "headers": {"X-Token": SECRET}, "method": "POST", "body": SECRET}
    error = failing(machine, "http.request", args, sensitive=True)
    assert SECRET not in json.dumps(error.document(), default=repr)
    assert "POST (sensitive): the server answered 500" in error.message
    server.answer = lambda request: Reply(200, SECRET.encode())
    dest = {"url": f"{server.url}/{SECRET}", "dest": str(machine.root / "f")}
    outcome = machine.call("http.download", dest, context=machine.context(sensitive=True))
    assert SECRET not in repr(outcome) + repr(list(machine.store.scan()))
    assert (machine.root / "f").read_text() == SECRET


def test_waiting_for_what_is_so_already(machine: Machine, server: Server) -> None:
    (machine.root / "f").touch()
    for args in (
        {"port": server.port},
        {"path": str(machine.root / "f")},
        {"path": str(machine.root / "g"), "state": "absent"},
        {"url": server.url + "/small"},
        {"url": server.url + "/none", "status": 404},
        {"command": "test -e ../target/f"},
    ):
        outcome = machine.call("wait_for", args)
        assert (outcome.changed, outcome.fields) == (False, {"attempts": 1})
        machine.check("wait_for", args)
        assert machine.predictions == []


def test_waiting_until_it_is_so(machine: Machine, files: Files, server: Server) -> None:
    def answer(request: Request) -> Reply:
        return Reply(200 if len(server.heard) == 3 else 503)

    server.answer = answer
    outcome = machine.call("wait_for", {"url": server.url, "interval": 0.001})
    assert (outcome.changed, outcome.fields) == (False, {"attempts": 3})
    counting = f"echo >>{machine.root}/n; test $(wc -l <{machine.root}/n) = 2"
    assert machine.call("wait_for", {"command": counting, "interval": 0.001}).fields == {"attempts": 2}


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"path": "$ROOT/x"}, "$ROOT/x is there: it is not there"),
        ({"path": "$ROOT", "state": "absent"}, "$ROOT is gone: it is still there"),
        ({"port": 1}, "port 1 of 127.0.0.1 answers: Connection refused"),
        ({"command": "echo no >&2; exit 3"}, "succeeds: it ends with exit status 3: no"),
        (
            {"url": "http://127.0.0.1:1/"},
            "http://127.0.0.1:1/ answers with a success: Connection refused",
        ),
    ],
)
def test_waiting_in_vain(machine: Machine, args: dict[str, Any], words: str) -> None:
    filled = {k: v.replace("$ROOT", str(machine.root)) if isinstance(v, str) else v for k, v in args.items()}
    error = failing(machine, "wait_for", {**filled, "interval": 0.001}, timeout=0.1)
    assert (error.code, words.replace("$ROOT", str(machine.root)) in error.message) == ("E-TIMEOUT", True), (
        error.message
    )
    machine.check("wait_for", filled)
    (told,) = machine.predictions
    assert told is not None and told.message.startswith("would wait until ")
    assert machine.would_change() is False


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({}, "one of port, path, url, command, not none of them"),
        ({"port": 1, "path": "/x"}, "not 2 of them"),
        ({"port": 0}, "port is a port, 1 to 65535"),
        ({"command": "x", "state": "absent"}, "state is for port and path"),
        ({"port": 1, "status": 200}, "status is for url"),
        ({"port": 1, "interval": 0}, "interval is more than 0"),
    ],
)
def test_what_waiting_refuses(machine: Machine, args: dict[str, Any], words: str) -> None:
    assert words in failing(machine, "wait_for", args).message
    assert not [op for op in machine.operations if isinstance(op, Reach)]


def test_assertions_that_hold(machine: Machine) -> None:
    for condition in (True, [True, "true"], "test -d ../target", "-x; true"):
        assert not machine.call("assert.that", {"condition": condition}).changed
        assert machine.changing() == []


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"condition": False}, "assert.that: the condition is false"),
        ({"condition": [True, False]}, "assert.that: condition 2 is false"),
        ({}, "assert.that: its condition is nil"),
        ({"condition": "exit 3", "message": "no"}, "no (`exit 3` ended with exit status 3)"),
        ({"condition": 1}, "assert.that: condition is true, false, a line for the shell"),
    ],
)
def test_assertions_that_do_not_hold(machine: Machine, args: dict[str, Any], words: str) -> None:
    error = failing(machine, "assert.that", args)
    assert error.message.startswith(words)
