"""Why: what the store is in the database, and how a change is made there, stands in one place: this SQL.

One table holds all entries, by their whole key (``COLLATE "C"``: ordered by code point, as UTF-8's bytes are). A
Rev comes from one sequence: it never returns, whatever is deleted. Above it stand the bits of the server's timeline,
which grows with each promotion and each recovery to a moment: a commit that was lost in one leaves no Rev to be used
again. A commit is one call of one function, in a transaction of its own:

1. It takes *advisory locks that end with the transaction*: the store's and those of each namespace, shared, then
   one for each key named (shared for a Check), in one order that all clients keep. More than ``MANY`` keys, and bulk
   changes, take the namespaces' locks exclusively instead; who sets a rule, that of its scope. Row locks would not
   do: what is absent has no row, and a shared row lock on a fence writes to the table for each fenced write.
   SERIALIZABLE would do, at the price of failures that must be retried although nothing conflicts.
2. Only then it looks. Under READ COMMITTED each statement of a function sees all that was committed before it began,
   and nobody else can change what is locked: so what was found holds until the transaction ends. Any two commits
   that share a key, of which one writes it, happen one after the other; that makes all of them serializable, in an
   order that agrees with real time. Under another isolation level the view would be older than the locks: the
   function refuses, and the client begins the transaction itself.
3. It changes everything, or reports which expectations failed and changes nothing. A conflict is a result, not an
   error: the server's log stays clean.

*Rules* say what else a commit has to do: tell watchers, refuse plaintext, refuse everything once the state has moved
away. Who sets one holds the lock of its scope alone, so whoever commits later obeys it, however old its program is.

Nothing here is kept in a session, so a pooler that gives each transaction another one does no harm.
"""

from __future__ import annotations

from hashlib import blake2b

from sloth_runner.plain import Final, NamedTuple

FORMAT: Final = 1
"""The format of what this version writes. Kept in ``meta``; another one is Foreign."""
MANY: Final = 64
"""Keys of one commit that are locked one by one: the server has room for some thousand locks altogether."""
WRONG_ISOLATION: Final = "SR001"
"""SQLSTATE of our own: the function was called under an isolation level that it can't be right under."""
TAKES_NO_PLAINTEXT: Final = "SR002"
MOVED: Final = "SR003"
UNKNOWN_RULE: Final = "SR004"
"""SQLSTATEs of our own: rules that a commit met."""
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
CREATE TABLE {s}.rule (
    kind text NOT NULL, scope text NOT NULL, id text NOT NULL, data bytea NOT NULL DEFAULT '', until timestamptz,
    PRIMARY KEY (scope, kind, id)
);
COMMENT ON TABLE {s}.entry IS
    'State of sloth-runner, changed by the function commit only. The parts of a key are separated by U+001F.';
"""

_VIEWS: Final = """
CREATE VIEW {s}.state_keys AS
    SELECT part[1] AS namespace, part[3] AS key, (r ->> 'n')::bigint AS revision,
           CASE WHEN r IS NULL THEN '(sealed)' WHEN r ->> 's' = '1' THEN '(sensitive)'
                WHEN r ->> 'b' <> '' THEN '(long)' ELSE r ->> 'v' END AS value,
           to_timestamp((r ->> 't')::float8) AS time, r ->> 'u' AS "user", r ->> 'm' AS host, r ->> 'r' AS run,
           r ->> 'k' AS task, to_timestamp((r ->> 'x')::float8) AS expires
    FROM (
        SELECT string_to_array(key, chr(31)) AS part,
               CASE WHEN substr(value, 1, 1) = '{{' THEN convert_from(value, 'UTF8')::json END AS r
        FROM {s}.entry WHERE split_part(key, chr(31), 2) = 'k'
    ) AS head
    WHERE r IS NULL OR r -> 'v' IS NOT NULL OR r ->> 'b' IS NOT NULL;
CREATE VIEW {s}.state_history AS
    SELECT part[1] AS namespace, part[3] AS key, part[4]::bigint AS revision, r ->> 'o' AS operation,
           CASE WHEN r IS NULL THEN '(sealed)' WHEN r ->> 's' = '1' THEN '(sensitive)'
                WHEN r ->> 'b' <> '' THEN '(long)' ELSE r ->> 'v' END AS value,
           to_timestamp((r ->> 't')::float8) AS time, r ->> 'u' AS "user", r ->> 'm' AS host, r ->> 'r' AS run,
           r ->> 'k' AS task
    FROM (
        SELECT string_to_array(key, chr(31)) AS part,
               CASE WHEN substr(value, 1, 1) = '{{' THEN convert_from(value, 'UTF8')::json END AS r
        FROM {s}.entry WHERE split_part(key, chr(31), 2) = 'h'
    ) AS revision;
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
    watched boolean := false;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'commit needs READ COMMITTED' USING ERRCODE = 'SR001';
    END IF;
    IF current_setting('synchronous_commit') NOT IN ('on', 'remote_apply') THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    IF set_config('lock_timeout', wait::text, true) IS NULL THEN END IF;  -- an expression: a tenth of PERFORM's cost
    FOR i IN 1 .. cardinality(locks) LOOP
        IF alone[i] THEN
            IF pg_advisory_xact_lock(locks[i]) IS NULL THEN END IF;
        ELSE
            IF pg_advisory_xact_lock_shared(locks[i]) IS NULL THEN END IF;
        END IF;
    END LOOP;
    IF space <> '' AND EXISTS (SELECT FROM {s}.rule WHERE scope IN ('', space)) THEN
        watched := {s}.obey(space, keys, ops, vals);
    END IF;
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
        IF ops[i] = 2 THEN
            DELETE FROM {s}.entry WHERE key = keys[i];
            revs[i] := 0;
            CONTINUE;
        END IF;
        IF fresh = 0 THEN
            fresh := {s}.fresh();
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
    IF watched THEN
        PERFORM {s}.ring(keys, ops);
    END IF;
    RETURN revs;
