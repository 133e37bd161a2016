"""Why: age writes its keys as Bech32 (BIP 173), so that a mistyped one is noticed."""

from __future__ import annotations

_ALPHABET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
MOST = 1024
"""Characters; age's keys have 62 and 74."""


def decode(text: str) -> tuple[str, bytes] | None:
    """The human-readable part (in small letters) and the data; None for anything that is not sound Bech32."""
    if len(text) > MOST or (text != text.lower() and text != text.upper()) or not text.isascii():
        return None
    hrp, one, tail = text.lower().rpartition("1")
    if not one or not hrp or len(tail) < 6 or any(c not in _ALPHABET for c in tail):
        return None
    values = [_ALPHABET.index(c) for c in tail]
    if _checksum(_expand(hrp) + values) != 1:
        return None
    data = _eights(values[:-6])
    return None if data is None else (hrp, data)


def _eights(values: list[int]) -> bytes | None:
    bits = 0
    for value in values:
        bits = bits << 5 | value
    extra = len(values) * 5 % 8
    if extra >= 5 or bits & ((1 << extra) - 1):
        return None
    return (bits >> extra).to_bytes(len(values) * 5 // 8, "big")


def _expand(hrp: str) -> list[int]:
    return [ord(c) >> 5 for c in hrp] + [0] + [ord(c) & 31 for c in hrp]


def _checksum(values: list[int]) -> int:
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for i in range(5):
            check ^= _GENERATOR[i] if top >> i & 1 else 0
    return check
