"""Why: a command may do anything, so this module can't know what it changes: it is told, or says that it ran.

``creates``, ``removes``, ``unless``, ``only_if``, ``once`` and ``inputs``/``outputs`` make a command idempotent:
it runs only if none of those given says that it need not.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Generator, Mapping

from sloth_runner.errors import BadArgument, CommandFailed, TaskFailed, Unpredictable
from sloth_runner.model import Outcome
from sloth_runner.modules.arguments import When
from sloth_runner.modules.base import Arg, Context, Module, Predict, Recall
from sloth_runner.ops import ABSENT, Exec, Glob, Stat, WhoAmI
from sloth_runner.plain import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sloth_runner.modules.base import Step, Steps
    from sloth_runner.ops import Found, Identity, Matches, Ran

NAMED_FILES = 2000
"""Up to so many inputs and outputs are remembered one by one; of more only one digest of all."""
_SKIPPED = {"skipped": True, "stdout": "", "stderr": "", "exit_code": 0}


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """Decide whether to run, run, judge, remember."""
    main = yield from _main(args, context)
    reason, due = yield from _needless(args, main, context)
    if reason:
        return Outcome(False, f"skipped: {reason}", _SKIPPED)
    watching = bool(args["inputs"] or args["outputs"])
    name = _memory_name(main)
    before: Mapping[str, Any] | None = (yield Recall(name)) if watching or args["once"] else None
    why = ""
    inputs: dict[str, str] = {}
    if watching:
        inputs = yield from _digests("inputs", args, main)
        why = yield from _reason_to_run(args, main, before, inputs)
        if not why:
            return Outcome(False, "skipped: inputs and outputs are as they were", _SKIPPED)
    elif args["once"] and before is not None:
        return Outcome(False, "skipped: this very command succeeded here before (once)", _SKIPPED)
    elif args["once"]:
        due = "it has not succeeded here before (once)"
    yield (yield from _prediction(args, main, name, why or due))
    ran: Ran = yield main
    failed = _failed(args, ran)
    if failed and args["check"]:
        raise _failure(main, ran, context)
    remember = None
    if not failed and (watching or args["once"]):
        outputs = yield from _digests("outputs", args, main)
        remember = (name, {"inputs": _memory(inputs), "outputs": _memory(outputs)})
    warning = "" if failed else (yield from _unfulfilled(args, main))
    fields = {**_fields(ran), "warnings": [warning]} if warning else _fields(ran)
    message = "; ".join(filter(None, (_message(main, why, ran), warning)))
    return Outcome(_changed(args, ran), message, fields, None, remember)


def _prediction(args: Mapping[str, Any], main: Exec, name: str, why: str) -> Generator[Step, Any, Predict]:
    """What is known of a run that is due: that it counts as a change, if something made it due."""
    changed: bool | None = True if why else None
    if args["changed_when"] is not None:
        changed = args["changed_when"] if isinstance(args["changed_when"], bool) else None
    paths: dict[str, tuple[str, ...]] = {"creates": (), "removes": ()}
    for field in paths:
        if args[field] is not None:
            paths[field] = ((yield from _absolute(args[field], main)),)
    reason = why or "what a command does can't be known: creates, unless, inputs … tell when it has to run"
    return Predict(name, f"would run {main.label}", changed, reason, paths["creates"], paths["removes"])


def _main(args: Mapping[str, Any], context: Context) -> Generator[Step, Any, Exec]:
    command, argv = args["command"], args["argv"]
    if (command is None) == (argv is None):
        raise BadArgument(
            'cmd takes either command (a line for the shell) or argv (a list such as {"ls", "-l"})'
        )
    if args["once"] and (args["inputs"] or args["outputs"]):
        raise BadArgument(
            "cmd takes either once or inputs/outputs: once never runs again, they run when a file changed"
        )
    if args["failed_when"] is not None and not args["check"]:
        raise BadArgument("cmd takes either failed_when or check = false, which never fails")
    if args["reads_only"] and (args["changed_when"] is not None or args["once"] or args["outputs"]):
        raise BadArgument(
            "cmd: reads_only says that it changes nothing; changed_when, once and outputs don't fit"
        )
    label = _label(command if argv is None else _joined(argv), context)
    cwd = yield from _folder(args["cwd"], context)
    env = {**context.env, **args["env"]}
    return Exec(
        label, argv or (), command, cwd, env, context.user, context.timeout, mutating=not args["reads_only"]
    )


def _folder(cwd: str | None, context: Context) -> Generator[Step, Any, str | None]:
    """Where the command starts: ``cwd``, relative to the task's workdir, relative to the task file's folder
    here or the login home elsewhere; None is that home."""
    steps = [step for step in (context.workdir, cwd) if step is not None]
    if context.is_local:
        steps.insert(0, context.folder)
    elif steps and not any(step.startswith("/") for step in steps):
        identity: Identity = yield WhoAmI()
        steps.insert(0, identity.home)
    return posixpath.normpath(posixpath.join(*steps)) if steps else None


def _label(words: str, context: Context) -> str:
    """What messages call a command: its first line, not too much of it, and nothing that can't be printed."""
    if context.sensitive:
        return "a command (sensitive)"
    text = words.strip().encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    first = text.splitlines()[0]
    short = first if len(first) <= 100 else first[:99]
    return f"`{short}{'' if short == text else ' …'}`"


