"""Why: what a controller asks for over a stream is performed here once, whatever carries the stream.

A ``Session`` takes frames and answers with frames. Each request has a number that grows: one that comes again,
because its reply was lost, gets the same reply and is not performed anew; one that is neither new nor remembered is
refused. What is quick is done by one thread in order, what takes time by a thread each; frames are always read
meanwhile, so that a program can be stopped. Standard library only; runs on Python 3.8.
"""

from __future__ import annotations

import queue
import threading
import time
from contextlib import ExitStack, suppress

from sloth_runner.agent import frames, wire
from sloth_runner.agent.becoming import Other
from sloth_runner.agent.contents import Contents, Lack
from sloth_runner.agent.executing import Cancelled, Overrun, Running, Unstoppable
from sloth_runner.agent.frames import BadFrame
from sloth_runner.agent.looking import who_am_i
from sloth_runner.agent.perform import perform, takes_time
from sloth_runner.agent.starting import base_environment
from sloth_runner.ops import Batch, Exec, Fetch, OpError, Pause, Paused, Write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from sloth_runner.agent.frames import Frame
    from sloth_runner.ops import Op, Ran, Result

WAITING = 1000
"""Requests that may wait for their turn; then the stream is not read on."""
AT_ONCE = 64
"""Operations that take time at once; others wait."""
HOLDERS = {"Write": "content", "Unpack": "content", "Fetch": "body"}
"""Operations that may be sent without their content, and the field that it is in."""
REMEMBERED = 10_000
REMEMBERED_BYTES = 64 << 20
"""Replies that are kept until the controller says that they have arrived, and their bytes, at most."""


class Job:
    """One request on its way."""

    def __init__(self, number: int, op: Op, user: str | None) -> None:
        self.number = number
        self.op = op
        self.user = user
        self.cancelled = threading.Event()
        self._lock = threading.Lock()
        self._stop: Callable[[], None] | None = None

    def cancel(self) -> None:
        """Stop what it is doing; it does nothing more."""
        with self._lock:
            self.cancelled.set()
            if self._stop is not None:
                self._stop()

    def stop_by(self, stop: Callable[[], None] | None) -> None:
        """From now on this stops it. Raises Cancelled if it is to be stopped already."""
        with self._lock:
            self._stop = stop
            if self.cancelled.is_set() and stop is not None:
                raise Cancelled


