"""Why: roles, databases and privileges of PostgreSQL are looked at and changed by psql, in one session for many.

What can be observed of a role: its flags, limits and memberships, and a mark of the verifier that stands for its
password. Names and texts are quoted here; none of them stands in psql's arguments.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence

from sloth_runner.errors import TaskFailed
from sloth_runner.modules.base import Change, Kind, Look, Observed, each_alone
from sloth_runner.modules.databases.client import NO_PASSWORD, mark, rows, statements
from sloth_runner.plain import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sloth_runner.modules.base import Attributes

FLAGS = {
    "login": "LOGIN",
    "superuser": "SUPERUSER",
    "createdb": "CREATEDB",
    "createrole": "CREATEROLE",
    "replication": "REPLICATION",
    "bypassrls": "BYPASSRLS",
    "inherit": "INHERIT",
}
_COLUMNS = {
    "login": "rolcanlogin", "superuser": "rolsuper", "createdb": "rolcreatedb", "createrole": "rolcreaterole",
    "replication": "rolreplication", "bypassrls": "rolbypassrls", "inherit": "rolinherit",
}  # fmt: skip
PRIVILEGES = {
    "database": ("connect", "create", "temporary"),
    "schema": ("create", "usage"),
    "table": ("delete", "insert", "references", "select", "trigger", "truncate", "update"),
    "sequence": ("select", "update", "usage"),
}
"""What can be granted on which kind of object."""
PUBLIC = "public"
"""Everybody; no role can have this name."""


def identifier(name: str) -> str:
    """A name in a statement."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text in a statement."""
    quoted = "'" + text.replace("'", "''").replace("\\", "\\\\") + "'"
    return "E" + quoted if "\\" in text else quoted


def psql(
    subject: str, params: Mapping[str, Any], sql: str, *, mutating: bool, database: str = "postgres"
) -> Generator[Any, Any, str]:
    """Statements in one session; the first that fails ends it. Where to connect goes through the environment, in
    which a name is a name and nothing else."""
    names = {"host": "PGHOST", "port": "PGPORT", "login_as": "PGUSER", "passfile": "PGPASSFILE"}
    env = {variable: str(params[key]) for key, variable in names.items() if key in params}
    env.update(PGDATABASE=database, PGCLIENTENCODING="UTF8", PGCONNECT_TIMEOUT="20", PGAPPNAME="sloth-runner")
    argv = ["psql", "-X", "-A", "-t", "-q", "-w", "-v", "ON_ERROR_STOP=1"]
    user, login = params.get("user"), params.get("passfile")
    return (yield from statements(subject, argv, sql, user=user, env=env, login=login, mutating=mutating))


def _by_server(looks: Sequence[Look], own: Iterable[str]) -> dict[tuple[Any, ...], list[Look]]:
    """Looks that one session can answer: their params differ in ``own`` alone."""
    groups: dict[tuple[Any, ...], list[Look]] = {}
    for look in looks:
        key = tuple(sorted((k, v) for k, v in look.resource.params.items() if k not in own))
        groups.setdefault(key, []).append(look)
    return groups


def _named(looks: Sequence[Look], query: str) -> Generator[Any, Any, dict[tuple[str, str], dict[str, Any]]]:
    """Rows by address and name; ``query`` has the place ``{names}`` for the names asked for."""
    found = {}
    for group in _by_server(looks, ("name",)).values():
        names = ", ".join(literal(look.resource.params["name"]) for look in group)
        subject = ", ".join(look.resource.address for look in group)
        text = yield from psql(
            subject, group[0].resource.params, query.replace("{names}", names), mutating=False
        )
        by_name = {row.pop("name"): row for row in rows(text)}
        for look in group:
            name = look.resource.params["name"]
            if name in by_name:
                found[look.resource.address, name] = by_name[name]
    return found


def _observe_users(looks: Sequence[Look]) -> Generator[Any, Any, Sequence[Observed]]:
    flags = ", ".join(f"'{name}', {column}" for name, column in _COLUMNS.items())
    found = yield from _named(
        looks,
        f"SELECT json_build_object('name', rolname, {flags}, 'connection_limit', rolconnlimit, 'stored', rolpassword,"
        " 'valid_until', CASE WHEN rolvaliduntil IS NULL OR rolvaliduntil = 'infinity' THEN 'never' ELSE"
        " to_char(rolvaliduntil AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') END, 'member_of', ARRAY(SELECT"
        " g.rolname::text FROM pg_auth_members m JOIN pg_authid g ON g.oid = m.roleid WHERE m.member = a.oid"
        ' ORDER BY g.rolname COLLATE "C")) FROM pg_authid a WHERE rolname::text IN ({names});',
    )
    out = []
    for look in looks:
        row = found.get((look.resource.address, look.resource.params["name"]))
        if row is not None:
            row["password"] = mark(row.pop("stored"))
        out.append(Observed(row))
    return out


