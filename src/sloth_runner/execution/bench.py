"""Why: a run and a plan of it need the same parts put together: pump, calls, contexts, ledgers, values of targets.

They differ in what stands behind: a plan works on an overlay of the store, on rehearsals of the machines and on locks
that are only reported.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from sloth_runner.engine.calls import Calls
from sloth_runner.engine.context import Context
from sloth_runner.engine.group import Group
from sloth_runner.engine.lines import Line, ledger_line
from sloth_runner.engine.module_calls import ModuleCalls, World
from sloth_runner.engine.pump import Pump, Strand
from sloth_runner.errors import Lost, SlothError, TaskFailed
from sloth_runner.model import By, Call, Site
from sloth_runner.ops import OpError
from sloth_runner.plain import TYPE_CHECKING, Any, NamedTuple
from sloth_runner.state.batch import Fence
from sloth_runner.state.layout import LOCAL
from sloth_runner.state.ledger import Ledger
from sloth_runner.state.state import State
from sloth_runner.transport.settling import Settling

if TYPE_CHECKING:
    from sloth_runner.app import App
    from sloth_runner.engine.check_locks import CheckLocker
    from sloth_runner.engine.lock_calls import Locker
    from sloth_runner.engine.plan import Instance, Plan
    from sloth_runner.engine.rehearsal import Rehearsal
    from sloth_runner.engine.store_desk import StoreDesk
    from sloth_runner.engine.watch_calls import Watcher
    from sloth_runner.execution.loading import Loading, RunOptions
    from sloth_runner.state.store import Store

Say = Callable[[str, dict[str, Any], "Instance | None"], None]


class Basis(NamedTuple):
    """What stands behind a bench. ``desk`` asks the store. ``fences`` are those of the stack's lock; ``say`` hears
    events; ``settle`` is done after each round of the pump; ``broke`` hears that the ledger can't be written."""

    desk: StoreDesk
    by: By
    stack: str
    fences: Callable[[], tuple[Fence, ...]]
    say: Say
    settle: Callable[[], None]
    broke: Callable[[SlothError], None]
    make_locker: Callable[[Pump], Locker | CheckLocker]
    rehearse: bool


