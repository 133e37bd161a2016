"""Why: bodies are generators of calls, so the engine is tested with plain Python bodies, without Lua."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from typing import Any

from sloth_runner import modules as registry
from sloth_runner.engine.calls import Calls
from sloth_runner.engine.context import Context
from sloth_runner.engine.ear import Ear
from sloth_runner.engine.group import Group
from sloth_runner.engine.holding import Renewer
from sloth_runner.engine.lines import ledger_line
from sloth_runner.engine.lock_calls import Locker
from sloth_runner.engine.mask import Mask
from sloth_runner.engine.module_calls import ModuleCalls, World
from sloth_runner.engine.pump import Pump, Strand, Wait
from sloth_runner.engine.run import to_the_end
from sloth_runner.engine.secrets import Secrets
from sloth_runner.engine.store_desk import StoreDesk
from sloth_runner.engine.watch_calls import Watcher
from sloth_runner.errors import Bug, SlothError
from sloth_runner.model import Body, Call, Site, TaskDef
from sloth_runner.state.backends.memory import MemoryStore
from sloth_runner.state.batch import Mutation
from sloth_runner.state.ledger import Ledger
from sloth_runner.state.store import Store
from sloth_runner.state.writer import Writer
from sloth_runner.transport.base import Transport
from tests.state.kit import make_state

Script = Callable[[], Generator[Call, Any, Any]]


def call(name: str, *args: object) -> Call:
    """A call as Lua makes it: state functions get the selector of the own namespace."""
    return Call(name, (None, *args) if name.startswith("state.") else args)


class Counted(Writer):
    """Writes as ``writer`` does, and keeps how many mutations came together each time."""

    def __init__(self, writer: Writer, flushes: list[int]) -> None:
        super().__init__(writer.store, writer.clock, writer.new_id, writer.retention)
        self.flushes = flushes

    def apply(self, mutations: Sequence[Mutation]) -> list[object]:
        """See Writer."""
        self.flushes.append(len(mutations))
        return super().apply(mutations)


class Bench:
    """A pump with state, locks, sleep and parallel over one store; tasks are Python generators. ``machine`` is
    the way to the one machine that modules work on, if they are to; there ``together`` new files wait for each other.
    """

    def __init__(
        self,
        store: Store | None = None,
        nonce: str = "p1",
        deadline: float | None = None,
        fresh: Callable[[float | None], Store] | None = None,
        renewer: Renewer | None = None,
        clock: Callable[[], float] = time.monotonic,
        machine: Transport | None = None,
        together: int = 3,
    ) -> None:
        self.store = store or MemoryStore()
        self.state = make_state(self.store)
        self.flushes: list[int] = []
        self.settled: list[int] = []
        """How many commits there had been each time that folders were to be made durable."""
        self.state.writer = writer = Counted(self.state.writer, self.flushes)

        def make(store: Store) -> Writer:
            return Writer(store, writer.clock, writer.new_id, writer.retention)

        self.downs: list[SlothError] = []
        self.desk = StoreDesk(writer, make, fresh, self.downs.append)
        self.pump = Pump(self._serve, self.desk, lambda: None, clock)
        self.renewer = renewer or Renewer(lambda seconds: self.store, time.time)
        self.locker = Locker(self.pump, self.renewer, time.time, nonce, "boot", 1)
        self.watcher = Watcher(lambda: self.pump, Ear(self.store))
        secrets = Secrets(Mask(), lambda name: None, lambda path: b"", "/")
        self.ledger = Ledger(self.store, "local", tuple)
        self.line = ledger_line(self.desk, self.ledger, self.downs.append)
        self.group = Group(self.pump.cancel, clock, together) if machine is not None else None
        modules = ModuleCalls(
            World(
                registry.modules() if machine is not None else {},
                registry.kinds() if machine is not None else {},
                self._no_transport if machine is None else lambda agent: machine,
                lambda agent: self.ledger,
                lambda agent: self.line,
                lambda agent: None,
                lambda name: [name],
                lambda agents: [],
                "/",
                "stack",
                lambda site: "",
                frozenset(),
                time.time,
                lambda: "salt",
                group=self.group,
            )
        )
        self.calls = Calls(
            lambda: self.pump,
            self.locker,
            lambda: self.watcher,
            modules,
            lambda name, store: name,
            lambda: 0.001,
            deadline,
            secrets,
            lambda: self.settled.append(len(self.flushes)),
        )
        self.results: dict[str, object] = {}
        self.more: dict[str, Wait] = {}
        self.errors: dict[str, BaseException] = {}
        self.said: list[tuple[str, dict[str, object]]] = []

    def _no_transport(self, agent: str) -> Any:
        raise Bug(f"no way to {agent}")

    def _serve(self, strand: Strand, call: Call) -> object:
        if call.name in self.more:
            return self.more[call.name]
        return self.calls.serve(strand, call)

    def start(self, name: str, script: Script) -> Strand:
        """Begin a task; its result or error is kept under its name."""
        task = TaskDef(name, lambda: script(), Site("/x.sloth", 1))
        context = Context(
            f"{name}@local", "local", task, self.state, self.desk, lambda *event: self.said.append(event)
        )
        self.locker.begin(context.instance)

        def body() -> Body:
            return (yield from to_the_end(script(), None))

        def done(value: object, error: BaseException | None) -> None:
            self.locker.abandon(context)
            if error is None:
                self.results[name] = value
            else:
                self.errors[name] = error

        return self.pump.spawn(body(), context, done)

    def run(self, **scripts: Script) -> dict[str, object]:
        """Run tasks side by side to their end; raises the first error that none of them caught."""
        for name, script in scripts.items():
            self.start(name, script)
        try:
            self.pump.run()
        finally:
            self.renewer.close()
            self.watcher.close()
            self.desk.close()
        for error in self.errors.values():
            raise error
        return self.results

    def output(self) -> list[str]:
        """The texts of all log lines."""
        return [str(data["text"]) for kind, data in self.said if kind == "task.output"]
