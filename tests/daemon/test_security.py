"""Why: an agent can do anything on its machine, so whoever is not its controller gets nothing from it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from sloth_runner.daemon.service import Service
from sloth_runner.errors import Unreachable
from sloth_runner.ops import Stat
from sloth_runner.trust import certificates as certs
from sloth_runner.trust.authority import DAYS, Authority
from sloth_runner.trust.certificates import AGENT, CONTROLLER, Identity
from sloth_runner.trust.folder import Folder
from tests.daemon.kit import METHODS, Place, call, enrolled, new_id, run, serving


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with serving(tmp_path_factory.mktemp("security")) as made:
        yield made


def shown(authority: Authority, role: str, name: str) -> tuple[bytes, bytes]:
    """A key and a certificate that an authority has given."""
    key = certs.new_key()
    _, bundle = authority.enroll(certs.request_pem(key, Identity(role, name, new_id())), "a request")
    return certs.key_pem(key), bundle.certificate


def other(folder: Path, clock: Any = time.time) -> Authority:
    made = Authority(Folder(folder), clock, new_id)
    made.init("another")
    return made


CALLERS = (
    "nobody",
    "of another authority",
    "another authority, trusting ours",
    "ended",
    "revoked",
    "an agent",
)


def caller(place: Place, who: str, folder: Path) -> tuple[bytes | None, bytes | None, bytes]:
    """What a caller shows and trusts."""
    ca = place.authority.credentials("host1").authority
    if who == "nobody":
        return None, None, ca
    if who == "of another authority":
        theirs = other(folder / "ca")
        return *shown(theirs, CONTROLLER, "mallory"), (folder / "ca" / "ca.pem").read_bytes()
    if who == "another authority, trusting ours":
        return *shown(other(folder / "ca"), CONTROLLER, "mallory"), ca
    if who == "ended":
        past = Authority(Folder(place.folder / "ca"), lambda: time.time() - 2 * DAYS * 86400, new_id)
        return *shown(past, CONTROLLER, f"old-{new_id()}"), ca
    if who == "revoked":
        name = f"gone-{new_id()}"
        pair = shown(place.authority, CONTROLLER, name)
        place.authority.revoke(name, "", CONTROLLER)
        own = place.authority.credentials("host1")
        row = place.authority.find("web1")
        told = run(_tell(place, row.identity.host, own.key, own.certificate, ca))
        assert told == b""
        return *pair, ca
    return *shown(place.authority, AGENT, f"web-{new_id()}"), ca


async def _tell(place: Place, host: str, key: bytes, own: bytes, ca: bytes) -> Any:
    credentials = grpc.ssl_channel_credentials(ca, key, own)
    options = [("grpc.ssl_target_name_override", host)]
    made: Any = grpc.aio.secure_channel(f"127.0.0.1:{place.port}", credentials, options)
    async with made as channel:
        return await channel.unary_unary("/slothrunner.agent.v1.Agent/Revoke")(place.authority.revocations())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("who", CALLERS)
def test_no_method_serves_who_may_not(place: Place, tmp_path: Path, who: str, method: str) -> None:
    host = place.authority.find("web1").identity.host
    key, pem, ca = caller(place, who, tmp_path)
    answer = run(call(place.port, host, method, key, pem, ca))
    assert isinstance(answer, grpc.aio.AioRpcError), answer
    refused = answer.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.PERMISSION_DENIED)
    assert refused or _cut_off(answer), answer


def _cut_off(error: Any) -> bool:
    """Whether the call was ended while its first message was on its way: gRPC for asyncio says no more, then."""
    return error.code() is grpc.StatusCode.INTERNAL and "SendMessageOperation" in error.debug_error_string()


@pytest.mark.parametrize("method", METHODS)
def test_every_method_serves_its_controller(place: Place, method: str) -> None:
    own, host = place.authority.credentials("host1"), place.authority.find("web1").identity.host
    answer = run(call(place.port, host, method, own.key, own.certificate, own.authority))
    if method in ("Accept", "Revoke"):  # they were asked with nothing, and say so
        assert answer.code() is grpc.StatusCode.FAILED_PRECONDITION
    else:
        assert isinstance(answer, bytes)


def test_the_list_of_methods_is_whole(place: Place) -> None:
    class Rpc:
        """Takes down what is registered."""

        names: tuple[str, ...] = ()

        def unary_unary_rpc_method_handler(self, call: Any) -> Any:
            return call

        stream_stream_rpc_method_handler = unary_unary_rpc_method_handler

        def method_handlers_generic_handler(self, service: str, methods: dict[str, Any]) -> Any:
            self.names = tuple(methods)

    rpc = Rpc()
    Service(None, None, dict).handler(rpc)  # type: ignore[arg-type] # nothing is called
    assert sorted(rpc.names) == sorted(METHODS)


def test_we_refuse_who_is_not_the_agent(tmp_path: Path) -> None:
    """The same name, enrolled by another authority, or an agent of ours under another name."""
    with serving(tmp_path / "one", enrolled(_made(tmp_path / "one"))) as one:
        theirs = enrolled(_made(tmp_path / "two"))
        stranger = one._replace(authority=theirs)
        with pytest.raises(Unreachable) as caught:
            run(_stat(stranger))
        assert "not who it should be" in caught.value.message or "can't be reached" in caught.value.message
        shown(one.authority, AGENT, "web2")
        with pytest.raises(Unreachable, match="not who it should be"):
            run(_stat(one._replace(name="web2")))
        run(_stat(one))


async def _stat(place: Place) -> None:
    there = place.remote()
    try:
        await there.do(Stat("/"))
    finally:
        await there.aclose()


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_a_revoked_controller_loses_its_open_stream(tmp_path: Path) -> None:
    with serving(_made(tmp_path / "a")) as place:
        key, pem = shown(place.authority, CONTROLLER, "second")
        ca, row = place.authority.credentials("host1").authority, place.authority.find("web1")

        async def go() -> Any:
            credentials = grpc.ssl_channel_credentials(ca, key, pem)
            options = [("grpc.ssl_target_name_override", row.identity.host)]
            made: Any = grpc.aio.secure_channel(f"127.0.0.1:{place.port}", credentials, options)
            async with made as channel:
                stream = channel.stream_stream("/slothrunner.agent.v1.Agent/Work")(timeout=30)
                await stream.write(b'{"session": "%s", "received": 0}' % new_id().encode())
                assert await stream.read()
                await stream.read()  # its HELLO
                place.authority.revoke("second", "stolen", CONTROLLER)
                own = place.authority.credentials("host1")
                assert await _tell(place, row.identity.host, own.key, own.certificate, ca) == b""
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await stream.read()
                return caught.value.code()

        assert run(go()) is grpc.StatusCode.PERMISSION_DENIED


def test_a_session_is_its_controllers_own(tmp_path: Path) -> None:
    with serving(_made(tmp_path / "a")) as place:
        own, row = place.authority.credentials("host1"), place.authority.find("web1")
        key, pem = shown(place.authority, CONTROLLER, "second")
        session = new_id().encode()

        async def opened(key: bytes, pem: bytes, received: int) -> Any:
            credentials = grpc.ssl_channel_credentials(own.authority, key, pem)
            options = [
                ("grpc.ssl_target_name_override", row.identity.host),
                ("grpc.use_local_subchannel_pool", 1),
            ]
            channel: Any = grpc.aio.secure_channel(f"127.0.0.1:{place.port}", credentials, options)
            stream = channel.stream_stream("/slothrunner.agent.v1.Agent/Work")(timeout=30)
            await stream.write(b'{"session": "%s", "received": %d}' % (session, received))
            try:
                return channel, await stream.read()
            except grpc.aio.AioRpcError as error:
                return channel, error.code()

        async def go() -> None:
            answers = [
                await opened(own.key, own.certificate, 0),
                await opened(key, pem, 0),
                await opened(own.key, own.certificate, 1 << 40),
            ]
            assert isinstance(answers[0][1], bytes)
            assert answers[1][1] is grpc.StatusCode.ABORTED
            assert answers[2][1] is grpc.StatusCode.INVALID_ARGUMENT  # more than was ever sent
            for channel, _ in answers:
                await channel.close()

        run(go())


def test_an_agents_certificate_is_renewed_on_the_way(tmp_path: Path) -> None:
    folder = _made(tmp_path / "a")
    past = enrolled(folder, lambda: time.time() - DAYS * 86400 * 0.8)
    now = Authority(Folder(folder / "ca"), time.time, new_id)
    with serving(folder, past) as place:
        before = (folder / "agent" / "agent.pem").read_bytes()
        run(_stat(place._replace(authority=now)))
        after = (folder / "agent" / "agent.pem").read_bytes()
        assert before != after
        made = certs.load_certificate(after, "it")
        assert certs.until(made) > time.time() + DAYS * 86400 * 0.9
        run(_stat(place._replace(authority=now)))  # it serves with the new one
