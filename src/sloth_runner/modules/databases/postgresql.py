"""Why: roles, databases and privileges of a PostgreSQL server are made as they should be, through psql on the target.

Addresses: a role or database is named by itself, on another server than the usual one as ``HOST:PORT/NAME``. A
password is compared with the SCRAM verifier that the server keeps, so that only another one is a change.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping

from sloth_runner.errors import BadArgument
from sloth_runner.modules.base import PRESENCE, Arg, Context, Ensure, Module, Resource, Want
from sloth_runner.modules.databases import scram
from sloth_runner.modules.databases.client import mark, outcome, rows
from sloth_runner.modules.databases.postgresql_kinds import FLAGS, KINDS, PRIVILEGES, PUBLIC, literal, psql
from sloth_runner.plain import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sloth_runner.modules.base import Steps

__all__ = ["KINDS", "MODULES"]


def user(args: Mapping[str, Any], context: Context) -> Steps:
    """A role."""
    name, absent = args["name"], args["state"] == "absent"
    if name == PUBLIC or name.startswith("pg_"):
        raise BadArgument(
            f"postgresql.user: no role can be called {name}", unchanged=["this call changed nothing"]
        )
    params = _server(args, context)
    resource = Resource("postgresql.user", _id(params, name), {**params, "name": name})
    if absent:
        return outcome((yield Ensure((Want(resource, None),))), name)
    wanted: dict[str, Any] = {
        key: args[key]
        for key in (*FLAGS, "connection_limit", "valid_until")
        if args[key] is not None
    }  # fmt: skip
    if args["member_of"] is not None:
        wanted["member_of"] = list(args["member_of"])
    options = {}
    if args["password"] is not None:
        stored = yield from _stored(resource, args["password"])
        wanted["password"] = mark(stored)
        options["stored"] = stored
    return outcome((yield Ensure((Want(resource, wanted, None, options),))), name)


def _stored(resource: Resource, password: str) -> Generator[Any, Any, str]:
    """What the server shall keep of a password: what it has, if that is of this one."""
    query = (
        "SELECT json_build_object('stored', (SELECT rolpassword FROM pg_authid WHERE rolname ="
        f" {literal(resource.params['name'])}), 'system', (SELECT system_identifier::text FROM pg_control_system()));"
    )
    (row,) = rows((yield from psql(resource.address, resource.params, query, mutating=False)))
    had = row["stored"] or ""
    if scram.matches(password, had):
        return str(had)
    if scram.is_verifier(password):
        return password
    return scram.verifier(password, scram.salt_for(password, row["system"], resource.params["name"], had))


def database(args: Mapping[str, Any], context: Context) -> Steps:
    """A database."""
    name = args["name"]
    params = _server(args, context)
    resource = Resource("postgresql.database", _id(params, name), {**params, "name": name})
    if args["state"] == "absent":
        options = {"force": args["force"]}
        return outcome((yield Ensure((Want(resource, None, None, options),))), name)
    keys = ("owner", "encoding", "collate", "ctype", "connection_limit")
    wanted = {key: args[key] for key in keys if args[key] is not None}
    if "encoding" in wanted:
        wanted["encoding"] = wanted["encoding"].upper().replace("UTF-8", "UTF8")
    return outcome((yield Ensure((Want(resource, wanted, None, {"template": args["template"]}),))), name)


def grant(args: Mapping[str, Any], context: Context) -> Steps:
    """Privileges of a role on an object."""
    on, role, where = args["on"], args["role"], args["database"]
    name = args["object"] if args["object"] is not None else where if on == "database" else None
    if name is None:
        raise BadArgument(
            f"postgresql.grant: say which {on}: object = …", unchanged=["this call changed nothing"]
        )
    if on == "database" and name != where:
        raise BadArgument("postgresql.grant: on a database, say database = … alone")
    params = _server(args, context)
    own = {**params, "database": where, "on": on, "object": name, "role": role}
    resource = Resource("postgresql.grant", _id(params, f"{role} on {on} {where}/{name}"), own)
    if args["state"] == "absent":
        return outcome((yield Ensure((Want(resource, None),))), role)
    wanted = PRIVILEGES[on] if "all" in args["privileges"] else args["privileges"]
    strange = [word for word in wanted if word not in PRIVILEGES[on]]
    if strange:
        raise BadArgument(
            f"postgresql.grant: {strange[0]!r} can't be granted on a {on}; there are {', '.join(PRIVILEGES[on])}",
            unchanged=["this call changed nothing"],
        )
    return outcome((yield Ensure((Want(resource, {"privileges": sorted(wanted)}),))), role)


def _server(args: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """How to reach the server, as the ledger keeps it; on this machine as the system's user postgres, also for root:
    by its socket the server tells its users by who they are, and none of them is called root."""
    found = {key: args[key] for key in ("host", "port", "login_as", "passfile") if args[key] is not None}
    local = args["host"] is None or args["host"].startswith("/")
    run_as = context.user
    if run_as in (None, "root") and local and args["passfile"] is None:
        run_as = "postgres"
    return found if run_as is None else {**found, "user": run_as}


def _id(params: Mapping[str, Any], name: str) -> str:
    """A name among those of all servers that are reached from this machine."""
    if "host" not in params and "port" not in params:
        return name
    return f"{params.get('host', '')}:{params.get('port', 5432)}/{name}"


_SERVER = (
    Arg("host", "line", "the server's host, or the folder of its socket; without it: this machine's usual socket"),
    Arg("port", "database port", "the server's port; without it: 5432"),
    Arg("login_as", "postgresql name", "the role to connect as; without it: the system's user postgres, as role"),
    Arg("passfile", "path", "a file of passwords on the target (as ~/.pgpass, mode 0600), where one is needed"),
)  # fmt: skip
_NO_PASSWORD = {
    "login_password": "passwords are put in a file that only its owner can read: passfile = …",
    "login_user": "say login_as = …",
    "db": "say database = …",
}
MODULES = (
    Module(
        "postgresql.user",
        user,
        (
            Arg("name", "postgresql name", "the role's name", required=True),
            Arg("password", "password", "its password, or the SCRAM verifier of one; appears nowhere"),
            Arg("login", "boolean", "whether it may log in; without it: as it is, true if new"),
            Arg("superuser", "boolean", "whether it is one, who may do anything; without it: as it is, false if new"),
            Arg("createdb", "boolean", "whether it may make databases"),
            Arg("createrole", "boolean", "whether it may make roles"),
            Arg("replication", "boolean", "whether it may replicate"),
            Arg("bypassrls", "boolean", "whether row security does not hold for it"),
            Arg("inherit", "boolean", "whether it has the privileges of the roles that it is a member of"),
            Arg("connection_limit", "connection limit", "how many connections at once; -1: any number"),
            Arg("valid_until", "expiry", 'when its password ends, in UTC ("2030-01-31 12:00:00"), or "never"'),
            Arg("member_of", "postgresql names", "exactly these roles; without it: as it is"),
            PRESENCE,
            *_SERVER,
        ),
        "Makes a role of a PostgreSQL server as it should be, or removes it. What is not said stays as it is.",
        positional="name",
        refused={**_NO_PASSWORD, "priv": "postgresql.grant gives privileges", "encrypted": "it always is"},
        returns={"name": "(string) the role's name"},
    ),
    Module(
        "postgresql.database",
        database,
        (
            Arg("name", "postgresql name", "the database's name", required=True),
            Arg("owner", "postgresql name", "the role that owns it; without it: as it is, if new whoever makes it"),
            Arg("encoding", "database word", "UTF8 …; can't be changed later"),
            Arg("collate", "database word", "how text is sorted, C.UTF-8 …; can't be changed later"),
            Arg("ctype", "database word", "the classes of characters, C.UTF-8 …; can't be changed later"),
            Arg("template", "postgresql name", "the database that a new one is copied from"),
            Arg("connection_limit", "connection limit", "how many connections it may have at once; -1: any number"),
            PRESENCE,
            Arg("force", "boolean", 'with state = "absent": also while others are connected', default=False),
            *_SERVER,
        ),
        "Makes a database of a PostgreSQL server as it should be, or removes it with all that is in it.",
        positional="name",
        refused=_NO_PASSWORD,
        returns={"name": "(string) the database's name"},
    ),
    Module(
        "postgresql.grant",
        grant,
        (
            Arg("role", "postgresql name", "whose privileges they are; public means everybody", required=True),
            Arg("database", "postgresql name", "the database, or the one that the object is in", required=True),
            Arg("on", "postgresql object", "what they are on: database, schema, table, sequence", default="database"),
            Arg("object", "postgresql name", "the schema, table or sequence; with its schema as schema.table"),
            Arg("privileges", "privileges", 'exactly these: {"select", "insert"}, or "all"', default=("all",)),
            PRESENCE,
            *_SERVER,
        ),
        "Gives a role exactly these privileges on an object, or (absent) none.",
        refused={**_NO_PASSWORD},
        returns={"name": "(string) the role's name"},
    ),
)  # fmt: skip
