"""Why: each setting has a name, a default and one function that understands it, from a file or a variable."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from sloth_runner.config_file import Origin
from sloth_runner.durations import seconds
from sloth_runner.errors import BadName
from sloth_runner.names import did_you_mean
from sloth_runner.plain import Any, Final, NamedTuple

_SIZES = {"b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "kb": 1000, "mb": 1000**2, "gb": 1000**3}
AGENT_KEYS: Final = (
    "url", "groups", "tags", "values", "python", "password_env", "passphrase_env", "sudo_password_env",
)  # fmt: skip
SECONDS: Final = "seconds"
BYTES: Final = "bytes"
SECTIONS: Final = ("state", "run", "agents", "groups", "inventory")
AGENT_SECTIONS: Final = ("agents", "groups")
"""What may stand in a file of agents alone."""


class Agent(NamedTuple):
    """A machine by name: how it is reached, the groups it is in, and its own ``values``. ``tags`` choose it as groups
    do; ``python`` is the interpreter to use there; the others name variables that hold passwords: that of the login,
    of the key, and sudo's."""

    name: str
    url: str
    groups: tuple[str, ...]
    values: Mapping[str, Any]
    origin: Origin
    tags: tuple[str, ...] = ()
    python: str | None = None
    password_env: str | None = None
    passphrase_env: str | None = None
    sudo_password_env: str | None = None


class Group(NamedTuple):
    """What the agents of a group share."""

    name: str
    values: Mapping[str, Any]
    origin: Origin


class Field(NamedTuple):
    """A setting. ``parse(raw, text)`` returns it or raises ValueError; ``text``: from a variable. ``unit``: SECONDS,
    BYTES or none."""

    parse: Callable[[Any, bool], object]
    default: object
    help: str
    unit: str = ""


def parse_agent(name: str, raw: object, origin: Origin, check: Callable[[str], str]) -> Agent:
    """The agent that a file or a variable describes: a URL, or a table. Raises BadConfig."""
    try:
        check(name)
    except BadName as error:
        raise origin.problem(error.message, *error.next) from None
    table = {"url": raw} if isinstance(raw, str) else raw
    if not isinstance(table, dict):
        raise origin.problem(
            f"agent {name!r} is a URL or a table with url; not {_kind(raw)}", f'{name} = "local://"'
        )
    for key in table:
        if key not in AGENT_KEYS:
            dots = isinstance(table[key], dict) and "url" not in table
            raise origin.problem(
                f"unknown key {key!r} of agent {name!r}",
                *([f'a name with dots stands in quotes: "{_dotted(name, table)}" = …'] if dots else []),
                *(did_you_mean(key, AGENT_KEYS) or [f"keys: {', '.join(AGENT_KEYS)}"]),
            )
    url, values = table.get("url"), table.get("values", {})
    if not isinstance(url, str) or "://" not in url:
        there = url if isinstance(url, str) and re.fullmatch(r"[\w.@:-]+", url) else "user@host"
        raise origin.problem(f"agent {name!r} needs a URL such as ssh://host", f'{name} = "ssh://{there}"')
    if not isinstance(values, dict):
        raise origin.problem(f"values of agent {name!r} is a table")
    labels = {key: _labels(name, key, table.get(key, []), origin) for key in ("groups", "tags")}
    texts = {key: _one_text(name, key, table.get(key), origin) for key in AGENT_KEYS[4:]}
    return Agent(name, url, labels["groups"], values, origin, labels["tags"], **texts)


def _dotted(name: str, table: object) -> str:
    """The name that TOML has taken apart at its dots."""
    while isinstance(table, dict) and len(table) == 1 and not table.keys() & set(AGENT_KEYS):
        ((key, table),) = table.items()
        name = f"{name}.{key}"
    return name


def _labels(name: str, key: str, raw: object, origin: Origin) -> tuple[str, ...]:
    if not isinstance(raw, list) or not all(isinstance(label, str) and label for label in raw):
        raise origin.problem(f"{key} of agent {name!r} is a list of names")
    return tuple(raw)


def _one_text(name: str, key: str, raw: object, origin: Origin) -> str | None:
    if raw is None:
        return None
    if not isinstance(raw, str) or not raw:
        raise origin.problem(f"{key} of agent {name!r} is a text")
    if key == "python":
        if not re.fullmatch(r"[A-Za-z0-9._/+-]+", raw) or raw.startswith("-"):
            raise origin.problem(f"python of agent {name!r} is a path such as /usr/bin/python3")
        return raw
    try:
        return str(_variable(raw, False))
    except ValueError as error:
        raise origin.problem(f"{key} of agent {name!r}: {error}") from None


def parse_group(name: str, raw: object, origin: Origin) -> Group:
    """The group that a file describes. Raises BadConfig."""
    if not isinstance(raw, dict):
        raise origin.problem(f"group {name!r} is a table: [groups.{name}]")
    for key in raw:
        if key != "values":
            raise origin.problem(f"unknown key {key!r} of group {name!r}", *did_you_mean(key, ("values",)))
    values = raw.get("values", {})
    if not isinstance(values, dict):
        raise origin.problem(f"values of group {name!r} is a table")
    return Group(name, values, origin)


def _kind(raw: object) -> str:
    words = {
        str: "text",
        bool: "true or false",
        int: "a number",
        float: "a number",
        list: "a list",
        dict: "a table",
    }
    return words.get(type(raw), type(raw).__name__)


