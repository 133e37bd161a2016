"""Why: what a commit means in the verbs of Consul's transactions, and what their results and errors mean for it.

Consul applies all operations of a transaction or none, and names every one that failed. Its verbs don't quite say
what a commit says, which this file makes up for (agent/consul/state/kvs.go and txn.go, release 1.8):

- ``set`` and ``cas`` leave an entry under the session that holds it, and what was to be permanent would vanish with
  it: ``check-session`` of no session goes first, and where that fails the entry is deleted and made anew.
- a write that changes nothing leaves the ModifyIndex alone, which is our Rev: each commit writes flags of its own.
- ``delete-cas`` succeeds where there is nothing: ``check-index`` and ``delete``.
- nothing says "exists": ``get`` fails where there is nothing.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence

from sloth_runner.plain import Any, Final, NamedTuple, TypeAlias
from sloth_runner.state.backends.consul_keys import written
from sloth_runner.state.store import ABSENT, ANY, PRESENT, Change, Check, Rev

MOST_OPERATIONS: Final = 64
MOST_BYTES: Final = 512 << 10
"""Of a transaction, as JSON with its values in base64 (``txn_max_req_len``)."""

Op: TypeAlias = dict[str, Any]


class Request(NamedTuple):
    """A transaction: for each operation, which change it is of and whether its failure is an unmet expectation."""

    ops: list[Op]
    owners: list[int]
    asserts: list[bool]

    def body(self) -> bytes:
        """As it is sent."""
        return json.dumps([{"KV": op} for op in self.ops], separators=(",", ":")).encode()


def request(
    changes: Sequence[Change | Check],
    prefix: str,
    flags: int,
    sessions: Mapping[str, str],
    anew: frozenset[int] = frozenset(),
) -> Request:
    """The transaction of a commit. ``sessions``: what the entries put with a lease are to hang on, by their keys;
    ``anew``: the changes (by number) whose entries are made anew in any case."""
    made = Request([], [], [])
    for number, change in enumerate(changes):
        key = prefix + written(change.key)
        if isinstance(change, Check):
            ops = _expectation(key, change.expect)
        elif change.value is None:
            ops = _delete(key, change.expect)
        else:
            text = b64encode(change.value).decode()
            put = {"Key": key, "Value": text, "Flags": flags}
            if change.key in sessions:
                ops = _leased(put, change.expect, sessions[change.key])
            else:
                ops = _permanent(put, change.expect, anew=number in anew)
        for op in ops:
            made.ops.append(op)
            made.owners.append(number)
            made.asserts.append(op["Verb"] != "check-session")
    return made


def revs(changes: Sequence[Change | Check], prefix: str, results: Iterable[Mapping[str, Any]]) -> list[Rev]:
    """What ``commit`` returns, from the results of its transaction."""
    found: dict[str, Rev] = {result["KV"]["Key"]: result["KV"]["ModifyIndex"] for result in results}
    return [found[prefix + written(change.key)] if _leaves(change) else ABSENT for change in changes]


def _leaves(change: Change | Check) -> bool:
    """Whether there is an entry after the commit."""
    return change.expect != ABSENT if isinstance(change, Check) else change.value is not None


def _expectation(key: str, expect: int) -> list[Op]:
    """Operations that fail unless ``expect`` holds; none for ANY."""
    if expect == ANY:
        return []
    if expect == ABSENT:
        return [{"Verb": "check-not-exists", "Key": key}]
    if expect == PRESENT:
        return [{"Verb": "get", "Key": key}]
    return [{"Verb": "check-index", "Key": key, "Index": expect}]


def _delete(key: str, expect: int) -> list[Op]:
    checks = _expectation(key, expect)
    return checks if expect == ABSENT else [*checks, {"Verb": "delete", "Key": key}]


def _leased(put: Op, expect: int, session: str) -> list[Op]:
    clear = [] if expect == ABSENT else [{"Verb": "delete", "Key": put["Key"]}]
    return [*_expectation(put["Key"], expect), *clear, {"Verb": "lock", **put, "Session": session}]


def _permanent(put: Op, expect: int, *, anew: bool) -> list[Op]:
    key = put["Key"]
    if expect == ABSENT:
        return [{"Verb": "cas", **put, "Index": 0}]
    if expect == ANY or anew:
        return [*_expectation(key, expect), {"Verb": "delete", "Key": key}, {"Verb": "set", **put}]
    free = {"Verb": "check-session", "Key": key, "Session": ""}
    if expect == PRESENT:
        return [free, {"Verb": "set", **put}]
    return [free, {"Verb": "cas", **put, "Index": expect}]
