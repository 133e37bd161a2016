"""Why: a machine becomes an agent in one step, over SSH: installed, its key made there, signed here, and started.

The key never leaves the machine; what travels is its signing request, and the certificate back. If a step fails the
name is free again, and what was done on the machine is said.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable

from sloth_runner.daemon import unit
from sloth_runner.daemon.holding import BUNDLE
from sloth_runner.errors import TaskFailed
from sloth_runner.ops import Exec, OpError, Ran, Write
from sloth_runner.plain import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from sloth_runner.ops import Op, Result
    from sloth_runner.transport.base import Transport
    from sloth_runner.trust.authority import Authority

FOLDER: Final = "/var/lib/sloth-runner/agent"
VENV: Final = "/opt/sloth-runner"
INSTALLING: Final = 600.0
"""Seconds that the installation may take."""
NO_SERVICE: Final = (
    "to start it by other means: agent enroll … --no-service, then sloth-runner agent serve there"
)


class Asked(NamedTuple):
    """What shall be: the agent's name, where it listens, where its keys lie; which Python it runs on (None: one of
    its own is made), what pip installs there, and whether systemd shall start it."""

    name: str
    listen: str
    folder: str = FOLDER
    python: str | None = None
    package: str = "sloth-runner[agent]"
    service: bool = True


async def enroll(
    transport: Transport, authority: Authority, asked: Asked, say: Callable[[str], None]
) -> None:
    """Make the machine at the end of ``transport`` an agent; ``say`` hears of each step. Raises what the machine, the
    authority or the installation raise."""
    # Before a key is made, which would take the place of the one that is in use.
    authority.refuse_taken(asked.name)
    if asked.service:
        await _refuse_without_systemd(transport)
    python = asked.python or await _installed(transport, asked, say)
    say("making its key")
    argv = (python, "-m", "sloth_runner", "agent", "keygen", asked.name, "--folder", asked.folder, "--print")
    made = await _run(transport, argv, "making the agent's key")
    identity, bundle = authority.enroll(made.stdout, f"the signing request of {asked.name}")
    try:
        if identity.name != asked.name:
            raise TaskFailed(f"the machine asks for a certificate for {identity.name!r}")
        say("giving it its certificate")
        await _do(transport, Write(f"{asked.folder}/{BUNDLE}", bundle.pem(), mode=0o600))
        if asked.service:
            await _start(transport, python, asked, say)
    except BaseException:
        authority.revoke(asked.name, "its enrolment did not come to its end")
        raise


async def _refuse_without_systemd(transport: Transport) -> None:
    """Before anything is installed or made for nothing."""
    look = Exec("looking for systemd", line="command -v systemctl", cwd="/", mutating=False)
    there = await _do(transport, look)
    assert isinstance(there, Ran)
    if there.exit_code != 0:
        raise TaskFailed(
            "there is no systemd on the machine (systemctl is not found), which is to start the agent's service",
            unchanged=["nothing was done there"],
            next=[NO_SERVICE],
        )


async def _installed(transport: Transport, asked: Asked, say: Callable[[str], None]) -> str:
    python = f"{VENV}/bin/python"
    probe = f"{python} -c 'import sloth_runner, grpc'"
    there = await _do(transport, Exec("looking for Sloth Runner", line=probe, cwd="/", mutating=False))
    assert isinstance(there, Ran)
    if there.exit_code != 0:
        say(f"installing {asked.package} into {VENV}")
        await _run(transport, ("python3", "-m", "venv", VENV), "making a Python of its own", INSTALLING)
        await _run(
            transport,
            (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", asked.package),
            f"installing {asked.package}",
            INSTALLING,
        )
    return python


async def _start(transport: Transport, python: str, asked: Asked, say: Callable[[str], None]) -> None:
    say("starting its service")
    text = unit.unit(python, asked.folder, asked.listen)
    await _do(transport, Write(unit.PATH, text.encode(), mode=0o644))
    for words in (("daemon-reload",), ("enable", unit.NAME), ("restart", unit.NAME)):
        await _run(transport, ("systemctl", *words), f"systemctl {words[0]}", 60.0, (NO_SERVICE,))


async def _run(
    transport: Transport, argv: tuple[str, ...], what: str, timeout: float = 60.0, steps: tuple[str, ...] = ()
) -> Ran:
    ran = await _do(transport, Exec(what, argv, cwd="/", timeout=timeout))
    assert isinstance(ran, Ran)
    if ran.exit_code != 0:
        said = (ran.stderr or ran.stdout).decode("utf-8", "replace").strip().splitlines()[-5:]
        raise TaskFailed(
            f"{what} failed with status {ran.exit_code}",
            operation=shlex.join(argv),
            system="\n".join(said) or None,
            next=["the same by hand shows more", *steps],
        )
    return ran


async def _do(transport: Transport, op: Op) -> Result:
    try:
        found = transport.at_once(op)
        return found if found is not None else await transport.do(op)
    except OpError as error:
        raise TaskFailed(str(error), operation=type(op).__name__) from error
