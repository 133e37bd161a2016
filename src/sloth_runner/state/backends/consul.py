"""Why: a team that runs Consul keeps its state there: in its key-value store, below one prefix.

Reads are ``?consistent``; a commit is one transaction; a Rev is a ModifyIndex, which grows with every write to the
cluster; leases hang on sessions. A scan is one request, answered as of one moment; one with a limit lists the keys
first. (developer.hashicorp.com/consul/api-docs/kv, /txn, /session; tried against release 1.8.7.)
"""

from __future__ import annotations

import os
from base64 import b64decode
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from sloth_runner.errors import Busy, Conflict, Indeterminate, SlothError, StoreDown, TooLarge
from sloth_runner.plain import TYPE_CHECKING, Any, Final
from sloth_runner.state.backends.bootclock import since_boot
from sloth_runner.state.backends.consul_http import Http, Reply, denied
from sloth_runner.state.backends.consul_keys import SEPARATOR, fits, fitting, quoted, read, written
from sloth_runner.state.backends.consul_rows import rows
from sloth_runner.state.backends.consul_sessions import LEAST, Sessions
from sloth_runner.state.backends.consul_txn import MOST_BYTES, MOST_OPERATIONS, Request, request, revs
from sloth_runner.state.store import (
    ABSENT,
    ANY,
    Change,
    Check,
    Doorbell,
    Entry,
    Proof,
    Rev,
    Traits,
    check_commit,
)

if TYPE_CHECKING:
    from sloth_runner.state.backends import Options
    from sloth_runner.state.backends.consul_url import Address

MOST_CHANGES: Final = 30
"""Two operations for each, and four to spare for leases that are taken over, which need three."""
MOST_VALUE: Final = 360 << 10
"""In base64 480 KiB, which leaves 32 KiB of a transaction for what is committed with it."""
TRIES: Final = 10
TRAITS: Final = Traits(
    embedded=False,
    concurrency=16,
    max_changes=MOST_CHANGES,
    max_value=MOST_VALUE,
    streams=True,
    max_bytes=MOST_VALUE - (32 << 10),
    shortest_lease=LEAST,
)
_ENDED: Final = "invalid session"
_UNMET: Final = (
    "index is stale",
    "exist",
    "failed index check",
    "session check",
    "check session",
    "already held",
    _ENDED,
)
"""Words of the errors that mean: an expectation did not hold."""