def _converge_users(changes: Sequence[Change]) -> Generator[Any, Any, Sequence[str]]:
    notes = []
    for change in changes:
        name, params = change.resource.params["name"], change.resource.params
        note = ""
        if change.wanted is None:
            sql = [f"DROP ROLE {identifier(name)}"]
        else:
            sql, note = _role(change, change.wanted, identifier(name))
        yield from psql(change.resource.address, params, _together(sql), mutating=True)
        notes.append(note)
    return notes


def _together(sql: Sequence[str]) -> str:
    return "BEGIN;\n" + "".join(f"{one};\n" for one in sql) + "COMMIT;\n"


def _role(change: Change, wanted: Attributes, name: str) -> tuple[list[str], str]:
    """The statements that make a role or change it in what differs, and a note."""
    before = change.observed.attributes
    had: Mapping[str, Any] = before or {}
    options = [
        words if wanted[key] else f"NO{words}"
        for key, words in FLAGS.items()
        if key in wanted and wanted[key] != had.get(key)
    ]
    if before is None and "login" not in wanted:
        options.append("LOGIN")
    if "connection_limit" in wanted and wanted["connection_limit"] != had.get("connection_limit", -1):
        options.append(f"CONNECTION LIMIT {int(wanted['connection_limit'])}")
    if "valid_until" in wanted and wanted["valid_until"] != had.get("valid_until", "never"):
        until = "infinity" if wanted["valid_until"] == "never" else f"{wanted['valid_until']}+00"
        options.append(f"VALID UNTIL {literal(until)}")
    note = ""
    if "password" in wanted and wanted["password"] != had.get("password", NO_PASSWORD):
        stored = change.options.get("stored")
        if stored is not None:
            options.append(f"PASSWORD {literal(stored)}")
        elif wanted["password"] == NO_PASSWORD:
            options.append("PASSWORD NULL")
        else:
            note = "its password stays: the one before is not kept anywhere"
    verb = "CREATE" if before is None else "ALTER"
    sql = [f"{verb} ROLE {name} {' '.join(options)}".rstrip()] if options or before is None else []
    if "member_of" in wanted:
        now, then = set(had.get("member_of", ())), set(wanted["member_of"])
        sql += [f"GRANT {identifier(group)} TO {name}" for group in sorted(then - now)]
        sql += [f"REVOKE {identifier(group)} FROM {name}" for group in sorted(now - then)]
    return sql, note


def _lost(before: Attributes) -> frozenset[str]:
    return frozenset() if before.get("password") in (None, NO_PASSWORD) else frozenset({"password"})


def _observe_databases(looks: Sequence[Look]) -> Generator[Any, Any, Sequence[Observed]]:
    found = yield from _named(
        looks,
        "SELECT json_build_object('name', datname, 'owner', pg_get_userbyid(datdba), 'encoding',"
        " pg_encoding_to_char(encoding), 'collate', datcollate, 'ctype', datctype, 'connection_limit', datconnlimit)"
        " FROM pg_database WHERE datname::text IN ({names});",
    )
    return [Observed(found.get((look.resource.address, look.resource.params["name"]))) for look in looks]


def _converge_databases(changes: Sequence[Change]) -> Generator[Any, Any, Sequence[str]]:
    for change in changes:
        wanted, before = change.wanted, change.observed.attributes
        name = identifier(change.resource.params["name"])
        if wanted is None:
            sql = [f"DROP DATABASE {name}" + (" WITH (FORCE)" if change.options.get("force") else "")]
        elif before is None:
            if change.options.get("undo"):
                raise _gone(change.resource.address)
            sql = [_create(name, wanted, change.options.get("template"))]
        else:
            sql = _alter(change, wanted, before, name)
        text = "".join(f"{one};\n" for one in sql)  # CREATE and DROP DATABASE stand in no transaction
        yield from psql(change.resource.address, change.resource.params, text, mutating=True)
    return [""] * len(changes)


def _gone(address: str) -> TaskFailed:
    return TaskFailed(
        f"{address} was removed: what was in it is not kept, so it can't be brought back", unchanged=[address]
    )


def _create(name: str, wanted: Attributes, template: str | None) -> str:
    special = any(key in wanted for key in ("encoding", "collate", "ctype"))
    words = [f"CREATE DATABASE {name}"]
    if "owner" in wanted:
        words.append(f"OWNER {identifier(wanted['owner'])}")
    if template is not None or special:  # template0 alone takes another encoding or collation
        words.append(f"TEMPLATE {identifier(template or 'template0')}")
    for key, option in (("encoding", "ENCODING"), ("collate", "LC_COLLATE"), ("ctype", "LC_CTYPE")):
        if key in wanted:
            words.append(f"{option} {literal(wanted[key])}")
    if "connection_limit" in wanted:
        words.append(f"CONNECTION LIMIT {int(wanted['connection_limit'])}")
    return " ".join(words)


