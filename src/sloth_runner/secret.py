"""Why: a key or a password must not appear anywhere by accident: whatever prints it prints dots."""

from __future__ import annotations

from sloth_runner.plain import Final, NoReturn

DOTS: Final = "••••"


class Secret:
    """Bytes that show as dots in every repr, text, format and traceback, and can't be pickled or put into JSON.

    ``reveal`` is the one way to them, so that a search for it finds every use.
    """

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = value

    def reveal(self) -> bytes:
        """The bytes themselves."""
        return self._value

    def text(self) -> str:
        """The bytes as text; those that are not UTF-8 stand in it as lone surrogates."""
        return self._value.decode("utf-8", "surrogateescape")

    def __repr__(self) -> str:
        return DOTS

    def __str__(self) -> str:
        return DOTS

    def __format__(self, spec: str) -> str:
        return format(DOTS, spec)

    def __eq__(self, other: object) -> bool:
        from hmac import compare_digest

        return isinstance(other, Secret) and compare_digest(self._value, other._value)

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret can't be pickled or copied")
