"""Why: a folder with a thousand files must not take a thousand journeys to another machine.

Changes are made one after the other, and each says itself what it does. Where what it begins with is the change of
its own path, all that must come before are the changes before: so several of these travel as one Batch, which is done
in their order and ends at the first that fails.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable

from sloth_runner.modules.base import go_on
from sloth_runner.ops import Batch, MakeDir, MakeLink, OpError, SetAttrs, Write
from sloth_runner.plain import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from sloth_runner.ops import Op, Result

    Part: TypeAlias = Generator[Any, Any, str]
    Begun: TypeAlias = list[tuple[Part, Op]]

MOST = 32
"""Changes in one Batch: while a machine makes them, it hears nothing else."""
LARGE = 1 << 20
"""Bytes of contents with which a Batch is full."""


def together(parts: Iterable[tuple[str, Part]]) -> Generator[Any, Any, list[str]]:
    """The steps of changes of paths, in order; what each returns. Raises what the first that fails raises: those
    after it are not made."""
    done: list[str] = []
    begun: Begun = []
    for path, part in parts:
        try:
            op = next(part)
        except StopIteration as end:
            yield from _finish(begun, done)
            done.append(end.value)
            continue
        except Exception:
            yield from _finish(begun, done)
            raise
        own = isinstance(op, MakeDir | MakeLink | SetAttrs | Write) and op.path == path
        if not own or len(begun) == MOST or _size(begun) >= LARGE:
            yield from _finish(begun, done)
        begun.append((part, op))
        if not own:
            yield from _finish(begun, done)
    yield from _finish(begun, done)
    return done


def _size(begun: Begun) -> int:
    return sum(len(op.content) for _, op in begun if isinstance(op, Write))


def _finish(begun: Begun, done: list[str]) -> Generator[Any, Any, None]:
    """Have done, to its end, what has begun."""
    while begun:
        if len(begun) == 1:
            part, op = begun.pop()
            done.append((yield from go_on(part, op)))
            return
        error: OpError | None = None
        try:
            answers: tuple[Result, ...] = yield Batch(tuple([op for _, op in begun]))
        except OpError as failure:
            answers, error = failure.results, failure
        for answer in answers:
            part, _ = begun.pop(0)
            done.append((yield from _after(part, part.send, answer)))
        if error is not None:
            part, _ = begun.pop(0)
            done.append((yield from _after(part, part.throw, error)))


def _after(part: Part, go: Callable[[Any], Any], what: object) -> Generator[Any, Any, str]:
    """What follows an operation that is over."""
    try:
        op = go(what)
    except StopIteration as end:
        return str(end.value)
    return (yield from go_on(part, op))
