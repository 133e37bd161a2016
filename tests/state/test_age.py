"""What is sealed here is age's format: an independent implementation opens it, and the other way round."""

from __future__ import annotations

import io

import pyrage
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sloth_runner.errors import Corrupt, KeyWrong, UsageError
from sloth_runner.state import age

IDENTITY = pyrage.x25519.Identity.generate()
PUBLIC = str(IDENTITY.to_public())
PRIVATE = age.identities(f"# made for a test\n{IDENTITY}\n", "keys.txt")
SIZES = st.one_of(st.integers(0, 200), st.sampled_from([65_535, 65_536, 65_537, 131_072, 200_001]))


def seal(data: bytes, keys: age.Keys, step: int = 7777) -> bytes:
    out = io.BytesIO()
    sealer = age.Sealer(out.write, keys)
    for start in range(0, len(data), step):
        sealer.write(data[start : start + step])
    sealer.finish()
    return out.getvalue()


def unseal(sealed: bytes, keys: age.Keys) -> bytes:
    file = io.BytesIO(sealed)
    opener = age.Opener(file.read, keys)
    file.seek(opener.payload_at)
    return b"".join(opener.blocks(file.read))


@given(SIZES, st.integers(1, 100_000))
def test_recipients_open_it_elsewhere(size: int, step: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    other = pyrage.x25519.Identity.generate()
    sealed = seal(
        data[:size], age.Keys(keys=(age.recipient(str(other.to_public())), age.recipient(PUBLIC))), step
    )
    for identity in (IDENTITY, other):
        assert pyrage.decrypt(sealed, [identity]) == data[:size]


@given(SIZES)
def test_what_is_sealed_elsewhere_is_opened(size: int) -> None:
    data = b"x" * size
    sealed = pyrage.encrypt(data, [IDENTITY.to_public(), pyrage.x25519.Identity.generate().to_public()])
    assert unseal(sealed, age.Keys(keys=PRIVATE)) == data


def test_a_passphrase_opens_it_elsewhere() -> None:
    sealed = seal(b"hello", age.Keys("pässword".encode()))
    assert pyrage.passphrase.decrypt(sealed, "pässword") == b"hello"
    with pytest.raises(KeyWrong, match="passphrase is wrong"):
        unseal(sealed, age.Keys(b"password"))
    with pytest.raises(KeyWrong, match="sealed with a passphrase"):
        unseal(sealed, age.Keys(keys=PRIVATE))


SEALED = seal(b"x" * 70_000, age.Keys(keys=(age.recipient(PUBLIC),)))


@given(st.integers(0, len(SEALED) - 1), st.integers(0, 7), st.booleans())
def test_a_changed_or_cut_file_is_refused(at: int, bit: int, cut: bool) -> None:
    damaged = SEALED[:at] if cut else SEALED[:at] + bytes([SEALED[at] ^ 1 << bit]) + SEALED[at + 1 :]
    with pytest.raises((Corrupt, KeyWrong)):
        unseal(damaged, age.Keys(keys=PRIVATE))


def test_chunks_can_be_neither_added_nor_dropped() -> None:
    head = len(SEALED) - 16 - (65_536 + 16) - (70_000 - 65_536 + 16)
    nonce, first = SEALED[head : head + 16], SEALED[head + 16 : head + 16 + 65_552]
    for payload in (nonce, nonce + first, nonce + first + first, SEALED[head:] + first):
        with pytest.raises(Corrupt):
            unseal(SEALED[:head] + payload, age.Keys(keys=PRIVATE))


@settings(max_examples=200)
@given(st.binary(max_size=200), st.booleans())
def test_fuzz_headers(data: bytes, begun: bool) -> None:
    with pytest.raises((Corrupt, KeyWrong)):
        unseal((age.MAGIC if begun else b"") + data, age.Keys(b"x", PRIVATE))


def test_a_header_can_ask_for_no_more_work_than_we_do() -> None:
    body = "A" * 43
    for work in ("19", "63", "99", "0", "017"):
        header = f"age-encryption.org/v1\n-> scrypt {'A' * 22} {work}\n{body}\n--- {body}\n".encode()
        with pytest.raises(Corrupt):
            unseal(header, age.Keys(b"x"))


def test_the_wrong_identity_is_told() -> None:
    other = age.identities(str(pyrage.x25519.Identity.generate()), "f")
    with pytest.raises(KeyWrong, match="other recipients"):
        unseal(SEALED, age.Keys(keys=other))
    with pytest.raises(KeyWrong, match="an identity is needed"):
        unseal(SEALED, age.Keys(b"x"))


@pytest.mark.parametrize(
    "text",
    ["", "age1", PUBLIC[:-1], PUBLIC[:-1] + "b", PUBLIC.upper(), "ssh-ed25519 AAAA", "age1é"],
    ids=["nothing", "start", "short", "changed", "upper", "ssh", "accent"],
)
def test_a_mistyped_recipient_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        age.recipient(text)


def test_a_bad_identity_is_not_shown() -> None:
    with pytest.raises(UsageError, match=r"line 2 of keys\.txt") as caught:
        age.identities(f"#\n{str(IDENTITY)[:-1]}\n", "keys.txt")
    assert str(IDENTITY)[20:30] not in caught.value.message
    with pytest.raises(UsageError, match="holds no age identity"):
        age.identities("# nothing\n", "keys.txt")
