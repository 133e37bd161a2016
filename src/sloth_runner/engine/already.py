"""Why: who reads why a task failed wants to know what it had changed until then, not only what its last call did."""

from __future__ import annotations

from sloth_runner.plain import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sloth_runner.engine.context import Tally

MOST = 8
"""Lines of a task that are named one by one."""


def changed_before(tally: Tally) -> list[str]:
    """What the calls before the one that failed have changed, in one line; none if there is nothing to say."""
    made: dict[str, int] = {}
    for call in tally.calls:
        if call["changed"] and not call.get("failed"):
            name = f"{call['module']} (line {call['line']})" if call["line"] else str(call["module"])
            made[name] = made.get(name, 0) + 1
    parts = list(_some([f"{name}, {n} times" if n > 1 else name for name, n in made.items()]))
    writes = len(tally.changes)
    if writes:
        parts.append(f"state ({writes} write{'' if writes == 1 else 's'})")
    return ["before that: " + "; ".join(parts)] if parts else []


def _some(names: Sequence[str]) -> Iterable[str]:
    yield from names[:MOST]
    if len(names) > MOST:
        yield f"and {len(names) - MOST} more lines"
