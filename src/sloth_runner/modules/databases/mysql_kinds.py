"""Why: users, databases and privileges of MariaDB are looked at and changed by its client, in a mode that is known.

The mode is set at the start of each session, so that quoting means one thing, and so that a GRANT never makes a user.
A password is never sent: the server gets what it stores of it (mysql_native_password: SHA-1 of SHA-1).
"""

from __future__ import annotations

from collections.abc import Generator, Mapping

from sloth_runner.errors import TaskFailed
from sloth_runner.modules.base import Change, Kind, Look, Observed, each_alone, one_by_one
from sloth_runner.modules.databases.client import mark, rows, statements
from sloth_runner.plain import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sloth_runner.modules.base import Attributes

TLS = ("none", "ssl", "x509", "specified")
"""What a connection must have, by the server's numbers."""
_START = "SET SESSION sql_mode = 'NO_AUTO_CREATE_USER,NO_ENGINE_SUBSTITUTION';\n"


def identifier(name: str) -> str:
    """A name in a statement."""
    return "`" + name.replace("`", "``") + "`"


def literal(text: str) -> str:
    """A text in a statement."""
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def stored(password: str) -> str:
    """What the server keeps of a password."""
    from hashlib import sha1

    inner = sha1(password.encode("utf-8", "surrogateescape"), usedforsecurity=False).digest()
    return "*" + sha1(inner, usedforsecurity=False).hexdigest().upper()


def sql(subject: str, params: Mapping[str, Any], text: str, *, mutating: bool) -> Generator[Any, Any, str]:
    """Statements in one session; the first that fails ends it."""
    argv, login, env = ["mariadb"], params.get("defaults_file"), None
    if login is not None:
        argv.append(f"--defaults-extra-file={login}")  # must come first
        env = {"HOME": "/nonexistent"}  # whose .my.cnf would count for more
    argv += ["--batch", "--raw", "--skip-column-names", "--binary-mode", "--default-character-set=utf8mb4"]
    names = {"socket": "--socket", "host": "--host", "port": "--port", "login_as": "--user"}
    argv += [f"{option}={params[key]}" for key, option in names.items() if key in params]
    user = params.get("user")
    return (
        yield from statements(
            subject, argv, _START + text, user=user, env=env, login=login, mutating=mutating
        )
    )


def account(params: Mapping[str, Any]) -> str:
    """A user in a statement."""
    return f"{literal(params['name'])}@{literal(params['at'])}"


def _observe_user(look: Look) -> Generator[Any, Any, Observed]:
    params = look.resource.params
    found = rows(
        (
            yield from sql(
                look.resource.address,
                params,
                "SELECT JSON_OBJECT('priv', Priv) FROM mysql.global_priv WHERE"
                f" BINARY User = BINARY {literal(params['name'])} AND Host = {literal(params['at'])};\n",
                mutating=False,
            )
        )
    )
    if not found:
        return Observed(None)
    priv = found[0]["priv"]  # a JSON column stands in JSON_OBJECT as what it holds
    ways = [{**priv, **way} for way in priv.get("auth_or", [{}])]
    return Observed(
        {
            "auth": "+".join(_way(way) for way in ways),
            "password": mark(priv.get("authentication_string")),
            "locked": bool(priv.get("account_locked", False)),
            "tls": TLS[priv.get("ssl_type", 0)],
            "max_connections": int(priv.get("max_user_connections", 0)),
        }
    )


def _way(priv: Mapping[str, Any]) -> str:
    plugin = str(priv.get("plugin") or "mysql_native_password")
    return "password" if plugin == "mysql_native_password" else plugin


def _converge_user(change: Change) -> Generator[Any, Any, str]:
    wanted, params = change.wanted, change.resource.params
    note = ""
    if wanted is None:
        text = f"DROP USER {account(params)};\n"
    else:
        options, note = _options(change, wanted)
        verb = "CREATE" if change.observed.attributes is None else "ALTER"
        text = f"{verb} USER {account(params)} {' '.join(options)};\n" if options else ""
    if text:
        yield from sql(change.resource.address, params, text, mutating=True)
    return note


def _options(change: Change, wanted: Attributes) -> tuple[list[str], str]:
    """What CREATE USER or ALTER USER say of what differs, in the order of their grammar; and a note."""
    had: Mapping[str, Any] = change.observed.attributes or {
        "tls": "none",
        "max_connections": 0,
        "locked": False,
    }
    options, note = _identified(change, wanted, had)
    if wanted.get("tls", had["tls"]) != had["tls"]:
        if wanted["tls"] == "specified":
            note = "what its certificate must be is not kept"
        else:
            options.append(f"REQUIRE {wanted['tls'].upper()}")
    if wanted.get("max_connections", had["max_connections"]) != had["max_connections"]:
        options.append(f"WITH MAX_USER_CONNECTIONS {int(wanted['max_connections'])}")
    if wanted.get("locked", had["locked"]) != had["locked"]:
        options.append("ACCOUNT LOCK" if wanted["locked"] else "ACCOUNT UNLOCK")
    return options, note


def _identified(change: Change, wanted: Attributes, had: Mapping[str, Any]) -> tuple[list[str], str]:
    given = change.options.get("stored")
    new = change.observed.attributes is None
    if given is not None and (new or change.differing & {"auth", "password"}):
        return [f"IDENTIFIED BY PASSWORD {literal(given)}"], ""
    if wanted.get("auth") == "unix_socket" and (new or had.get("auth") != "unix_socket"):
        return ["IDENTIFIED VIA unix_socket"], ""
    if new:
        raise TaskFailed(
            f"{change.resource.address}: how it logs in is not known, and without that anybody could",
            unchanged=[change.resource.address],
            next=["say password = …", 'say auth = "unix_socket"'],
        )
    if given is None and change.differing & {"auth", "password"}:
        return [], "how it logs in stays: the password before is not kept anywhere"
    return [], ""


