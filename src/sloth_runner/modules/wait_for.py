"""Why: the next step needs what the last one only began: a port that answers, a file that appears.

It looks again and again and changes nothing. In check mode it looks once, and says what it would wait for.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping

from sloth_runner.errors import BadArgument, TimedOut
from sloth_runner.model import Outcome
from sloth_runner.modules.base import Arg, Context, Module, Predict
from sloth_runner.modules.urls import take_apart
from sloth_runner.ops import ABSENT, Exec, Fetch, OpError, Pause, Reach, Stat
from sloth_runner.plain import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sloth_runner.modules.base import Steps
    from sloth_runner.ops import Fetched, Found, Paused, Ran, Reached

    Look = Callable[[float], Generator[Any, Any, str]]
    """Looks once, for at most so many seconds; returns what is missing still, "" if nothing is."""

TIMEOUT = 60.0
LONGEST_LOOK = 10.0
CONDITIONS = ("port", "path", "url", "command")


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """Look until it is so, or until time is up."""
    from sloth_runner.durations import human

    what, look = _condition(args, context)
    timeout = context.timeout or TIMEOUT
    missing = yield from look(min(timeout, LONGEST_LOOK))
    if not missing:
        return Outcome(False, f"{what}, at once", {"attempts": 1})
    yield Predict(f"wait_for:{what}", f"would wait until {what}", False, missing, unknown=("attempts",))
    now: Paused = yield Pause(0)
    end = now.clock + timeout
    attempts = 1
    while now.clock < end:
        now = yield Pause(min(args["interval"], end - now.clock))
        missing = yield from look(min(LONGEST_LOOK, max(end - now.clock, 1.0)))
        attempts += 1
        if not missing:
            return Outcome(False, f"{what}, at look {attempts}", {"attempts": attempts})
    raise TimedOut(
        f"wait_for: gave up after {human(timeout)} of waiting until {what}: {missing}",
        unchanged=["this call changed nothing"],
        next=["give it longer: timeout = …", "look at the log of what should have brought it about"],
    )


def _condition(args: Mapping[str, Any], context: Context) -> tuple[str, Look]:
    """What is waited for, in words, and how to look at it."""
    given = [name for name in CONDITIONS if args[name] is not None]
    if len(given) != 1:
        raise BadArgument(
            f"wait_for takes one of {', '.join(CONDITIONS)}, not {len(given) or 'none'} of them"
        )
    (name,) = given
    gone = args["state"] == "absent"
    if gone and name in ("url", "command"):
        raise BadArgument(f"wait_for: state is for port and path; {name} is waited for until it succeeds")
    if args["status"] is not None and name != "url":
        raise BadArgument("wait_for: status is for url")
    if name == "port":
        where = f"port {args['port']} of {args['host']}"
        return f"{where} {'is closed' if gone else 'answers'}", _port(args["host"], args["port"], gone)
    if name == "path":
        return f"{args['path']} {'is gone' if gone else 'is there'}", _path(args["path"], gone)
    if name == "url":
        url = "a URL (sensitive)" if context.sensitive else take_apart(args["url"]).shown
        return f"{url} answers with {_named(args['status'])}", _url(args, context)
    return _command(args, context)


def _port(host: str, port: int, gone: bool) -> Look:
    def look(seconds: float) -> Generator[Any, Any, str]:
        reached: Reached = yield Reach(host, port, seconds)
        if reached.open is not gone:
            return ""
        return "it still answers" if gone else reached.reason

    return look


def _path(path: str, gone: bool) -> Look:
    def look(seconds: float) -> Generator[Any, Any, str]:
        found: Found = yield Stat(path, names=False)
        if (found.kind == ABSENT) is gone:
            return ""
        return "it is still there" if gone else "it is not there"

    return look


def _named(statuses: tuple[int, ...] | None) -> str:
    return "a success" if statuses is None else " or ".join(map(str, statuses))


def _url(args: Mapping[str, Any], context: Context) -> Look:
    from sloth_runner.modules.http import prepared

    statuses = args["status"]

    def look(seconds: float) -> Generator[Any, Any, str]:
        op: Fetch = prepared(args, context, "GET")._replace(timeout=seconds, limit=0)
        try:
            answer: Fetched = yield op
        except OpError as error:
            if error.kind not in ("unreachable", "timeout", "protocol"):
                raise
            return error.reason
        right = answer.status in statuses if statuses else 200 <= answer.status < 300
        return "" if right else f"it answers {answer.status} {answer.reason}".rstrip()

    return look


def _command(args: Mapping[str, Any], context: Context) -> tuple[str, Look]:
    line = args["command"]
    label = "a command (sensitive)" if context.sensitive else f"`{line.strip().splitlines()[0][:100]}`"
    cwd = context.workdir or (context.folder if context.is_local else None)

    def look(seconds: float) -> Generator[Any, Any, str]:
        try:
            ran: Ran = yield Exec(
                label, (), line, cwd, context.env, context.user, max(seconds, 1.0), mutating=False, quiet=True
            )
        except TimedOut:
            return f"it takes longer than {seconds:g} seconds"
        said = [] if context.sensitive else ran.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        words = f"it ends with exit status {ran.exit_code}" + (f": {said[0]}" if said else "")
        return "" if ran.exit_code == 0 else words

    return f"{label} succeeds", look


MODULES = (
    Module(
        "wait_for",
        run,
        (
            Arg("port", "port", "a TCP port that should accept connections"),
            Arg("host", "line", "whose port, as the target calls it", default="127.0.0.1"),
            Arg("path", "path", "a path on the target that should be there"),
            Arg("url", "url", "a URL that should answer, asked from the target"),
            Arg("status", "statuses", "with which status, or statuses; without it: 200 to 299"),
            Arg(
                "command",
                "line",
                "a line for /bin/sh that should succeed; it must change nothing, because it runs in check mode, too",
            ),
            Arg(
                "state",
                "present or absent",
                '"absent": until the port is closed, or the path is gone',
                default="present",
            ),
            Arg("interval", "duration", "between two looks", default=1.0),
            Arg("headers", "headers", "headers to send with url", default=()),
            Arg("username", "string", "for basic authentication with url"),
            Arg("password", "string", "for basic authentication with url"),
            Arg("ca", "path", "a file on the target with the certificate authorities to trust for url"),
        ),
        "Waits until something is so, for at most timeout (60s unless said). It never changes anything.",
        refused={"delay": "say interval = …, or sleep(…) before it", "sleep": "say interval = …"},
        returns={"attempts": "how often it looked"},
    ),
)
