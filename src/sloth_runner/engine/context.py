"""Why: what a call means depends on who asks: which task, on which agent, in which branch, under which locks."""

from __future__ import annotations

from collections.abc import Callable

from sloth_runner.plain import TYPE_CHECKING, Any, NamedTuple
from sloth_runner.state.asking import Ask
from sloth_runner.state.state import State

if TYPE_CHECKING:
    from sloth_runner.engine.holding import Holding
    from sloth_runner.engine.store_desk import StoreDesk
    from sloth_runner.engine.transaction import Transaction
    from sloth_runner.model import Call, Site, TaskDef
    from sloth_runner.modules.base import Attributes, Resource
    from sloth_runner.state.batch import Fence
    from sloth_runner.state.store import Store


class Named(NamedTuple):
    """What a call named in check mode: on which target, by which address ("" for a call that was skipped), from which
    lines; and the resource, if it is one that can be looked at, with what it should be like."""

    target: str
    address: str
    site: tuple[str, ...]
    resource: Resource | None = None
    wanted: Attributes | None = None


class Tally:
    """What one task has done, in all of its attempts; its branches count together. In check mode ``actions`` is what
    it would do, and ``named`` are the resources that it named."""

    __slots__ = ("actions", "calls", "changed", "changes", "named", "warnings")

    def __init__(self) -> None:
        self.changed = 0
        self.warnings: list[str] = []
        self.calls: list[dict[str, object]] = []
        self.actions: list[dict[str, object]] = []
        self.named: list[Named] = []
        self.changes: list[dict[str, object]] = []


def _knows_none(value: object) -> bool:
    return False


class Context:
    """Who a strand works for. A branch of ``parallel`` has its parent's context as ``parent``.

    ``say(kind, data)`` emits an event of this task, with ``every_call`` also of a call that changed nothing;
    ``holds_secret`` says whether a value holds a secret that the run knows; ``attempt`` counts from 1 over retries;
    ``desk`` asks the store.
    """

    __slots__ = (
        "agent", "attempt", "branch", "desk", "every_call", "holdings", "holds_secret", "instance", "parent", "say",
        "state", "tally", "task", "transaction", "workdir",
    )  # fmt: skip

    def __init__(
        self,
        instance: str,
        agent: str,
        task: TaskDef | None,
        state: State,
        desk: StoreDesk,
        say: Callable[[str, dict[str, object]], None],
        workdir: str = "",
        parent: Context | None = None,
        branch: str = "",
    ) -> None:
        self.instance = instance
        self.agent = agent
        self.task = task
        self.state = state
        self.desk = desk
        self.say = say
        self.workdir = workdir
        self.parent = parent
        self.branch = branch
        self.tally: Tally = parent.tally if parent else Tally()
        self.attempt = 1
        self.every_call: bool = parent is None or parent.every_call
        self.holds_secret: Callable[[object], bool] = parent.holds_secret if parent else _knows_none
        self.holdings: dict[tuple[str, str], Holding] = {}
        self.transaction: Transaction | None = None

    def fork(self, index: int) -> Context:
        """The context of one branch of ``parallel``: same task, own locks."""
        branch = f"{self.branch}/{index}"
        return Context(
            self.instance, self.agent, self.task, self.state, self.desk, self.say, self.workdir, self, branch
        )

    def fences(self) -> tuple[Fence, ...]:
        """The locks that writes from here are made under: own ones and those of enclosing branches."""
        if not self.holdings and self.parent is None:
            return ()
        own = tuple(h.fence for h in self.holdings.values())
        return own + self.parent.fences() if self.parent else own

    def find(self, where: tuple[str, str]) -> Holding | None:
        """A lock held here or by an enclosing branch."""
        found = self.holdings.get(where)
        return found if found or self.parent is None else self.parent.find(where)

    def ask(
        self, state: State, work: Callable[[State], Any], then: Callable[[Any], object] | None = None
    ) -> object:
        """A reply: what ``work`` finds in ``state``, a view that this context gave; ``then`` makes the result of
        it."""
        desk = self.desk
        if desk.embedded:  # the commonest case by far, and the quickest
            found = work(state)
            return found if then is None else then(found)
        transaction = self.transaction

        def look(store: Store) -> object:
            return work(state.through(store) if transaction is None else transaction.over(store))

        return desk.ask(Ask(look, then))

    def note(self, level: str, text: str, site: Site | None = None) -> None:
        """A line of the task's log."""
        if level == "warn":
            self.tally.warnings.append(text)
        self.say("task.output", {"stream": level, "text": text, "line": site.line if site else None})

    def called(
        self, call: Call, target: str, changed: bool, message: str, diff: str | None, *, failed: bool = False
    ) -> dict[str, object]:
        """A module call has ended: its line in the task's document (returned), and perhaps an event."""
        data: dict[str, object] = {
            "module": call.name,
            "target": target,
            "line": call.site.line if call.site else None,
            "changed": changed,
            "message": message,
            "diff": diff,
            **({"failed": True} if failed else {}),
        }
        self.tally.calls.append(data)
        if changed or self.every_call:
            self.say("call.finished", data)
        return data

    def view(self, selector: object) -> State:
        """The state that a call names: its own (None), ``@shared``, or another agent's; under our locks."""
        state = self.transaction.state if self.transaction else self.state
        fences = () if self.transaction else self.fences()  # a transaction's commit adds them itself
        if fences:
            state = state.under(fences)
        if selector is None:
            return state
        return state.shared if selector == "@shared" else state.agent(selector)
