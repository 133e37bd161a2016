"""Why: commands can do anything, so this module can't know what they change; it is told, or says so.

``creates``, ``removes``, ``unless``, ``only_if``, ``once`` and ``inputs``/``outputs`` make a command idempotent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sloth_runner.errors import BadArgument, CommandFailed
from sloth_runner.model import Outcome
from sloth_runner.modules.base import Arg, Module, Setting, Steps
from sloth_runner.ops import Exec, Glob, Matches, Ran, Recall, Seen, Stat

_HINTS = (
    ("already exists", 'say when it isn\'t needed: unless = "…", or creates = "/path"'),
    ("not found", "check the spelling and PATH; env = {PATH = …} changes it"),
    ("permission denied", 'it may need another user: user = "root"'),
)


def run(args: Mapping[str, Any], setting: Setting) -> Steps:
    """Decide whether to run, run, and judge."""
    command, argv = args["command"], args["argv"]
    if (command is None) == (argv is None):
        raise BadArgument("cmd takes either command (a shell line) or argv (a list)")
    watching = bool(args["inputs"] or args["outputs"])
    main = _exec(args, setting, (command,) if argv is None else argv, argv is None)
    reason = yield from _reason_to_skip(args, setting)
    if reason:
        return Outcome(False, reason, {"skipped": True, "stdout": "", "stderr": "", "exit_code": 0})
    name = _memory_name(main, setting)
    before: dict[str, Any] | None = (yield Recall(name)) if args["once"] or watching else None
    why = ""
    if args["once"] and before is not None and not watching:
        skipped = "this command succeeded here before (once)"
        return Outcome(False, skipped, {"skipped": True, "stdout": "", "stderr": "", "exit_code": 0})
    if watching:
        now = yield from _digests(args, main)
        why = _difference(before, now)
        if not why:
            same = "inputs and outputs are unchanged"
            return Outcome(False, same, {"skipped": True, "stdout": "", "stderr": "", "exit_code": 0})
    ran: Ran = yield main
    fields = _fields(ran)
    if ran.exit_code != 0 and args["check"]:
        raise _failure(main, ran, setting)
    changed = args["changed_when"] if args["changed_when"] is not None else True
    remember = None
    if (args["once"] or watching) and ran.exit_code == 0:
        after = (yield from _digests(args, main)) if watching else {}
        remember = (name, {"files": after})
    message = why or (f"exit status {ran.exit_code}" if ran.exit_code else "")
    return Outcome(changed, message, fields, None, remember, predictable=False)


def _exec(
    args: Mapping[str, Any], setting: Setting, argv: tuple[str, ...], shell: bool, *, asks: bool = False
) -> Exec:
    cwd = args["cwd"] or setting.workdir or (setting.folder if setting.is_local else None)
    env = {**setting.env, **(args["env"] or {})}
    return Exec(argv, shell, cwd, env, setting.user, setting.timeout, asks=asks)


def _reason_to_skip(args: Mapping[str, Any], setting: Setting) -> Any:
    if args["creates"] is not None:
        seen: Seen = yield Stat(args["creates"])
        if seen.kind != "absent":
            return f"{args['creates']} is there"
    if args["removes"] is not None:
        seen = yield Stat(args["removes"])
        if seen.kind == "absent":
            return f"{args['removes']} is not there"
    for name, wanted in (("unless", False), ("only_if", True)):
        if args[name] is not None:
            ran: Ran = yield _exec(args, setting, (args[name],), True, asks=True)
            if (ran.exit_code == 0) is not wanted:
                return f"{name} {'succeeded' if ran.exit_code == 0 else 'failed'}: {args[name]}"
    return None


def _memory_name(main: Exec, setting: Setting) -> str:
    from hashlib import sha256

    what = json.dumps([main.argv, main.shell, main.cwd, sorted(main.env.items()), main.user])
    return f"cmd:{sha256(what.encode('utf-8', 'surrogatepass')).hexdigest()}"


def _digests(args: Mapping[str, Any], main: Exec) -> Any:
    found: dict[str, str] = {}
    for patterns in (args["inputs"], args["outputs"]):
        if patterns:
            matches: Matches = yield Glob(patterns, main.cwd or "/")
            found.update(matches.files)
    return found


def _difference(before: Mapping[str, Any] | None, now: Mapping[str, str]) -> str:
    if before is None:
        return "it did not run here before"
    old: Mapping[str, str] = before["files"]
    changed = sorted(path for path in old.keys() | now.keys() if old.get(path) != now.get(path))
    if not changed:
        return ""
    more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
    word = "is new" if changed[0] not in old else "is gone" if changed[0] not in now else "changed"
    return f"{changed[0]} {word}{more}"


def _fields(ran: Ran) -> dict[str, object]:
    return {
        "stdout": ran.stdout.decode("utf-8", "surrogateescape"),
        "stderr": ran.stderr.decode("utf-8", "surrogateescape"),
        "exit_code": ran.exit_code,
    }


def _failure(main: Exec, ran: Ran, setting: Setting) -> CommandFailed:
    shown = main.argv[0] if main.shell else " ".join(main.argv)
    if setting.sensitive:
        shown = "the command (sensitive)"
    how = f"was killed by {ran.signal}" if ran.signal else f"ended with exit status {ran.exit_code}"
    said = (ran.stderr or ran.stdout).decode("utf-8", "replace").strip().splitlines()[-5:]
    detail = "" if setting.sensitive or not said else ": " + " / ".join(said)
    low = " ".join(said).lower()
    hints = [hint for words, hint in _HINTS if words in low]
    if main.argv[0].split()[:1] == ["useradd"]:
        hints.insert(0, 'make it idempotent: unless = "id NAME"')
    return CommandFailed(
        f"{shown} {how}{detail}", next=[*hints, "check = false lets the task judge exit_code itself"]
    )


MODULES = (
    Module(
        "cmd",
        "Runs a command.",
        (
            Arg("command", "string", "a line for /bin/sh"),
            Arg("argv", "argv", "a program and its arguments, without a shell"),
            Arg("cwd", "path", "the folder to start in"),
            Arg("env", "table", "variables added to the environment"),
            Arg("creates", "path", "don't run if this is there"),
            Arg("removes", "path", "don't run if this is not there"),
            Arg("unless", "string", "don't run if this shell line succeeds"),
            Arg("only_if", "string", "don't run if this shell line fails"),
            Arg(
                "once",
                "boolean",
                "don't run if this very command succeeded on this target before",
                False,
                False,
            ),
            Arg("inputs", "strings", "globs: run only if one of these files changed", False, ()),
            Arg("outputs", "strings", "globs: run also if one of these files changed", False, ()),
            Arg("changed_when", "boolean", "whether running it counts as a change (default: true)"),
            Arg("check", "boolean", "whether an exit status other than 0 is an error", False, True),
        ),
        run,
        positional="command",
    ),
)
