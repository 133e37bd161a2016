"""Why: a sealed record opens in its own place with its own key, whole, or says what is wrong with it."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloth_runner.errors import Corrupt, Foreign, KeyWrong, SlothError
from sloth_runner.secret import Secret
from sloth_runner.state.backends.memory import MemoryStore
from sloth_runner.state.layout import KEYRING, SEAL, STORE, store_key
from sloth_runner.state.sealed import Sealed
from sloth_runner.state.sealing import InvalidTag, Xaes, cleartext
from sloth_runner.state.store import ABSENT, Change, Entry
from tests.state.kit import key_source, make_state


def key(name: str, namespace: str = "local", kind: str = "k", revision: int | None = None) -> str:
    return store_key(namespace, kind, name, revision)


def raw(store: MemoryStore, where: str) -> bytes:
    entry = store.get(where)
    assert entry is not None
    return entry.value


def copy(store: MemoryStore, source: str, target: str) -> None:
    """What someone with a database shell can do."""
    store.commit([Change(target, raw(store, source))])


VECTORS = [
    (1, b"", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"),
    (3, b"c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"),
]


@pytest.mark.parametrize(("byte", "header", "sealed"), VECTORS)
def test_published_vectors(byte: int, header: bytes, sealed: str) -> None:
    """C2SP, XAES-256-GCM, section Test vectors: one key whose subkey needs no reduction, one whose does."""
    cipher, nonce = Xaes(bytes([byte]) * 32), b"ABCDEFGHIJKLMNOPQRSTUVWX"
    assert cipher.seal(nonce, b"XAES-256-GCM", header).hex() == sealed
    assert cipher.open(nonce, bytes.fromhex(sealed), header) == b"XAES-256-GCM"


def test_accumulated_vectors() -> None:
    """The same document's randomized test: 10,000 rounds drawn from SHAKE-128, digested."""
    drawn, digest = hashlib.shake_128().digest(1 << 24), hashlib.shake_128()
    at = 0

    def take(count: int) -> bytes:
        nonlocal at
        at += count
        return drawn[at - count : at]

    for _ in range(10_000):
        cipher, nonce = Xaes(take(32)), take(24)
        text, header = take(take(1)[0]), take(take(1)[0])
        sealed = cipher.seal(nonce, text, header)
        assert cipher.open(nonce, sealed, header) == text
        digest.update(sealed)
    assert digest.hexdigest(32) == "e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939"


