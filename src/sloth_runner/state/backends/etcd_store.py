"""Why: the three verbs on etcd.

A store key is ``prefix/`` and the key's UTF-8, whose byte order is the order of code points. An entry's Rev is
etcd's mod revision, which no key sees twice. A commit is one transaction (``etcd_txn``); a leased entry has an etcd
lease of its own. Leases last whole seconds and, on most clusters, at least two: less is rounded up.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from sloth_runner.errors import Conflict, Indeterminate, Lost, TooLarge
from sloth_runner.plain import TYPE_CHECKING, Any, Final
from sloth_runner.state.backends import etcd_pb as pb
from sloth_runner.state.backends import etcd_txn as txn
from sloth_runner.state.backends.etcd_errors import Fault
from sloth_runner.state.backends.etcd_grpc import GRANT, TXN
from sloth_runner.state.backends.etcd_link import Link, login_of
from sloth_runner.state.backends.etcd_read import Reading
from sloth_runner.state.store import ABSENT, Change, Check, Doorbell, Proof, Reader, Rev, Traits, check_commit

if TYPE_CHECKING:
    from sloth_runner.state.backends.etcd_url import Settings

HEADROOM: Final = 16 << 10
"""Bytes of a request that are kept for what is around one value: keys, records, etcd's own header."""
BESIDE: Final = 256 << 10
"""Bytes of a request that many changes may need for themselves: each names its key three times."""
ENVELOPE: Final = 1 << 10
"""Bytes that etcd itself adds to a request before it compares it with its limit."""
FAREWELL: Final = 1.0
"""Seconds that closing waits for leases to be given back. What is not given back runs out."""
SHORTEST: Final = 2.0
"""Seconds of the shortest lease that etcd grants, unless its elections take longer than they do by default."""
CONCURRENCY: Final = 64


class EtcdStore:
    """A handle, with a connection of its own. ``rpc``: the module grpc; ``shared``: see Options."""

    def __init__(
        self, settings: Settings, timeout: float, rpc: Any, shared: dict[str, object] | None = None
    ) -> None:
        self._new_link = partial(Link, settings, timeout, rpc, login_of(settings, shared))
        self._another = partial(EtcdStore, settings, timeout, rpc, shared)
        self._link = self._new_link()
        self._prefix = settings.prefix.encode()
        self._most = settings.max_bytes - ENVELOPE
        self._reading = Reading(self._link, self._prefix)
        self._leaving: list[Any] = []
        self.get = self._reading.get
        self.scan = self._reading.scan
        self.traits = Traits(
            embedded=False,
            concurrency=CONCURRENCY,
            max_changes=settings.max_ops,
            max_value=settings.max_bytes - HEADROOM,
            streams=True,
            max_bytes=max(settings.max_bytes - BESIDE, settings.max_bytes // 2),
            shortest_lease=SHORTEST,
            snapshot=self._snapshot,
            watch=self._watch,
            probe=self._probe,
        )

    def commit(self, changes: Sequence[Change | Check]) -> list[Rev]:
        """See Store."""
        if not changes:
            return []
        check_commit(changes, self.traits)
        request = txn.transaction(changes, self._name)
        size = request.ByteSize()
        if size > self._most:
            raise TooLarge(
                f"a commit has {size:,} bytes; this store takes {self._most:,} (max-request-bytes)",
                unchanged=["nothing was stored"],
            )
        granted = self._grant(changes, request)
        try:
            reply = self._send(changes, request)
        except Indeterminate:
            raise  # its leases may be in use
        except BaseException:
            self._give_back(granted)
            raise
        if not reply.succeeded:
            self._give_back(granted)
            raise Conflict("the store changed meanwhile", keys=txn.failed(changes, reply))
        self._give_back(txn.leases_left(reply))
        return txn.revs(changes, reply)

    def close(self) -> None:
        """See Store."""
        end = time.monotonic() + FAREWELL
        for future in self._leaving:
            if self._link.serves():
                try:
                    future.exception(timeout=max(end - time.monotonic(), 0.0))
                except Exception:  # noqa: S112 - late, or cancelled: the lease runs out
                    continue
        self._leaving.clear()
        self._link.close()

    def _name(self, key: str) -> bytes:
        return self._prefix + key.encode()

    def _send(self, changes: Sequence[Change | Check], request: pb.TxnRequest) -> pb.TxnResponse:
        if not any(isinstance(change, Change) for change in changes):
            return self._link.read(TXN, request)  # nothing is written, so nothing can be lost
        look = pb.RangeRequest(key=self._name(changes[0].key), keys_only=True)
        try:
            return self._link.write(request, look)
        except Fault as fault:
            if self._surely_unapplied(changes, look):
                raise fault.error() from None
            raise Indeterminate(
                f"etcd at {fault.host} filled up meanwhile ({fault.reason}): whether this was stored is unknown",
                next=fault.row.next,
            ) from None

    def _surely_unapplied(self, changes: Sequence[Change | Check], look: pb.RangeRequest) -> bool:
        """After etcd said that its database is full, which it also says of the last commit, that it did apply.

        It was not if nobody committed anything since before it was sent, or if something that it would have replaced
        is still there."""
        try:
            if self._link.look(look).header.revision == self._link.sent_at:
                return True
            for change in changes:
                if isinstance(change, Change) and change.expect > ABSENT:
                    entry = self.get(change.key)
                    return entry is not None and entry.rev == change.expect
        except Lost:
            pass
        return False

    def _grant(self, changes: Sequence[Change | Check], request: pb.TxnRequest) -> list[int]:
        """Each leased put gets a lease of its own, begun before the commit, so that it can't end too early."""
        if not any(isinstance(change, Change) and change.lease is not None for change in changes):
            return []

        granted: list[int] = []
        puts = (op.request_put for op in request.success if op.HasField("request_put"))
        for change in changes:
            if not isinstance(change, Change) or change.value is None:
                continue
            put = next(puts)
            if change.lease is not None:
                put.lease = self._link.read(GRANT, pb.LeaseGrantRequest(TTL=math.ceil(change.lease))).ID
                granted.append(put.lease)
        return granted

    def _give_back(self, leases: Sequence[int]) -> None:
        """Revoke leases that nothing is attached to any more, without waiting for it; else they run out."""
        if not leases or not self._link.serves():
            return

        node, metadata = self._link.node()
        self._leaving = [future for future in self._leaving if not future.done()]
        for lease in leases:
            request = pb.LeaseRevokeRequest(ID=lease)
            self._leaving.append(node.revoke.future(request, timeout=self._link.timeout, metadata=metadata))

    @contextmanager
    def _snapshot(self, namespace: str) -> Iterator[Reader]:
        """See Traits: the revision of now is read at, however often; etcd must not compact it meanwhile."""
        yield self._reading.pinned()

    @contextmanager
    def _watch(self, prefix: str) -> Iterator[Doorbell]:
        """See Traits."""
        from sloth_runner.state.backends.etcd_watch import Bell

        link = self._new_link()
        try:
            bell = Bell(link, *self._reading.span(prefix), len(self._prefix))
            try:
                yield bell
            finally:
                bell.close()
        finally:
            link.close()

    def _probe(self) -> list[Proof]:
        """See Traits."""
        from sloth_runner.state.backends.etcd_probe import proofs

        return proofs(self, self._another, self._link, self._reading)