def _joined(argv: tuple[str, ...]) -> str:
    import shlex

    return shlex.join(argv)


def _needless(args: Mapping[str, Any], main: Exec, context: Context) -> Generator[Step, Any, tuple[str, str]]:
    """Why the command need not run, by what needs no memory ("" if it must), and what makes it due, if anything."""
    due = ""
    for name, wanted in (("creates", False), ("removes", True)):
        if args[name] is not None and (yield from _is_absent(args[name], main)) is wanted:
            return f"{args[name]} {'does not exist' if wanted else 'exists'}", ""
        if args[name] is not None:
            due = f"{args[name]} {'exists' if wanted else 'does not exist'} ({name})"
    for name, wanted in (("unless", False), ("only_if", True)):
        if args[name] is not None:
            label = _label(args[name], context)
            probe = main._replace(label=label, argv=(), line=args[name], mutating=False)
            ran: Ran = yield probe
            how = "succeeded" if ran.exit_code == 0 else f"ended with {ran.exit_code}"
            if (ran.exit_code == 0) is not wanted:
                return f"{name} {label} {how}", ""
            due = f"{name} {label} {how}"
    return "", due


def _unfulfilled(args: Mapping[str, Any], main: Exec) -> Generator[Step, Any, str]:
    """What the command should have made or removed by its success, and has not: it would run every time."""
    if args["creates"] is not None and (yield from _is_absent(args["creates"], main)):
        return f"it did not make {args['creates']} (creates), so it will run again"
    if args["removes"] is not None and not (yield from _is_absent(args["removes"], main)):
        return f"it did not remove {args['removes']} (removes), so it will run again"
    return ""


def _is_absent(path: str, main: Exec) -> Generator[Step, Any, bool]:
    whole = yield from _absolute(path, main)
    try:
        found: Found = yield Stat(whole)
    except Unpredictable:  # in a plan: an earlier command promised to make it, and that is all that is known
        return False
    return found.kind == ABSENT


def _absolute(path: str, main: Exec) -> Generator[Step, Any, str]:
    if path.startswith("/"):
        return path
    base = main.cwd
    if base is None:
        identity: Identity = yield WhoAmI()
        base = identity.home
    return posixpath.join(base, path)


def _memory_name(main: Exec) -> str:
    from hashlib import sha256

    what = json.dumps([main.line, main.argv, main.cwd, sorted(main.env.items()), main.user])
    return "cmd:" + sha256(what.encode()).hexdigest()[:40]