END
$commit$;
"""

_FRESH: Final = """
CREATE FUNCTION {s}.fresh() RETURNS bigint LANGUAGE sql VOLATILE AS
$fresh$ SELECT ({timeline} << 40) + nextval('{q}.rev') $fresh$;
"""
TIMELINE: Final = "('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint"
"""The server's timeline. (Some hosted servers have their own storage in place of the log, and can't say.)"""

_OBEY: Final = """
CREATE FUNCTION {s}.obey(space text, keys text[], ops smallint[], vals bytea[]) RETURNS boolean
LANGUAGE plpgsql VOLATILE AS $obey$
DECLARE
    one record;
    watched boolean := false;
BEGIN
    FOR one IN
        SELECT kind, data FROM {s}.rule WHERE scope IN ('', space) AND (until IS NULL OR until > clock_timestamp())
    LOOP
        IF one.kind = 'watch' THEN
            watched := true;
        ELSIF one.kind = 'moved' THEN
            IF space <> '_store' THEN
                RAISE EXCEPTION '%', convert_from(one.data, 'UTF8') USING ERRCODE = 'SR003';
            END IF;
        ELSIF one.kind = 'guard' THEN
            FOR i IN 1 .. cardinality(keys) LOOP
                IF ops[i] = 1 AND substr(vals[i], 1, octet_length(one.data)) <> one.data
                    AND keys[i] <> space || chr(31) || 'm' || chr(31) || 'seal'
                THEN
                    RAISE EXCEPTION 'this state is sealed, and takes no plaintext' USING ERRCODE = 'SR002';
                END IF;
            END LOOP;
        ELSE
            RAISE EXCEPTION 'a rule of kind %', one.kind USING ERRCODE = 'SR004';
        END IF;
    END LOOP;
    RETURN watched;
END
$obey$;
CREATE FUNCTION {s}.ring(keys text[], ops smallint[]) RETURNS void LANGUAGE plpgsql VOLATILE AS $ring$
BEGIN
    IF cardinality(keys) > 100 THEN
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
CREATE FUNCTION {s}.load(space text, fresh bigint, keys text[], vals bytea[]) RETURNS void
LANGUAGE plpgsql VOLATILE AS $load$
BEGIN
    IF EXISTS (SELECT FROM {s}.rule WHERE scope IN ('', space)) THEN
        PERFORM {s}.obey(space, keys, array_fill(1::smallint, ARRAY[cardinality(keys)]), vals);
    END IF;
    INSERT INTO {s}.entry (key, rev, value) SELECT k, fresh, v FROM unnest(keys, vals) AS new (k, v)
    ON CONFLICT (key) DO UPDATE SET rev = excluded.rev, until = NULL, value = excluded.value;
END
$load$;
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
    """With ``TIMELINE`` in it, for the constant of that name or 1."""
    first: int
    """The lock under which the schema is made."""


def names(schema: str) -> Names:
    """The statements for one schema."""
    s = '"' + schema.replace('"', '""') + '"'
    channel = f"{CHANNEL}_{blake2b(schema.encode(), digest_size=8).hexdigest()}"
    quoted = s.replace("'", "''")
    fill = {"s": s, "q": quoted, "channel": channel, "timeline": "TIMELINE"}
    get = f"SELECT rev, value FROM {s}.entry WHERE key = $1 AND {_VALID}"
    look = (
        "SELECT pg_is_in_recovery(), current_setting('server_encoding'), "
        f"(SELECT value FROM {s}.meta WHERE name = 'format')"
    )
    made = "".join(part.format(**fill) for part in (_TABLES, _VIEWS, _FRESH, _OBEY, _COMMIT))
    made += f"INSERT INTO {s}.meta VALUES ('format', '{FORMAT}');"
    commit = f"SELECT {s}.commit($1, $2, $3, $4, $5, $6, $7, $8, $9)"
    new = f"CREATE SCHEMA {s};"
    first = lock_id(schema, "first use", "")
    return Names(schema, s, f"'{quoted}'", channel, get, look, commit, new, made, first)


def lock_id(schema: str, *what: str) -> int:
    """The advisory lock of something in a schema: 64 bits, signed. Two that meet by chance wait for each other."""
    digest = blake2b("\0".join((schema, *what)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def bound(after: str, *, reverse: bool) -> bytes:
    """``after`` as a parameter of a scan: PostgreSQL's text takes no U+0000, which none of its keys holds."""
    head, found, _ = after.partition("\0")
    return (f"{head}\x01" if found and reverse else head).encode()


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


def namespaces_sql(quoted: str) -> str:
    """The namespaces that have entries: one look at the index for each."""
    first = f"SELECT split_part(key, chr(31), 1) FROM {quoted}.entry WHERE {{}}{_VALID} ORDER BY key LIMIT 1"
    beyond = "key > walk.space || ' ' COLLATE \"C\" AND "  # a space follows U+001F
    return (
        f"WITH RECURSIVE walk (space) AS (({first.format('')}) UNION ALL "
        f"SELECT ({first.format(beyond)}) FROM walk WHERE space IS NOT NULL) "
        "SELECT space FROM walk WHERE space IS NOT NULL"
    )
