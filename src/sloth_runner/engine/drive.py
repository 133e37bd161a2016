"""Why: a module only asks; here its steps are answered, and what they changed is kept for whoever asks."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence

from sloth_runner.engine.effects import attempt, mutation
from sloth_runner.engine.lines import Durable
from sloth_runner.errors import MORE_FILES, SlothError, TaskFailed
from sloth_runner.model import Outcome
from sloth_runner.modules.base import Deliver, Ensure, Follow, Predict, Recall, Source, SourceTree
from sloth_runner.ops import Batch, Exec, Fetch, OpError
from sloth_runner.plain import TYPE_CHECKING, Any, NamedTuple
from sloth_runner.state.asking import Ask

if TYPE_CHECKING:
    from sloth_runner.engine.store_desk import StoreDesk
    from sloth_runner.model import Sink
    from sloth_runner.modules.base import SourceEntry, Step
    from sloth_runner.ops import Op, Result
    from sloth_runner.transport.base import Transport


class Skipped(Exception):
    """In check mode: an operation that would change the machine and can't be rehearsed (``op``) was not done."""

    def __init__(self, op: Op) -> None:
        super().__init__("not done: only checked")
        self.op = op


class Desk(NamedTuple):
    """Who answers the steps that no machine performs. ``recall``, ``ensure`` and ``foretold`` (of a Predict) give a
    generator of steps whose return value is the answer; ``skipped`` makes the outcome of a call that a Skipped has
    ended; ``store`` is where an Ask goes; ``follow`` hears what will be asked for after the next change."""

    recall: Callable[[str], Generator[Any, Any, Mapping[str, Any] | None]]
    source: Callable[[str], bytes]
    tree: Callable[[str], Sequence[SourceEntry]]
    deliver: Callable[[Deliver], bool]
    ensure: Callable[[Ensure], Generator[Any, Any, Any]]
    foretold: Callable[[Predict], Generator[Any, Any, None]]
    skipped: Callable[[Predict | None, Skipped], Outcome]
    store: StoreDesk | None = None
    follow: Callable[[Sequence[Op]], None] = lambda ops: None


