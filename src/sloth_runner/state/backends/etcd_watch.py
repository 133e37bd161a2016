"""Why: changes are told by etcd as they are made, in order and without a gap, from a revision on.

A watch has a connection of its own. When that breaks, or its node loses the majority, it goes on at another node from
the revision after the last one seen. Only when etcd no longer keeps that revision is it unknown what changed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from queue import Empty, SimpleQueue

from sloth_runner.plain import TYPE_CHECKING, Any, Final
from sloth_runner.state.backends import etcd_pb as pb
from sloth_runner.state.backends.etcd_errors import ELSEWHERE, TOKEN, UNKNOWN, Fault, fault_of
from sloth_runner.state.backends.etcd_grpc import RANGE

if TYPE_CHECKING:
    from sloth_runner.state.backends.etcd_grpc import Node
    from sloth_runner.state.backends.etcd_link import Link

REOPENINGS: Final = 5
"""How often in a row a watch may be opened in vain."""
PAUSE: Final = 0.2
"""Seconds before it is opened again."""


class Bell:
    """A Doorbell for the keys of etcd from ``start`` up to ``end``; their first ``skip`` bytes are not the store's.
    ``link`` is the bell's own."""

    def __init__(self, link: Link, start: bytes, end: bytes, skip: int) -> None:
        self._link = link
        self._start, self._end, self._skip = start, end, skip
        self._next = self._now() + 1
        self._stream: _Stream | None = self._open()

    def __call__(self, seconds: float) -> Sequence[str] | None:
        """See Doorbell."""
        end = time.monotonic() + seconds
        keys: dict[str, None] = {}
        vain = 0
        while True:
            if self._stream is None:
                self._go_on()
                if self._stream is None:
                    return None
            try:
                left = 0.0 if keys else max(end - time.monotonic(), 0.0)
                answer = self._stream.answers.get(timeout=left) if left else self._stream.answers.get_nowait()
            except Empty:
                return tuple(keys)
            try:
                keys.update(dict.fromkeys(self._heard(answer)))
                vain = 0 if keys else vain
            except Fault as fault:
                vain += 1
                self._lost(fault, vain)
                if keys:
                    return tuple(keys)
            except _Gap:
                self._next = self._now() + 1
                self._close()
                self._stream = self._open()
                return None

    def close(self) -> None:
        """Stop listening."""
        self._close()
        self._link.close()

    def _heard(self, answer: pb.WatchResponse | Fault) -> list[str]:
        """The keys that an answer names. Raises Fault, _Gap."""
        if isinstance(answer, Fault):
            raise answer
        if answer.compact_revision:
            raise _Gap
        if answer.canceled:
            assert self._stream is not None
            raise fault_of(self._stream.host, answer.cancel_reason)
        if answer.events:
            self._next = answer.events[-1].kv.mod_revision + 1
        elif not answer.created:
            self._next = max(self._next, answer.header.revision + 1)
        return [event.kv.key[self._skip :].decode() for event in answer.events]

    def _lost(self, fault: Fault, vain: int) -> None:
        """The stream ended: the next will be opened elsewhere. Raises what the fault means when that is in vain."""
        self._close()
        if fault.fate not in (ELSEWHERE, UNKNOWN, TOKEN) or vain > REOPENINGS:
            raise fault.error()
        if fault.fate != TOKEN:
            self._link.drop()
        if vain > 1:
            time.sleep(PAUSE)

    def _go_on(self) -> None:
        """Listen again, from where it broke off; if etcd's revisions went back (a restored backup), from now on: then
        what changed is unknown, and there is no stream yet."""
        now = self._now()
        if now + 1 < self._next:
            self._next = now + 1
            return
        self._stream = self._open()

    def _now(self) -> int:
        """The revision as of now, from a node that serves. Raises StoreDown."""
        request = pb.RangeRequest(key=self._start, keys_only=True)
        return self._link.read(RANGE, request).header.revision

    def _open(self) -> _Stream:
        node, metadata = self._link.node()
        request = pb.WatchCreateRequest(
            key=self._start, range_end=self._end, start_revision=self._next, progress_notify=True
        )
        return _Stream(node, metadata, pb.WatchRequest(create_request=request))

    def _close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None


class _Gap(Exception):
    """etcd no longer keeps what was to come next."""


class _Stream:
    """One watch: a thread passes on what etcd says. Its last word is a Fault."""

    def __init__(self, node: Node, metadata: Any, request: pb.WatchRequest) -> None:
        self.host = node.address
        self.answers: SimpleQueue[pb.WatchResponse | Fault] = SimpleQueue()
        self._request = request
        self._closing = threading.Event()
        self._call = node.watch(self._requests(), metadata=metadata)
        self._thread = threading.Thread(target=self._listen, name="etcd watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it."""
        self._closing.set()
        self._call.cancel()  # type: ignore[no-untyped-call] # its stubs don't say
        self._thread.join()

    def _requests(self) -> Iterator[pb.WatchRequest]:
        """One request; the stream lasts as long as there may be another."""
        yield self._request
        self._closing.wait()

    def _listen(self) -> None:
        try:
            for answer in self._call:
                self.answers.put(answer)
            self.answers.put(Fault(self.host, "UNAVAILABLE", "the watch was ended"))
        except Exception as error:
            code, details = getattr(error, "code", None), getattr(error, "details", None)
            if code is None or details is None:
                self.answers.put(Fault(self.host, "UNKNOWN", repr(error)))
            else:
                self.answers.put(Fault(self.host, code().name, details() or ""))
