"""Why: digests and encodings, to compare and to carry; over a string's bytes, whatever they are."""

from __future__ import annotations

from collections.abc import Callable

from sloth_runner.errors import BadArgument
from sloth_runner.modules.base import Function, Param

ALGORITHMS = ("md5", "sha1", "sha256", "sha512")
_TEXT = Param("text", "string", "any bytes")
_HEX = (Param("digest", "string", "in hex"),)
_HMAC = Function(
    "crypto.hmac",
    "The HMAC of a text under a key, to authenticate it.",
    (
        Param("key", "string", "the secret key"),
        _TEXT,
        Param("alg", '"md5"|"sha1"|"sha256"|"sha512"', "the digest; sha256 if not given", optional=True),
    ),
    _HEX,
)
_ENCODE = Function(
    "crypto.base64_encode", "Base64 of a text.", (_TEXT,), (Param("encoded", "string", "in one line"),)
)
_DECODE = Function(
    "crypto.base64_decode",
    "What Base64 stands for; white space in it is skipped.",
    (Param("text", "string", "Base64"),),
    (Param("decoded", "string", "any bytes"),),
)
_DIGESTS = {
    name: Function(f"crypto.{name}", f"The {name.upper()} digest of a text.", (_TEXT,), _HEX)
    for name in ALGORITHMS
}
FUNCTIONS = (*_DIGESTS.values(), _HMAC, _ENCODE, _DECODE)


def functions() -> dict[str, Callable[..., object]]:
    """What FUNCTIONS describes, by dotted name."""
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

        (text,) = _texts(_DIGESTS[algorithm], args)
        return hashlib.new(algorithm, text, usedforsecurity=False).hexdigest()

    return digest


def _hmac(*args: object) -> str:
    import hmac

    algorithm = args[2] if len(args) > 2 and args[2] is not None else "sha256"
    if algorithm not in ALGORITHMS:
        raise BadArgument(f"crypto.hmac: alg is one of {', '.join(ALGORITHMS)}, not {algorithm!r}")
    key, text = _texts(_HMAC, (*args[:2], *args[3:]))
    return hmac.new(key, text, str(algorithm)).hexdigest()


def _base64_encode(*args: object) -> str:
    from base64 import b64encode

    (text,) = _texts(_ENCODE, args)
    return b64encode(text).decode()


def _base64_decode(*args: object) -> str:
    import binascii
    from base64 import b64decode

    (text,) = _texts(_DECODE, args)
    try:
        return b64decode(b"".join(text.split()), validate=True).decode("utf-8", "surrogateescape")
    except binascii.Error as error:
        raise BadArgument(f"crypto.base64_decode: the text is no base64: {error}") from None


def _texts(function: Function, args: tuple[object, ...]) -> list[bytes]:
    """The strings that a function needs, as bytes."""
    wanted = [param.name for param in function.params if not param.optional]
    given = list(args)
    while len(given) > len(wanted) and given[-1] is None:
        given.pop()
    if len(given) != len(wanted) or not all(isinstance(arg, str) for arg in given):
        raise BadArgument(
            f"{function.name} takes {len(wanted)} string{'s' * (len(wanted) > 1)}: {', '.join(wanted)}"
        )
    return [str(arg).encode("utf-8", "surrogateescape") for arg in given]
