"""Why: digests and encodings, to compare and to carry; over a string's bytes, whatever they are."""

from __future__ import annotations

from collections.abc import Callable

from sloth_runner.errors import BadArgument

ALGORITHMS = ("md5", "sha1", "sha256", "sha512")


def functions() -> dict[str, Callable[..., object]]:
    """``crypto.*``: hex digests, ``hmac(key, text, algorithm?)``, ``base64_encode``, ``base64_decode``."""
    found: dict[str, Callable[..., object]] = {f"crypto.{name}": _digest(name) for name in ALGORITHMS}
    return {
        **found,
        "crypto.hmac": _hmac,
        "crypto.base64_encode": _base64_encode,
        "crypto.base64_decode": _base64_decode,
    }


def _digest(algorithm: str) -> Callable[..., object]:
    def digest(*args: object) -> str:
        import hashlib

        (text,) = _texts(f"crypto.{algorithm}", args, 1)
        return hashlib.new(algorithm, text, usedforsecurity=False).hexdigest()

    return digest


def _hmac(*args: object) -> str:
    import hmac

    algorithm = args[2] if len(args) > 2 and args[2] is not None else "sha256"
    if algorithm not in ALGORITHMS:
        raise BadArgument(f"crypto.hmac: the algorithm is one of {', '.join(ALGORITHMS)}, not {algorithm!r}")
    key, text = _texts("crypto.hmac", args[:2], 2)
    return hmac.new(key, text, str(algorithm)).hexdigest()


def _base64_encode(*args: object) -> str:
    from base64 import b64encode

    (text,) = _texts("crypto.base64_encode", args, 1)
    return b64encode(text).decode()


def _base64_decode(*args: object) -> str:
    import binascii
    from base64 import b64decode

    (text,) = _texts("crypto.base64_decode", args, 1)
    try:
        return b64decode(text, validate=True).decode("utf-8", "surrogateescape")
    except binascii.Error as error:
        raise BadArgument(f"crypto.base64_decode: this is no base64: {error}") from None


def _texts(name: str, args: tuple[object, ...], count: int) -> list[bytes]:
    if len(args) != count or not all(isinstance(arg, str) for arg in args):
        raise BadArgument(f"{name} takes {count} string{'s' * (count != 1)}")
    return [str(arg).encode("utf-8", "surrogateescape") for arg in args]
