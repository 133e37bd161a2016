"""Why: a key comes as text or as bytes, and must be the key that was meant: its fingerprint tells.

What of OpenPGP is needed for that: armor (RFC 9580, 6.2), packet headers (4.2), fingerprints of version 4 keys
(5.5.4).
"""

from __future__ import annotations

from collections.abc import Iterator

_BEGIN = b"-----BEGIN PGP PUBLIC KEY BLOCK-----"
_END = b"-----END PGP PUBLIC KEY BLOCK-----"
PUBLIC_KEY, SECRET_KEY = 6, 5


def keyring(data: bytes) -> bytes:
    """Public keys as the bytes that apt reads, whether they come armored or not. Raises ValueError."""
    ring = b"".join(_dearmored(data)) if _BEGIN in data else data
    tags = [tag for tag, _ in _packets(ring)]
    if SECRET_KEY in tags or b"PRIVATE KEY BLOCK" in data:
        raise ValueError("holds a secret key: export the public one")
    if not tags or tags[0] != PUBLIC_KEY:
        raise ValueError("holds no public key of OpenPGP")
    return ring


def fingerprints(ring: bytes) -> list[str]:
    """The fingerprints of the primary keys in a keyring, 40 capital hex digits each. Raises ValueError."""
    import hashlib

    found = []
    for tag, body in _packets(ring):
        if tag == PUBLIC_KEY:
            if body[:1] != b"\x04":
                raise ValueError(f"holds a key of version {body[0] if body else '?'}; 4 is known here")
            framed = b"\x99" + len(body).to_bytes(2, "big") + body
            found.append(hashlib.sha1(framed, usedforsecurity=False).hexdigest().upper())
    return found


def _dearmored(data: bytes) -> Iterator[bytes]:
    import binascii
    from base64 import b64decode

    for block in data.split(_BEGIN)[1:]:
        body, end, _ = block.partition(_END)
        if not end:
            raise ValueError("is cut off: its END line is missing")
        lines = [line.strip() for line in body.strip(b"\r\n").splitlines()]
        if b"" in lines:
            lines = lines[lines.index(b"") + 1 :]  # what stands before are headers
        checksum = [line for line in lines if line.startswith(b"=")]
        try:
            packets = b64decode(b"".join(line for line in lines if not line.startswith(b"=")), validate=True)
            wanted = b64decode(checksum[0][1:], validate=True) if checksum else None
        except binascii.Error:
            raise ValueError("is damaged: its text is no base64") from None
        if wanted is not None and wanted != _crc24(packets).to_bytes(3, "big"):
            raise ValueError("is damaged: its checksum is wrong")
        yield packets


def _crc24(data: bytes) -> int:
    """RFC 9580, 6.1.1."""
    crc = 0xB704CE
    for byte in data:
        crc ^= byte << 16
        for _ in range(8):
            crc <<= 1
            if crc & 0x1000000:
                crc ^= 0x1864CFB
    return crc & 0xFFFFFF


def _packets(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and body of each packet. Raises ValueError where there is none."""
    at = 0
    while at < len(data):
        first = data[at]
        if not first & 0x80 or at + 1 >= len(data):
            raise ValueError("holds no public key of OpenPGP")
        new = bool(first & 0x40)
        tag = first & 0x3F if new else (first >> 2) & 0x0F
        size, at = _new_length(data, at + 1) if new else _old_length(data, at + 1, first & 3)
        if at + size > len(data):
            raise ValueError("is cut off")
        yield tag, data[at : at + size]
        at += size


def _new_length(data: bytes, at: int) -> tuple[int, int]:
    first = data[at]
    if first < 192:
        return first, at + 1
    if first < 224:
        return ((first - 192) << 8) + int.from_bytes(data[at + 1 : at + 2], "big") + 192, at + 2
    if first == 255:
        return int.from_bytes(data[at + 1 : at + 5], "big"), at + 5
    raise ValueError("holds a packet in parts, which no key is made of")


def _old_length(data: bytes, at: int, kind: int) -> tuple[int, int]:
    if kind == 3:
        return len(data) - at, at
    octets = 1 << kind
    return int.from_bytes(data[at : at + octets], "big"), at + octets
