"""Why: what an etcd store's URL says is understood once, before anything is asked of a server.

    etcd://[USER@]HOST[:PORT][,HOST[:PORT]…]/PREFIX?tls=1&ca=FILE&cert=FILE&key=FILE&server-name=NAME

More: ``max-txn-ops`` and ``max-request-bytes``, for servers that were started with other limits than etcd's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qsl, unquote

from sloth_runner.errors import BadConfig
from sloth_runner.names import did_you_mean
from sloth_runner.plain import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from sloth_runner.state.backends import Options

PORT: Final = 2379
PREFIX: Final = "sloth-runner"
EXAMPLE: Final = "etcd://h1:2379,h2:2379,h3:2379/sloth-runner?ca=/etc/ssl/etcd-ca.pem"
MAX_OPS: Final = 128
"""etcd's own ``--max-txn-ops``."""
MAX_BYTES: Final = 1_572_864
"""etcd's own ``--max-request-bytes``."""
KNOWN: Final = ("tls", "ca", "cert", "key", "server-name", "user", "max-txn-ops", "max-request-bytes")


class Tls(NamedTuple):
    """How connections are secured; None: the system's certificate authorities, no certificate of our own."""

    ca: Path | None
    cert: Path | None
    key: Path | None
    server_name: str | None


class Settings(NamedTuple):
    """What the URL says. ``prefix`` ends in a slash."""

    endpoints: tuple[str, ...]
    prefix: str
    user: str | None
    password: str | None
    tls: Tls | None
    max_ops: int
    max_bytes: int


def settings_from(url: str, options: Options) -> Settings:
    """Understand ``url``. Raises BadConfig, which says what is wrong with it and gives an example."""
    rest = url.partition("://")[2]
    rest, _, query = rest.partition("?")
    place, _, path = rest.partition("/")
    login, _, hosts = place.rpartition("@")
    given = _query(query)
    user, _, password = login.partition(":")
    user = unquote(user) or given.get("user", "")
    secret = unquote(password) or options.password
    if user and not secret:
        raise _bad(
            f"the user {user!r} has no password",
            'name the variable that holds it: [state] password_env = "…"',
        )
    if secret and not user:
        raise _bad("there is a password, and no user", EXAMPLE.replace("//", "//USER@"))
    return Settings(
        tuple(_endpoint(host) for host in hosts.split(",")),
        _prefix(unquote(path)),
        user or None,
        secret if user else None,
        _tls(given),
        _number(given, "max-txn-ops", MAX_OPS, 16),
        _number(given, "max-request-bytes", MAX_BYTES, 1 << 18),
    )


def _query(query: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in KNOWN:
            near = did_you_mean(name, KNOWN) or [f"there are {', '.join(KNOWN)}"]
            raise _bad(f"an etcd store has no setting {name!r}", *near)
        if name in found:
            raise _bad(f"{name!r} is given twice")
        if not value:
            raise _bad(f"{name!r} has no value")
        found[name] = value
    return found


def _endpoint(text: str) -> str:
    """``host:port`` as gRPC takes it; IPv6 in brackets."""
    host, port = text, str(PORT)
    if text.startswith("["):
        host, bracket, tail = text.partition("]")
        host += bracket
        if tail:
            port = tail[1:] if tail[0] == ":" else "?"
    elif ":" in text:
        host, _, port = text.partition(":")
    number = int(port) if port.isascii() and port.isdigit() else 0
    if not host or host == "[]" or any(c.isspace() for c in host) or not 0 < number < 65536:
        raise _bad(f"{text!r} is not a host, or host:port")
    return f"{host}:{number}"


def _prefix(path: str) -> str:
    prefix = path.rstrip("/") or PREFIX
    if any(ord(c) < 32 for c in prefix):
        raise _bad("the prefix holds control characters")
    if len(prefix.encode()) > 256:
        raise _bad("the prefix is longer than 256 bytes")
    return prefix + "/"


def _tls(given: Mapping[str, str]) -> Tls | None:
    wanted = given.get("tls")
    if wanted not in (None, "0", "1"):
        raise _bad(f"tls is 1 or 0, not {wanted!r}")
    needs_it = [name for name in ("ca", "cert", "key", "server-name") if name in given]
    if wanted == "0" and needs_it:
        raise _bad(f"{needs_it[0]!r} is given, and tls=0")
    if wanted != "1" and not needs_it:
        return None
    if ("cert" in given) != ("key" in given):
        raise _bad("a client certificate needs both: cert and key")
    ca, cert, key = (_file(given, name) for name in ("ca", "cert", "key"))
    return Tls(ca, cert, key, given.get("server-name"))


def _file(given: Mapping[str, str], name: str) -> Path | None:
    text = given.get(name)
    if text is None:
        return None
    path = Path(text)
    if not path.is_absolute():
        raise _bad(f"{name!r} is a file's whole path, not {text!r}")
    return path


def _number(given: Mapping[str, str], name: str, default: int, least: int) -> int:
    text = given.get(name)
    if text is None:
        return default
    number = int(text) if text.isascii() and text.isdigit() else 0
    if not least <= number <= 1 << 30:
        raise _bad(f"{name} is a whole number of at least {least}, not {text!r}")
    return number


def _bad(why: str, *more: str) -> BadConfig:
    return BadConfig(
        f"the etcd store's URL: {why}", unchanged=["nothing was read or written"], next=more or [EXAMPLE]
    )
