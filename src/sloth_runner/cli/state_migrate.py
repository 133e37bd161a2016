"""Why: moving a state is one command: it says what it would do, does it whole, and leaves one home to look in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sloth_runner import processes
from sloth_runner.cli import config_switch, text
from sloth_runner.cli.bar import bar
from sloth_runner.cli.base import output_option, yes_option
from sloth_runner.cli.config_switch import Switch
from sloth_runner.cli.shell import Shell
from sloth_runner.cli.words import command, option
from sloth_runner.errors import UsageError
from sloth_runner.plain import TYPE_CHECKING, Any, NamedTuple
from sloth_runner.state.layout import HEAD, HISTORY

if TYPE_CHECKING:
    from sloth_runner.app import App
    from sloth_runner.state.locks import Info
    from sloth_runner.state.migrate import Order, Side, Situation
    from sloth_runner.state.migrate_copy import Sum

PASSES = 3
"""Times that a record is read: to copy it, and on both sides to compare."""


class Journey(NamedTuple):
    """Both sides, opened, and how the configuration changes (None: it names neither, or is to be left alone)."""

    source: Side
    target: Side
    switch: Switch | None


@command("migrate")
@option("--to", metavar="URL", help="The store to move to, written as in [state] store.")
@option("--from", "from_", metavar="URL", help="Where it is (by default: the store that is configured).")
@option("--to-password-env", metavar="NAME", help="The variable that holds the password or token of --to.")
@option(
    "--from-password-env", metavar="NAME", help="The variable that holds the password or token of --from."
)
@option("--dry-run", is_flag=True, help="Read everything and say what would be done; change nothing.")
@option("--abort", is_flag=True, help="Undo a migration that broke off.")
@option("--no-switch", is_flag=True, help="Don't change the configuration; print the lines that it needs.")
@yes_option
@output_option
def migrate(
    shell: Shell, to: str | None, from_: str | None, to_password_env: str | None, from_password_env: str | None,
    dry_run: bool, abort: bool, no_switch: bool, yes: bool,
) -> None:  # fmt: skip
    """Move the state to another store: with history, locks' tokens, runs, tags and what modules remember.

    Nobody can write to it meanwhile, and nobody to the old store any more: whoever tries is told where the state is
    now. The copy is compared with the original first, then the configuration is changed to the new store. If it is
    killed, the same command finishes it, and --abort undoes it.
    """
    if to is None:
        raise UsageError("--to is needed: where the state goes", unchanged=["nothing was changed"])
    if abort and dry_run:
        raise UsageError("--abort and --dry-run exclude each other", unchanged=["nothing was changed"])
    with _sides(shell, from_, from_password_env, to, to_password_env, no_switch) as journey:
        if abort:
            _undo(shell, journey, yes)
        else:
            _go(shell, journey, dry_run, yes)


@contextmanager
def _sides(
    shell: Shell, from_: str | None, from_env: str | None, to: str, to_env: str | None, no_switch: bool
) -> Iterator[Journey]:
    from sloth_runner.engine.fitting_store import Fitting
    from sloth_runner.state.migrate import Side

    app = shell.app()
    here = app if from_ is None and from_env is None else _elsewhere(app, from_, from_env, "--from")
    there = _elsewhere(app, to, to_env, "--to")
    opened: list[Any] = []
    try:
        for one in (here, there):
            store, raw = one.stores.both()
            opened.append(Side(store, raw, one.stores.name))
        source, target = opened
        source = source._replace(store=Fitting(source.store, target.store.traits.max_value))
        wanted = not no_switch and app.stores.name == here.stores.name
        switch = config_switch.plan(app.settings, to, there.settings.password_env) if wanted else None
        yield Journey(source, target, switch)
    finally:
        for side in opened:
            side.raw.close()


def _elsewhere(app: App, url: str | None, password_env: str | None, label: str) -> App:
    """The app for another URL; one that is configured keeps its password's variable."""
    settings = app.settings
    if password_env is None and url == settings.store:
        password_env = settings.password_env
    return app.elsewhere(settings.store if url is None else url, password_env, label)


def _go(shell: Shell, journey: Journey, dry_run: bool, yes: bool) -> None:
    from sloth_runner.state import migrate

    source, target, switch = journey
    situation = migrate.look(source, target)
    if situation.done:
        _told(shell, journey, "moved already", [], _switched(switch, done=not dry_run))
        return
    sums: list[Sum] = []
    if not situation.proved:
        with bar(shell, "reading", None) as progress:
            sums = migrate.survey(source, target, progress)
    if dry_run:
        _told(shell, journey, "planned", sums, _switched(switch, done=False))
        return
    shell.confirm(_lines(journey, situation, sums), "Move it?", yes=yes)
    total = PASSES * sum(one.records for one in sums)
    with bar(shell, "moving", total or None) as progress:
        done = migrate.migrate(source, target, _order(shell, progress))
    _told(shell, journey, "moved", done, _switched(switch, done=True))