def _digests(which: str, args: Mapping[str, Any], main: Exec) -> Generator[Step, Any, dict[str, str]]:
    """The files that ``inputs`` or ``outputs`` name; each pattern must name some."""
    patterns = args[which]
    if not patterns:
        return {}
    base = yield from _absolute(".", main)
    matches: Matches = yield Glob(patterns, posixpath.normpath(base))
    if matches.empty and which == "inputs":
        raise TaskFailed(
            f"cmd: inputs {matches.empty[0]!r} names no file in {base}",
            unchanged=["the command was not run"],
            next=["correct the pattern: it is relative to cwd, * stops at /, ** does not"],
        )
    if matches.empty:
        raise TaskFailed(
            f"{main.label} succeeded, but there is no file {matches.empty[0]!r} in {base} (outputs)",
            next=["correct the pattern, or the command"],
        )
    return dict(matches.files)


def _reason_to_run(
    args: Mapping[str, Any], main: Exec, before: Mapping[str, Any] | None, inputs: Mapping[str, str]
) -> Generator[Step, Any, str]:
    if before is None:
        return "it had not run here before"
    why = _difference("input", before["inputs"], inputs)
    if why or not args["outputs"]:
        return why
    base = yield from _absolute(".", main)
    matches: Matches = yield Glob(args["outputs"], posixpath.normpath(base))
    if matches.empty:
        return f"output {matches.empty[0]} is missing"
    return _difference("output", before["outputs"], dict(matches.files))


def _memory(files: Mapping[str, str]) -> dict[str, Any]:
    from hashlib import sha256

    if len(files) <= NAMED_FILES:
        return {"files": dict(files)}
    return {"digest": sha256(json.dumps(sorted(files.items())).encode()).hexdigest()}


def _difference(word: str, before: Mapping[str, Any], now: Mapping[str, str]) -> str:
    new = _memory(now)
    if new == before:
        return ""
    if "files" not in before or "files" not in new:
        return f"one of many {word}s changed"
    old: Mapping[str, str] = before["files"]
    names = sorted(name for name in old.keys() | now.keys() if old.get(name) != now.get(name))
    first = names[0]
    how = "is new" if first not in old else "is gone" if first not in now else "changed"
    return f"{word} {first} {how}" + (f" (and {len(names) - 1} more)" if len(names) > 1 else "")


def _failed(args: Mapping[str, Any], ran: Ran) -> bool:
    """What failed_when says; without it, any exit status but 0 and those that changed_when names."""
    if args["failed_when"] is not None:
        return _holds(args["failed_when"], ran)
    changed = args["changed_when"]
    return ran.exit_code != 0 and (
        isinstance(changed, bool | None) or ran.exit_code not in changed.exit_codes
    )


def _changed(args: Mapping[str, Any], ran: Ran) -> bool:
    changed = args["changed_when"]
    return not args["reads_only"] if changed is None else _holds(changed, ran)


def _holds(when: bool | When, ran: Ran) -> bool:
    if isinstance(when, bool):
        return when
    import re

    texts = ((when.stdout, ran.stdout), (when.stderr, ran.stderr))
    return ran.exit_code in when.exit_codes or any(
        pattern is not None and re.search(pattern, text.decode("utf-8", "replace"), re.MULTILINE) is not None
        for pattern, text in texts
    )


def _message(main: Exec, why: str, ran: Ran) -> str:
    parts = [f"ran {main.label}" + (f", because {why}" if why else "")]
    if ran.exit_code:
        parts.append(f"killed by {ran.signal}" if ran.signal else f"exit status {ran.exit_code}")
    if ran.left_open:
        parts.append(
            "something that it started still runs and holds its output: send that elsewhere (>/dev/null 2>&1)"
        )
    if any(ran.cut):
        parts.append(f"{sum(ran.cut):,} bytes of its output were left out in the middle")
    return "; ".join(parts)


def _fields(ran: Ran) -> dict[str, object]:
    fields: dict[str, object] = {
        "stdout": ran.stdout.decode("utf-8", "surrogateescape"),
        "stderr": ran.stderr.decode("utf-8", "surrogateescape"),
        "exit_code": ran.exit_code,
    }
    if any(ran.cut):
        fields["stdout_cut"], fields["stderr_cut"] = ran.cut
    if ran.signal:
        fields["signal"] = ran.signal
    return fields


