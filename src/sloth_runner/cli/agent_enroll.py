"""Why: from a machine with SSH to an agent in one command."""

from __future__ import annotations

from collections.abc import Callable

from sloth_runner.cli.base import output_option
from sloth_runner.cli.shell import Shell
from sloth_runner.cli.words import argument, command, option
from sloth_runner.errors import SlothError, UsageError
from sloth_runner.plain import TYPE_CHECKING

if TYPE_CHECKING:
    from sloth_runner.daemon.enrolling import Asked
    from sloth_runner.transport.base import Transport

PORT = 7443


@command("enroll")
@argument("address", metavar="ssh://HOST")
@argument("name", metavar="NAME")
@option(
    "--listen",
    default=f"0.0.0.0:{PORT}",
    shown=f"0.0.0.0:{PORT}",
    metavar="HOST:PORT",
    help="Where it listens.",
)
@option("--folder", metavar="DIR", help="Where it keeps its key (/var/lib/sloth-runner/agent).")
@option(
    "--python", metavar="PATH", help="A Python there that has sloth-runner[agent]; else one is made in /opt."
)
@option("--package", default="sloth-runner[agent]", metavar="SPEC", help="What pip installs there.")
@option("--no-service", is_flag=True, help="Don't write and start a systemd unit.")
@output_option
def enroll(
    shell: Shell,
    address: str,
    name: str,
    listen: str,
    folder: str | None,
    python: str | None,
    package: str,
    no_service: bool,
) -> None:
    """Make the machine at ssh://HOST the agent NAME: over SSH it is installed, makes its key, gets its certificate,
    and is started as a service. Afterwards it is reached at grpc://HOST.
    """
    from urllib.parse import urlsplit

    from sloth_runner.agents_file import toml_key
    from sloth_runner.daemon.enrolling import FOLDER, Asked
    from sloth_runner.state.layout import check_agent_name

    check_agent_name(name, reserved=True)
    if not address.startswith(("ssh://", "chroot://", "local://")):
        raise UsageError(
            f"{address}: a machine is enrolled over SSH: ssh://user@host", unchanged=["nothing was done"]
        )
    app = shell.app()
    app.authority().certificate()
    asked = Asked(name, listen, folder or FOLDER, python, package, not no_service)
    transports = app.transports()
    try:
        _enroll(shell, transports.to(app.expand_agents(address)[0]), transports.loop.run, asked)
    finally:
        transports.close()
    port = listen.rpartition(":")[2]
    host = urlsplit(address).hostname or "127.0.0.1"
    url = f"grpc://{host}" if port == str(PORT) else f"grpc://{host}:{port}"
    if shell.structured:
        shell.document(
            "agent.enroll", {"name": name, "address": address, "url": url, "service": not no_service}
        )
        return
    shell.print(f'{name} is enrolled; in sloth.toml under [agents]: {toml_key(name)} = "{url}"')


def _enroll(shell: Shell, transport: Transport, run: Callable[..., object], asked: Asked) -> None:
    from sloth_runner.daemon.enrolling import enroll as make

    try:
        run(make(transport, shell.app().authority(), asked, lambda line: shell.say(f"{asked.name}: {line}")))
    except SlothError as error:
        error.unchanged = error.unchanged or [f"{asked.name} is not enrolled"]
        raise