def _undo(shell: Shell, journey: Journey, yes: bool) -> None:
    from sloth_runner.state import migrate

    source, target, _ = journey
    situation = migrate.look(source, target)
    lines = [f"{source.name} takes writes again", f"what was copied into {target.name} is deleted"]
    if situation.source is not None or situation.target is not None:
        shell.confirm(lines, "Undo it?", yes=yes)
    deleted = migrate.abort(source, target, _order(shell, lambda count: None))
    if not shell.structured:
        shell.say(
            f"{source.name} takes writes again; {text.count(deleted, 'record')} deleted from {target.name}"
        )
        return
    _told(shell, journey, "undone", [], {"file": None, "lines": [], "switched": False, "why": None})


def _order(shell: Shell, progress: Any) -> Order:
    from sloth_runner.state.locks import is_stale
    from sloth_runner.state.migrate import Order

    app = shell.app()
    boot, _ = processes.identity()

    def alive(info: Info) -> bool:
        return not is_stale(info, app.settings.host, boot, processes.start_time(info.owner.by.pid))

    return Order(app.by(), app.owner("state migrate", app.new_id()), app.new_id, app.clock, alive, progress)


def _lines(journey: Journey, situation: Situation, sums: Sequence[Sum]) -> list[str]:
    from sloth_runner.state.migrate import EARLIER

    source, target, switch = journey
    records = sum(one.records for one in sums)
    lines = [f"{text.count(records, 'record')} of {', '.join(one.namespace for one in sums) or 'nothing'}"]
    if situation.source is not None:
        lines = [f"the migration of {situation.source.user}@{situation.source.host} goes on", *lines]
    lines += [f"from {source.name}, which takes no writes any more", f"to {target.name}"]
    if situation.holds == EARLIER:
        lines.append("what that still holds of this state from before is replaced")
    if switch is not None and switch.file is not None:
        lines.append(f"{switch.file} then says: {'  '.join(switch.lines)}")
    return lines


def _switched(switch: Switch | None, *, done: bool) -> dict[str, Any]:
    """Let the configuration name the new store (``done``: in earnest), and what that came to."""
    if switch is None:
        return {"file": None, "lines": [], "switched": False, "why": None}
    why = config_switch.make(switch) if done else None
    file = None if switch.file is None else str(switch.file)
    return {"file": file, "lines": list(switch.lines), "switched": done and not why, "why": why or None}


def _told(shell: Shell, journey: Journey, status: str, sums: Sequence[Sum], config: dict[str, Any]) -> None:
    if shell.structured:
        body = {
            "store": journey.source.name,
            "target": journey.target.name,
            "status": status,
            "namespaces": [_row(one) for one in sums],
            "config": config,
        }
        shell.document("state.migrate", body)
        return
    rows = [_row(one) for one in sums]
    headers = ("NAMESPACE", "KEYS", "REVISIONS", "RECORDS", "BYTES")
    shell.table(headers, [[str(row[name.lower()]) for name in headers] for row in rows])
    words = {"planned": "would be moved", "moved": "was moved", "moved already": "was moved already"}[status]
    shell.say(f"the state of {journey.source.name} {words} to {journey.target.name}")
    if config["switched"]:
        shell.say(f"{config['file']} names it now")
    elif status == "planned":
        if config["lines"]:
            shell.say(f"{config['file'] or 'the environment'} would say: {'  '.join(config['lines'])}")
    else:
        _advise(shell, journey, config)


def _advise(shell: Shell, journey: Journey, config: dict[str, Any]) -> None:
    if config["why"]:
        shell.warn(f"the configuration could not be changed: {config['why']}")
    lines = config["lines"] or [f'[state] store = "{journey.target.name}"']
    shell.say("let the configuration name the new store:")
    for line in lines:
        shell.say(f"  {line}")


def _row(one: Sum) -> dict[str, Any]:
    kinds = dict(one.kinds)
    return {
        "namespace": one.namespace,
        "keys": kinds.get(HEAD, 0),
        "revisions": kinds.get(HISTORY, 0),
        "records": one.records,
        "bytes": one.bytes,
        "digest": f"sha256:{one.digest}",
    }
