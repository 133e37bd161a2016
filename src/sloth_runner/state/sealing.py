"""Why: one sealed record must say in clear what it is sealed for, and open nowhere else; this is its form on disk.

``MARK | key id 8 | store id 16 | since 8 | nonce 24 | length 2 | store key | ciphertext and tag 16``, numbers
big-endian. All before the ciphertext is authenticated with it. ``since`` is the Rev that the record had before it was
sealed anew (0: never): whoever expects that Rev still expects this content.

The cipher is XAES-256-GCM as the C2SP specifies it (c2sp.org/XAES-256-GCM): a random nonce of 192 bits, of which
96 derive an AES-256-GCM key of their own for each record. Nonces of one data key don't repeat before 2^80 records.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import repeat

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sloth_runner.errors import Corrupt
from sloth_runner.plain import Final, NamedTuple

MARK: Final = b"\xffSL\x01"
"""No text begins so: a record in plaintext is never taken for a sealed one."""
FIXED: Final = 62
MARGIN: Final = 8 << 10
"""Bytes that sealing may add to a value."""
NONCE: Final = 24
KEY: Final = 32

__all__ = [
    "FIXED",
    "MARGIN",
    "MARK",
    "NONCE",
    "Cleartext",
    "InvalidTag",
    "Xaes",
    "cleartext",
    "open_all",
    "seal",
    "seal_all",
]


class Xaes:
    """XAES-256-GCM under one key of 32 bytes. Used from one thread at a time."""

    __slots__ = ("_derive", "_mask")

    def __init__(self, key: bytes) -> None:
        self._derive: Callable[[bytes], bytes] = Cipher(algorithms.AES(key), modes.ECB()).encryptor().update  # noqa: S305 - the block function inside a CMAC, as specified
        doubled = int.from_bytes(self._derive(bytes(16)), "big") << 1
        subkey = (doubled & ((1 << 128) - 1)) ^ 0x87 if doubled >> 128 else doubled
        self._mask = subkey << 128 | subkey

    def seal(self, nonce: bytes, text: bytes, header: bytes) -> bytes:
        """``text`` encrypted and, with ``header``, authenticated; 16 bytes longer."""
        return self._cipher(nonce).encrypt(nonce[12:], text, header)

    def open(self, nonce: bytes, sealed: bytes, header: bytes) -> bytes:
        """What was sealed. Raises InvalidTag for another key, or a changed bit anywhere."""
        return self._cipher(nonce).decrypt(nonce[12:], sealed, header)

    def keys(self, nonces: bytes) -> list[bytes]:
        """The AES-256-GCM keys that nonces, one after the other, derive: the same as one by one, at a fifth of the
        cost."""
        size = len(nonces) // NONCE * KEY
        blocks = bytearray(size)
        for at, byte in ((1, b"\1"), (2, b"X"), (17, b"\2"), (18, b"X")):
            blocks[at::KEY] = byte * (size // KEY)
        for at in range(12):
            blocks[4 + at :: KEY] = blocks[20 + at :: KEY] = nonces[at::NONCE]
        mask = int.from_bytes(self._mask.to_bytes(KEY, "big") * (size // KEY), "big")
        derived = self._derive((int.from_bytes(blocks, "big") ^ mask).to_bytes(size, "big"))
        return [derived[at : at + KEY] for at in range(0, size, KEY)]

    def _cipher(self, nonce: bytes) -> AESGCM:
        half = nonce[:12]
        blocks = int.from_bytes(b"\0\1X\0" + half + b"\0\2X\0" + half, "big") ^ self._mask
        return AESGCM(self._derive(blocks.to_bytes(KEY, "big")))


class Cleartext(NamedTuple):
    """What a sealed record says of itself, before it is known to be true. ``end``: where the ciphertext begins."""

    key_id: bytes
    store_id: bytes
    since: int
    nonce: bytes
    key: str
    end: int


def seal(
    cipher: Xaes, key_id: bytes, store_id: bytes, nonce: bytes, key: str, text: bytes, since: int = 0
) -> bytes:
    """The record of store key ``key``, sealed. The nonce is 24 random bytes, never used before."""
    name = key.encode()
    header = b"".join(
        (MARK, key_id, store_id, since.to_bytes(8, "big"), nonce, len(name).to_bytes(2, "big"), name)
    )
    return header + cipher.seal(nonce, text, header)


def seal_all(
    cipher: Xaes, key_id: bytes, store_id: bytes, nonces: bytes, rows: Sequence[tuple[str, bytes]]
) -> list[tuple[str, bytes]]:
    """Many records, each as ``seal`` makes it; ``nonces`` are NONCE bytes for each, one after the other."""
    each = [nonces[at : at + NONCE] for at in range(0, NONCE * len(rows), NONCE)]
    start = MARK + key_id + store_id + bytes(8)
    out = []
    for (key, text), nonce, derived in zip(rows, each, cipher.keys(nonces), strict=True):
        name = key.encode()
        header = b"%b%b%b%b" % (start, nonce, len(name).to_bytes(2, "big"), name)
        out.append((key, header + AESGCM(derived).encrypt(nonce[12:], text, header)))
    return out


def open_all(
    cipher: Xaes, key_id: bytes, store_id: bytes, keys: Sequence[str], values: Sequence[bytes]
) -> list[bytes] | None:
    """What was sealed in many records, each for its store key; None if any of them is not as it should be."""
    start = MARK + key_id + store_id
    names = [key.encode() for key in keys]
    headers = [value[: FIXED + len(name)] for value, name in zip(values, names, strict=True)]
    expected = [b"%b%b" % (len(name).to_bytes(2, "big"), name) for name in names]
    if not all(map(bytes.startswith, headers, repeat(start))) or [h[60:] for h in headers] != expected:
        return None
    try:
        return [
            AESGCM(derived).decrypt(header[48:60], value[len(header) :], header)
            for value, header, derived in zip(
                values, headers, cipher.keys(b"".join([h[36:60] for h in headers])), strict=True
            )
        ]
    except (InvalidTag, ValueError):
        return None


def cleartext(value: bytes) -> Cleartext | None:
    """The header of a record; None for one in plaintext. Raises Corrupt for one that is cut short."""
    if value[: len(MARK)] != MARK:
        return None
    end = FIXED + int.from_bytes(value[60:62], "big")
    try:
        if len(value) < end + 16:
            raise ValueError("too short")
        key = value[FIXED:end].decode()
    except ValueError as error:
        raise Corrupt(f"a sealed record is damaged: its header can't be read ({error})") from error
    return Cleartext(value[4:12], value[12:28], int.from_bytes(value[28:36], "big"), value[36:60], key, end)
