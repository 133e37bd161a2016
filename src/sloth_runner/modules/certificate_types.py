"""Why: what certificates are for is written into openssl's settings, so it is checked before."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from sloth_runner.modules.system.types import one_line
from sloth_runner.plain import Any

SUBJECT = ("C", "ST", "L", "O", "OU", "CN", "emailAddress")
"""The fields of a subject, in the order in which they are written."""
_DNS = re.compile(r"(\*\.)?([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?\.)*[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?")


def _text(value: object) -> str:
    text = one_line(value)
    if text != text.strip() or len(text) > 64:
        raise ValueError(f"is a text of up to 64 characters without space around it, not {text!r}")
    return text


def _subject(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError('is a table such as {O = "Example", C = "DE"}')
    for field in value:
        if field not in SUBJECT:
            raise ValueError(f"has no field {field!r}; there are {', '.join(SUBJECT)}")
    found = {field: _text(value[field]) for field in value}
    if len(found.get("C", "XX")) != 2:
        raise ValueError(f"has C = {found['C']!r}; a country is two letters")
    return found


def _list(value: object) -> list[object]:
    if value == {}:
        return []
    return value if isinstance(value, list) else [value]


def _dns(value: object) -> tuple[str, ...]:
    names = [one_line(item).lower() for item in _list(value)]
    for name in names:
        if _DNS.fullmatch(name) is None or len(name) > 253:
            raise ValueError(
                f"holds {name!r}, which is no host name; international ones are written as xn--…"
            )
    return tuple(dict.fromkeys(names))


def _ips(value: object) -> tuple[str, ...]:
    from ipaddress import ip_address

    try:
        return tuple(dict.fromkeys(str(ip_address(one_line(item))) for item in _list(value)))
    except ValueError as error:
        raise ValueError(f"is an IP address or a list of them: {error}") from None


def _choice(*names: str) -> Callable[[object], str]:
    def convert(value: object) -> str:
        if value not in names:
            raise ValueError(f"is {', '.join(map(repr, names[:-1]))} or {names[-1]!r}")
        return str(value)

    return convert


TYPES: Mapping[str, Callable[[object], Any]] = {
    "subject text": _text,
    "subject": _subject,
    "dns names": _dns,
    "ip addresses": _ips,
    "key type": _choice("rsa", "ec", "ed25519"),
    "curve": _choice("prime256v1", "secp384r1", "secp521r1"),
}
