"""Why: a module is tested on real files through the real local transport, with every operation on record."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import os
import stat
from collections.abc import Callable, Coroutine, Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sloth_runner.engine.converge import Converging
from sloth_runner.engine.drive import Desk, Drive, Skipped
from sloth_runner.engine.effects import mutation
from sloth_runner.engine.job import About, Job
from sloth_runner.engine.lines import ledger_line
from sloth_runner.engine.rehearsal import Rehearsal
from sloth_runner.engine.store_desk import StoreDesk
from sloth_runner.errors import SlothError
from sloth_runner.model import Outcome
from sloth_runner.modules import Context, Sources, check_args, kinds, modules
from sloth_runner.modules.base import Deliver, Predict
from sloth_runner.ops import Batch, Exec, OpError, mutates
from sloth_runner.state.backends.memory import MemoryStore
from sloth_runner.state.ledger import Ledger
from sloth_runner.state.ledger_records import Entry
from sloth_runner.transport.base import Transport, discard
from sloth_runner.transport.local import LocalTransport
from sloth_runner.transport.loop import Loop
from tests.archives import tar
from tests.state.kit import make_state

if TYPE_CHECKING:
    from sloth_runner.model import Sink
    from sloth_runner.ops import Op, Result


class Way(NamedTuple):
    """How a machine is reached: over which transport, on which loop."""

    transport: Transport
    loop: Loop


class Killed(BaseException):
    """The process ended here."""


class _Watched:
    """A machine's transport, with its eyes on every operation."""

    def __init__(self, machine: Machine) -> None:
        self.is_local = machine.transport.is_local
        self.at_once = machine.transport.at_once
        self.do = machine.do
        self.ready = machine.transport.ready
        self.aclose = machine.transport.aclose

    def as_user(self, user: str | None) -> _Watched:
        """The same."""
        return self