def _failure(main: Exec, ran: Ran, context: Context) -> CommandFailed:
    from sloth_runner.modules.complaints import headline

    how = f"was killed by {ran.signal}" if ran.signal else f"ended with exit status {ran.exit_code}"
    said = (ran.stderr.strip() or ran.stdout.strip()).decode("utf-8", "replace").splitlines()
    if context.sensitive:
        said = []
    last = f": {headline(said)}" if said else ""
    said = said[-5:]
    return CommandFailed(
        f"{main.label} {how}{last}",
        system="\n".join(said) or None,
        next=[
            *_hints(main, ran, " ".join(said).lower()),
            "check = false lets the task look at exit_code itself",
        ],
    )


def _hints(main: Exec, ran: Ran, said: str) -> list[str]:
    words = (main.line or " ".join(main.argv)).split()
    program = words[0].rsplit("/", 1)[-1]
    if "exist" in said and "does not" not in said and program in ("useradd", "adduser"):
        return [f'run it only if there is no such user: unless = "id -u {words[-1]}"']
    if "exist" in said and "does not" not in said and program in ("groupadd", "addgroup"):
        return [f'run it only if there is no such group: unless = "getent group {words[-1]}"']
    if program == "mkdir" and "file exists" in said:
        return [f'file.directory("{words[-1]}") makes it only if it is missing']
    if "already exists" in said:
        return ['run it only when needed: creates = "/path", or unless = "a command that succeeds then"']
    if ran.exit_code == 127:
        return ["a program was not found: check its spelling, and PATH (env = {PATH = …})"]
    if ran.exit_code == 126:
        return ["a program can't be executed: it needs mode x (0755), or name what reads it: sh FILE"]
    if "permission denied" in said or "are you root" in said or "must be root" in said:
        return ['it may need another user: user = "root"']
    return []


MODULES = (
    Module(
        "cmd",
        run,
        (
            Arg("command", "command", "a line for /bin/sh"),
            Arg("argv", "argv", "a program and its arguments, which no shell sees"),
            Arg(
                "cwd",
                "line",
                "the folder to start in; relative to the task's workdir, else its file's folder; elsewhere the home",
            ),
            Arg(
                "env",
                "variables",
                "environment variables, beside PATH, HOME, LANG and the task's",
                default={},
            ),
            Arg("creates", "line", "a path: don't run if it exists"),
            Arg("removes", "line", "a path: don't run if it does not exist"),
            Arg("unless", "line", "a line for the shell: don't run if it succeeds"),
            Arg("only_if", "line", "a line for the shell: don't run if it fails"),
            Arg(
                "once",
                "boolean",
                "don't run if this very command succeeded on this target before",
                default=False,
            ),
            Arg("inputs", "strings", "files (patterns with *, **): run if one of them changed", default=()),
            Arg("outputs", "strings", "files (patterns): run also if one is missing or changed", default=()),
            Arg(
                "changed_when",
                "when",
                "whether having run counts as a change (true unless said): if it ended with one of these exit"
                " statuses, which count as success then, or wrote something that matches",
            ),
            Arg(
                "failed_when",
                "when",
                "whether it failed; without it: if its exit status is not 0, nor one of changed_when's",
            ),
            Arg("check", "boolean", "whether a failure is an error", default=True),
            Arg(
                "reads_only",
                "boolean",
                "it only looks: it counts as no change, and is run in a plan too",
                default=False,
            ),
        ),
        "Runs a command.",
        positional="command",
        refused={
            "stdin": "commands get no standard input; write a file first, or use a here-document in command",
            "workdir": "a call says cwd = …; workdir is the task's",
            "chdir": "say cwd = …",
            "shell": 'command is for /bin/sh, argv for no shell; another one: argv = {"bash", "-c", …}',
        },
        returns={
            "stdout": "(string) what it printed, up to 1 MiB",
            "stderr": "(string) what it printed on standard error, up to 1 MiB",
            "exit_code": "(integer) its exit status; 128 and the signal's number if one ended it",
            "signal": "(string?) the signal that ended it",
            "stdout_cut": "(integer?) bytes of stdout that were left out in the middle",
            "stderr_cut": "(integer?) bytes of stderr that were left out in the middle",
            "skipped": "(boolean?) true if it did not need to run",
            "warnings": "(string[]?) what should be looked at",
        },
    ),
)
