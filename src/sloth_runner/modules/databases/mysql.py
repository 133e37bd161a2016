"""Why: users, databases and privileges of MariaDB are made as they should be, through its client on the target.

Addresses: a user is NAME@HOST; what is on another server than the usual one begins with ``SERVER:PORT/``.
"""

from __future__ import annotations

from collections.abc import Mapping

from sloth_runner.errors import BadArgument
from sloth_runner.modules.base import PRESENCE, Arg, Context, Ensure, Module, Resource, Want
from sloth_runner.modules.databases.client import mark, outcome
from sloth_runner.modules.databases.mysql_kinds import KINDS, stored
from sloth_runner.plain import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sloth_runner.modules.base import Steps

__all__ = ["KINDS", "MODULES"]


def user(args: Mapping[str, Any], context: Context) -> Steps:
    """A user."""
    params = _server(args, context)
    name = f"{args['name']}@{args['at']}"
    own = {**params, "name": args["name"], "at": args["at"]}
    resource = Resource("mysql.user", _id(params, name), own)
    if args["password"] is not None and args["auth"] not in (None, "password"):
        raise BadArgument(
            'mysql.user: a password is for auth = "password"; give one of them',
            unchanged=["this call changed nothing"],
        )
    if args["state"] == "absent":
        return outcome((yield Ensure((Want(resource, None),))), name)
    wanted = {key: args[key] for key in ("auth", "locked", "tls", "max_connections") if args[key] is not None}
    options = {}
    if args["password"] is not None:
        options["stored"] = stored(args["password"])
        wanted.update(auth="password", password=mark(options["stored"]))
    elif args["auth"] == "password":
        raise BadArgument("mysql.user: which password? password = …", unchanged=["this call changed nothing"])
    return outcome((yield Ensure((Want(resource, wanted, None, options),))), name)


def database(args: Mapping[str, Any], context: Context) -> Steps:
    """A database."""
    params, name = _server(args, context), args["name"]
    resource = Resource("mysql.database", _id(params, name), {**params, "name": name})
    wanted = {key: args[key] for key in ("charset", "collation") if args[key] is not None}
    want = Want(resource, None if args["state"] == "absent" else wanted)
    return outcome((yield Ensure((want,))), name)


def grant(args: Mapping[str, Any], context: Context) -> Steps:
    """Privileges of a user."""
    params, who = _server(args, context), f"{args['name']}@{args['at']}"
    own = {key: args[key] for key in ("name", "at", "database", "table")}
    if args["database"] == "*" and args["table"] != "*":
        raise BadArgument(
            "mysql.grant: a table is in one database: database = …", unchanged=["this call changed nothing"]
        )
    if "usage" in args["privileges"] or "grant option" in args["privileges"]:
        raise BadArgument(
            "mysql.grant: privileges takes neither usage nor the grant option: that is grant_option = true",
            unchanged=["this call changed nothing"],
        )
    name = f"{who} on {args['database']}.{args['table']}"
    resource = Resource("mysql.grant", _id(params, name), {**params, **own})
    wanted: dict[str, Any] = {
        "privileges": ["all"] if "all" in args["privileges"] else list(args["privileges"])
    }
    wanted["grant_option"] = args["grant_option"]
    want = Want(resource, None if args["state"] == "absent" else wanted)
    return outcome((yield Ensure((want,))), who)


def _server(args: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """How to reach the server, as the ledger keeps it."""
    keys = ("socket", "host", "port", "login_as", "defaults_file")
    found = {key: args[key] for key in keys if args[key] is not None}
    return found if context.user is None else {**found, "user": context.user}


def _id(params: Mapping[str, Any], name: str) -> str:
    """A name among those of all servers that are reached from this machine."""
    where = params.get("host", params.get("socket"))
    if where is None and "port" not in params:
        return name
    return f"{where or ''}:{params.get('port', 3306)}/{name}"


_SERVER = (
    Arg("socket", "path", "the server's socket; without it: this machine's usual one"),
    Arg("host", "line", "the server's host, over the network"),
    Arg("port", "database port", "the server's port; without it: 3306"),
    Arg("login_as", "mysql account", "the user to connect as; without it: as who performs it there"),
    Arg("defaults_file", "path", "a file on the target (mode 0600) with user and password in [client]"),
)
_AT = Arg(
    "at",
    "mysql host",
    "where the user connects from: a host, an address, % for anywhere",
    default="localhost",
)
_NO_PASSWORD = {
    "login_password": "passwords are put in a file that only its owner can read: defaults_file = …",
    "login_user": "say login_as = …",
    "priv": "mysql.grant gives privileges",
}
_RETURNS = {"name": "(string) the name; of a user, with its host"}
MODULES = (
    Module(
        "mysql.user",
        user,
        (
            Arg("name", "mysql account", "the user's name", required=True),
            _AT,
            Arg("password", "password", "its password; appears nowhere"),
            Arg("auth", "mysql auth", "how it logs in: password, or unix_socket (as the system's user of that name)"),
            Arg("locked", "boolean", "whether it may not log in; without it: as it is, false if new"),
            Arg("tls", "mysql tls", "what its connections must have: none, ssl, x509; without it: as it is"),
            Arg("max_connections", "identity", "how many connections it may have at once; 0: any number"),
            PRESENCE,
            *_SERVER,
        ),
        "Makes a user of a MariaDB server as it should be, or removes it. What is not said stays as it is.",
        positional="name",
        refused=_NO_PASSWORD,
        returns=_RETURNS,
    ),
    Module(
        "mysql.database",
        database,
        (
            Arg("name", "mysql name", "the database's name", required=True),
            Arg("charset", "database word", "its default character set, such as utf8mb4; without it: as it is"),
            Arg("collation", "database word", "its default collation; without it: as it is"),
            PRESENCE,
            *_SERVER,
        ),
        "Makes a database of a MariaDB server as it should be, or removes it with all that is in it.",
        positional="name",
        refused=_NO_PASSWORD,
        returns=_RETURNS,
    ),
    Module(
        "mysql.grant",
        grant,
        (
            Arg("name", "mysql account", "the user's name", required=True),
            _AT,
            Arg("database", "mysql name", "the database (its name, no pattern); * for all", required=True),
            Arg("table", "mysql name", "the table; * for all of the database", default="*"),
            Arg("privileges", "privileges", 'exactly these: {"select", "insert"}, or "all"', default=("all",)),
            Arg("grant_option", "boolean", "whether it may give them to others", default=False),
            PRESENCE,
            *_SERVER,
        ),
        "Gives a user exactly these privileges on a database or table, or (absent) none.",
        refused=_NO_PASSWORD,
        returns=_RETURNS,
    ),
)  # fmt: skip