class Session:
    """Serves one controller. ``send`` takes whole frames, may wait, and is used by one thread at a time. ``grace``:
    seconds that a program has to end when it is stopped."""

    def __init__(
        self,
        send: Callable[[bytes], None],
        environ: Mapping[str, str],
        *,
        grace: float = 5.0,
        limit: int = 1 << 30,
    ) -> None:
        self._send_frames = send
        self._base = base_environment(environ)
        self._grace = grace
        self._sending = threading.Lock()
        self._lock = threading.Lock()
        self._contents = Contents(limit)
        self._jobs: dict[int, Job] = {}
        self._replies: dict[int, bytes] = {}
        self._reply_bytes = 0
        self._highest = 0
        self._room = threading.BoundedSemaphore(WAITING)
        self._slots = threading.BoundedSemaphore(AT_ONCE)
        self._quick: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._threads: set[threading.Thread] = set()
        self._closed = False
        self._start: wire.Start | None = None
        me = who_am_i()
        self._me = (me.name, str(me.uid))
        self._others: dict[str, Other] = {}
        self._becoming = threading.Lock()
        self.heard = time.monotonic()
        worker = threading.Thread(target=self._work, daemon=True)
        self._threads.add(worker)
        worker.start()

    @property
    def patience(self) -> float | None:
        """After how many seconds without a frame the controller may be taken for gone; None: it has not said."""
        return None if self._start is None else self._start.patience

    def receive(self, frame: Frame) -> None:
        """One frame of the controller's. Raises BadFrame for one that may not come; the stream has to end then."""
        self.heard = time.monotonic()
        kind = frame.kind
        if kind == frames.PING:
            self._send(frames.message(frames.PONG, frame.number))
        elif kind == frames.START:
            self._begin(frame)
        elif self._start is None:
            raise BadFrame("a stream opens with START")
        elif kind == frames.REQUEST:
            self._request(frame)
        elif kind == frames.CANCEL:
            with self._lock:
                job = self._jobs.get(frame.number)
            if job is not None:
                job.cancel()
        elif kind == frames.CONTENT:
            self._contents.add(frame.payload, frame.more)
        elif kind != frames.PONG:
            raise BadFrame(f"a controller sends no frame of kind {kind}")

    def close(self) -> None:
        """Stop everything that is under way, and wait for its end; nothing is left behind."""
        with self._lock:
            self._closed = True
            jobs = list(self._jobs.values())
        self._quick.put(None)
        for job in jobs:
            job.cancel()
        end = time.monotonic() + 3 * self._grace
        for thread in list(self._threads):
            thread.join(max(0.0, end - time.monotonic()))
        for other in self._others.values():
            other.close()
        self._contents.close()

    def _begin(self, frame: Frame) -> None:
        try:
            start = wire.loads(frame.payload, wire.Start)
        except wire.Malformed as error:
            raise BadFrame(str(error)) from None
        if start.version != wire.VERSION:
            raise BadFrame(f"version {start.version} of the protocol; this is {wire.VERSION}")
        if self._start is not None and self._start.session != start.session:
            raise BadFrame("the stream has begun already")
        self._start = start

    def _request(self, frame: Frame) -> None:
        number = frame.number
        try:
            request = wire.loads(frame.payload, wire.Request)
        except wire.Malformed as error:
            self._reply(number, wire.Broken(f"the request is not understood: {error}"))
            return
        with self._lock:
            self._forget(request.seen)
            known, running = self._replies.get(number), number in self._jobs
            new = number > self._highest
            if new:
                self._highest = number
                user = None if self._acts_itself(request) else request.user
                job = self._jobs[number] = Job(number, request.op, user)
        if running:
            return
        if known is not None:
            self._send(known)
        elif not new:
            self._send(_encoded(number, wire.Forgotten()))
        else:
            self._room.acquire()
            self._hand_out(job)

    def _acts_itself(self, request: wire.Request) -> bool:
        """Whether no other agent is needed: it is asked for as who we are, or root starts a program as them."""
        op, user = request.op, request.user
        return user in self._me or (self._me[1] == "0" and isinstance(op, Exec) and op.user == user)

    def _forget(self, seen: int) -> None:
        for number in [number for number in self._replies if number <= seen]:
            self._reply_bytes -= len(self._replies.pop(number))

    def _hand_out(self, job: Job) -> None:
        if job.user is None and not _takes_time(job.op):
            self._quick.put(job)
            return
        thread = threading.Thread(target=self._slowly, args=(job,), daemon=True)
        with self._lock:
            if self._closed:
                return
            self._threads.add(thread)
        thread.start()

    def _work(self) -> None:
        while True:
            job = self._quick.get()
            if job is None:
                return
            self._do(job)

    def _slowly(self, job: Job) -> None:
        with self._slots:
            self._do(job)
        with self._lock:
            self._threads.discard(threading.current_thread())

    def _do(self, job: Job) -> None:
        if job.user is not None:
            self._as_other(job, job.user)
            return
        reply: Any
        try:
            with ExitStack() as held:  # what is lacking is noticed before anything is done
                contents = {
                    digest: held.enter_context(self._contents.of(digest)) for digest in _digests(job.op)
                }
                reply = self._perform(job, _filled(job.op, contents))
        except OpError as error:
            reply = wire.Refused(error.kind, error.path, error.reason, error.partial, error.results)
        except Cancelled:
            reply = wire.Stopped()
        except Lack as error:
            reply = wire.Lacking(error.digest)
        except Overrun as error:
            reply = wire.Overran(error.label, error.timeout, error.said)
        except Unstoppable as error:
            reply = wire.Unstoppable(error.label, error.user, error.group, error.system)
        except Exception as error:  # a fault of ours must not take other operations with it
            reply = wire.Broken(f"{type(error).__name__}: {error}")
        finally:
            self._room.release()
        self._reply(job.number, reply)

    def _as_other(self, job: Job, user: str) -> None:
        """Have another user's agent perform it; what that answers is the answer."""
        reply: Any
        try:
            with ExitStack() as held:
                contents = {
                    digest: held.enter_context(self._contents.of(digest)) for digest in _digests(job.op)
                }
                other = self._other(user)
                job.stop_by(lambda: other.cancel(job.number))
                data = frames.message(*other.ask(job.number, job.op, contents))
        except OpError as error:
            reply = wire.Refused(error.kind, error.path, error.reason, error.partial, error.results)
            data = _encoded(job.number, reply)
        except Cancelled:
            data = _encoded(job.number, wire.Stopped())
        except Lack as error:
            data = _encoded(job.number, wire.Lacking(error.digest))
        except Exception as error:  # as above
            data = _encoded(job.number, wire.Broken(f"{type(error).__name__}: {error}"))
        finally:
            self._room.release()
        self._reply_with(job.number, data)

    def _other(self, user: str) -> Other:
        """The agent of another user, started at the first use."""
        with self._becoming:
            found = self._others.get(user)
            if found is None or found.ended:
                found = self._others[user] = Other(user, self._base, self._password(), self._tell_output)
            return found

    def _password(self) -> bytes | None:
        secret = None if self._start is None else self._start.password
        return None if secret is None else secret.encode("utf-8", "surrogateescape")

    def _tell_output(self, number: int, payload: bytes) -> None:
        self._send(frames.message(frames.OUTPUT, number, payload))

    def _perform(self, job: Job, op: Op) -> Result:
        if job.cancelled.is_set():
            raise Cancelled
        if isinstance(op, Batch):
            return self._each(job, op)
        if isinstance(op, Exec):
            return self._execute(job, op)
        if isinstance(op, Fetch):
            return _fetch(job, op)
        if isinstance(op, Pause):
            if job.cancelled.wait(op.seconds):
                raise Cancelled
            return Paused(time.monotonic())
        return perform(op)

    def _each(self, job: Job, batch: Batch) -> Result:
        results: list[Result] = []
        for op in batch.ops:
            try:
                results.append(self._perform(job, op))
            except OpError as error:
                error.results = (*results, *error.results)
                raise
        return tuple(results)

    def _execute(self, job: Job, op: Exec) -> Ran:
        def hear(stream: int, piece: bytes) -> None:
            for one in frames.frames(frames.OUTPUT, job.number, piece, bytes((stream,))):
                self._send(one)

        running = Running(op, self._base, hear, self._grace)
        job.stop_by(running.cancel)
        try:
            return running.run()
        finally:
            job.stop_by(None)

    def _reply(self, number: int, reply: Any) -> None:
        self._reply_with(number, _encoded(number, reply))

    def _reply_with(self, number: int, data: bytes) -> None:
        with self._lock:
            self._jobs.pop(number, None)
            self._replies[number] = data
            self._reply_bytes += len(data)
            while len(self._replies) > REMEMBERED or self._reply_bytes > REMEMBERED_BYTES:
                oldest = next(iter(self._replies))
                self._reply_bytes -= len(self._replies.pop(oldest))
        self._send(data)

    def _send(self, data: bytes) -> None:
        with self._sending, suppress(OSError):  # whoever reads the stream will notice that it has ended
            self._send_frames(data)


