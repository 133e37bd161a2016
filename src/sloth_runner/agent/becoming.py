"""Why: files that belong to others are handled as that user: by an agent of the same kind that runs as them.

It is a child of this agent, started by sudo (by root: directly), that gets its program and its requests on its
standard input, so that nothing of either is seen in a list of processes, and nothing is left on the disk. Standard
library only; runs on Python 3.8.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading

from sloth_runner.agent import frames, wire
from sloth_runner.agent.executing import other_user
from sloth_runner.agent.frames import BadFrame, Reader
from sloth_runner.agent.identity import python_as_other, spawn_as, sudo_command
from sloth_runner.ops import OpError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

PIECE = 256 << 10
OPENING = 30.0
"""Seconds that it may take to begin."""
ENDING = 10.0
TELLING = 2.0
"""Seconds from its end to the last that is heard of why."""
_MAGIC = b"\n\x00sloth-runner agent\x00\n"
_BEGIN = """import os, sys
def exactly(n):
    data = b""
    while len(data) < n:
        piece = os.read(0, min(n - len(data), 1 << 16))
        if not piece: sys.exit(0)
        data += piece
    return data
data = exactly(int.from_bytes(exactly(8), "big"))
if hasattr(os, "memfd_create") and os.path.isdir("/proc/self/fd"):
    fd = os.memfd_create("sloth-runner")
    path = "/proc/self/fd/%d" % fd
else:
    import atexit, tempfile
    fd, path = tempfile.mkstemp(".zip")
    atexit.register(os.unlink, path)
