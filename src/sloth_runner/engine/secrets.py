"""Why: a task file names a secret and never holds it: ``secret`` finds it where its owner keeps it.

``secret("NAME")`` takes it from a variable, ``secret({file = "path"})`` from a file (relative to the task file),
``secret({command = "pass show web"})`` from what a program on the controller prints: a shell line, or a list of words
that no shell sees. One newline at the end is no part of it. In Lua it is a string like any other; the run's mask
knows it before Lua does.
"""

from __future__ import annotations

from collections.abc import Callable

from sloth_runner.errors import BadArgument, BadField, BadValues, Bug, SlothError, TaskFailed
from sloth_runner.names import did_you_mean
from sloth_runner.plain import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sloth_runner.engine.mask import Mask
    from sloth_runner.model import Call
    from sloth_runner.ops import Exec
    from sloth_runner.transport.base import Transport

SHORTEST = 4
LONGEST = 64 << 10
PATIENCE = 60.0
"""Seconds that a program may take to print a secret."""
_FIELDS = ("env", "file", "command")


class Secrets:
    """Finds secrets. ``getenv`` reads the controller's environment; ``source`` a file on it."""

    def __init__(
        self, mask: Mask, getenv: Callable[[str], str | None], source: Callable[[str], bytes], folder: str
    ) -> None:
        self._mask = mask
        self._getenv = getenv
        self._source = source
        self._folder = folder

    def read(self, *args: object) -> str:
        """A secret from a variable or a file, at once. Raises BadArgument, BadField, BadValues, FileMissing."""
        kind, where = _wanted(args)
        if kind == "command":
            raise Bug("secret: a command is run by the scheduler")
        name = str(where)
        if kind == "file":
            return self._found(self._source(name), f"the file {name}")
        value = self._getenv(name)
        if value is None:
            raise BadValues(
                f"secret: the variable {name} is not set",
                next=[f"set it before the run: export {name}=…"],
            )
        return self._found(value.encode("utf-8", "surrogateescape"), f"the variable {name}")

    async def run(self, call: Call, transport: Transport) -> str:
        """A secret that a program prints. Raises what ``read`` raises, and TaskFailed when it prints none."""
        from sloth_runner.ops import OpError

        _, where = _wanted(call.args)
        op = self._operation(where)
        try:
            ran: Any = await transport.do(op)
        except OpError as error:
            raise TaskFailed(f"secret: {op.label} can't be run: {error}", next=["try it by hand"]) from None
        except SlothError as error:
            error.system = None  # it quotes what the program has printed so far
            raise
        if ran.exit_code != 0:
            raise TaskFailed(
                f"secret: {op.label} ended with status {ran.exit_code}",
                next=["try it by hand: its output is not shown"],
            )
        return self._found(ran.stdout, op.label)

    def _operation(self, where: object) -> Exec:
        from sloth_runner.ops import Exec

        limit = 2 * LONGEST
        if isinstance(where, str):
            word = where.split()[0] if where.split() else where
            return Exec(
                f"the command {word}", line=where, cwd=self._folder, timeout=PATIENCE, output_limit=limit
            )
        assert isinstance(where, list)
        argv = tuple(str(word) for word in where)
        return Exec(f"the command {argv[0]}", argv, cwd=self._folder, timeout=PATIENCE, output_limit=limit)

    def _found(self, raw: bytes, name: str) -> str:
        value = raw.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8", "surrogateescape")
        if len(value) > LONGEST:
            raise BadValues(f"secret: {name} holds more than {LONGEST:,} bytes")
        if len(value) < SHORTEST:
            few = f"has fewer than {SHORTEST} characters, too few to be kept out of logs"
            raise BadValues(f"secret: {name} {few if value else 'is empty'}")
        self._mask.learn(value)
        return value


def _wanted(args: tuple[object, ...]) -> tuple[str, object]:
    """What is asked for: ``env`` and a name, ``file`` and a path, ``command`` and a line or words."""
    given = [arg for arg in args if arg is not None]
    if len(given) == 1 and isinstance(given[0], str):
        return "env", given[0]
    if len(given) != 1 or not isinstance(given[0], dict):
        raise BadArgument("secret takes a variable's name, or one of {env = …}, {file = …}, {command = …}")
    fields = given[0]
    for name in fields:
        if name not in _FIELDS:
            raise BadField(f"secret has no field {name!r}", next=did_you_mean(str(name), _FIELDS))
    if len(fields) != 1:
        raise BadArgument("secret takes one of env, file and command")
    ((kind, where),) = fields.items()
    words = kind == "command" and isinstance(where, list) and where and all(isinstance(w, str) for w in where)
    if not words and not (isinstance(where, str) and where):
        raise BadArgument(f"secret: {kind} is a text" + (", or a list of words" if kind == "command" else ""))
    return kind, where