def _whole(least: int, most: int) -> Callable[[Any, bool], object]:
    def parse(raw: Any, text: bool) -> int:
        if text:
            raw = int(raw) if raw.strip().isascii() and raw.strip().isdigit() else raw
        if isinstance(raw, bool) or not isinstance(raw, int):
            raise ValueError(f"a whole number is needed, not {raw!r}")
        if not least <= raw <= most:
            raise ValueError(f"{raw} is not between {least:,} and {most:,}")
        return raw

    return parse


def _days(raw: Any, text: bool) -> float:
    if text:
        try:
            raw = float(raw)
        except ValueError:
            pass  # said below
    if isinstance(raw, bool) or not isinstance(raw, int | float) or not 0 <= raw < 1e6:
        raise ValueError(f"a number of days is needed, not {raw!r}")
    return float(raw)


def _duration(raw: Any, text: bool) -> float:
    return seconds(raw, "this setting")


def _positive_duration(raw: Any, text: bool) -> float:
    length = seconds(raw, "this setting")
    if length == 0:
        raise ValueError("more than 0 seconds are needed")
    return length


def _size(least: int, words: str) -> Callable[[Any, bool], object]:
    def parse(raw: Any, text: bool) -> int:
        size: float | None = None
        if isinstance(raw, int) and not isinstance(raw, bool):
            size = raw
        elif isinstance(raw, str):
            word = raw.strip().lower()
            digits = word.rstrip("abcdefghijklmnopqrstuvwxyz ")
            unit = word[len(digits) :].strip() or "b"
            try:
                size = float(digits) * _SIZES[unit]
            except (ValueError, KeyError):
                size = None
        if size is None:
            raise ValueError(f'a size is a number of bytes or text such as "512MiB"; not {raw!r}')
        if not least <= size <= 1 << 40:
            raise ValueError(f"a size between {words} and 1024GiB is needed")
        return int(size)

    return parse


def _store(raw: Any, text: bool) -> str:
    if not isinstance(raw, str) or not raw.strip():
        raise ValueError('"sqlite", "memory" or a URL such as "postgres://host/database" is needed')
    url = raw.strip()
    scheme, separator, rest = url.partition("://")
    if scheme == "sqlite" and separator and not rest.startswith("/"):
        raise ValueError(f"{url!r}: the folder must be absolute, as in sqlite:///a/folder")
    return url


def _variable(raw: Any, text: bool) -> str:
    if not isinstance(raw, str) or not raw.strip().replace("_", "a").isalnum() or raw.strip()[0].isdigit():
        raise ValueError(f'the name of a variable such as "SLOTH_STORE_PASSWORD" is needed, not {raw!r}')
    return raw.strip()


def _words(raw: Any, text: bool) -> tuple[str, ...]:
    """A command: a list of words that no shell sees, or a shell line."""
    if isinstance(raw, str) and raw.strip():
        return ("/bin/sh", "-c", raw)
    if isinstance(raw, list) and raw and all(isinstance(word, str) and word for word in raw):
        return tuple(raw)
    raise ValueError("a shell line, or a list of words, is needed")


def _prefixes(raw: Any, text: bool) -> tuple[str, ...]:
    if text:
        if raw.lstrip()[:1] in ("[", '"', "'"):
            raise ValueError(f"a variable's list is written with commas alone: cluster:,team:; not {raw!r}")
        raw = [part for part in raw.split(",") if part]
    if not isinstance(raw, list) or not all(isinstance(item, str) for item in raw):
        raise ValueError(f'a list of texts such as ["cluster:"] is needed, not {_kind(raw)}')
    for item in raw:
        if not item:
            raise ValueError("an empty prefix would make every key shared")
        if not item.isprintable() or len(item.encode()) > 256:
            raise ValueError(f"{item!r} can't start a key")
    for one in raw:
        for other in raw:
            if one is not other and other.startswith(one):
                raise ValueError(f"{one!r} and {other!r} overlap: a key must have one home")
    return tuple(raw)


FIELDS: Final[Mapping[str, Field]] = {
    "state.store": Field(_store, "sqlite", "where state is kept"),
    "state.password_env": Field(_variable, None, "variable that holds the store's password or token"),
    "state.request_timeout": Field(
        _positive_duration, 10.0, "how long the store's server may take to answer", SECONDS
    ),
    "state.shared_prefixes": Field(_prefixes, ("cluster:",), "keys and locks that all agents share"),
    "state.history.keep": Field(_whole(1, 100_000), 50, "revisions of a key that are always kept"),
    "state.history.days": Field(_days, 90.0, "days that others are kept"),
    "state.history.max": Field(_whole(1, 1_000_000), 1000, "revisions of a key at most"),
    "state.history.bytes": Field(
        _size(0, "0"), 64 << 20, "all values of a key at most, beyond those always kept", BYTES
    ),
    "run.jobs": Field(_whole(1, 1000), 1, "tasks at once"),
    "run.forks": Field(_whole(1, 10_000), 100, "machines of one task at once"),
    "run.lock_timeout": Field(_duration, 0.0, "how long to wait for the stack's lock", SECONDS),
    "run.timeout": Field(_positive_duration, None, "how long a run may take", SECONDS),
    "inventory.command": Field(_words, (), "command that prints agents as JSON"),
    "run.lua_time": Field(_positive_duration, 10.0, "how long Lua may run without a call", SECONDS),
    "run.lua_memory": Field(_size(8 << 20, "8MiB"), 512 << 20, "memory that Lua may use", BYTES),
}
"""By dotted name; the last part is the field of ``Settings``."""
