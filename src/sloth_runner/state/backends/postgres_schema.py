"""Why: what the store is in the database, and how a change is made there, stands in one place: this SQL.

One table holds all entries, by their whole key (``COLLATE "C"``: ordered by code point, as UTF-8's bytes are). A
Rev comes from one sequence: it never returns, whatever is deleted. A commit is one call of one function, in a
transaction of its own:

1. It takes *advisory locks that end with the transaction*, one for each key named (shared for a Check) and a shared
   one for each namespace, in one order that all clients keep. More than ``MANY`` keys, and bulk changes, take the
   namespaces' locks alone, exclusively. Row locks would not do: what is absent has no row, and a shared row lock on a
   fence writes to the table for each fenced write. SERIALIZABLE would do, at the price of failures that must be
   retried although nothing conflicts.
2. Only then it looks. Under READ COMMITTED each statement of a function sees all that was committed before it began,
   and nobody else can change what is locked: so what was found holds until the transaction ends. Any two commits
   that share a key, of which one writes it, happen one after the other; that makes all of them serializable, in an
   order that agrees with real time. Under another isolation level the view would be older than the locks: the
   function refuses, and the client begins the transaction itself.
3. It changes everything, or reports which expectations failed and changes nothing. A conflict is a result, not an
   error: the server's log stays clean.

Nothing here is kept in a session, so a pooler that gives each transaction another one does no harm.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from sloth_runner.plain import NamedTuple

FORMAT: Final = 1
"""The format of what this version writes. Kept in ``meta``; another one is Foreign."""
MANY: Final = 64
"""Keys of one commit that are locked one by one: the server has room for some thousand locks altogether."""
WRONG_ISOLATION: Final = "SR001"
"""SQLSTATE of our own: the function was called under an isolation level that it can't be right under."""
LONGEST_LEASE: Final = 3e9
"""Seconds; beyond a century a lease is for good, and PostgreSQL's clock has an end."""
ON_A_REPLICA: Final = "22012"
"""SQLSTATE of a read that a replica was asked for (by a pooler, after a failover): it divides by zero there, once."""
CHANNEL: Final = "sloth_runner"

_VALID: Final = (
    "(until IS NULL OR until > clock_timestamp()) "
    "AND (SELECT 1 / CASE WHEN pg_is_in_recovery() THEN 0 ELSE 1 END) = 1"
)

_TABLES: Final = """
CREATE TABLE {s}.meta (name text PRIMARY KEY, value text NOT NULL);
CREATE SEQUENCE {s}.rev;
CREATE TABLE {s}.entry (
    key text COLLATE "C" PRIMARY KEY,
    rev bigint NOT NULL,
    until timestamptz,
    value bytea NOT NULL
) WITH (fillfactor = 90);
CREATE INDEX entry_until ON {s}.entry (until) WHERE until IS NOT NULL;
CREATE TABLE {s}.watcher (id bigint PRIMARY KEY, scope text NOT NULL, until timestamptz NOT NULL);
COMMENT ON TABLE {s}.entry IS
    'State of sloth-runner, changed by the function commit only. The parts of a key are separated by U+001F.';
CREATE VIEW {s}.current_value AS
    SELECT split_part(key, U&'\\001F', 1) AS namespace, split_part(key, U&'\\001F', 3) AS key,
           convert_from(value, 'UTF8')::jsonb AS record
    FROM {s}.entry
    WHERE split_part(key, U&'\\001F', 2) = 'k' AND get_byte(value, 0) = 123;
"""