def _encoded(number: int, reply: Any) -> bytes:
    kind = frames.FAILURE if isinstance(reply, wire.FAILURES) else frames.RESULT
    payload = wire.dumps(reply)
    if len(payload) > frames.MESSAGE:
        kind = frames.FAILURE
        payload = wire.dumps(
            wire.Refused("too-large", "", f"the answer has more than {frames.MESSAGE:,} bytes")
        )
    return frames.message(kind, number, payload)


def _takes_time(op: Any) -> bool:
    if isinstance(op, Batch):
        return any(map(_takes_time, op.ops))
    if isinstance(op, wire.Kept):
        return not isinstance(op.op, Write)
    return takes_time(op)


def _digests(op: Any) -> list[str]:
    """The contents that an operation was sent without."""
    if isinstance(op, Batch):
        return [digest for one in op.ops for digest in _digests(one)]
    return [op.digest] if isinstance(op, wire.Kept) else []


def _filled(op: Any, contents: Mapping[str, Any]) -> Op:
    """An operation with the contents that it was sent without."""
    if isinstance(op, Batch):
        return Batch(tuple([_filled(one, contents) for one in op.ops]))
    if not isinstance(op, wire.Kept):
        return op  # type: ignore[no-any-return]
    field = HOLDERS.get(type(op.op).__name__)
    if field is None:
        raise OpError("system", "", f"the request is not understood: {type(op.op).__name__} has no content")
    return op.op._replace(**{field: contents[op.digest]})


def _fetch(job: Job, op: Fetch) -> Result:
    from sloth_runner.agent.fetching import Fetching

    fetching = Fetching(op)
    job.stop_by(fetching.stop)
    try:
        return fetching.perform()
    except OpError:
        if job.cancelled.is_set():
            raise Cancelled from None
        raise
    finally:
        job.stop_by(None)
