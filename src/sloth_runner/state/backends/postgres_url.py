"""Why: what a user writes as ``postgres://…`` becomes parameters of libpq, which decides everything that is libpq's.

The URL, its parameters, ``PG*`` variables, password and service files mean what they mean to ``psql``. Ours is one
parameter, ``schema``. (libpq: https://www.postgresql.org/docs/current/libpq-connect.html)
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import unquote

from sloth_runner.errors import BadConfig
from sloth_runner.names import did_you_mean
from sloth_runner.plain import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from sloth_runner.state.backends import Options

SCHEMA: Final = "sloth_runner"
"""The schema that is used if the URL names none."""
_LONGEST: Final = 63
"""Bytes that PostgreSQL keeps of a name."""
_OURS: Final = {"client_encoding": "is UTF8 always", "replication": "is for copies of a server"}
_STANDBYS: Final = ("standby", "prefer-standby", "read-only")


class Target(NamedTuple):
    """Which part of which server: libpq's parameters, the schema, and how messages name the server."""

    params: dict[str, str]
    schema: str
    where: str


def target(url: str, options: Options) -> Target:
    """Take ``url`` apart. Raises BadConfig: what libpq doesn't understand, or what breaks the store's promises."""
    base, _, query = url.partition("?")
    pairs = [pair.partition("=") for pair in query.split("&") if pair]
    schema = _schema([unquote(value) for name, _, value in pairs if name == "schema"])
    rest = "&".join("".join(pair) for pair in pairs if pair[0] != "schema")
    params = _parsed(f"{base}?{rest}" if rest else base, [unquote(name) for name, _, _ in pairs])
    for name, why in _OURS.items():
        if name in params:
            raise BadConfig(f"{name} can't be set in the store's URL: it {why}")
    attrs = params.get("target_session_attrs")
    if attrs in _STANDBYS:
        raise BadConfig(
            f"target_session_attrs={attrs} would read state from a replica, which may be behind",
            next=["leave it out: the primary is found among the hosts"],
        )
    if options.password is not None:
        if "password" in params:
            raise BadConfig(
                "the store's URL holds a password, and [state] password_env gives another: keep one of them"
            )
        params["password"] = options.password
    _from_environment(params, options.environ)
    _defaults(params, options.timeout)
    return Target(params, schema, _where(params))


def _parsed(url: str, names: list[str]) -> dict[str, str]:
    from psycopg import pq
    from psycopg.errors import OperationalError

    known = [row.keyword.decode() for row in pq.Conninfo.get_defaults()]
    for name in names:
        if name not in known and name not in (
            "schema",
            "ssl",
            "requiressl",
        ):  # libpq takes those two, as well
            raise BadConfig(
                f"the store's URL has an unknown parameter {name!r}",
                next=[*did_you_mean(name, ["schema", *known]), "see docs/stores/postgresql.md"],
            )
    try:
        rows = pq.Conninfo.parse(url.encode())
    except OperationalError:  # its text quotes what it read, and that may hold the password
        raise BadConfig(
            "the store's URL can't be read: it is like postgres://USER@HOST:PORT/DATABASE?schema=NAME, "
            "with special characters percent-encoded"
        ) from None
    return {row.keyword.decode(): row.val.decode() for row in rows if row.val is not None}


def _schema(given: list[str]) -> str:
    name = given[-1] if given else SCHEMA
    if not 0 < len(name.encode()) <= _LONGEST or "\0" in name or name.startswith("pg_"):
        raise BadConfig(
            f"{name!r} can't name a schema: 1 to {_LONGEST} bytes, not beginning with 'pg_'",
            next=[f"schema={SCHEMA}"],
        )
    return name


def _from_environment(params: dict[str, str], environ: Mapping[str, str]) -> None:
    """What the environment says and the URL does not. With a service file all of it is left to libpq, which knows
    what of both comes first."""
    from psycopg import pq

    if "service" in params or "PGSERVICE" in environ:
        return
    for row in pq.Conninfo.get_defaults():
        name = row.keyword.decode()
        text = environ.get(row.envvar.decode()) if row.envvar else None
        if text and name not in params:
            params[name] = text


def _defaults(params: dict[str, str], timeout: float) -> None:
    """What a store needs of its connections, wherever the user has not decided."""
    hosts = (params.get("host") or params.get("hostaddr") or "").count(",") + 1
    seconds = str(max(2, round(timeout / hosts)))  # libpq waits so long for each
    for name, value in {
        "connect_timeout": seconds,
        "tcp_user_timeout": str(round(timeout * 1000)),
        "keepalives_idle": "30",
        "keepalives_interval": "10",
        "keepalives_count": "3",
        "fallback_application_name": "sloth-runner",
        "target_session_attrs": "primary",
    }.items():
        params.setdefault(name, value)
    if params["target_session_attrs"] in _STANDBYS:  # of PGTARGETSESSIONATTRS, meant for other programs
        params["target_session_attrs"] = "primary"
    params["client_encoding"] = "UTF8"


def _where(params: Mapping[str, str]) -> str:
    hosts = (params.get("host") or params.get("hostaddr") or "").split(",")
    ports = params.get("port", "5432").split(",")
    places = [
        f"{host or 'the local socket'}:{ports[min(i, len(ports) - 1)] or '5432'}"
        for i, host in enumerate(hosts)
    ]
    if "service" in params and "host" not in params:
        places = [f"the service {params['service']!r}"]
    database = params.get("dbname") or params.get("user")
    return f"PostgreSQL at {', '.join(places)}" + (f" (database {database})" if database else "")
