"""Why: which machines are ours is decided here: by an authority of one's own, that signs, renews and revokes."""

from __future__ import annotations

from pathlib import Path

from sloth_runner.cli.base import output_option, yes_option
from sloth_runner.cli.shell import Shell
from sloth_runner.cli.words import PATH, argument, command, option
from sloth_runner.errors import FileMissing
from sloth_runner.moments import iso


@command("init")
@output_option
def init(shell: Shell) -> None:
    """Make the authority that signs agents' certificates; its key stays in the home folder of Sloth Runner.

    Whoever has that key can make agents and controllers: keep a copy of the folder where you keep such things.
    """
    app = shell.app()
    app.authority().init(f"Sloth Runner of {app.settings.user}@{app.settings.host}"[:64])
    _tell(shell, 0)


@command("show")
@output_option
def show(shell: Shell) -> None:
    """Show the authority: where it is, its fingerprint, and how many agents it has enrolled."""
    authority = shell.app().authority()
    count = sum(row.revoked is None and row.role == "agent" for row in authority.enrolled())
    _tell(shell, count)


@command("sign")
@argument("request", type=PATH, metavar="REQUEST")
@option(
    "-f",
    "--output-file",
    "path",
    type=PATH,
    metavar="FILE",
    help="Write it there instead of beside the request.",
)
@output_option
def sign(shell: Shell, request: Path, path: Path | None) -> None:
    """Sign what `agent keygen` has made on a machine (agent.csr). What comes out (agent.pem) goes beside its key.

    The machine's name is in the request. A name that is enrolled is refused until it is revoked.
    """
    from sloth_runner.trust.folder import Folder

    source = shell.cwd / request
    try:
        data = source.read_bytes()
    except OSError as error:
        raise FileMissing(
            f"the request {source} can't be read: {error.strerror}", unchanged=["nothing was signed"]
        ) from error
    authority = shell.app().authority()
    identity, bundle = authority.enroll(data, str(request))
    target = source.with_suffix(".pem") if path is None else shell.cwd / path
    Folder(target.parent).write(target.name, bundle.pem())
    until = authority.find(identity.name, identity.role).until
    if shell.structured:
        body = {"name": identity.name, "role": identity.role, "file": str(target), "until": iso(until)}
        shell.document("agent.sign", body)
    else:
        shell.print(f"{target}: {identity.name} is enrolled, its certificate is good until {iso(until)}")
        if shell.human:
            shell.say("put it beside agent.key on the machine, then start: sloth-runner agent serve")


@command("revoke")
@argument("name", metavar="NAME")
@option("--reason", default="", metavar="TEXT", help="Why; it is kept.")
@option("--controller", is_flag=True, help="NAME is a controller, not an agent.")
@yes_option
@output_option
def revoke(shell: Shell, name: str, reason: str, controller: bool, yes: bool) -> None:
    """Take an agent's name away: its certificates are void at once, also where a stream is open.

    What we have open to it ends within a second. Other agents hear of a revoked controller when one of ours reaches
    them: that is tried now, and those not reached are listed.
    """
    app = shell.app()
    authority = app.authority()
    role = "controller" if controller else "agent"
    found = authority.find(name, role)
    shell.confirm([f"  {role} {name}, enrolled {iso(found.since)}"], "Revoke it?", yes=yes)
    authority.revoke(name, reason, role)
    unreached: list[str] = []
    if controller:
        from sloth_runner.execution.reaching import spread

        unreached = spread(app)
    if shell.structured:
        shell.document("agent.revoke", {"name": name, "role": role, "reason": reason, "unreached": unreached})
        return
    shell.print(f"{role} {name} is revoked")
    if unreached:
        shell.warn(f"not told yet, and told when they are reached next: {', '.join(unreached)}")


def _tell(shell: Shell, agents: int) -> None:
    app = shell.app()
    folder, (mark, end) = app.settings.home / "agents", app.authority().about()
    if shell.structured:
        body = {"folder": str(folder), "fingerprint": mark, "until": iso(end), "agents": agents}
        shell.document("agent.ca", body)
        return
    pairs = [("folder", str(folder)), ("fingerprint", mark), ("until", iso(end)), ("agents", str(agents))]
    shell.fields("authority", pairs)
