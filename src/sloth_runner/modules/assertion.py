"""Why: a task that rests on something should say so, and stop before it changes anything if it is not so.

``assert.that`` beside Lua's own ``assert``, which keeps its meaning: a table given to that one is a value like any
other, so a table form of it could not be told from ``assert(some_table)``.
"""

from __future__ import annotations

from collections.abc import Mapping

from sloth_runner.errors import TaskFailed
from sloth_runner.model import Outcome
from sloth_runner.modules.base import Arg, Context, Module
from sloth_runner.ops import Exec
from sloth_runner.plain import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sloth_runner.modules.base import Steps
    from sloth_runner.ops import Ran

NOTHING = ("this call changed nothing",)


def that(args: Mapping[str, Any], context: Context) -> Steps:
    """Check all conditions, in order; the first that does not hold is the error."""
    conditions = args["condition"]
    if conditions is None:
        raise TaskFailed(_words(args, "its condition is nil"), unchanged=NOTHING)
    for number, condition in enumerate(conditions, 1):
        which = f"condition {number}" if len(conditions) > 1 else "the condition"
        if isinstance(condition, bool):
            if not condition:
                raise TaskFailed(_words(args, f"{which} is false"), unchanged=NOTHING)
            continue
        label = (
            "a command (sensitive)" if context.sensitive else f"`{condition.strip().splitlines()[0][:100]}`"
        )
        cwd = context.workdir or (context.folder if context.is_local else None)
        ran: Ran = yield Exec(
            label, (), condition, cwd, context.env, context.user, context.timeout, mutating=False, quiet=True
        )
        if ran.exit_code:
            said = (ran.stderr.strip() or ran.stdout.strip()).decode("utf-8", "replace").splitlines()[-5:]
            raise TaskFailed(
                _words(args, f"{label} ended with exit status {ran.exit_code}"),
                system=None if context.sensitive else "\n".join(said) or None,
                unchanged=NOTHING,
            )
    return Outcome(False, "it holds")


def _words(args: Mapping[str, Any], why: str) -> str:
    return f"{args['message']} ({why})" if args["message"] else f"assert.that: {why}"


MODULES = (
    Module(
        "assert.that",
        that,
        (
            Arg(
                "condition",
                "conditions",
                "true or false, a line for /bin/sh on the target that should succeed (it must change nothing, because"
                " it runs in check mode, too), or (by name) a list of these that should all hold; nil does not hold",
            ),
            Arg("message", "line", "what the error says"),
        ),
        "Ends the task with an error unless something is so. Lua's own assert(value, message) is there as well.",
        positional="condition",
        refused={"that": "say condition = …", "fail_msg": "say message = …"},
    ),
)