with os.fdopen(os.dup(fd), "wb") as file: file.write(data)
sys.path.insert(0, path)
from sloth_runner.agent.stdio import serve
sys.exit(serve("", os.environ))"""


def own_archive() -> bytes:
    """The program that we are, as one archive."""
    loader: Any = globals().get("__loader__")
    path = getattr(loader, "archive", None)
    if path is not None:
        with open(path, "rb") as file:
            return file.read()
    from sloth_runner.agent.pack import packed  # an installed agent has it all

    return packed().data


class Other:
    """An agent that runs as ``user``. ``forward`` gets the frames of what programs say, as they come; ``close`` ends
    it, and is called once nothing is waited for any more."""

    def __init__(
        self,
        user: str,
        base: Mapping[str, str],
        password: bytes | None,
        forward: Callable[[int, bytes], None],
    ) -> None:
        self._user = user
        self._forward = forward
        self._lock = threading.Lock()
        self._done = threading.Condition(self._lock)
        self._replies: dict[int, tuple[int, bytes]] = {}
        self._contents: set[str] = set()
        self._ended = False
        self._begun = False
        self._writing = threading.Lock()
        self._hello = threading.Event()
        self._said = b""
        self._mark = b""
        """What is said when sudo asks for the password, and once it is content; nothing without a password."""
        self._process = self._start(base, password)
        if self._mark:  # before sudo is heard, for what answers its mark must come behind
            self._write((password or b"") + b"\n")
        self._hearing = threading.Thread(target=self._hear, daemon=True)
        for thread in (threading.Thread(target=self._listen, daemon=True), self._hearing):
            thread.start()
        if not self._mark:
            self._bring()

    def _bring(self) -> None:
        """Give it its program."""
        archive = own_archive()
        self._write(len(archive).to_bytes(8, "big") + archive)
        start = wire.Start(wire.VERSION, os.urandom(16).hex(), 1e9)
        self._write(frames.message(frames.START, 0, wire.dumps(start)))

    def _start(self, base: Mapping[str, str], password: bytes | None) -> subprocess.Popen[bytes]:
        spawn, mark = spawn_as(self._user, [], base, {}), None
        argv, how = [], other_user(spawn.how)
        if spawn.sudo is not None:
            mark = None if password is None else os.urandom(16).hex()
            argv = sudo_command(spawn.sudo, mark)
        self._mark = (mark or "").encode()
        argv += python_as_other([sys.executable, "-I", "-S", "-c", _BEGIN], mark)
        try:
            process = subprocess.Popen(  # noqa: S603 - ourselves
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=spawn.env,
                cwd="/",
                bufsize=0,
                start_new_session=True,
                **how,
            )
        except FileNotFoundError:
            raise OpError(
                "not-found", "sudo", f"is needed to act as {self._user}, and is not installed"
            ) from None
        return process

    def ask(self, number: int, op: Any, contents: Mapping[str, Any]) -> tuple[int, int, bytes]:
        """Have an operation performed; kind, number and payload of its reply. Raises OpError: that user can't be
        had, or its agent ended meanwhile (``gone``)."""
        if not self._hello.wait(OPENING) or not self._begun:
            self._stop_writing()
            raise self._refusal()
        for digest, content in contents.items():
            if digest not in self._contents:
                for frame in frames.frames(frames.CONTENT, 0, content, bytes.fromhex(digest)):
                    self._write(frame)
                self._contents.add(digest)
        self._write(b"".join(frames.frames(frames.REQUEST, number, wire.dumps(wire.Request(op)))))
        with self._done:
            while number not in self._replies and not self._ended:
                self._done.wait()
            reply = self._replies.pop(number, None)
        if reply is None:
            raise OpError("gone", self._user, f"the agent that acts as {self._user} ended", partial=True)
        return (reply[0], number, reply[1])

    @property
    def ended(self) -> bool:
        """Whether it is there no more. One that never began is not tried again: attempts may be counted."""
        return self._ended and self._begun

    def cancel(self, number: int) -> None:
        """Stop what was asked under that number."""
        self._write(frames.message(frames.CANCEL, number))

    def close(self) -> None:
        """End it."""
        process = self._process
        self._stop_writing()
        try:
            process.wait(ENDING)
        except subprocess.TimeoutExpired:
            process.kill()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()

    def _stop_writing(self) -> None:
        with self._writing:
            if self._process.stdin is not None:
                self._process.stdin.close()

    def _refusal(self) -> OpError:
        if self._ended:
            self._hearing.join(TELLING)
        said = self._said.replace(self._mark, b"").decode("utf-8", "replace")
        lines = [line for line in said.splitlines() if line.strip()]
        why = lines[-1] if lines else "its agent ended" if self._ended else "its agent does not start"
        return OpError("no-rights", self._user, f"can't become this user: {why}")

    def _write(self, data: bytes) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        rest = memoryview(data)
        try:
            with self._writing:
                while rest:
                    rest = rest[stdin.write(rest) or 0 :]
        except (OSError, ValueError):
            self._end()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        fd = self._process.stdout.fileno()
        reader, begun, heard, mark = Reader(), False, b"", self._mark
        try:
            while True:
                piece = os.read(fd, PIECE)
                if not piece:
                    break
                if not begun:
                    heard += piece
                    if mark and mark in heard:
                        self._write(mark + b"\n")
                        self._bring()
                        mark = b""
                    _, found, piece = heard.partition(_MAGIC)
                    begun = bool(found)
                if begun:
                    for frame in reader.feed(piece):
                        self._take(frame)
        except (OSError, ValueError, BadFrame):
            pass  # it is told as an end
        self._end()

    def _take(self, frame: frames.Frame) -> None:
        if frame.kind == frames.HELLO:
            self._begun = True
            self._hello.set()
        elif frame.kind == frames.OUTPUT:
            self._forward(frame.number, frame.payload)
        elif frame.kind in (frames.RESULT, frames.FAILURE):
            with self._done:
                self._replies[frame.number] = (frame.kind, frame.payload)
                self._done.notify_all()

    def _hear(self) -> None:
        assert self._process.stderr is not None
        fd = self._process.stderr.fileno()
        try:
            while True:
                piece = os.read(fd, 4096)
                if not piece:
                    return
                self._said = (self._said + piece)[-4096:]
                if self._mark and self._said.count(self._mark) > 1:  # more attempts could lock the account
                    self._stop_writing()
        except (OSError, ValueError):
            return

    def _end(self) -> None:
        with self._done:
            self._ended = True
            self._done.notify_all()
        self._hello.set()
