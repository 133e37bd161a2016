"""Why: what goes into statements as a name is checked before anything is asked of a server."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from sloth_runner.modules.system.types import one_line
from sloth_runner.plain import Any

_MOMENT = re.compile(r"\d{4}-\d\d-\d\d( \d\d:\d\d(:\d\d)?)?")


def _name(most: int) -> Callable[[object], str]:
    def convert(value: object) -> str:
        text = one_line(value)
        if len(text.encode("utf-8", "surrogateescape")) > most:
            raise ValueError(f"is a name of up to {most} bytes")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError("is text in UTF-8") from None
        return text

    return convert


def _names(value: object) -> tuple[str, ...]:
    items = [value] if isinstance(value, str) else [] if value == {} else value
    if not isinstance(items, list):
        raise ValueError("is a name, or a list of names")
    return tuple(sorted({_name(63)(item) for item in items}))


def _password(value: object) -> str:
    """Never shown."""
    if not isinstance(value, str) or not value:
        raise ValueError("is text that is not empty")
    if any(c in value for c in "\0\n\r"):
        raise ValueError("is one line")
    return value


def _privileges(value: object) -> tuple[str, ...]:
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list) or not items:
        raise ValueError('is a list such as {"select", "insert"}, or "all"')
    words = [" ".join(one_line(item).lower().split()) for item in items]
    for word in words:
        if re.fullmatch(r"[a-z]+( [a-z]+)*", word) is None:
            raise ValueError(f"holds {word!r}, which is no privilege")
    return tuple(sorted({"all" if word == "all privileges" else word for word in words}))


def _port(value: object) -> int:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or value != value // 1
        or not 0 < value < 65536
    ):
        raise ValueError("is a number from 1 to 65535")
    return int(value)


def _limit(value: object) -> int:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or value != value // 1
        or not -1 <= value < 2**31
    ):
        raise ValueError("is a whole number; -1 means no limit")
    return int(value)


def _moment(value: object) -> str:
    text = one_line(value)
    if text == "never":
        return text
    if _MOMENT.fullmatch(text) is None:
        raise ValueError('is a time in UTC such as "2030-01-31 12:00:00", a day, or "never"')
    from datetime import datetime

    try:
        return datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M:%S")
    except ValueError:
        raise ValueError(f"is no day there is: {text}") from None


def _word(value: object) -> str:
    text = one_line(value)
    if re.fullmatch(r"[A-Za-z0-9_.@-]{1,64}", text) is None:
        raise ValueError(f"is one word such as utf8mb4 or de_DE.UTF-8, not {text!r}")
    return text


def _choice(*names: str) -> Callable[[object], str]:
    def convert(value: object) -> str:
        if value not in names:
            raise ValueError(f"is {', '.join(map(repr, names[:-1]))} or {names[-1]!r}")
        return str(value)

    return convert


TYPES: Mapping[str, Callable[[object], Any]] = {
    "postgresql name": _name(63),
    "postgresql names": _names,
    "postgresql object": _choice("database", "schema", "table", "sequence"),
    "mysql account": _name(80),
    "mysql name": _name(64),
    "mysql host": _name(255),
    "mysql auth": _choice("password", "unix_socket"),
    "mysql tls": _choice("none", "ssl", "x509"),
    "password": _password,
    "privileges": _privileges,
    "database port": _port,
    "connection limit": _limit,
    "expiry": _moment,
    "database word": _word,
}
