"""Why: which node of a cluster is asked, for how long, and what follows from its silence, is decided in one place.

One connection at a time, to a node that has proved that it can serve (a linearizable read needs a majority). Reads go
on at another endpoint when it fails. A commit is sent once: over a connection that was proved, so that what can't be
told apart is only what was really on its way. Connections are never shared between handles, and die with the process
that made them.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from functools import partial
from queue import Empty, SimpleQueue

from sloth_runner.errors import Foreign, Indeterminate, SlothError, StoreDown
from sloth_runner.plain import TYPE_CHECKING, Any, Final, TypeVar
from sloth_runner.state.backends import etcd_pb as pb
from sloth_runner.state.backends.etcd_errors import (
    COMPACTED,
    ELSEWHERE,
    FULL,
    NO_LEADER,
    TOKEN,
    UNKNOWN,
    Fault,
)
from sloth_runner.state.backends.etcd_grpc import LOGIN, RANGE, TXN, Dialer

if TYPE_CHECKING:
    from sloth_runner.state.backends.etcd_grpc import Node, Verb
    from sloth_runner.state.backends.etcd_url import Settings

Q = TypeVar("Q")
R = TypeVar("R")

STAGGER: Final = 0.4
"""Seconds that one endpoint is given before the next is asked, too, and that nodes are given to elect a leader."""
PASSING: Final = (ELSEWHERE, UNKNOWN)
"""Fates that another node, or another moment, may spare us."""
RENEWALS: Final = 3
"""How often one request may find its token unknown."""


class Login:
    """The token that handles share: etcd hashes the password at each login, which takes it a while."""

    def __init__(self) -> None:
        self.guard = threading.Lock()
        self.token: str | None = None


def login_of(settings: Settings, shared: dict[str, object] | None) -> Login:
    """The login of this user on this cluster."""
    made = Login()
    if shared is None:
        return made
    found = shared.setdefault(f"etcd {settings.user}@{','.join(settings.endpoints)}", made)
    assert isinstance(found, Login)
    return found


class Link:
    """The way to a cluster. ``timeout``: seconds for one request, whatever has to be tried for it."""

    def __init__(self, settings: Settings, timeout: float, rpc: Any, login: Login) -> None:
        self.settings = settings
        self.timeout = timeout
        self._dialer = Dialer(rpc, settings.tls)
        self._order = list(settings.endpoints)
        self._node: Node | None = None
        self._latest = 0
        self.sent_at = 0
        """The latest revision that was known when a commit was last sent."""
        self._login = login
        self._token: str | None = None
        self._spent: str | None = None
        self._metadata: tuple[tuple[str, str], ...] = (("hasleader", "true"),)
        self._pid = os.getpid()

    def look(self, request: pb.RangeRequest, patience: float | None = None) -> pb.RangeResponse:
        """Read entries as of now. Raises as ``read``, and Foreign."""
        reply = self.read(RANGE, request, patience)
        now, self._latest = self._latest, max(self._latest, reply.header.revision)
        if reply.header.revision < now:
            raise Foreign(
                f"etcd's revision went back, from {now} to {reply.header.revision}: a backup was restored, or "
                "another cluster stands in this one's place",
                unchanged=["nothing was stored"],
                next=["start again: what this program has read is no longer what is there"],
            )
        return reply

    def read(self, verb: Verb[Q, R], request: Q, patience: float | None = None) -> R:
        """Ask something that may be asked twice: the node in use, then, if it fails, all of them.

        Raises StoreDown; Fault where a revision is no longer kept; and what the table of errors says.
        """
        end = time.monotonic() + (self.timeout if patience is None else patience)
        renewals = 0
        while True:
            try:
                if self._token is None and self.settings.user is not None:
                    self._log_in(end)
                if self._node is None:
                    return self._elect(verb, request, end)
                return self._ask(self._node, verb, request, min(end - time.monotonic(), self.timeout / 3))
            except Fault as fault:
                if fault.fate == TOKEN and renewals < RENEWALS:
                    renewals += 1
                    self._spent, self._token = self._token, None
                elif fault.fate in PASSING:
                    self._drop()
                else:
                    raise (fault if fault.fate == COMPACTED else fault.error()) from None

    def write(self, request: pb.TxnRequest, look: pb.RangeRequest) -> pb.TxnResponse:
        """Commit, once; where a node surely did not, once more at another. ``look``: what to read where no connection
        is proved yet.

        Raises Indeterminate (nobody knows), StoreDown and others (surely not applied); Fault where the database is
        full: the commit may have been applied."""
        reserve = self.timeout / 4
        end = time.monotonic() + self.timeout
        renewals = failures = 0
        while True:
            if self._node is None or (self._token is None and self.settings.user is not None):
                self.look(look, end - time.monotonic() - reserve)
            assert self._node is not None
            try:
                self.sent_at = self._latest
                reply = self._ask(self._node, TXN, request, max(end - time.monotonic(), reserve))
                self._latest = max(self._latest, reply.header.revision)
                return reply
            except Fault as fault:
                if fault.fate == TOKEN and renewals < RENEWALS:
                    renewals += 1
                    self._spent, self._token = self._token, None
                    continue
                if fault.fate in PASSING:
                    self._drop()
                if fault.fate == UNKNOWN:
                    raise _unknown(fault) from None
                failures += 1
                if fault.fate not in PASSING or failures > 1:
                    raise (fault if fault.fate == FULL else fault.error()) from None

    def everyone(self, verb: Verb[Q, R], request: Q) -> list[tuple[str, R | Fault]]:
        """What each endpoint answers, or why it does not."""
        end = time.monotonic() + self.timeout / 3
        return [(node.address, answer) for node, answer in self._round(verb, request, end)]

    def node(self) -> tuple[Node, tuple[tuple[str, str], ...]]:
        """The node that served last, and what each request to it carries: for what is no plain question."""
        if self._node is None:
            raise StoreDown("there is no connection to etcd")
        return self._node, self._metadata

    def serves(self) -> bool:
        """Whether there is a connection that was good the last time."""
        return self._node is not None

    def drop(self) -> None:
        """Forget the node that was used: something else showed that it does not serve."""
        self._drop()

    def close(self) -> None:
        """End the connection."""
        if self._node is not None and self._pid == os.getpid():
            self._node.close()
        self._node = None

    def _ask(self, node: Node, verb: Verb[Q, R], request: Q, seconds: float) -> R:
        if self._pid != os.getpid():
            raise StoreDown("a store can't be used in a forked process: open it there anew")
        try:
            return verb(node)(request, timeout=max(seconds, 0.01), metadata=self._metadata)
        except self._dialer.failure as error:
            raise _fault(node, error) from None

    def _log_in(self, end: float) -> None:
        """Get a token: the one that another handle got meanwhile, or one from the node in use, or from the first that
        answers, which is then in use. Raises Fault, StoreDown."""
        login = self._login
        if not login.guard.acquire(timeout=max(end - time.monotonic(), 0.0)):
            raise Fault(self._order[0], "DEADLINE_EXCEEDED", "").error()
        try:
            if login.token is None or login.token == self._spent:
                login.token = self._new_token(end)
            self._token = login.token
        finally:
            login.guard.release()
        self._metadata = (*self._metadata[:1], ("token", self._token))

    def _new_token(self, end: float) -> str:
        name, password = self.settings.user, self.settings.password
        request = pb.AuthenticateRequest(name=name, password=password)
        self._metadata = self._metadata[:1]
        if self._node is not None:
            try:
                seconds = min(end - time.monotonic(), self.timeout / 3)
                return self._ask(self._node, LOGIN, request, seconds).token
            except Fault as fault:
                if fault.fate not in PASSING:
                    raise
                self._drop()
        return self._elect(LOGIN, request, end).token

    def _elect(self, verb: Verb[Q, R], request: Q, end: float) -> R:
        """Ask all endpoints, one after the other started a little later, until one answers: that is the node from
        then on. Nodes without a leader are asked again: they may be electing one.

        Raises StoreDown when none does, Fault for an answer that all would give.
        """
        if self._pid != os.getpid():
            raise StoreDown("a store can't be used in a forked process: open it there anew")
        faults: list[Fault] = []
        for node, answer in self._round(verb, request, end, waits=True):
            if not isinstance(answer, Fault):
                self._node = node
                return answer
            if answer.fate not in PASSING:
                raise answer
            faults.append(answer)
        raise self._down(faults)

    def _round(
        self, verb: Verb[Q, R], request: Q, end: float, *, waits: bool = False
    ) -> Iterator[tuple[Node, R | Fault]]:
        """Answers as they come. The nodes are closed, but for one that has become the node in use. With ``waits``,
        who says that there is no leader is asked again a little later, while there is time."""
        answers: SimpleQueue[tuple[Node, Any]] = SimpleQueue()
        waiting = list(self._order)
        asked: list[Node] = []
        outstanding: set[Node] = set()
        electing: list[Node] = []

        def ask(node: Node) -> None:
            outstanding.add(node)
            left = max(end - time.monotonic(), 0.01)
            future = verb(node).future(request, timeout=left, metadata=self._metadata)
            future.add_done_callback(partial(_put, answers, node))

        try:
            while waiting or outstanding or electing:
                if waiting:
                    asked.append(self._dialer.node(waiting.pop(0)))
                    ask(asked[-1])
                left = max(end - time.monotonic(), 0.0) + 1.0
                try:
                    node, done = answers.get(timeout=STAGGER if waiting or electing else left)
                except Empty:
                    if not waiting and not electing:
                        yield from (
                            (node, Fault(node.address, "DEADLINE_EXCEEDED", "")) for node in outstanding
                        )
                        return
                    for node in electing:
                        ask(node)
                    electing.clear()
                    continue
                outstanding.discard(node)
                error = done.exception()
                answer = done.result() if error is None else _fault(node, error)
                if waits and _leaderless(answer) and time.monotonic() + STAGGER < end:
                    electing.append(node)
                else:
                    yield node, answer
        finally:
            for node in asked:
                if node is not self._node:
                    node.close()

    def _drop(self) -> None:
        """Close the connection; the next request begins with the endpoints after this one."""
        node, self._node = self._node, None
        if node is not None:
            place = self._order.index(node.address) + 1
            self._order = self._order[place:] + self._order[:place]
            node.close()

    def _down(self, faults: list[Fault]) -> SlothError:
        """All endpoints failed, each for its reason."""
        if len(faults) == 1:
            return faults[0].error()
        reasons = "; ".join(f"{fault.host}: {fault.reason}" for fault in faults)
        return StoreDown(
            f"no etcd node serves: {reasons}",
            operation="etcd",
            unchanged=["nothing was stored"],
            next=["etcdctl endpoint health --cluster shows which nodes are up"],
        )


def _put(answers: SimpleQueue[tuple[Node, Any]], node: Node, done: Any) -> None:
    answers.put((node, done))


def _leaderless(answer: Any) -> bool:
    return isinstance(answer, Fault) and answer.row.text == NO_LEADER


def _fault(node: Node, error: Any) -> Fault:
    return Fault(node.address, error.code().name, error.details() or "")


def _unknown(fault: Fault) -> Indeterminate:
    return Indeterminate(
        f"etcd at {fault.host} did not say whether it committed: {fault.reason}", operation="etcd"
    )