class Machine:
    """A target (``root``), a task file's folder (``source``), and a ledger.

    ``operations`` are those of the last call; ``killed_after`` stops it once so many of them changed something.
    ``jobs`` are the resources that the last call compared, ``predictions`` what a check could not rehearse.
    """

    def __init__(self, folder: Path, way: Way | None = None) -> None:
        self.root = folder / "target"
        self.source = folder / "source"
        self.root.mkdir()
        self.source.mkdir()
        self.store = MemoryStore()
        self.ledger = Ledger(self.store, "local", tuple)
        self.operations: list[Op] = []
        self.mutations: list[str] = []
        self.jobs: list[Job] = []
        self.predictions: list[Predict | None] = []
        self.output: list[tuple[str, bytes]] = []
        self.transport: Transport = way.transport if way else LocalTransport(os.environ, grace=0.2)
        self._loop = way.loop if way else None
        self.rehearsal: Rehearsal | None = None
        self.clock = itertools.count(1_800_000_000.0)
        self._killed_after: int | None = None
        self._count = 0

    def call(
        self,
        name: str,
        args: Mapping[str, Any],
        *,
        killed_after: int | None = None,
        context: Context | None = None,
        **about: Any,
    ) -> Outcome:
        """Call a module as the engine does; what it remembers is kept. ``about``: what else an entry says of it."""
        module = modules()[name]
        self.operations, self.output, self.jobs, self.predictions, self._count = [], [], [], [], 0
        self._killed_after = killed_after
        context = context or self.context()
        steps = module.run(check_args(module, args), context)
        sources = Sources(str(self.source))
        said = About(
            name, "stack", ("ann", "host", 1, "run", "task"), (f"{name}(…)",), 1,
            sensitive=context.sensitive, salt="salt" if context.sensitive else "",
        )._replace(**about)  # fmt: skip
        desk_of_store = StoreDesk(make_state(self.store).writer, lambda store: make_state(store).writer)
        broken: list[SlothError] = []
        line = ledger_line(desk_of_store, self.ledger, broken.append)
        converging = Converging(
            kinds(),
            self.ledger,
            line,
            said,
            sources,
            lambda: next(self.clock),
            self.jobs.append,
            self.rehearsal,
        )
        desk = Desk(
            self._recall,
            sources.read,
            sources.tree,
            self._deliver(sources),
            converging.ensure,
            self._foretold,
            self._skipped,
            desk_of_store,
        )
        drive = Drive(steps, self._at_once, desk)
        try:
            op = drive.advance()
            if op is not None:
                self.run(self._wait(drive, op))
        except Killed:
            self.ledger = Ledger(self.store, "local", tuple)
            raise
        finally:
            self.mutations = drive.mutations
        assert drive.outcome is not None
        if drive.outcome.remember is not None and self.rehearsal is None:
            self._remember(*drive.outcome.remember)
        self.ledger.flush()
        return drive.outcome

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Wait for something."""
        return self._loop.run(work) if self._loop is not None else asyncio.run(work)

    def check(self, name: str, args: Mapping[str, Any], *, context: Context | None = None) -> Outcome:
        """The same in check mode: nothing is changed; ``jobs`` and ``predictions`` say what would be."""
        self.rehearsal = Rehearsal(self.transport)
        try:
            return self.call(name, args, context=context)
        finally:
            self.rehearsal = None

    def would_change(self) -> bool | None:
        """What the last check says: whether something would change; None: it can't be known."""
        said = [p.changed if p is not None else None for p in self.predictions]
        if any(job.differing for job in self.jobs) or True in said:
            return True
        return None if None in said else False

    def _deliver(self, sources: Sources) -> Callable[[Deliver], bool]:
        def deliver(op: Deliver) -> bool:
            if self.rehearsal is not None:
                raise Skipped(Exec(f"writing {op.path} here"))
            changed = sources.deliver(op)
            self._counted(changed)
            return changed

        return deliver

    def _foretold(self, prediction: Predict) -> Generator[Any, Any, None]:
        yield from ()

    def _recall(self, name: str) -> Generator[Any, Any, Mapping[str, Any] | None]:
        known = yield self.ledger.asking([name])
        entry = known[0][0]
        return None if entry is None else entry.memory

    def _remember(self, address: str, memory: Mapping[str, Any]) -> None:
        kind, _, name = address.partition(":")
        by = ("ann", "host", 1, "run", "task")
        entry = Entry(
            kind, name, {}, {}, {}, None, {}, True, None, None, 1.0, 1.0, by, "stack", (), 1, "cmd", memory=memory
        )  # fmt: skip
        self.ledger.record(entry, {}, (), begun=False)

    def _skipped(self, prediction: Predict | None, skipped: Skipped) -> Outcome:
        self.predictions.append(prediction)
        return Outcome(bool(prediction and prediction.changed), prediction.message if prediction else "")

    def context(self, **given: Any) -> Context:
        """A call on this machine, from the task file's folder."""
        here = self.transport.is_local
        return Context(str(self.source), None, {}, "local", here)._replace(**given)

    def changing(self) -> list[str]:
        """The names of the last call's operations that may change something."""
        return [type(op).__name__ for op in self.operations if mutates(op)]

    def _at_once(self, op: Op) -> Result | None:
        if self.rehearsal is None and isinstance(op, Batch) and mutates(op):
            return None  # the process may end in the midst of it
        result = (self.rehearsal or self.transport).at_once(op)
        if result is not None:
            self._done(op, result)
        return result

    async def _wait(self, drive: Drive, op: Op | None) -> None:
        while op is not None:
            op = await drive.perform(
                _Watched(self), op, lambda name, piece: self.output.append((name, piece))
            )

    async def do(self, op: Op, on_output: Sink = discard) -> Result:
        """An operation that takes time, of a Batch each by itself: the process may end after any."""
        if isinstance(op, Batch):
            results: list[Result] = []
            for inner in op.ops:
                try:
                    results.append(await self.do(inner, on_output))
                except OpError as error:
                    error.results = (*results, *error.results)
                    raise
            return tuple(results)
        self.operations.append(op)
        result = await (self.rehearsal or self.transport).do(op, on_output)
        self._counted(bool(mutation(op, result)))
        return result

    def _done(self, op: Op, result: Result) -> None:
        self.operations.extend(op.ops if isinstance(op, Batch) else [op])
        self._counted(bool(mutation(op, result)))

    def _counted(self, changed: bool) -> None:
        self._count += changed
        if self._killed_after is not None and self._count >= self._killed_after:
            raise Killed


def make_tree(root: Path, tree: Mapping[str, Any]) -> None:
    """Make files (a text, or content and mode), folders ({folder: mode}), links ({link: target}), archives
    ({tar: entries})."""
    for name, what in tree.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(what, dict) and "link" in what:
            path.symlink_to(what["link"])
        elif isinstance(what, dict) and "folder" in what:
            path.mkdir(exist_ok=True)
            path.chmod(int(what["folder"], 8))
        elif isinstance(what, dict) and "fifo" in what:
            os.mkfifo(path)
        elif isinstance(what, dict) and "tar" in what:
            path.write_bytes(gzip.compress(tar(*what["tar"]), mtime=0))
        else:
            content, mode = (what["content"], what["mode"]) if isinstance(what, dict) else (what, "0644")
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
            path.chmod(int(mode, 8))


def read_tree(root: Path) -> dict[str, Any]:
    """The tree again, in the same form; folders 0755 and files 0644 in short, folders that hold something not."""
    tree: dict[str, Any] = {}
    for path in sorted(root.rglob("*")):
        name, status = str(path.relative_to(root)), path.lstat()
        mode = f"{stat.S_IMODE(status.st_mode):04o}"
        if path.is_symlink():
            tree[name] = {"link": str(path.readlink())}
        elif path.is_dir():
            if mode != "0755" or not any(path.iterdir()):
                tree[name] = {"folder": mode}
        elif path.is_fifo():
            tree[name] = {"fifo": True}
        else:
            raw = path.read_bytes()
            content: str | bytes = raw
            if b"\0" not in raw and raw.decode("utf-8", "ignore").encode() == raw:
                content = raw.decode()
            tree[name] = content if mode == "0644" else {"content": content, "mode": mode}
    return tree
