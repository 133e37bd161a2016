"""Why: the URL of an agent becomes a way to a machine in one place, where a new scheme is one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sloth_runner.config_fields import Agent
from sloth_runner.errors import BadConfig, Missing, Unreachable
from sloth_runner.names import did_you_mean
from sloth_runner.plain import TYPE_CHECKING, Final, NamedTuple, cast
from sloth_runner.state.backends import public_url
from sloth_runner.transport.loop import Loop

if TYPE_CHECKING:
    from sloth_runner.app import App
    from sloth_runner.transport.base import Transport
    from sloth_runner.transport.grpc import Access
    from sloth_runner.transport.remote import Remote
    from sloth_runner.transport.settling import Settling
    from sloth_runner.transport.ssh import Jumps
    from sloth_runner.trust.authority import Authority

OWN_FILES, FILES_EACH = 256, 4
"""Files that we have open ourselves, and for each machine: a connection, and what a ProxyCommand needs."""
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Transports:
    """One transport for each agent, made when it is first needed, and the loop on which they wait. ``settling``: what
    is done in folders here is made durable when its owner says so (None: at once)."""

    def __init__(self, app: App, settling: Settling | None = None) -> None:
        self.loop = Loop()
        self.settling = settling
        self.app = app
        self._made: dict[str, Transport] = {}
        self._jumps: Jumps | None = None
        self._authority: Authority | None = None

    def to(self, agent: str) -> Transport:
        """The way to an agent. Raises AgentUnknown, BadConfig."""
        made = self._made.get(agent)
        if made is None:
            entry = self.app.agent(agent)
            check_agent(entry)
            made = self._made[agent] = SCHEMES[_scheme(entry.url)].make(self, entry)
            make_room(len(self._made))
        return made

    def remotes(self) -> dict[str, Remote]:
        """Those made so far that lead to other machines."""
        others = {name: made for name, made in self._made.items() if not made.is_local}
        return cast("dict[str, Remote]", others)

    def environment(self) -> dict[str, str]:
        """What programs here get from us, before the task's own ``env``."""
        found = {name: self.app.getenv(name) for name in ("PATH", "HOME", "LANG")}
        return {"PATH": DEFAULT_PATH, **{name: text for name, text in found.items() if text}}

    def jumps(self) -> Jumps:
        """The connections to jump hosts."""
        if self._jumps is None:
            from sloth_runner.transport.ssh import Jumps

            home = Path(self.app.getenv("HOME") or "/")
            socket = self.app.getenv("SSH_AUTH_SOCK")
            self._jumps = Jumps(home, {"SSH_AUTH_SOCK": socket} if socket else {})
        return self._jumps

    def access(self, agent: str) -> Access:
        """What is needed to reach an enrolled agent now; see ``access``."""
        if self._authority is None:
            self._authority = self.app.authority()
        return access(self._authority, agent, self.app.settings.host)

    def secret(self, entry: Agent, name: str | None, what: str) -> str | None:
        """A password that a variable holds. Raises BadConfig: the variable is not set."""
        if name is None:
            return None
        found = self.app.getenv(name)
        if not found:
            raise _unready(
                entry,
                f"the variable {name}, which should hold {what} of agent {entry.name!r}, is not set",
                f"export {name}=…",
            )
        return found

    def close(self) -> None:
        """Hang up everywhere, all at once."""
        if self.loop.used:
            self.loop.run(self._aclose())
        self.loop.close()

    async def _aclose(self) -> None:
        import asyncio

        made, self._made = list(self._made.values()), {}
        await asyncio.gather(*(one.aclose() for one in made), return_exceptions=True)
        if self._jumps is not None:
            await self._jumps.aclose()


