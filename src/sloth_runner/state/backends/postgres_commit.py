"""Why: a commit travels as one row of arrays; this is how it is packed, and which locks it takes."""

from __future__ import annotations

from collections.abc import Sequence
from struct import pack, unpack_from

from sloth_runner.state.backends.postgres_link import BYTEA, TEXT, Param
from sloth_runner.state.backends.postgres_schema import LONGEST_LEASE, MANY, lock_id
from sloth_runner.state.layout import SEP
from sloth_runner.state.store import Change, Check


def packed(name: str, namespace: str, changes: Sequence[Change | Check]) -> list[Param]:
    """The parameters of ``commit`` but for the first."""
    keys: list[bytes] = []
    values: list[bytes | None] = []
    ops, expects, leases = [], [], []
    for change in changes:
        keys.append(change.key.encode())
        expects.append(str(change.expect))
        if isinstance(change, Check):
            ops.append("0")
            values.append(None)
            leases.append("NULL")
            continue
        ops.append("2" if change.value is None else "1")
        values.append(change.value)
        lease = None if change.value is None else change.lease
        leases.append("NULL" if lease is None else repr(float(min(lease, LONGEST_LEASE))))
    taken = locks(name, changes)
    return [
        b"",
        text_array([str(lock) for lock in taken]),
        text_array(["t" if alone else "f" for alone in taken.values()]),
        namespace.encode(),
        binary_array(TEXT, keys),
        text_array(ops),
        binary_array(BYTEA, values),
        text_array(expects),
        text_array(leases),
    ]


def locks(name: str, changes: Sequence[Change | Check]) -> dict[int, bool]:
    """The locks that a commit takes, in order, each shared or alone (see ``postgres_schema``)."""
    many = len(changes) > MANY
    spaces = sorted({lock_id(name, change.key.partition(SEP)[0]) for change in changes})
    taken = {lock_id(name): False} | dict.fromkeys(spaces, many)
    if many:
        return taken
    keys: dict[int, bool] = {}
    for change in changes:
        lock = lock_id(name, change.key, "key")
        keys[lock] = keys.get(lock, False) or isinstance(change, Change)
    for lock in sorted(keys):
        taken[lock] = keys[lock]
    return taken


def text_array(items: Sequence[str]) -> bytes:
    """An array of what needs no quoting, in text form."""
    return f"{{{','.join(items)}}}".encode()


def binary_array(kind: int, items: Sequence[bytes | None]) -> bytes:
    """An array in binary form: dimensions, whether there are nulls, type, length, first index; then the items."""
    parts = [pack("!iiiii", 1, 1, kind, len(items), 1)]
    for item in items:
        parts.append(pack("!i", -1 if item is None else len(item)))
        if item:
            parts.append(item)
    return b"".join(parts)


def int8s(data: bytes) -> list[int]:
    """The items of an array of bigint, none of them null."""
    (count,) = unpack_from("!i", data, 12)
    return list(unpack_from("!" + "4xq" * count, data, 20))
