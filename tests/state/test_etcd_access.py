"""Users, certificates, backups and room, set up by the very commands that docs/stores/etcd.md gives to operators."""

from __future__ import annotations

import os
import re
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from sloth_runner.errors import BadConfig, Foreign, StoreDown
from sloth_runner.state.backends import Options, open_store
from sloth_runner.state.layout import store_key
from sloth_runner.state.store import ABSENT, Change, Doorbell, Store
from tests.services import shared_url
from tests.services.base import Server, free_port
from tests.services.etcd import make_node, make_secure
from tests.state.kit import make_state

GUIDE = Path(__file__).parents[2] / "docs" / "stores" / "etcd.md"
KEY = store_key("local", "k", "a")
PASSWORD, ROOT = "a b&c", "root's"
IDLE = 3.5
"""Seconds after which these servers have forgotten a token that was not used."""
Open = Callable[..., Store]


def block(section: str, kind: str = "sh", number: int = 0) -> str:
    """A block of the guide."""
    text = GUIDE.read_text(encoding="utf-8")
    body = text.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return body.split(f"```{kind}\n")[number + 1].partition("\n```")[0]


def sh(script: str, folder: Path, server: Server | None = None, **environ: str) -> str:
    """What an operator's shell does with it."""
    if server is not None:
        environ["ETCDCTL_ENDPOINTS"] = server.url.removeprefix("etcd://")
    environ["ETCDCTL_API"] = "3"
    done = subprocess.run(
        ["sh", "-euc", script],
        cwd=folder,
        env={**os.environ, **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def opened() -> Iterator[Open]:
    made: list[Store] = []

    def opened(url: str, password: str | None = None, shared: dict[str, object] | None = None) -> Store:
        made.append(open_store(url, Options(Path("/"), 1.0, timeout=20.0, password=password, shared=shared)))
        return made[-1]

    yield opened
    for store in made:
        store.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    shared_url("etcd")  # where that is missing, so is the program
    server = make_node(tmp_path / "etcd", "--auth-token-ttl", "2")
    server.start()
    yield server
    if server.pid is not None:
        server.kill()


@pytest.fixture
def guarded(server: Server, tmp_path: Path) -> Server:
    """With users, as the guide sets them up."""
    sh(block("A user with few rights"), tmp_path, server, PASSWORD=PASSWORD, ROOT_PASSWORD=ROOT)
    return server


def using(store: Store) -> list[Callable[[], object]]:
    """What anybody does with a store."""
    return [lambda: store.get(KEY), lambda: list(store.scan()), lambda: store.commit([Change(KEY, b"")])]


def listening(store: Store) -> None:
    assert store.traits.watch is not None
    with store.traits.watch(""):
        pass


def url(server: Server, user: str = "", prefix: str = "sloth-runner") -> str:
    return server.url.replace("://", f"://{user}@" if user else "://") + f"/{prefix}"


def test_a_user_does_all_and_no_more(guarded: Server, opened: Open) -> None:
    store = opened(url(guarded, "sloth-runner"), PASSWORD)
    state = make_state(store)
    state.set("a", 1)
    assert state.increment("a") == 2
    leased = store_key("local", "l", "a")
    (rev,) = store.commit([Change(leased, b"", ABSENT, 60)])
    store.commit([Change(leased, None, rev)])
    assert store.traits.probe is not None
    assert store.traits.watch is not None
    proofs = store.traits.probe()
    assert [proof.name for proof in proofs if not proof.good] == []
    assert "as the user sloth-runner" in next(p.message for p in proofs if p.name == "access")
    with store.traits.watch("local\x1f") as bell:
        state.set("a", 3)
        assert bell(60)
    for prefix in ("sloth-runner2", "other"):
        elsewhere = opened(url(guarded, "sloth-runner", prefix), PASSWORD)
        actions: list[Callable[[], object]] = [*using(elsewhere), partial(listening, elsewhere)]
        for action in actions:
            with pytest.raises(StoreDown, match="permission denied") as caught:
                action()
            assert caught.value.next


def test_who_is_not_let_in_is_told(guarded: Server, opened: Open) -> None:
    cases = [
        (url(guarded), None, "user name is empty", "etcd://USER@"),
        (url(guarded, "sloth-runner"), "wrong", "authentication failed", "etcdctl user get"),
        (url(guarded, "nobody"), PASSWORD, "authentication failed", "etcdctl user get"),
    ]
    for place, password, why, advice in cases:
        store = opened(place, password)
        for action in using(store):
            with pytest.raises(StoreDown, match=why) as caught:
                action()
            assert any(advice in step for step in caught.value.next)
            assert PASSWORD not in str(caught.value)


def test_a_user_where_there_are_none(server: Server, opened: Open) -> None:
    store = opened(url(server, "sloth-runner"), PASSWORD)
    with pytest.raises(StoreDown, match="authentication is not enabled"):
        store.get(KEY)


def test_a_token_that_is_no_longer_good_is_renewed(guarded: Server, opened: Open, tmp_path: Path) -> None:
    """A token that was not used for a while is forgotten; a changed role makes all of them old."""
    store = opened(url(guarded, "sloth-runner"), PASSWORD)
    state = make_state(store)
    state.set("a", 1)
    assert store.traits.watch is not None
    with store.traits.watch("local\x1f") as bell:
        time.sleep(IDLE)
        assert state.get("a") == 1
        time.sleep(IDLE)
        state.set("a", 2)  # without a read before it
        assert bell(60)
        guarded.kill()
        guarded.start()
        state.set("a", 3)
        assert waited(bell)
    for name in ("other", "others"):
        sh(f'etcdctl --user "root:{ROOT}" role grant-permission sloth-runner read {name}', tmp_path, guarded)
        assert state.increment("a") == (4 if name == "other" else 5)
    assert [h.new for h in state.history("a")] == [5, 4, 3, 2, 1]


def waited(bell: Doorbell) -> Sequence[str]:
    """What it tells, once the server is back."""
    while True:
        try:
            if rung := bell(1.0):
                return rung
        except StoreDown:
            continue


def test_one_login_serves_all_handles(guarded: Server, opened: Open) -> None:
    """It is renewed by one of them, and by none more often than needed."""
    shared: dict[str, object] = {}
    place = url(guarded, "sloth-runner")
    stores = [opened(place, PASSWORD, shared) for _ in range(8)]
    alone = opened(place, PASSWORD)

    def logins() -> int:
        port = guarded.url.rpartition(":")[2]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as reply:
            found = re.search(
                rb'grpc_server_handled_total{[^}]*code="OK",grpc_method="Authenticate"[^}]*} (\d+)',
                reply.read(),
            )
        return int(found[1]) if found else 0

    def all_at_once() -> None:
        with ThreadPoolExecutor(len(stores)) as pool:
            assert list(pool.map(lambda store: store.get(KEY), stores)) == [None] * len(stores)

    before = logins()
    all_at_once()
    assert logins() == before + 1
    alone.get(KEY)
    assert logins() == before + 2
    time.sleep(IDLE)
    all_at_once()
    assert logins() == before + 3


def test_authentication_that_is_switched_on_meanwhile(server: Server, opened: Open, tmp_path: Path) -> None:
    store = opened(url(server))
    store.commit([Change(KEY, b"1")])
    sh(block("A user with few rights"), tmp_path, server, PASSWORD=PASSWORD, ROOT_PASSWORD=ROOT)
    for action in using(store):
        with pytest.raises(StoreDown, match="user name is empty"):
            action()


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[Server]:
    """Over TLS, to clients with a certificate, as the guide sets it up."""
    shared_url("etcd")
    folder = tmp_path / "tls"
    folder.mkdir()
    sh(block("TLS"), folder)
    flags = [str(folder / word) if word.endswith(".pem") else word for word in block("TLS", "text").split()]
    server = make_secure(tmp_path / "etcd", folder, *flags)
    server.start()
    yield server
    server.kill()


def files(folder: Path, *, client: bool = True) -> str:
    ours = f"&cert={folder}/tls/client.pem&key={folder}/tls/client-key.pem"
    return f"ca={folder}/tls/ca.pem{ours if client else ''}"


def test_certificates_on_both_sides(secure: Server, opened: Open, tmp_path: Path) -> None:
    place = url(secure)
    store = opened(f"{place}?{files(tmp_path)}")
    make_state(store).set("a", 1)
    assert store.traits.probe is not None
    access = next(p for p in store.traits.probe() if p.name == "access")
    assert access.message == "over TLS, with a client certificate"
    assert store.traits.watch is not None
    with store.traits.watch("") as bell:
        make_state(store).set("a", 2)
        assert bell(60)
    refused = [
        f"{place}?{files(tmp_path, client=False)}",
        f"{place}?tls=1",
        f"{place}?{files(tmp_path)}&server-name=elsewhere",
        place,
    ]
    for wrong in refused:
        store = opened(wrong)
        for action in using(store):
            with pytest.raises(StoreDown):
                action()
    assert make_state(opened(f"{place}?{files(tmp_path)}&server-name=localhost")).get("a") == 2


def test_a_certificate_of_another_authority(secure: Server, opened: Open, tmp_path: Path) -> None:
    strange = tmp_path / "strange"
    strange.mkdir()
    sh(block("TLS"), strange)
    ours, here, there = files(tmp_path), f"={tmp_path}/tls/", f"={strange}/"
    for names in (["ca"], ["cert", "key"]):
        wrong = ours
        for name in names:
            wrong = wrong.replace(f"{name}{here}", f"{name}{there}")
        assert wrong != ours
        with pytest.raises(StoreDown):
            opened(f"{url(secure)}?{wrong}").get(KEY)


def test_a_certificate_is_a_user(secure: Server, opened: Open, tmp_path: Path) -> None:
    folder = tmp_path / "tls"
    script = block("A user with few rights").replace('--new-user-password "$PASSWORD"', "--no-password")
    sh(
        script, folder, None, ROOT_PASSWORD=ROOT, ETCDCTL_ENDPOINTS=secure.url.replace("etcd", "https"),
        ETCDCTL_CACERT="ca.pem", ETCDCTL_CERT="client.pem", ETCDCTL_KEY="client-key.pem",
    )  # fmt: skip
    state = make_state(opened(f"{url(secure)}?{files(tmp_path)}"))
    state.set("a", 1)
    assert state.increment("a") == 2
    with pytest.raises(StoreDown, match="permission denied"):
        opened(f"{url(secure, prefix='other')}?{files(tmp_path)}").get(KEY)


def test_a_file_that_is_not_there(opened: Open, tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match=r"ca\.pem can't be read: No such file"):
        opened(f"etcd://127.0.0.1:1/x?{files(tmp_path)}")


def test_making_room(server: Server, opened: Open, tmp_path: Path) -> None:
    state = make_state(opened(url(server)))
    for number in range(5):
        state.set("a", number)
    sh(block("Room"), tmp_path, server)
    assert state.get("a") == 4
    state.set("a", 5)


def test_a_backup_brings_back_what_was(server: Server, opened: Open, tmp_path: Path) -> None:
    store = opened(url(server))
    state = make_state(store)
    state.set("a", "then")
    sh(block("Backup"), tmp_path, server)
    for number in range(5):
        state.set("a", number)
    server.stop()
    port = free_port()
    sh(block("Backup", number=1), tmp_path, PEER_URL=f"http://127.0.0.1:{port}")
    restored = make_node(
        tmp_path / "again", "--data-dir", str(tmp_path / "restored"), port=int(server.url.rpartition(":")[2])
    )
    restored.start()
    try:
        for action in (lambda: state.get("a"), lambda: state.set("a", "now")):
            with pytest.raises(Foreign, match="went back"):
                action()
        fresh = make_state(opened(url(restored)))
        assert fresh.get("a") == "then"
        fresh.set("a", "now")
        assert [h.new for h in fresh.history("a")] == ["now", "then"]
    finally:
        restored.kill()