@given(st.binary(max_size=300), st.binary(max_size=60), st.integers(0))
def test_one_flipped_bit_of_the_cipher_is_detected(text: bytes, header: bytes, where: int) -> None:
    cipher, nonce = Xaes(bytes(range(32))), bytes(24)
    sealed = bytearray(cipher.seal(nonce, text, header))
    sealed[where // 8 % len(sealed)] ^= 1 << where % 8
    with pytest.raises(InvalidTag):
        cipher.open(nonce, bytes(sealed), header)


def test_every_single_bit_of_a_record_counts() -> None:
    inner = MemoryStore()
    store = Sealed(inner, key_source())
    store.commit([Change(key("name"), b"a value of some length")])
    good = raw(inner, key("name"))
    for bit in range(len(good) * 8):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        inner.commit([Change(key("name"), bytes(bad))])
        with pytest.raises((Corrupt, Foreign, KeyWrong)):
            store.get(key("name"))
        with pytest.raises((Corrupt, Foreign, KeyWrong)):
            list(store.scan(key("")))
    inner.commit([Change(key("name"), good)])
    assert store.get(key("name")) is not None


@given(data=st.data(), value=st.binary(max_size=200))
def test_a_flipped_bit_of_any_record_of_any_kind(data: st.DataObject, value: bytes) -> None:
    inner = MemoryStore()
    state = make_state(Sealed(inner, key_source()))
    state.set("a", value.decode("utf-8", "surrogateescape"))
    state.set("b", "x" * 70_000)
    state.set("b", 1)
    sealed = [e for e in inner.scan("local") if cleartext(e.value) is not None]
    assert {e.key.split("\x1f")[1] for e in sealed} == {"k", "h", "b"}
    entry = data.draw(st.sampled_from(sealed))
    bit = data.draw(st.integers(0, len(entry.value) * 8 - 1))
    bad = bytearray(entry.value)
    bad[bit // 8] ^= 1 << bit % 8
    inner.commit([Change(entry.key, bytes(bad))])
    with pytest.raises((Corrupt, Foreign, KeyWrong)):
        state.writer.store.get(entry.key)


@given(cut=st.integers(0, 200))
def test_a_record_cut_short_is_damaged(cut: int) -> None:
    inner = MemoryStore()
    store = Sealed(inner, key_source())
    store.commit([Change(key("name"), b"a value")])
    whole = raw(inner, key("name"))
    inner.commit([Change(key("name"), whole[: cut % len(whole)])])
    with pytest.raises((Corrupt, KeyWrong, Foreign)):
        store.get(key("name"))


MOVED = {
    "another key": (key("a"), key("z"), "sealed as the key 'a' in local (its name differs)"),
    "another namespace": (key("a"), key("a", "web1"), "sealed as the key 'a' in local (its namespace differs)"),
    "another kind": (key("a"), key("a", kind="r"), "(its kind differs)"),
    "another revision": (
        key("a", kind="h", revision=1),
        key("a", kind="h", revision=2),
        "in the place of revision 2 of the key 'a' in local lies another record: it was sealed as revision 1 of the "
        "key 'a' in local (its revision differs)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", MOVED)
def test_a_copied_record_is_refused_and_says_which(how: str) -> None:
    source, target, words = MOVED[how]
    inner = MemoryStore()
    state = make_state(Sealed(inner, key_source()))
    state.set("a", "first")
    state.set("a", "second")
    copy(inner, source, target)
    with pytest.raises(Corrupt) as caught:
        state.writer.store.get(target)
    assert words in caught.value.message


def test_a_record_of_another_store_is_refused_and_says_so() -> None:
    one, two = MemoryStore(), MemoryStore()
    make_state(Sealed(one, key_source())).set("a", "there")
    here = make_state(Sealed(two, key_source()))
    here.set("a", "here")
    two.commit([Change(key("a"), raw(one, key("a")))])
    with pytest.raises(Foreign, match="the key 'a' in local was sealed in another store"):
        here.get("a")
    two.commit([Change(key("b"), raw(one, key("a")))])
    with pytest.raises(Foreign, match="and was the key 'a' in local there"):
        here.get("b")


def test_plaintext_is_refused_however_it_got_there() -> None:
    inner = MemoryStore()
    state = make_state(Sealed(inner, key_source()))
    state.set("a", 1)
    make_state(inner).set("b", "planted")
    with pytest.raises(Corrupt, match="the key 'b' in local is in plaintext, and this state is sealed"):
        state.get("b")
    with pytest.raises(Corrupt, match="in plaintext"):
        state.items()
    with pytest.raises(Corrupt, match="in plaintext"):
        state.set("b", 2)


def snapshot(store: MemoryStore) -> list[Entry]:
    return list(store.scan())


USES: dict[str, Callable[[Sealed], object]] = {
    "ready": lambda store: store.ready(),
    "get": lambda store: store.get(key("a")),
    "scan": lambda store: list(store.scan()),
    "commit": lambda store: store.commit([Change(key("b"), b"1")]),
}


@pytest.mark.parametrize("how", USES)
def test_the_wrong_key_is_told_and_changes_nothing(how: str) -> None:
    inner = MemoryStore()
    make_state(Sealed(inner, key_source(1))).set("a", 1)
    before = snapshot(inner)
    with pytest.raises(KeyWrong, match="the key 2 does not open this state"):
        USES[how](Sealed(inner, key_source(2)))
    assert snapshot(inner) == before


def test_a_plaintext_state_is_not_sealed_by_accident() -> None:
    inner = MemoryStore()
    make_state(inner).set("a", 1)
    before = snapshot(inner)
    for use in USES.values():
        with pytest.raises(Foreign, match="this state is in plaintext"):
            use(Sealed(inner, key_source()))
    assert snapshot(inner) == before


class Late(MemoryStore):
    """Another process seals the empty state just before this one looks whether it is empty."""

    others = True

    def scan(self, prefix: str = "", **how: Any) -> Iterator[Entry]:
        if self.others:
            self.others = False
            Sealed(self, key_source()).commit([Change(key("theirs"), b"1")])
        return super().scan(prefix, **how)


@pytest.mark.parametrize("first", ["ready", "commit"])
def test_two_may_begin_at_once(first: str) -> None:
    sealed = Sealed(Late(), key_source())
    if first == "ready":
        sealed.ready()
    sealed.commit([Change(key("ours"), b"2")])
    assert [entry.value for entry in sealed.scan()] == [b"2", b"1"]


def test_a_lost_keyring_is_told() -> None:
    inner = MemoryStore()
    held = make_state(Sealed(inner, key_source()))
    held.set("a", 1)
    inner.commit([Change(KEYRING, None)])
    for use in USES.values():
        with pytest.raises(KeyWrong, match="keyring of this sealed state is missing"):
            use(Sealed(inner, key_source()))
    with pytest.raises(KeyWrong, match="missing"):
        held.agent("web1").set("a", 1)


def test_a_foreign_keyring_is_told() -> None:
    one, two = MemoryStore(), MemoryStore()
    make_state(Sealed(one, key_source())).set("a", 1)
    held = make_state(Sealed(two, key_source()))
    held.set("a", 1)
    two.commit([Change(KEYRING, raw(one, KEYRING))])
    with pytest.raises(Foreign, match="sealed in another store"):
        make_state(Sealed(two, key_source())).get("a")
    with pytest.raises(Foreign, match="keyring of another state"):
        held.agent("web1").set("a", 1)


@given(st.data())
def test_whatever_is_changed_in_a_keyring_is_noticed(data: st.DataObject) -> None:
    inner = MemoryStore()
    make_state(Sealed(inner, key_source())).set("a", 1)
    row = json.loads(raw(inner, KEYRING))
    name = data.draw(st.sampled_from(sorted(row)))
    old = row[name]
    row[name] = data.draw(
        st.one_of(
            st.none(),
            st.integers(),
            st.text(max_size=20),
            st.just({}),
            st.sampled_from(["open", "sealing", "opening"]),
        ).filter(lambda new: new != old)
    )
    inner.commit([Change(KEYRING, json.dumps(row).encode())])
    with pytest.raises(SlothError):
        make_state(Sealed(inner, key_source())).get("a")


def test_a_keyring_that_is_no_json_is_damaged() -> None:
    inner = MemoryStore()
    inner.commit([Change(KEYRING, b"\xff\x00")])
    with pytest.raises(Corrupt, match="keyring of this state is damaged"):
        Sealed(inner, key_source()).ready()


@pytest.mark.parametrize("mode", ["opening", "open", "sealing", "sealed"])
@pytest.mark.parametrize("epoch", [0, 1])
def test_a_forged_mark_makes_nobody_write_plaintext(mode: str, epoch: int) -> None:
    inner = MemoryStore()
    running = make_state(Sealed(inner, key_source()))
    running.set("a", 1)
    inner.commit([Change("local" + SEAL, json.dumps({"epoch": epoch, "mode": mode}).encode())])
    for state in (running, make_state(Sealed(inner, key_source()))):
        state.set("b", "canary")
        state.set("b", "canary 2")
        assert state.get("b") == "canary 2"
    assert not any(b"canary" in entry.value for entry in inner.scan())
    inner.commit([Change("local" + SEAL, json.dumps({"epoch": 99, "mode": mode}).encode())])
    with pytest.raises(Corrupt, match="an earlier one was put back"):
        running.set("c", "canary")
    inner.commit([Change("local" + SEAL, b"\xff")])
    with pytest.raises(Corrupt, match="mark of the sealed namespace"):
        running.set("c", "canary")


def test_an_earlier_keyring_put_back_is_noticed() -> None:
    from sloth_runner.state import reseal

    inner = MemoryStore()
    state = make_state(Sealed(inner, key_source()))
    state.set("a", 1)
    early = raw(inner, KEYRING)
    reseal.rekey(Sealed(inner, key_source()), os.urandom, lambda count: None)
    assert state.get("a") == 1
    inner.commit([Change(KEYRING, early)])
    with pytest.raises(Corrupt, match="earlier keyring was put back"):
        state.agent("web1").set("a", 1)
    fresh = make_state(Sealed(inner, key_source()))
    with pytest.raises(KeyWrong, match="which the keyring does not hold"):
        fresh.get("a")
    with pytest.raises(SlothError):
        fresh.set("b", 1)


def test_nothing_is_written_by_reading() -> None:
    inner = MemoryStore()
    store = Sealed(inner, key_source())
    store.ready()
    assert store.get(key("a")) is None and list(store.scan()) == []
    assert snapshot(inner) == []


def test_its_own_records_are_hidden() -> None:
    inner = MemoryStore()
    store = Sealed(inner, key_source())
    store.commit([Change(key("a"), b"1")])
    assert {e.key.split("\x1f")[0] for e in inner.scan()} == {"local", STORE}
    assert [e.key for e in store.scan()] == [key("a")]
    assert [e.key for e in store.scan(limit=1, reverse=True)] == [key("a")]
    assert store.get(KEYRING) is None
    assert list(store.scan("local\x1fm")) == []


def test_equal_values_look_different() -> None:
    inner = MemoryStore()
    store = Sealed(inner, key_source())
    store.commit([Change(key("a"), b"same"), Change(key("b"), b"same", ABSENT)])
    one = raw(inner, key("a"))
    store.commit([Change(key("a"), b"same")])
    two, other = raw(inner, key("a")), raw(inner, key("b"))
    assert len({one[36:60], two[36:60], other[36:60]}) == 3
    assert b"same" not in one + two + other


def test_a_secret_shows_nowhere() -> None:
    secret = Secret(b"correct horse")
    shown = [repr(secret), str(secret), f"{secret}", f"{secret:>20}", f"{[secret]}", f"{secret!a}"]
    try:
        raise ValueError(secret, {"key": secret})
    except ValueError as error:
        shown += [str(error), *traceback.format_exception(error)]
    assert not any("correct" in text for text in shown)
    for dump in (pickle.dumps, json.dumps):
        with pytest.raises(TypeError):
            dump(secret)
    assert secret == Secret(b"correct horse") != Secret(b"other")
    assert len({secret, Secret(b"correct horse")}) == 1