def _alter(change: Change, wanted: Attributes, before: Attributes, name: str) -> list[str]:
    for key in ("encoding", "collate", "ctype"):
        if key in wanted and wanted[key] != before[key]:
            raise TaskFailed(
                f"{change.resource.address} has {key} {before[key]}, and PostgreSQL can't make it {wanted[key]}",
                unchanged=[change.resource.address],
                next=["dump it, remove it, make it anew, and load it again", f"or leave {key} out"],
            )
    sql = []
    if "owner" in wanted and wanted["owner"] != before["owner"]:
        sql.append(f"ALTER DATABASE {name} OWNER TO {identifier(wanted['owner'])}")
    if "connection_limit" in wanted and wanted["connection_limit"] != before["connection_limit"]:
        sql.append(f"ALTER DATABASE {name} CONNECTION LIMIT {int(wanted['connection_limit'])}")
    return sql


_CATALOG = {
    "database": ("pg_database", "datacl", "datdba", "d", "datname = {object}"),
    "schema": ("pg_namespace", "nspacl", "nspowner", "n", "nspname = {object}"),
    "table": ("pg_class", "relacl", "relowner", "r", "oid = to_regclass({quoted})"),
    "sequence": ("pg_class", "relacl", "relowner", "s", "oid = to_regclass({quoted})"),
}
"""Of each kind of object: catalog, privileges, owner, the letter of acldefault(), and how one is found."""


def _observe_grants(looks: Sequence[Look]) -> Generator[Any, Any, Sequence[Observed]]:
    found = []
    for look in looks:
        params = look.resource.params
        catalog, acl, owner, letter, match = _CATALOG[params["on"]]
        where = match.format(
            object=literal(params["object"]) + "::text",
            quoted=literal(_object(params["on"], params["object"])),
        )
        role = literal(params["role"])
        grantee = (
            "0"
            if params["role"] == PUBLIC
            else f"(SELECT r.oid FROM pg_roles r WHERE r.rolname = {role}::text)"
        )
        query = (
            "SELECT json_build_object('privileges', ARRAY(SELECT DISTINCT lower(e.privilege_type) FROM"
            f" {catalog} c, aclexplode(coalesce(c.{acl}, acldefault('{letter}', c.{owner}))) e"
            f" WHERE c.{where} AND e.grantee = {grantee} ORDER BY 1));"
        )
        database = literal(params["database"])
        exists = f"SELECT json_build_object('n', count(*)) FROM pg_database WHERE datname = {database};"
        (there,) = rows((yield from psql(look.resource.address, params, exists, mutating=False)))
        if not there["n"]:
            found.append(Observed(None))
            continue
        text = yield from psql(
            look.resource.address, params, query, mutating=False, database=params["database"]
        )
        (row,) = rows(text)
        found.append(Observed({"privileges": sorted(row["privileges"])} if row["privileges"] else None))
    return found


def _converge_grants(changes: Sequence[Change]) -> Generator[Any, Any, Sequence[str]]:
    for change in changes:
        params = change.resource.params
        had = set((change.observed.attributes or {}).get("privileges", ()))
        then = set((change.wanted or {}).get("privileges", ()))
        role = "PUBLIC" if params["role"] == PUBLIC else identifier(params["role"])
        on = f"{params['on'].upper()} {_object(params['on'], params['object'])}"
        sql = []
        if then - had:
            sql.append(f"GRANT {_words(then - had)} ON {on} TO {role}")
        if had - then:
            sql.append(f"REVOKE {_words(had - then)} ON {on} FROM {role}")
        yield from psql(
            change.resource.address, params, _together(sql), mutating=True, database=params["database"]
        )
    return [""] * len(changes)


def _words(privileges: set[str]) -> str:
    return ", ".join(word.upper() for word in sorted(privileges))


def _object(on: str, name: str) -> str:
    """A table or sequence may be given with its schema."""
    if on not in ("table", "sequence"):
        return identifier(name)
    schema, dot, rest = name.partition(".")
    return f"{identifier(schema)}.{identifier(rest)}" if dot else identifier(name)


KINDS = (
    Kind(
        "postgresql.user",
        "a role: login, superuser, createdb, createrole, replication, bypassrls, inherit, connection_limit,"
        " valid_until (UTC, or never), member_of, password (a mark of what the server keeps; not brought back)",
        _observe_users,
        _converge_users,
        lost=_lost,
        apart=each_alone(*FLAGS, "connection_limit", "valid_until", "member_of", "password"),
    ),
    Kind(
        "postgresql.database",
        "a database: owner, encoding, collate, ctype, connection_limit (what is in it is not brought back)",
        _observe_databases,
        _converge_databases,
        apart=each_alone("owner", "connection_limit"),
    ),
    Kind("postgresql.grant", "the privileges of a role on an object", _observe_grants, _converge_grants),
)
