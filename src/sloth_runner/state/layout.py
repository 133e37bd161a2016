"""Why: namespaces, keys, revisions, locks and runs share one flat key space; only this file knows how.

A store key is ``NAMESPACE ␟ kind ␟ name [␟ revision]`` with U+001F as ␟. Names never hold control characters,
so no key is a prefix of another's part, and ordering by store key orders by namespace, kind and name.
"""

from __future__ import annotations

from sloth_runner.errors import BadName
from sloth_runner.plain import Final, NamedTuple

SEP: Final = "\x1f"
SHARED: Final = "_shared"
LOCAL: Final = "local"

HEAD: Final = "k"
HISTORY: Final = "h"
BLOB: Final = "b"
FENCE: Final = "f"
LEASE: Final = "l"
LEDGER: Final = "r"
"""What was converged on a machine, by ``type:id``; and what calls remembered."""
INTENT: Final = "j"
"""What is about to be changed on a machine, and how it was before."""
PENDING: Final = "p"
"""Handlers that a change has called for and that have not succeeded yet."""
CONTENT: Final = "o"
"""Contents that the ledger refers to, by their SHA-256."""
RUN: Final = "n"
RUN_TASK: Final = "t"
RUN_LIVE: Final = "u"
"""What the tasks of a run that is under way say, until their own records stand."""
STACK: Final = "s"
AUDIT: Final = "a"
"""Who was shown a sensitive value."""
TAG: Final = "g"
META: Final = "m"
"""What belongs to the namespace as a whole."""

STORE: Final = "_store"
"""The namespace of what concerns the physical store. It holds no keys of users."""
KEYRING: Final = f"{STORE}{SEP}{META}{SEP}keyring"
"""The data keys of a sealed store, wrapped; never sealed itself."""
PROVEN: Final = f"{STORE}{SEP}{META}{SEP}proven"
"""By which URLs the store's server was tried and found fit; never sealed."""
MOVED: Final = f"{STORE}{SEP}{META}{SEP}moved"
"""Where the state of this store went, or is going; never sealed. While it stands there, nobody writes."""
ARRIVING: Final = f"{STORE}{SEP}{META}{SEP}arriving"
"""From where a state is just being copied into this store; never sealed."""
ARRIVED: Final = f"{STORE}{SEP}{META}{SEP}arrived"
"""From where the state of this store came; never sealed."""
SEAL: Final = f"{SEP}{META}{SEP}seal"
"""NAMESPACE + SEAL: as of which change of the keyring a namespace is written; never sealed itself."""

_LOWER = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_AGENT = _LOWER | frozenset("._-")


class Place(NamedTuple):
    """A store key, taken apart."""

    namespace: str
    kind: str
    name: str
    revision: int | None


def store_key(namespace: str, kind: str, name: str, revision: int | None = None) -> str:
    """The store key of one record; ``revision`` is padded so that revisions sort by number."""
    if revision is None:
        return f"{namespace}{SEP}{kind}{SEP}{name}"
    return f"{namespace}{SEP}{kind}{SEP}{name}{SEP}{revision:012d}"


def prefix_of(namespace: str, kind: str, name_prefix: str = "") -> str:
    """The prefix that finds all records of one kind whose name starts with ``name_prefix``."""
    return f"{namespace}{SEP}{kind}{SEP}{name_prefix}"


def revisions_of(namespace: str, kind: str, name: str) -> str:
    """The prefix that finds the numbered records of exactly this name."""
    return f"{namespace}{SEP}{kind}{SEP}{name}{SEP}"


def place(key: str) -> Place:
    """Take a store key apart."""
    parts = key.split(SEP)
    revision = int(parts[3]) if len(parts) > 3 and parts[3].isdigit() else None
    return Place(parts[0], parts[1], parts[2], revision)


def what(key: str) -> str:
    """A store key in words."""
    try:
        namespace, kind, name, revision = place(key)
    except IndexError:
        return repr(key)
    words = _WORDS.get(kind, f"the record {kind}/{{name}}").format(name=repr(name), revision=revision)
    return f"{words} in {namespace}"


_WORDS: Final = {
    HEAD: "the key {name}",
    HISTORY: "revision {revision} of the key {name}",
    BLOB: "the long value of revision {revision} of the key {name}",
    FENCE: "the fence of the lock {name}",
    LEASE: "the lease of the lock {name}",
    LEDGER: "what a module remembers of {name}",
    INTENT: "the intent {name}",
    CONTENT: "a content that a module keeps, {name}",
    RUN: "the run {name}",
    RUN_TASK: "task {revision} of the run {name}",
    STACK: "the stack {name}",
    AUDIT: "a reveal of the key {name}",
    TAG: "the tag {name}",
}


def namespace_of(key: str) -> str:
    """The namespace a store key lies in."""
    return key.partition(SEP)[0]


def is_agent_name(name: str) -> bool:
    """Whether ``name`` may name an agent: ``^[a-z0-9][a-z0-9._-]{0,62}$``."""
    return 0 < len(name) <= 63 and name[0] in _LOWER and all(c in _AGENT for c in name)


def check_agent_name(name: str, *, reserved: bool = False) -> str:
    """Return ``name`` if it may name an agent.

    With ``reserved``, ``local`` is refused too (it always means this machine). Raises BadName.
    """
    good = is_agent_name(name)
    if not good or (reserved and name == LOCAL):
        why = "is reserved for this machine" if good else "is not an agent name"
        raise BadName(
            f"{name!r} {why}",
            next=["use 1 to 63 of a-z, 0-9, '.', '_' and '-', starting with a letter or a digit"],
            unchanged=["nothing was read or written"],
        )
    return name


def check_key(key: object) -> str:
    """Return ``key`` if it is 1 to 512 bytes of UTF-8 without control characters. Raises BadName."""
    return check_name(key, "a key")


def check_prefix(prefix: object, what: str = "a prefix") -> str:
    """Return ``prefix`` if a key may begin so, or if it is empty. Raises BadName naming ``what`` it is."""
    return check_name(prefix, what) if prefix != "" else ""


def check_name(name: object, what: str) -> str:
    """Return ``name`` if it keeps the rules of keys. Raises BadName naming ``what`` it is."""
    if not isinstance(name, str):
        raise _refused(f"{what} must be a string, not {type_word(name)}")
    if name.isascii() and name.isprintable() and 1 <= len(name) <= 512:
        return name
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise _refused(f"{what} must be UTF-8 text; this one holds other bytes: {name!r}") from None
    if not 1 <= size <= 512:
        raise _refused(f"{what} has 1 to 512 bytes; this one has {size}")
    if not name.isprintable() and any(ord(c) < 32 or 127 <= ord(c) < 160 for c in name):
        raise _refused(f"{what} holds no control characters: {name!r}")
    return name


def _refused(message: str) -> BadName:
    return BadName(message, unchanged=["nothing was changed"])


def type_word(value: object) -> str:
    """What a Lua user calls the type of ``value``."""
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str | bytes):
        return "string"
    if isinstance(value, dict | list | tuple):
        return "table"
    return "function" if callable(value) else type(value).__name__