def make_room(machines: int) -> None:
    """Have as many files open as connections to so many machines need, as far as the system lets us: what a shell
    allows a program at first is often 1,024."""
    import resource

    need = OWN_FILES + FILES_EACH * machines
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = need if hard == resource.RLIM_INFINITY else min(need, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


class Scheme(NamedTuple):
    """How URLs of a scheme are checked (without connecting; raises BadConfig) and become transports."""

    check: Callable[[str], None]
    make: Callable[[Transports, Agent], Transport]


def _unready(entry: Agent, message: str, advice: str) -> BadConfig:
    """An agent can't be reached from here as things are; the file that names it is right."""
    problem: BadConfig = entry.origin.problem(message, advice)
    problem.unchanged = ["nothing was done on it"]
    return problem


def _local(transports: Transports, entry: Agent) -> Transport:
    from sloth_runner.transport.local import LocalTransport

    return LocalTransport(transports.environment(), settling=transports.settling)


def _check_local(url: str) -> None:
    if url != "local://":
        raise BadConfig(f"{url}: nothing may follow local://")


def _ssh(transports: Transports, entry: Agent) -> Transport:
    from sloth_runner.transport.ssh_library import load

    try:
        load()
    except ImportError as error:
        raise _unready(
            entry,
            f"agent {entry.name!r}: SSH needs a package that is not installed ({error.name})",
            "pip install 'sloth-runner[ssh]'",
        ) from error
    from sloth_runner.transport.remote import Remote
    from sloth_runner.transport.ssh import line

    table = {
        "python": entry.python,
        "password": transports.secret(entry, entry.password_env, "the password"),
        "passphrase": transports.secret(entry, entry.passphrase_env, "the passphrase of the key"),
    }
    sudo = transports.secret(entry, entry.sudo_password_env, "sudo's password")
    return Remote(entry.name, line(entry.url, transports.jumps(), **table), password=sudo)


def _check_ssh(url: str) -> None:
    from sloth_runner.transport.ssh import parse

    parse(url)


def _grpc(transports: Transports, entry: Agent) -> Transport:
    from sloth_runner.rpc import load

    app = transports.app
    try:
        rpc = load(app.environ)
    except ImportError as error:
        raise _unready(
            entry,
            f"agent {entry.name!r}: gRPC needs a package that is not installed ({error.name})",
            "pip install 'sloth-runner[agent]'",
        ) from error
    from sloth_runner.transport.grpc import GrpcLine
    from sloth_runner.transport.remote import Remote

    line = GrpcLine(entry.url, lambda: transports.access(entry.name), app.new_id, rpc)
    return Remote(
        entry.name, line, password=transports.secret(entry, entry.sudo_password_env, "sudo's password")
    )


def _check_grpc(url: str) -> None:
    from sloth_runner.transport.grpc import parse

    parse(url)


def access(authority: Authority, name: str, host: str) -> Access:
    """What is needed to reach an enrolled agent now, as the controller called ``host``. Raises Unreachable (it is not
    enrolled), Corrupt."""
    from sloth_runner.transport.grpc import Access

    try:
        enrolled = authority.find(name)
        own = authority.credentials(host)
    except Missing as error:
        raise Unreachable(error.message, unchanged=error.unchanged, next=error.next) from error
    return Access(
        enrolled.identity.host,
        own.key,
        own.certificate,
        own.authority,
        authority.revocations(),
        authority.number(),
        lambda: authority.is_void(enrolled.enrolment),
        authority.due,
        lambda request: authority.renew(name, request, f"the request of {name}").pem(),
    )


def _chroot(transports: Transports, entry: Agent) -> Transport:
    from sloth_runner.transport.chroot import line
    from sloth_runner.transport.remote import Remote

    return Remote(entry.name, line(entry.url, entry.python))


def _check_chroot(url: str) -> None:
    from sloth_runner.transport.chroot import parse

    parse(url)


SCHEMES: Final = {
    "local": Scheme(_check_local, _local),
    "ssh": Scheme(_check_ssh, _ssh),
    "grpc": Scheme(_check_grpc, _grpc),
    "chroot": Scheme(_check_chroot, _chroot),
}
"""By the scheme of the URL."""


def check_url(url: str) -> None:
    """Raise BadConfig unless there is a way to such an address."""
    scheme = _scheme(url)
    if scheme not in SCHEMES:
        raise BadConfig(
            f"there is no way to an agent called {scheme}://",
            unchanged=["nothing was run"],
            next=[*did_you_mean(scheme, SCHEMES), f"there are: {', '.join(f'{one}://' for one in SCHEMES)}"],
        )
    SCHEMES[scheme].check(url)


def check_agent(entry: Agent) -> None:
    """The same for a configured agent, blaming its place."""
    try:
        check_url(entry.url)
    except BadConfig as error:
        problem = entry.origin.problem(f"agent {entry.name!r}: {error.message}", *error.next)
        problem.source = problem.source and problem.source.replace(entry.url, public_url(entry.url))
        raise problem from None


def _scheme(url: str) -> str:
    return url.partition("://")[0]
