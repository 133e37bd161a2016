"""Why: locks can be seen, explained and broken by hand, and shell scripts can work under one."""

from __future__ import annotations

from sloth_runner import documents
from sloth_runner.cli import suggestions, text
from sloth_runner.cli.base import DURATION, output_option, where_options, yes_option
from sloth_runner.cli.shell import Shell, Where, one_namespace
from sloth_runner.cli.words import argument, command, option
from sloth_runner.documents import locks as told
from sloth_runner.errors import UsageError
from sloth_runner.plain import TYPE_CHECKING
from sloth_runner.state import locks

if TYPE_CHECKING:
    from sloth_runner.state.locks import Info
    from sloth_runner.state.state import State


@command("list")
@where_options(everywhere=True)
@output_option
def list_locks(shell: Shell, where: Where) -> None:
    """List the locks that are held: local ones (or an agent's) and those that all share."""
    app = shell.app()
    found = list(told.held(app, told.namespaces(app, None if where.all_agents else shell.view(where))))
    if shell.mode == "jsonl":
        for info, stale in found:
            shell.record("lock", documents.lock(info, stale=stale))
        return
    if shell.mode == "json":
        shell.document("lock.list", told.listing(app, found))
        return
    cells = [_cells(shell, info, stale) for info, stale in found]
    headers = ["NAME", "NAMESPACE", "HOLDER", "BY", "ACQUIRED", "EXPIRES", "STATE"]
    shell.table(headers, cells, flexible=(0, 2, 3, 6))
    if shell.human and not found:
        shell.say("no locks are held")
    if shell.human and any(stale for _, stale in found):
        shell.say("stale: its process is gone; it ends by itself, or: sloth-runner lock break NAME")


@command("show")
@argument("name", complete=suggestions.locks)
@where_options()
@output_option
def show(shell: Shell, name: str, where: Where) -> None:
    """Show who holds the lock NAME, since when and until when."""
    _, info = _one(shell, name, where)
    if shell.structured:
        shell.document("lock.show", told.shown(shell.app(), info))
        return
    stale = told.is_stale(shell.app(), info)
    by = info.owner.by
    pairs = [
        ("holder", info.owner.holder),
        ("by", documents.who_text(by)),
        ("pid", str(by.pid)),
        ("acquired", shell.moment(info.acquired)),
        ("expires", shell.moment(info.expires)),
        ("token", str(info.token)),
        ("state", _state(stale)),
        ("namespace", info.namespace),
        ("store", shell.app().stores.name),
    ]
    if not shell.human:
        pairs.insert(0, ("name", name))
    shell.fields(name, pairs)


@command("break")
@argument("name", complete=suggestions.locks)
@where_options()
@option("--reason", default="", metavar="TEXT", help="Why; recorded with the lock.")
@yes_option
@output_option
def break_held(shell: Shell, name: str, where: Where, reason: str, yes: bool) -> None:
    """Take the lock NAME away from its holder. Its writes under the lock are refused from then on."""
    app = shell.app()
    view, info = _one(shell, name, where)
    stale = told.is_stale(app, info)
    by = info.owner.by
    lines = [
        f"  {name} in {info.namespace} of {app.stores.name}",
        f"  held by {info.owner.holder!r}: {documents.who_text(by)}, pid {by.pid}",
        f"  {_state(stale)}; {text.lease_end(info.expires, shell.world.clock())}",
    ]
    shell.confirm(lines, "Break it?", yes=yes)
    told.take_away(app, view, info, reason)
    if shell.structured:
        shell.document("lock.break", told.broken(app, info, stale, reason))
    else:
        shell.print(f"broken: {text.pictures(name)}, held by {text.pictures(info.owner.holder)}")


@command("run")
@argument("name", complete=suggestions.locks)
@argument("argv", metavar="-- COMMAND...", multiple=True, required=True)
@where_options()
@option("--ttl", type=DURATION, default=60.0, shown="60s", help="Length of the lease; it is renewed.")
@option("--wait", type=DURATION, default=0.0, help="Wait this long for the lock; without it, try once.")
@option("--holder", metavar="TEXT", help="Who holds it, as shown to others; by default the command's name.")
def run(
    shell: Shell, name: str, argv: tuple[str, ...], where: Where, ttl: float, wait: float, holder: str | None
) -> int:
    """Run COMMAND while holding the lock NAME. Exit status: the command's, or 3 if the lock is held.

    The lease is renewed while the command runs. Should it be lost, the command is stopped. SLOTH_LOCK_NAME and
    SLOTH_LOCK_TOKEN tell the command what it runs under.
    """
    from sloth_runner.cli.lock_run import run_locked

    if ttl < 1:
        raise UsageError("--ttl must be at least 1s", unchanged=["nothing was run"])
    view = shell.view(one_namespace(where, "a lock lies in one namespace"))
    return run_locked(shell, view.home(locks.check_lock_name(name)), name, argv, ttl, wait, holder or argv[0])


def _one(shell: Shell, name: str, where: Where) -> tuple[State, Info]:
    view = shell.view(one_namespace(where, "a lock lies in one namespace"))
    return view, told.one(shell.app(), view, name)


def _state(stale: bool) -> str:
    return "stale: its process is gone" if stale else "held"


def _cells(shell: Shell, info: Info, stale: bool) -> list[str]:
    by = info.owner.by
    return [
        info.name,
        info.namespace,
        info.owner.holder,
        f"{by.user}@{by.host}",
        shell.moment(info.acquired),
        shell.moment(info.expires),
        "stale" if stale else "held",
    ]