def _lost(before: Attributes) -> frozenset[str]:
    """How somebody logged in can be said again only if the system vouched for them."""
    login = {"auth", "password"} if before.get("auth") != "unix_socket" else set()
    return frozenset(login | ({"tls"} if before.get("tls") == "specified" else set()))


def _observe_database(look: Look) -> Generator[Any, Any, Observed]:
    text = yield from sql(
        look.resource.address,
        look.resource.params,
        "SELECT JSON_OBJECT('charset', DEFAULT_CHARACTER_SET_NAME, 'collation', DEFAULT_COLLATION_NAME) FROM"
        f" information_schema.SCHEMATA WHERE SCHEMA_NAME = {literal(look.resource.params['name'])};\n",
        mutating=False,
    )
    found = rows(text)
    return Observed(found[0] if found else None)


def _converge_database(change: Change) -> Generator[Any, Any, str]:
    name, wanted = identifier(change.resource.params["name"]), change.wanted
    if wanted is None:
        text = f"DROP DATABASE {name};\n"
    elif change.observed.attributes is None and change.options.get("undo"):
        raise TaskFailed(
            f"{change.resource.address} was removed: what was in it is not kept, so it can't be brought back",
            unchanged=[change.resource.address],
        )
    else:
        words = [f"CHARACTER SET {literal(wanted['charset'])}"] if "charset" in wanted else []
        words += [f"COLLATE {literal(wanted['collation'])}"] if "collation" in wanted else []
        verb = "CREATE" if change.observed.attributes is None else "ALTER"
        text = f"{verb} DATABASE {name} {' '.join(words)};\n"
    yield from sql(change.resource.address, change.resource.params, text, mutating=True)
    return ""


def _observe_grant(look: Look) -> Generator[Any, Any, Observed]:
    params, address = look.resource.params, look.resource.address
    query = (
        "SELECT JSON_OBJECT('n', COUNT(*)) FROM mysql.global_priv WHERE"
        f" BINARY User = BINARY {literal(params['name'])} AND Host = {literal(params['at'])};\n"
    )
    (there,) = rows((yield from sql(address, params, query, mutating=False)))
    if not there["n"]:
        return Observed(None)
    shown = yield from sql(address, params, f"SHOW GRANTS FOR {account(params)};\n", mutating=False)
    middle = f" ON {_object(params)} TO {identifier(params['name'])}@{identifier(params['at'])}"
    privileges: set[str] = set()
    option = False
    for line in shown.splitlines():
        words, found, rest = line.removeprefix("GRANT ").partition(middle)
        if found and line.startswith("GRANT "):
            privileges |= {_privilege(word) for word in words.split(", ")}
            option = option or rest.endswith("WITH GRANT OPTION") or " WITH GRANT OPTION " in rest
    privileges.discard("usage")
    if not privileges and not option:
        return Observed(None)
    return Observed({"privileges": sorted(privileges), "grant_option": option})


def _privilege(word: str) -> str:
    low = word.lower()
    return "all" if low == "all privileges" else low


def _object(params: Mapping[str, Any]) -> str:
    """What privileges are on. In a grant on a whole database, the server takes _ and % in its name for wildcards."""
    database, table = params["database"], params["table"]
    if database == "*":
        return "*.*"
    if table == "*":
        name = database.replace("\\", "\\\\").replace("_", "\\_").replace("%", "\\%")
        return f"{identifier(name)}.*"
    return f"{identifier(database)}.{identifier(table)}"


def _converge_grant(change: Change) -> Generator[Any, Any, str]:
    params = change.resource.params
    before: Mapping[str, Any] = change.observed.attributes or {}
    after: Mapping[str, Any] = change.wanted or {}
    had, then = set(before.get("privileges", ())), set(after.get("privileges", ()))
    option, keep = (
        bool(before.get("grant_option")),
        bool(after.get("grant_option", before.get("grant_option"))),
    )
    keep = keep and change.wanted is not None
    on, whom = _object(params), account(params)
    text = ""
    if had - then:
        text += f"REVOKE {_words(had - then)} ON {on} FROM {whom};\n"
        had = set() if "all" in had else had & then
    if option and not keep:
        text += f"REVOKE GRANT OPTION ON {on} FROM {whom};\n"
    if then - had or (keep and not option):
        suffix = " WITH GRANT OPTION" if keep else ""
        text += f"GRANT {_words(then - had)} ON {on} TO {whom}{suffix};\n"
    yield from sql(change.resource.address, params, text, mutating=True)
    return ""


def _words(privileges: set[str]) -> str:
    if "all" in privileges:
        return "ALL PRIVILEGES"
    return ", ".join(word.upper() for word in sorted(privileges)) or "USAGE"


KINDS = (
    Kind(
        "mysql.user",
        "auth (password, unix_socket …), password (a mark of what the server keeps; not brought back), locked, tls,"
        " max_connections",
        *one_by_one(_observe_user, _converge_user),
        lost=_lost,
        apart=each_alone("auth password", "locked", "tls", "max_connections"),
    ),
    Kind(
        "mysql.database",
        "charset and collation (what is in it is not brought back)",
        *one_by_one(_observe_database, _converge_database),
    ),
    Kind(
        "mysql.grant",
        "the privileges of a user on a database or table, grant_option",
        *one_by_one(_observe_grant, _converge_grant),
    ),
)