class Bench:
    """The working parts of one program under way."""

    def __init__(self, app: App, options: RunOptions, loading: Loading, plan: Plan, basis: Basis) -> None:
        self.app = app
        self.loading = loading
        self.basis = basis
        self.mask = loading.mask
        self.deadline = None if options.timeout is None else time.monotonic() + options.timeout
        layers = {agent: app.values_for(agent) for agent in (LOCAL, *plan.targets)}
        self._layers = layers if any(layers.values()) else {}
        self._whose_values = ""
        self._every_call = options.every_call
        chosen = (options.tasks, options.tags, options.skip_tags, options.limit, options.resume)
        self._whole = not any(chosen)
        before = self._use_values if self._layers else None
        self._settling = Settling()
        self._transports = app.transports(self._settling)
        for agent in plan.targets:
            self._transports.to(agent)  # what keeps us from one is told before anything is done on another
        loop = self._transports.loop
        waits = basis.desk.embedded and not basis.rehearse
        self.group = Group(self._cancel, time.monotonic) if waits else None
        self.pump = Pump(self._serve, basis.desk, basis.settle, before=before, loop=loop)
        self.locker = basis.make_locker(self.pump)
        self._watcher: Watcher | None = None
        self.ledgers: dict[str, Ledger] = {}
        self.lines: dict[str, Line] = {}
        self.rehearsals: dict[str, Rehearsal] = {}
        self._calls = self._make_calls(options)
        self.own = Context(
            basis.by.run or "", LOCAL, None, self.state(LOCAL, None), basis.desk, self._say_own
        )

    def _say_own(self, kind: str, data: dict[str, Any]) -> None:
        self.basis.say(kind, data, None)

    def take_over(self) -> None:
        """From now on what the program says belongs to its tasks."""
        self.loading.say = self._say
        self.loading.stop = self._stopping
        self.loading.before_reading = lambda: self._modules.catch_up(self.pump.current)
        if self.loading.watchdog is not None:
            self.loading.watchdog.pump = self.pump

    def ledger(self, agent: str) -> Ledger:
        """The ledger of a machine, under the stack's lock."""
        found = self.ledgers.get(agent)
        if found is None:
            found = self.ledgers[agent] = Ledger(self.basis.desk.store, agent, self.basis.fences)
        return found

    def line(self, agent: str) -> Line:
        """What writes the ledger of a machine."""
        found = self.lines.get(agent)
        if found is None:
            found = self.lines[agent] = ledger_line(self.basis.desk, self.ledger(agent), self.basis.broke)
        return found

    def settle(self) -> None:
        """Make durable what was done in folders here. Raises TaskFailed."""
        try:
            self._settling.settle()
        except OpError as error:
            raise TaskFailed(
                f"what was just done in the folder of {error.path} may be lost if the power fails: {error.reason}",
                system=error.reason,
                next=["check the file system (dmesg says more), then run again: it looks at what is there"],
            ) from error

    def forget_unnamed(self) -> None:
        """A run of the whole file has ended well: what no call of it has named is no longer wanted."""
        for ledger in self.ledgers.values() if self._whole else ():
            if ledger.surplus:
                from sloth_runner.engine.joint import forget_unnamed

                forget_unnamed(ledger, self.basis.stack)

    def look_again(self) -> None:
        """At the end: make the looks of the next run cheaper."""
        unseen = {agent: ledger for agent, ledger in self.ledgers.items() if ledger.unseen}
        if not unseen:
            return
        from sloth_runner.engine.recording import look_again

        there = {agent: ledger for agent, ledger in unseen.items() if not self._transports.to(agent).is_local}
        for agent, ledger in unseen.items():
            if agent not in there:
                look_again(ledger, self._transports.to(agent))
        if there:
            self._transports.loop.run(self._look_again_there(there))
        for ledger in unseen.values():
            ledger.flush()

    async def _look_again_there(self, ledgers: dict[str, Ledger]) -> None:
        import asyncio

        from sloth_runner.engine.recording import look_again_there

        looks = (look_again_there(ledger, self._transports.to(agent)) for agent, ledger in ledgers.items())
        for failure in await asyncio.gather(*looks, return_exceptions=True):
            if isinstance(failure, BaseException) and not isinstance(failure, OpError | Lost):
                raise failure

    def traffic(self, agents: Sequence[str]) -> list[tuple[str, str, dict[str, Any] | None]]:
        """Each agent's name, address, and what went over the line to it so far (None: there is no line)."""
        remotes = self._transports.remotes()
        rows: list[tuple[str, str, dict[str, Any] | None]] = []
        for agent in agents:
            there = remotes.get(agent)
            rows.append(
                (agent, self.app.agent(agent).url, None if there is None else there.traffic.document())
            )
        return rows

    def close(self) -> None:
        """Hang up everywhere."""
        if self._watcher is not None:
            self._watcher.close()
        self._transports.close()
        if self.group is not None:
            self.group.drop()
        if self._settling.failed is None:  # else it has been told
            self.settle()

    def rehearsal(self, agent: str) -> Rehearsal | None:
        """The picture of a machine in check mode."""
        if not self.basis.rehearse:
            return None
        found = self.rehearsals.get(agent)
        if found is None:
            from sloth_runner.engine.rehearsal import Rehearsal

            inner = self._transports.to(agent)
            same = next((one for one in self.rehearsals.values() if one.is_local and inner.is_local), None)
            found = self.rehearsals[agent] = Rehearsal(inner, same)
        return found

    def context(self, instance: Instance) -> Context:
        """The context of one task instance."""
        task = instance.task
        here = self._transports.to(instance.agent).is_local
        workdir = task.workdir or (str(self.loading.file.parent) if here else ".")

        def say(kind: str, data: dict[str, Any]) -> None:
            self.basis.say(kind, data, instance)

        self.locker.begin(instance.id)
        state = self.state(instance.agent, task.name)
        made = Context(instance.id, instance.agent, task, state, self.basis.desk, say, workdir)
        made.every_call = self._every_call
        made.holds_secret = self.mask.holds
        return made

    def state(self, agent: str, task: str | None) -> State:
        """A view of an agent's state, for a task."""
        by = self.basis.by._replace(task=task)
        prefixes = self.app.settings.shared_prefixes
        state = State(self.basis.desk.main, agent, by, shared_prefixes=prefixes)
        state.on_secret = self.mask.learn
        return state

    def _make_calls(self, options: RunOptions) -> Calls:
        from sloth_runner.modules import kinds, modules

        app, loading = self.app, self.loading
        handlers = frozenset(handler.name for handler in loading.program.handlers)
        world = World(
            modules(), kinds(), self._transports.to, self.ledger, self.line, self.rehearsal, app.expand_agents,
            loading.twins, str(loading.file.parent), self.basis.stack, loading.loaded.text, handlers, app.clock,
            app.new_id, options.paranoid, options.forks, self.group, loading.loaded.show,
        )  # fmt: skip
        self._modules = ModuleCalls(world)
        return Calls(
            lambda: self.pump, self.locker, self._get_watcher, self._modules, self._known_agent, app.jitter,
            self.deadline, loading.secrets, self.settle, sleeps=not self.basis.rehearse,
        )  # fmt: skip

    def _get_watcher(self) -> Watcher:
        if self._watcher is None:
            from sloth_runner.engine.ear import Ear
            from sloth_runner.engine.watch_calls import CheckWatcher, Watcher

            make = CheckWatcher if self.basis.rehearse else Watcher
            self._watcher = make(lambda: self.pump, Ear(self.basis.desk.store))
        return self._watcher

    def _known_agent(self, name: str, store: Store) -> None:
        self.app.require_agent(name, None if self.basis.rehearse else store)

    def _stopping(self) -> BaseException | None:
        """What the body that computes must end with, if anything; and the world may see what it has made."""
        error = self.pump.stopping()
        if error is None and self.group is not None and self.group.is_due:
            try:
                self.group.catch_up(self.pump.current)
            except SlothError as failure:
                return failure
        return error

    def _cancel(self, strand: Strand, error: SlothError) -> None:
        self.pump.cancel(strand, error)

    def _serve(self, strand: Strand, call: Call) -> object:
        return self._calls.serve(strand, call)

    def _use_values(self, strand: Strand) -> None:
        """Each body sees ``values`` with what configuration gives its target below files and ``--set``."""
        agent = strand.context.agent
        if agent != self._whose_values:
            self._whose_values = agent
            self.loading.use_values(self._layers.get(agent, {}))

    def _say(self, level: str, text: str, site: Site | None) -> None:
        strand = self.pump.current
        context: Context = self.own if strand is None else strand.context
        context.note(level, text, site)
