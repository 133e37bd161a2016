"""Why: where the web UI listens, and for whom, is decided once and refused early if it is not safe."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from sloth_runner.errors import UsageError
from sloth_runner.plain import NamedTuple

PORT = 8787


class Options(NamedTuple):
    """How the UI is served. ``names``: further names (or addresses) that browsers may use for it; ``certificate``
    and ``key``: PEM files for TLS; ``plain``: other hosts without TLS, on purpose; ``token``: a lasting token for
    programs (None: there is none)."""

    host: str = "127.0.0.1"
    port: int = PORT
    names: tuple[str, ...] = ()
    certificate: Path | None = None
    key: Path | None = None
    plain: bool = False
    read_only: bool = False
    token: str | None = None

    @property
    def scheme(self) -> str:
        """``http`` or ``https``."""
        return "https" if self.certificate is not None else "http"

    @property
    def hosts(self) -> frozenset[str]:
        """What the Host field of a request may be, in lower case."""
        names = {name.lower() for name in self.names}
        if is_loopback(self.host):
            names |= {"127.0.0.1", "localhost", "[::1]"}
        if not is_any(self.host):
            names.add(_bracketed(self.host.lower()))
        usual = 443 if self.scheme == "https" else 80
        return frozenset({f"{name}:{self.port}" for name in names} | (names if self.port == usual else set()))

    @property
    def origins(self) -> frozenset[str]:
        """What the Origin field of a writing request may be."""
        return frozenset(f"{self.scheme}://{host}" for host in self.hosts)

    @property
    def url(self) -> str:
        """The address to print."""
        name = self.names[0] if self.names and not is_loopback(self.host) else _bracketed(self.host)
        return f"{self.scheme}://{name}:{self.port}"


def check(options: Options) -> Options:
    """``options``, if they are safe. Raises UsageError."""
    if (options.certificate is None) != (options.key is None):
        raise UsageError("--tls-cert and --tls-key go together", unchanged=["nothing was started"])
    if options.certificate is not None and options.key is not None:
        _check_pair(options.certificate, options.key)
    if is_loopback(options.host):
        return options
    if options.certificate is None and not options.plain:
        raise UsageError(
            f"--host {options.host} would let others on the network listen in",
            unchanged=["nothing was started"],
            next=[
                "give it a certificate: --tls-cert FILE --tls-key FILE",
                "or reach it through SSH: ssh -L 8787:127.0.0.1:8787 HOST",
                "or say that the network is trusted: --plain-http",
            ],
        )
    if is_any(options.host) and not options.names:
        raise UsageError(
            f"--host {options.host} listens on all addresses; --name says under which names browsers may ask",
            unchanged=["nothing was started"],
            next=["--name ui.example.org (may be given again), or --host with one address"],
        )
    return options


def _check_pair(certificate: Path, key: Path) -> None:
    """Raises UsageError: they can't be read, don't belong together, or the key wants a passphrase."""
    import shlex
    import ssl

    def nobody_to_ask() -> str:
        raise UsageError(
            f"the key in {key} is encrypted, and nobody is there to be asked for its passphrase",
            unchanged=["nothing was started"],
            next=[f"decrypt it: openssl pkey -in {shlex.quote(str(key))} -out decrypted.pem"],
        )

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, nobody_to_ask)
    except OSError as error:  # what is wrong with their contents is one, too
        if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
            why = f"the key in {key} is not that of the certificate in {certificate}"
        else:
            why = f"{certificate} and {key} are no certificate and its key, in PEM form, that can be read"
        raise UsageError(why, system=str(error), unchanged=["nothing was started"]) from error


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_any(host: str) -> bool:
    """Whether ``host`` means all addresses."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
