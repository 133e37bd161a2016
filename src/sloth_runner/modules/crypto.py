"""Why: digests and encodings, to compare and to carry; over a string's bytes, whatever they are."""

from __future__ import annotations

from collections.abc import Callable

from sloth_runner.errors import BadArgument

ALGORITHMS = ("md5", "sha1", "sha256", "sha512")


def functions() -> dict[str, Callable[..., object]]:
    """``crypto.md5``, ``sha1``, ``sha256``, ``sha512`` (text): the digest in hex; ``hmac(key, text, alg?)``
    (``alg`` is one of those, sha256 if not given); ``base64_encode(text)``, ``base64_decode(text)``."""
    digests: dict[str, Callable[..., object]] = {f"crypto.{name}": _digest(name) for name in ALGORITHMS}
    return {
        **digests,
        "crypto.hmac": _hmac,
        "crypto.base64_encode": _base64_encode,
        "crypto.base64_decode": _base64_decode,
    }


def _digest(algorithm: str) -> Callable[..., object]:
    def digest(*args: object) -> str:
        import hashlib

        (text,) = _texts(f"crypto.{algorithm}", ("text",), args)
        return hashlib.new(algorithm, text, usedforsecurity=False).hexdigest()

    return digest


def _hmac(*args: object) -> str:
    import hmac

    algorithm = args[2] if len(args) > 2 and args[2] is not None else "sha256"
    if algorithm not in ALGORITHMS:
        raise BadArgument(f"crypto.hmac: alg is one of {', '.join(ALGORITHMS)}, not {algorithm!r}")
    key, text = _texts("crypto.hmac", ("key", "text"), (*args[:2], *args[3:]))
    return hmac.new(key, text, str(algorithm)).hexdigest()


def _base64_encode(*args: object) -> str:
    from base64 import b64encode

    (text,) = _texts("crypto.base64_encode", ("text",), args)
    return b64encode(text).decode()


def _base64_decode(*args: object) -> str:
    import binascii
    from base64 import b64decode

    (text,) = _texts("crypto.base64_decode", ("text",), args)
    try:
        return b64decode(b"".join(text.split()), validate=True).decode("utf-8", "surrogateescape")
    except binascii.Error as error:
        raise BadArgument(f"crypto.base64_decode: the text is no base64: {error}") from None


def _texts(name: str, wanted: tuple[str, ...], args: tuple[object, ...]) -> list[bytes]:
    given = list(args)
    while len(given) > len(wanted) and given[-1] is None:
        given.pop()
    if len(given) != len(wanted) or not all(isinstance(arg, str) for arg in given):
        raise BadArgument(f"{name} takes {len(wanted)} string{'s' * (len(wanted) > 1)}: {', '.join(wanted)}")
    return [str(arg).encode("utf-8", "surrogateescape") for arg in given]