_COMMIT: Final = """
CREATE FUNCTION {s}.commit(
    wait integer, locks bigint[], alone boolean[], space text,
    keys text[], ops smallint[], vals bytea[], expects bigint[], leases float8[]
) RETURNS bigint[] LANGUAGE plpgsql VOLATILE AS $commit$
DECLARE
    moment timestamptz;
    now_at bigint;
    living boolean;
    revs bigint[] := '{{}}';
    stored boolean[] := '{{}}';
    failed boolean := false;
    fresh bigint := 0;
    ends timestamptz;
    leased boolean := false;
    puts integer := 0;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'commit needs READ COMMITTED' USING ERRCODE = 'SR001';
    END IF;
    IF current_setting('synchronous_commit') NOT IN ('on', 'remote_apply') THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    PERFORM set_config('lock_timeout', wait::text, true);
    FOR i IN 1 .. cardinality(locks) LOOP
        IF alone[i] THEN
            PERFORM pg_advisory_xact_lock(locks[i]);
        ELSE
            PERFORM pg_advisory_xact_lock_shared(locks[i]);
        END IF;
    END LOOP;
    moment := clock_timestamp();
    FOR i IN 1 .. cardinality(keys) LOOP
        SELECT rev, until IS NULL OR until > moment INTO now_at, living FROM {s}.entry WHERE key = keys[i];
        stored[i] := now_at IS NOT NULL;
        IF living IS NOT TRUE THEN
            now_at := 0;
        END IF;
        revs[i] := now_at;
        IF NOT (expects[i] = now_at OR expects[i] = -1 OR (expects[i] = -2 AND now_at > 0)) THEN
            failed := true;
            revs[i] := -1;
        END IF;
    END LOOP;
    IF failed THEN
        RETURN revs;
    END IF;
    FOR i IN 1 .. cardinality(keys) LOOP
        CONTINUE WHEN ops[i] = 0;
        puts := puts + 1;
        IF ops[i] = 2 THEN
            DELETE FROM {s}.entry WHERE key = keys[i];
            revs[i] := 0;
            CONTINUE;
        END IF;
        IF fresh = 0 THEN
            fresh := nextval('{q}.rev');
        END IF;
        ends := NULL;
        IF leases[i] IS NOT NULL THEN
            ends := moment + make_interval(secs => leases[i]);
            leased := true;
        END IF;
        IF stored[i] THEN
            UPDATE {s}.entry SET rev = fresh, until = ends, value = vals[i] WHERE key = keys[i];
            stored[i] := FOUND;  -- another commit may have swept what had ended
        END IF;
        IF NOT stored[i] THEN
            INSERT INTO {s}.entry (key, rev, until, value) VALUES (keys[i], fresh, ends, vals[i]);
        END IF;
        revs[i] := fresh;
    END LOOP;
    IF leased THEN
        DELETE FROM {s}.entry WHERE key IN (
            SELECT key FROM {s}.entry WHERE until <= moment ORDER BY until LIMIT 100 FOR UPDATE SKIP LOCKED
        );
    END IF;
    IF puts > 0 AND EXISTS (
        SELECT FROM {s}.watcher w WHERE w.scope IN ('', space) AND w.until > clock_timestamp()
    ) THEN
        PERFORM {s}.ring(keys, ops, puts);
    END IF;
    RETURN revs;
END
$commit$;
"""

_RING: Final = """
CREATE FUNCTION {s}.ring(keys text[], ops smallint[], puts integer) RETURNS void LANGUAGE plpgsql VOLATILE AS $ring$
BEGIN
    IF puts > 100 THEN
        PERFORM pg_notify('{channel}', '');
        RETURN;
    END IF;
    FOR i IN 1 .. cardinality(keys) LOOP
        IF ops[i] > 0 THEN
            PERFORM pg_notify('{channel}', CASE WHEN octet_length(keys[i]) < 7900 THEN keys[i] ELSE '' END);
        END IF;
    END LOOP;
END
$ring$;
"""


class Names(NamedTuple):
    """A schema's name as SQL, and all statements on it."""

    schema: str
    quoted: str
    literal: str
    """The quoted name as a string of SQL, for to_regnamespace."""
    channel: str
    get: str
    look: str
    commit: str
    new_schema: str
    make: str
    first: int
    """The lock under which the schema is made."""


def names(schema: str) -> Names:
    """The statements for one schema."""
    s = '"' + schema.replace('"', '""') + '"'
    channel = f"{CHANNEL}_{blake2b(schema.encode(), digest_size=8).hexdigest()}"
    quoted = s.replace("'", "''")
    fill = {"s": s, "q": quoted, "channel": channel}
    get = f"SELECT rev, value FROM {s}.entry WHERE key = $1 AND {_VALID}"
    look = (
        "SELECT pg_is_in_recovery(), current_setting('server_encoding'), "
        f"(SELECT value FROM {s}.meta WHERE name = 'format')"
    )
    made = "".join(part.format(**fill) for part in (_TABLES, _COMMIT, _RING))
    made += f"INSERT INTO {s}.meta VALUES ('format', '{FORMAT}');"
    commit = f"SELECT {s}.commit($1, $2, $3, $4, $5, $6, $7, $8, $9)"
    new = f"CREATE SCHEMA {s};"
    first = lock_id(schema, "first use", "")
    return Names(schema, s, f"'{quoted}'", channel, get, look, commit, new, made, first)


def lock_id(schema: str, *what: str) -> int:
    """The advisory lock of something in a schema: 64 bits, signed. Two that meet by chance wait for each other."""
    digest = blake2b("\0".join((schema, *what)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def scan_sql(quoted: str, high: bool, after: bool, reverse: bool, limit: bool) -> str:
    """The scan of these bounds; its parameters in order: low, high, after, limit, as far as they are there."""
    numbers = iter(range(2, 5))
    where = "key >= $1"
    if high:
        where += f" AND key < ${next(numbers)}"
    if after:
        where += f" AND key {'<' if reverse else '>'} ${next(numbers)}"
    return (
        f"SELECT key, rev, value FROM {quoted}.entry WHERE {where} "
        f"AND {_VALID} ORDER BY key{' DESC' if reverse else ''}"
        + (f" LIMIT ${next(numbers)}" if limit else "")
    )
