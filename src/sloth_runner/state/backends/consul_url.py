"""Why: what a ``consul://`` URL, and the environment of Consul's own tools, say of where the store is."""

from __future__ import annotations

import re
from collections.abc import Mapping

from sloth_runner.errors import BadConfig
from sloth_runner.names import did_you_mean
from sloth_runner.plain import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from sloth_runner.state.backends import Options

FORM: Final = "consul://HOST[:PORT]/PREFIX[?tls=1&ca=FILE&cert=FILE&key=FILE&dc=NAME]"
QUERY: Final = ("ca", "cert", "dc", "key", "tls")
_HOST: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]{1,253})(?::(?P<port>\d{1,5}))?")
_PREFIX: Final = re.compile(r"[A-Za-z0-9._~+-]+(?:/[A-Za-z0-9._~+-]+)*")
_DATACENTER: Final = re.compile(r"[A-Za-z0-9_-]+")
_ELSEWHERE: Final = {
    "token": ("a token must not stand in a URL", '[state] password_env = "CONSUL_HTTP_TOKEN"'),
    "ns": ("namespaces are of Consul Enterprise, and not supported", "choose another prefix instead"),
    "namespace": ("namespaces are of Consul Enterprise, and not supported", "choose another prefix instead"),
    "partition": ("partitions are of Consul Enterprise, and not supported", "choose another prefix instead"),
}


class Address(NamedTuple):
    """Where a Consul agent listens, how to speak to it, and which keys are ours: those that start with ``prefix``."""

    host: str
    port: int
    prefix: str
    """Ends in ``/``."""
    datacenter: str | None = None
    token: str | None = None
    tls: bool = False
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None

    @property
    def name(self) -> str:
        """Host and port as errors name them."""
        return f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @property
    def local(self) -> bool:
        """Whether the agent is on this machine, so that nobody can listen in on the way."""
        return self.host in ("localhost", "::1") or self.host.startswith("127.")


def parse(url: str, options: Options) -> Address:
    """The address that ``url`` names. Raises BadConfig; a token never stands in what it says."""
    place, _, query = url.partition("://")[2].partition("?")
    host, _, prefix = place.partition("/")
    if "@" in host:
        raise _bad(*_ELSEWHERE["token"])
    found = _HOST.fullmatch(host)
    if "," in host:
        raise _bad("several hosts are not supported: name one agent, best the one on this machine", FORM)
    if found is None or not 0 < int(found["port"] or 1) < 65536:
        raise _bad(f"{host!r} is no host and port" if host else "the URL names no host", FORM)
    settings = _settings(query)
    environ = options.environ
    prefix = _unquoted(prefix).strip("/")
    if not _PREFIX.fullmatch(prefix) or {".", ".."} & set(prefix.split("/")):
        raise _bad(
            f"the prefix {prefix!r} is not letters, digits and ._~+- between slashes"
            if prefix
            else "the URL names no prefix, below which everything of this store lies",
            FORM,
        )
    tls = settings.get("tls", "1" if "ca" in settings or "cert" in settings else "0")
    if tls not in ("0", "1"):
        raise _bad(f"tls={tls}: 0 or 1 is wanted", FORM)
    token = options.password or _token(environ)
    if token is not None and not (token.isascii() and token.isprintable()):
        raise _bad("the token holds characters that no token has")
    return Address(
        found["host"].strip("[]"),
        int(found["port"] or (8501 if tls == "1" else 8500)),
        prefix + "/",
        settings.get("dc"),
        token,
        tls == "1",
        settings.get("ca") or environ.get("CONSUL_CACERT") or None,
        settings.get("cert") or environ.get("CONSUL_CLIENT_CERT") or None,
        settings.get("key") or environ.get("CONSUL_CLIENT_KEY") or None,
    )


def _settings(query: str) -> dict[str, str]:
    out: dict[str, str] = {}
    for part in filter(None, query.split("&")):
        name, equals, text = part.partition("=")
        if name in _ELSEWHERE:
            raise _bad(*_ELSEWHERE[name])
        if name not in QUERY:
            raise _bad(f"unknown setting {name!r} in the URL", *(did_you_mean(name, QUERY) or [FORM]))
        if name in out or not equals or not text:
            raise _bad(
                f"the setting {name!r} in the URL {'occurs twice' if name in out else 'has no value'}", FORM
            )
        out[name] = _unquoted(text)
    if not _DATACENTER.fullmatch(out.get("dc", "dc1")):
        raise _bad(f"dc={out['dc']}: that is no name of a datacenter", FORM)
    for name in ("ca", "cert", "key"):
        if not out.get(name, "/").startswith("/"):
            raise _bad(f"{name}={out[name]}: a file is named by its whole path", FORM)
    if ("cert" in out) != ("key" in out):
        raise _bad("a client certificate needs both, cert= and key=", FORM)
    if out.get("tls") == "0" and (named := sorted({"ca", "cert"} & out.keys())):
        raise _bad(f"tls=0 and {named[0]}= contradict each other", FORM)
    return out


def _unquoted(text: str) -> str:
    from urllib.parse import unquote

    return unquote(text)


def _token(environ: Mapping[str, str]) -> str | None:
    """The token that Consul's own tools would use."""
    file = environ.get("CONSUL_HTTP_TOKEN_FILE")
    if file and not environ.get("CONSUL_HTTP_TOKEN"):
        try:
            with open(file, encoding="utf-8") as lines:
                return lines.read().strip() or None
        except (OSError, UnicodeDecodeError) as error:
            raise _bad(f"the token file that CONSUL_HTTP_TOKEN_FILE names can't be read: {error}") from None
    return environ.get("CONSUL_HTTP_TOKEN") or None


def _bad(message: str, *next_: str) -> BadConfig:
    return BadConfig(message, unchanged=["nothing was read or written"], next=list(next_))
