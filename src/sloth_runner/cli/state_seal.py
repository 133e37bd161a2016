"""Why: sealing a state, opening it and turning its keys over are decisions: each is a command that can be resumed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from sloth_runner.cli import text
from sloth_runner.cli.base import DURATION, output_option, yes_option
from sloth_runner.cli.shell import Shell
from sloth_runner.cli.words import command, option
from sloth_runner.durations import human
from sloth_runner.errors import Lost, UsageError
from sloth_runner.names import did_you_mean
from sloth_runner.plain import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from sloth_runner.config_encryption import Encryption
    from sloth_runner.state.reseal import Done, Status

F = TypeVar("F", bound=Callable[..., Any])
TICK = 0.5
"""Seconds between two looks at locks that are waited for."""


def _wait_option(function: F) -> F:
    return option(
        "--wait",
        type=DURATION,
        help="Wait this long for locks that are held, instead of naming them and stopping.",
    )(function)


@command("encrypt")
@_wait_option
@output_option
def encrypt(shell: Shell, wait: float | None) -> None:
    """Seal a state that is in plaintext, with the key that [state.encryption] names.

    Programs with that configuration may go on using it meanwhile; those without are refused from now on. If it is
    killed, the same command goes on from there. Nothing in plaintext is left on disk, free pages and logs included.
    """
    from sloth_runner.state import reseal

    done = _work(shell, reseal.encrypt, wait)
    _tell(shell, "state.encrypt", done, f"sealed {text.count(done.changed, 'record')}", "sealed already")


@command("decrypt")
@_wait_option
@yes_option
@output_option
def decrypt(shell: Shell, wait: float | None, yes: bool) -> None:
    """Put a sealed state back into plaintext. Then take [state.encryption] out of the configuration.

    Programs that use the state may go on meanwhile. If it is killed, the same command goes on from there.
    """
    from sloth_runner.state import reseal

    app = shell.app()
    app.stores.sealed().close()  # what can't be done is refused before anybody is asked
    shell.confirm([f"this puts all of {app.stores.name} into plaintext"], "Decrypt it?", yes=yes)
    done = _work(shell, reseal.decrypt, wait)
    what = f"{text.count(done.changed, 'record')} in plaintext again; take [state.encryption] out"
    _tell(shell, "state.decrypt", done, what, "in plaintext already; take [state.encryption] out")


@command("rekey")
@option("--status", "only_status", is_flag=True, help="Only say what is sealed under which key.")
@option(
    "--to",
    metavar="SOURCE",
    help="Only change what unlocks it: passphrase[:VARIABLE], keyfile:FILE, env:VARIABLE, command:LINE, aws-kms:KEY.",
)
@_wait_option
@output_option
def rekey(shell: Shell, only_status: bool, to: str | None, wait: float | None) -> None:
    """Seal everything under a new data key: values, history, locks, runs, what modules remember.

    The state may be used meanwhile. If it is killed, the same command first finishes that work; only the next one
    makes another key. With --to, another key or passphrase unlocks the state from now on.
    """
    from sloth_runner.state import reseal

    if to is not None:
        if only_status or wait is not None:
            raise UsageError("--to goes alone: it wraps the data keys and touches no record")
        _rewrap(shell, to)
        return
    if only_status:
        _show(shell, _status(shell))
        return
    done = _work(shell, reseal.rekey, wait)
    _tell(
        shell,
        "state.rekey",
        done,
        f"sealed {text.count(done.changed, 'record')} anew",
        "nothing was left to do",
    )


def _work(shell: Shell, task: Callable[..., Done], wait: float | None) -> Done:
    store = shell.app().stores.sealed()
    progress = _Progress(shell)
    end = shell.world.clock() + (wait or 0.0)
    changed = 0
    try:
        while True:
            done = task(store, os.urandom, progress.told)
            changed += done.changed
            if not done.waiting or shell.world.clock() >= end:
                return done._replace(changed=changed)
            progress.waiting = len(done.waiting)
            shell.world.sleep(min(TICK, end - shell.world.clock()))
    except Lost as error:
        broken_off(error, changed + progress.count, " ".join(shell.words[:3]))
        raise
    finally:
        progress.close()
        store.close()


def broken_off(error: Lost, count: int, command: str) -> None:
    """Say of a server that was lost midway what that means: ``count`` records were rewritten by then."""
    if count:
        error.unchanged = []
        error.changed = [f"{text.count(count, 'record')} and the keyring: they stay as they are now"]
    error.next = [*error.next, f"run the same command again, it goes on where it stopped: {command}"]


class _Progress:
    """How far it is, below everything else on a terminal."""

    def __init__(self, shell: Shell) -> None:
        self._began = shell.world.clock()
        self._clock = shell.world.clock
        self.count = 0
        self.waiting = 0
        self._live: Any = None
        if shell.world.stderr_tty and not shell.structured:
            from sloth_runner.cli.live import Live

            self._live = Live(shell.world.stderr, lambda: shell.columns, self._draw)

    def told(self, count: int) -> None:
        """Records rewritten so far."""
        self.count = count

    def close(self) -> None:
        """It is over."""
        if self._live is not None:
            self._live.close()

    def _draw(self) -> list[str]:
        locks = f", waiting for {text.count(self.waiting, 'lock')}" if self.waiting else ""
        return [
            f"{text.count(self.count, 'record')} done, {human(max(0.0, self._clock() - self._began))}{locks}"
        ]


def _tell(shell: Shell, name: str, done: Done, what: str, nothing: str) -> None:
    """The result, with the count for each key."""
    status = _status(shell)
    if shell.structured:
        body = {"changed": done.changed, "done": not done.waiting, **_document(status)}
        shell.document(name, {"store": shell.app().stores.name, **body})
        return
    line = what if done.changed or done.waiting else nothing
    shell.print(f"{shell.app().stores.name}: {line}")
    for key, count in status.counts.items():
        current = " (current)" if key == status.current else ""
        shell.print(f"{text.count(count, 'record')} under the key {key}{current}")
    if done.waiting:
        shell.warn(
            f"not finished: the leases of {text.count(len(done.waiting), 'lock')} are as they were "
            f"({', '.join(done.waiting[:5])}{', …' if len(done.waiting) > 5 else ''}); they end or are renewed by "
            f"themselves, then: {' '.join(shell.words[:3])} --wait 5m"
        )


def _status(shell: Shell) -> Status:
    from sloth_runner.state.reseal import status

    store = shell.app().stores.raw()
    try:
        return status(store)
    finally:
        store.close()


def _document(status: Status) -> dict[str, Any]:
    keys = [{"id": key, "records": n, "current": key == status.current} for key, n in status.counts.items()]
    return {
        "mode": status.mode,
        "store_id": status.store_id or None,
        "source": status.source or None,
        "keys": keys,
        "plaintext": status.plain,
        "waiting": list(status.waiting),
        "left": status.left,
    }


def _show(shell: Shell, status: Status) -> None:
    if shell.structured:
        body = {"changed": 0, "done": not status.busy, **_document(status)}
        shell.document("state.rekey", {"store": shell.app().stores.name, **body})
        return
    words = {"open": "in plaintext", "sealing": "being sealed", "opening": "being put into plaintext"}
    mode = words.get(status.mode, "being sealed anew" if status.busy else "sealed")
    pairs = [("state", mode), ("unlocked by", status.source or "-"), ("store id", status.store_id or "-")]
    for key, count in status.counts.items():
        current = ", the current one" if key == status.current else ""
        pairs.append((f"key {key}", text.count(count, "record") + current))
    pairs += [("plaintext", text.count(status.plain, "record")), ("left to do", str(status.left))]
    if status.waiting:
        pairs.append(("waits for locks", ", ".join(status.waiting)))
    pairs.append(("store", shell.app().stores.name))
    shell.fields("encryption", pairs)


def _rewrap(shell: Shell, to: str) -> None:
    from sloth_runner.state.reseal import rewrap

    app = shell.app()
    chosen = _source(to, shell.cwd, shell.world.environ.get("HOME", ""))
    store = app.stores.sealed()
    try:
        store.ready()
        rewrap(store, app.stores.key_source(chosen, fresh=True), os.urandom)
    finally:
        store.close()
    if shell.structured:
        shell.document(
            "state.rekey", {"store": app.stores.name, "changed": 0, "done": True, **_document(_status(shell))}
        )
        return
    shell.print(
        f"{app.stores.name}: unlocked by {chosen.source} from now on; configure it before the next command:"
    )
    shell.print("[state.encryption]")
    for name, value in chosen.values().items():
        shell.print(f"{name} = {_toml(value)}")


def _source(to: str, cwd: Path, home: str) -> Encryption:
    """What ``--to`` names. Raises UsageError."""
    from sloth_runner.config_encryption import SOURCES, parse_encryption
    from sloth_runner.config_file import Origin
    from sloth_runner.errors import BadConfig

    kind, _, rest = to.partition(":")
    if kind not in SOURCES:
        raise UsageError(
            f"--to: there is no source {kind!r} of keys",
            unchanged=["nothing was changed"],
            next=did_you_mean(kind, SOURCES) or [f"sources: {', '.join(SOURCES)}"],
        )
    needs, may = SOURCES[kind]
    origin = Origin("--to")
    found: dict[str, tuple[Any, Origin]] = {"source": (kind, origin)}
    if rest or needs:
        found[(*needs, *may)[0]] = (rest, origin)
    try:
        return parse_encryption(found, cwd, home)
    except BadConfig as error:
        raise UsageError(error.message, unchanged=["nothing was changed"], next=error.next) from None


def _toml(value: object) -> str:
    import json

    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)