class Drive:
    """One module call on its way.

    ``at_once`` performs what needs no waiting (None: it needs some). ``outcome`` is set at the end; ``mutations``
    says in words what has been changed so far, also when it failed or was stopped; ``attempts``, what may have been.
    """

    def __init__(
        self, steps: Generator[Any, Any, Any], at_once: Callable[[Op], Result | None], desk: Desk
    ) -> None:
        self._stack: list[Generator[Any, Any, Any]] = [steps]
        self._at_once = at_once
        self._desk = desk
        self._pending: Op | None = None
        self._prediction: Predict | None = None
        self.outcome: Outcome | None = None
        self.mutations: list[str] = []
        self.attempts: list[str] = []

    def advance(self, result: object = None) -> Op | None:
        """Go on (with the result of the operation that was waited for) up to the next one that needs waiting;
        None at the end. Raises what the module raises; an OpError that it let pass becomes TaskFailed."""
        if self._pending is not None:
            self._changed(self._pending, result)
        return self._go(result, None)

    def throw(self, error: OpError | SlothError | Skipped) -> Op | None:
        """Go on after the operation that was waited for failed, as ``advance`` does."""
        if self._pending is not None:
            self._failed(self._pending, error)
        return self._go(None, error)

    async def perform(self, transport: Transport, op: Op, on_output: Sink) -> Op | None:
        """Wait for ``op`` and go on. Cancelled, the module is closed: it does nothing more."""
        try:
            if type(op) in _OF_STORE:
                result: object = await self._fetch(op)
            else:
                result = await transport.do(op, on_output)
        except (OpError, SlothError, Skipped) as error:
            return self.throw(error)
        except BaseException:
            self._failed(op, None)
            self.close()
            raise
        return self.advance(result)

    async def _fetch(self, step: Any) -> object:
        if isinstance(step, Durable):
            await step.line.durable()
            return None
        assert self._desk.store is not None
        return await self._desk.store.fetch(step)

    def close(self) -> None:
        """Nothing more is done."""
        while self._stack:
            self._stack.pop().close()

    def _go(self, result: object, error: Exception | None) -> Op | None:
        self._pending = None
        while True:
            try:
                top = self._stack[-1]
                step = top.send(result) if error is None else top.throw(error)
            except StopIteration as end:
                self._stack.pop()
                result, error = end.value, None
                if self._stack:
                    continue
                self.outcome = end.value
                return None
            except Exception as failure:
                self._stack.pop()
                error = failure
                if self._stack:
                    continue
                self._uncaught(failure)
                return None
            try:
                result, error = self._answer(step), None
            except (OpError, SlothError, Skipped) as failure:
                self._failed(step, failure)
                error = failure
                continue
            if result is WAIT:
                self._pending = step
                return self._pending

    def _answer(self, step: Step) -> object:
        """The answer to a step; WAIT if it takes time."""
        kind = type(step)
        if kind is Ensure:
            self._stack.append(self._desk.ensure(step))  # type: ignore[arg-type] # kind says so
            return None
        if kind is Source:
            return self._desk.source(step.path)  # type: ignore[union-attr] # kind says so
        if kind is SourceTree:
            return self._desk.tree(step.path)  # type: ignore[union-attr] # kind says so
        if kind is Recall:
            self._stack.append(self._desk.recall(step.name))  # type: ignore[union-attr] # kind says so
            return None
        if kind in _OF_STORE:
            return self._from_store(step)
        if kind is Deliver:
            changed = self._desk.deliver(step)  # type: ignore[arg-type] # kind says so
            if changed:
                self.mutations.append(f"wrote {step.path} here")  # type: ignore[union-attr] # kind says so
            return changed
        if kind is Follow:
            self._desk.follow(step.ops)  # type: ignore[union-attr] # kind says so
            return None
        if kind is Predict:
            self._prediction = step  # type: ignore[assignment] # kind says so
            self._stack.append(self._desk.foretold(step))  # type: ignore[arg-type] # kind says so
            return None
        result = self._at_once(step)  # type: ignore[arg-type] # what is left are operations
        if result is None:
            return WAIT
        self._changed(step, result)
        return result

    def _from_store(self, step: Any) -> object:
        """What the store answers at once; WAIT if it is far away."""
        if isinstance(step, Durable):
            return None if step.line.at_once() else WAIT
        assert self._desk.store is not None
        answer = self._desk.store.ask(step)
        return WAIT if answer is step else answer

    def _uncaught(self, failure: Exception) -> None:
        if isinstance(failure, Skipped):
            self.outcome = self._desk.skipped(self._prediction, failure)
            return
        raise _told(failure) from failure

    def _changed(self, step: object, result: object) -> None:
        self.mutations.extend(mutation(step, result))
        self.attempts.extend(attempt(step, result))

    def _failed(self, step: object, error: BaseException | None) -> None:
        """What a failed operation may have changed: a program that was stopped, a removal half done."""
        if isinstance(error, OpError):
            if isinstance(step, Batch):
                self._changed(step, error.results)
            if isinstance(step, Fetch) and error.partial:
                self._changed(step, None)
            elif error.partial:
                self.mutations.append(f"changed a part of {getattr(step, 'path', error.path)}")
        elif isinstance(step, Exec | Fetch) and not isinstance(error, Skipped):
            self._changed(step, None)


WAIT = object()
_NOT_BEGUN = {
    **dict.fromkeys(("no-folder", "not-found"), "the command was not started"),
    **dict.fromkeys(("no-login", "no-rights"), "nothing was done as that user"),
}
_OF_STORE = frozenset((Ask, Durable))


def _told(failure: Exception) -> Exception:
    """What a failed module tells its user: an OpError that it let pass becomes TaskFailed."""
    if not isinstance(failure, OpError):
        return failure
    words = {
        "denied": ["run sloth-runner as a user who may do this, or give the path to one who may"],
        "read-only": ["mount the file system for writing, or name a path on another one"],
        "no-user": ["make the user first, or check its spelling"],
        "no-login": ["make the user first, or check its spelling"],
        "no-rights": [
            "may the login become that user by sudo? If sudo wants a password there, the agent's table names the "
            'variable that holds it: sudo_password_env = "NAME"'
        ],
        "no-group": ["make the group first, or check its spelling"],
        "taken": ["take another name or number, or change first what has it"],
        "mount": ["unmount it first"],
        "flagged": ["take the mark away first, if it may go: chattr -i or -a (lsattr shows it)"],
        "full": ["make room there (df -h; df -i, if it is the number of files), or name a path elsewhere"],
        "quota": ["have the quota raised (quota -s shows it), or remove what is not needed"],
        "files": [MORE_FILES],
        "no-folder": ["make it first, or correct the task's workdir (the call's cwd)"],
    }
    undone = _NOT_BEGUN.get(failure.kind, failure.path)
    unchanged = [] if failure.partial else [undone]
    return TaskFailed(str(failure), unchanged=unchanged, next=words.get(failure.kind, []))
