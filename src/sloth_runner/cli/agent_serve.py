"""Why: a machine becomes an agent by three commands: make a key, have it signed, serve."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

from sloth_runner.cli.base import output_option
from sloth_runner.cli.shell import Shell
from sloth_runner.cli.words import PATH, argument, command, option
from sloth_runner.errors import BadConfig, UsageError
from sloth_runner.plain import TYPE_CHECKING

if TYPE_CHECKING:
    from sloth_runner.daemon.holding import Keeper

LISTEN = "0.0.0.0:7443"
_PRIVILEGED = Path("/var/lib/sloth-runner/agent")


@command("keygen")
@argument("name", metavar="NAME")
@option("--folder", type=PATH, metavar="DIR", help="Where the agent keeps its key.")
@option("--print", "show", is_flag=True, help="Print the request instead of where it is.")
@output_option
def keygen(shell: Shell, name: str, folder: Path | None, show: bool) -> None:
    """Make a key for this machine as the agent NAME, and a request that the controller signs (agent sign).

    The key stays here. A key that was here before is replaced, and its certificate becomes useless.
    """
    from sloth_runner.daemon.holding import REQUEST
    from sloth_runner.state.layout import check_agent_name

    check_agent_name(name, reserved=True)
    keeper, place = _keeper(shell, folder)
    request = keeper.make_key(name)
    if show:
        shell.write(request.decode())
    elif shell.structured:
        shell.document("agent.keygen", {"name": name, "request": str(place / REQUEST)})
    else:
        shell.print(
            f"{place / REQUEST}: have it signed on the controller, by: sloth-runner agent sign {REQUEST}"
        )


@command("serve")
@option("--listen", default=LISTEN, shown=LISTEN, metavar="HOST:PORT", help="Where controllers reach it.")
@option("--folder", type=PATH, metavar="DIR", help="Where the agent keeps its key and certificate.")
def serve(shell: Shell, listen: str, folder: Path | None) -> None:
    """Serve controllers of our authority, and nobody else, until this is stopped.

    Whoever calls shows a certificate of the authority that signed ours, made for a controller, and not revoked.
    """
    host, separator, port = listen.rpartition(":")
    if not separator or not host or not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise UsageError(
            f"--listen: an address such as {LISTEN} is needed, not {listen!r}",
            unchanged=["nothing was started"],
        )
    keeper, _ = _keeper(shell, folder)
    held = keeper.held()
    try:
        from sloth_runner.agent.pack import packed
        from sloth_runner.daemon.service import Server
        from sloth_runner.daemon.unit import notify

        server = Server(keeper, listen, shell.world.environ, packed().name)
    except ImportError as error:
        raise BadConfig(
            f"serving needs a package that is not installed ({error.name})",
            unchanged=["nothing was started"],
            next=["pip install 'sloth-runner[agent]'"],
        ) from error
    except RuntimeError as error:  # gRPC's word for an address that can't be had
        raise UsageError(
            f"--listen {listen}: the address can't be used",
            system=str(error),
            unchanged=["nothing was started"],
            next=["is another agent running? ss -ltnp"],
        ) from error
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    server.start()
    shell.say(f"agent {held.identity.name} listens on {host}:{server.port}")
    shell.world.stderr.flush()
    notify(shell.world.environ, "READY=1")
    server.wait(stop)
    notify(shell.world.environ, "STOPPING=1")


def _keeper(shell: Shell, folder: Path | None) -> tuple[Keeper, Path]:
    import os

    from sloth_runner.daemon.holding import Keeper
    from sloth_runner.trust.folder import Folder

    if folder is not None:
        place = shell.cwd / folder
    else:
        place = _PRIVILEGED if os.geteuid() == 0 else shell.app().settings.home / "agent"
    return Keeper(Folder(place), shell.world.clock, shell.world.new_id), place