class ConsulStore:
    """Entries of a Consul cluster, through one of its agents. ``random(n)``: n random bytes; ``clock``: seconds,
    counting through suspension."""

    def __init__(
        self,
        address: Address,
        timeout: float,
        *,
        random: Callable[[int], bytes] = os.urandom,
        clock: Callable[[], float] = since_boot,
    ) -> None:
        self.address = address
        self.traits = TRAITS._replace(watch=self._watch, probe=self._probe)
        self._http = Http(address, timeout)
        self._sessions = Sessions(self._http, clock)
        self._prefix = address.prefix
        self._flags = int.from_bytes(random(7), "big")

    def get(self, key: str) -> Entry | None:
        """See Store."""
        path = self._prefix + written(key)
        if fits(path):
            reply = self._http.read(f"kv/{quoted(path)}?consistent")
            if reply.status == 404:
                return None
            return self._http.understood(reply, lambda rows: self._entry(rows[0]))
        return next(iter(self._values([path])), None)

    def scan(
        self, prefix: str = "", *, after: str = "", limit: int | None = None, reverse: bool = False
    ) -> Iterator[Entry]:
        """See Store; without a limit as of one moment."""
        if limit is not None:
            return self._some(prefix, after, limit, reverse) if limit > 0 else iter(())
        found = self._all(prefix, after, reverse)
        return iter([*found][::-1]) if reverse else found

    def commit(self, changes: Sequence[Change | Check]) -> list[Rev]:
        """See Store."""
        check_commit(changes, self.traits)
        loose = {change.key for change in changes if isinstance(change, Check) and change.expect == ANY}
        for _ in range(TRIES if changes else 0):
            try:
                return self._commit([self._found(c) if c.key in loose else c for c in changes])
            except Conflict as conflict:
                if not conflict.keys <= loose:
                    raise Conflict(conflict.message, keys=conflict.keys - loose) from None
        if changes:
            raise Busy(
                "what a commit checks was changed by others at every try", unchanged=["nothing was stored"]
            )
        return []

    def close(self) -> None:
        """See Store. Sessions that hold nothing are ended."""
        self._sessions.close()
        self._http.close()

    def namespaces(self) -> list[str]:
        """The namespaces that there are, in order."""
        reply = self._http.read(f"kv/{quoted(self._prefix)}?keys&separator={SEPARATOR}&consistent")
        if not self._http.listed(reply):
            return []
        size = len(self._prefix)
        return self._http.understood(
            reply, lambda keys: [read(key[size:].removesuffix(SEPARATOR)) for key in keys]
        )

    def session_of(self, key: str) -> str | None:
        """The session that this handle put an entry under, as far as it knows."""
        return self._sessions.of(key)

    @contextmanager
    def _watch(self, prefix: str) -> Iterator[Doorbell]:
        from sloth_runner.state.backends.consul_watch import Bell

        http = Http(self.address, self._http.timeout)
        try:
            yield Bell(http, self._prefix + written(prefix), len(self._prefix))
        finally:
            http.close()

    def _probe(self) -> list[Proof]:
        from sloth_runner.state.backends.consul_probe import proofs

        return proofs(self, self._http, lambda: ConsulStore(self.address, self._http.timeout))

    def _found(self, check: Change | Check) -> Check:
        """A check that takes anything, as one of what is there: its Rev is wanted."""
        entry = self.get(check.key)
        return Check(check.key, ABSENT if entry is None else entry.rev)

    def _commit(self, changes: Sequence[Change | Check]) -> list[Rev]:
        anew: frozenset[int] = frozenset()
        for _ in range(TRIES):
            sessions = self._leased(changes)
            self._flags += 1
            made = request(changes, self._prefix, self._flags, sessions, anew)
            try:
                reply = self._http.commit("txn?consistent", self._measured(made))
            except Indeterminate:
                for key in sessions:
                    self._sessions.doubted(key)
                raise
            except SlothError:
                self._unused(sessions)
                raise
            if reply.status == 200:
                for change in changes:
                    if isinstance(change, Change):
                        self._sessions.settled(change.key)
                return self._revs(changes, reply)
            self._unused(sessions)
            failed, unclear = self._judged(made, reply)
            if not unclear:
                raise Conflict("the store changed meanwhile", keys=[changes[n].key for n in failed])
            # A session that has ended is replaced; of other entries the next transaction says what holds.
            anew |= {number for number in unclear if changes[number].key not in sessions}
        raise Busy("leases of this commit ended at every try", unchanged=["nothing was stored"])

    def _revs(self, changes: Sequence[Change | Check], reply: Reply) -> list[Rev]:
        try:
            return revs(changes, self._prefix, reply.body["Results"] or ())
        except (KeyError, TypeError) as error:
            raise Indeterminate(
                f"Consul at {self.address.name} answered a commit in a way that is not understood: {error!r}"
            ) from error

    def _leased(self, changes: Sequence[Change | Check]) -> dict[str, str]:
        """A session for each put with a lease."""
        sessions: dict[str, str] = {}
        try:
            for change in changes:
                if isinstance(change, Change) and change.value is not None and change.lease is not None:
                    sessions[change.key] = self._sessions.lease(change.key, change.lease)
        except SlothError:
            self._unused(sessions)
            raise
        return sessions

    def _unused(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._sessions.unused(key)

    def _measured(self, made: Request) -> bytes:
        """The transaction as it is sent. Raises TooLarge."""
        if len(made.ops) > MOST_OPERATIONS:
            raise TooLarge(
                f"a commit of {len(made.ops)} operations, as Consul counts them; it takes {MOST_OPERATIONS}",
                unchanged=["nothing was stored"],
            )
        body = made.body()
        if len(body) > MOST_BYTES:
            raise TooLarge(
                f"a commit of {len(body):,} bytes, as Consul counts them; it takes {MOST_BYTES:,}",
                unchanged=["nothing was stored"],
            )
        return body

    def _judged(self, made: Request, reply: Reply) -> tuple[set[int], set[int]]:
        """The changes whose expectations failed, and those of which that is not clear yet."""
        failed: set[int] = set()
        unclear: set[int] = set()
        for error in self._errors(reply):
            index = error["OpIndex"]
            clear = made.asserts[index] and _ENDED not in error["What"]
            (failed if clear else unclear).add(made.owners[index])
        return failed, unclear - failed

    def _errors(self, reply: Reply) -> list[Any]:
        """Why a transaction failed, if it is by unmet expectations. Raises StoreDown for another reason."""
        errors: list[Any] = self._http.understood(reply, lambda body: list(body["Errors"]))
        for error in errors:
            if not any(words in error["What"] for words in _UNMET):
                if "enied" in error["What"] or "ACL" in error["What"]:
                    raise denied(self.address, error["What"])
                raise StoreDown(
                    f"Consul at {self.address.name} refuses a transaction: {error['What']}",
                    unchanged=["nothing was stored"],
                )
        return errors

    def _values(self, paths: Sequence[str]) -> list[Entry]:
        """The entries of at most ``MOST_OPERATIONS`` Consul keys, as of one moment; of those that are there."""
        wanted = list(paths)
        while wanted:
            body = [{"KV": {"Verb": "get", "Key": path}} for path in wanted]
            reply = self._http.read("txn?consistent", put=body)
            if reply.status == 200:
                return self._http.understood(
                    reply, lambda body: [self._entry(result["KV"]) for result in body["Results"]]
                )
            missing = {error["OpIndex"] for error in self._errors(reply)}
            wanted = [path for number, path in enumerate(wanted) if number not in missing]
        return []

    def _entry(self, row: Mapping[str, Any]) -> Entry:
        return Entry(
            read(row["Key"][len(self._prefix) :]), b64decode(row["Value"] or b""), row["ModifyIndex"]
        )

    def _all(self, prefix: str, after: str, reverse: bool) -> Iterator[Entry]:
        """The entries in order, all as of the moment that they were asked for."""
        path = self._prefix + written(prefix)
        reply, pieces = self._http.stream(f"kv/{quoted(fitting(path))}?recurse&consistent")
        if not self._http.listed(reply):
            return iter(())
        mark = self._prefix + written(after)
        return self._sifted(
            pieces,
            lambda key: key.startswith(path) and (not after or (key < mark if reverse else key > mark)),
        )

    def _sifted(self, pieces: Iterator[bytes], wanted: Callable[[str], bool]) -> Iterator[Entry]:
        source = rows(pieces)
        while True:
            try:
                row = next(source, None)
                entry = None if row is None or not wanted(row["Key"]) else self._entry(row)
            except (LookupError, TypeError, AttributeError, ValueError) as error:
                raise StoreDown(
                    f"what Consul at {self.address.name} sent is not whole, or not Consul's: {error!r}"
                ) from error
            if row is None:
                return
            if entry is not None:
                yield entry

    def _some(self, prefix: str, after: str, limit: int, reverse: bool) -> Iterator[Entry]:
        """At most ``limit`` entries: the keys as of one moment, each entry as of a later one."""
        path = self._prefix + written(prefix)
        reply = self._http.read(f"kv/{quoted(fitting(path))}?keys&consistent")
        if not self._http.listed(reply):
            return iter(())
        keys = self._http.understood(reply, lambda keys: [key for key in keys if key.startswith(path)])
        if after:
            mark = self._prefix + written(after)
            keys = keys[: bisect_left(keys, mark)] if reverse else keys[bisect_right(keys, mark) :]
        if reverse:
            keys.reverse()
        found: list[Entry] = []
        start = 0
        while start < len(keys) and len(found) < limit:
            count = min(MOST_OPERATIONS, limit - len(found))
            found += self._values(keys[start : start + count])
            start += count
        return iter(found)


def open_store(url: str, options: Options) -> ConsulStore:
    """A handle on the store that a ``consul://`` URL names. Raises BadConfig."""
    from sloth_runner.state.backends.consul_url import parse

    return ConsulStore(parse(url, options), options.timeout)
