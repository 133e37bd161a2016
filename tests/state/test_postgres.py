"""What the PostgreSQL store does beyond the laws: URLs, logins, TLS, replicas, poolers, connections that break."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psycopg
import pytest
from psycopg import errors, sql

from sloth_runner.errors import (
    BadConfig,
    Busy,
    Conflict,
    Corrupt,
    Forbidden,
    Foreign,
    Indeterminate,
    KeyWrong,
    SlothError,
    StoreDown,
    TooLarge,
)
from sloth_runner.state.backends import Options, open_store
from sloth_runner.state.backends.postgres import MAX_VALUE, PostgresStore
from sloth_runner.state.backends.postgres_errors import Refused, Said, translated
from sloth_runner.state.backends.postgres_schema import names, scan_sql
from sloth_runner.state.backends.postgres_url import target
from sloth_runner.state.store import ABSENT, ANY, Change, Check
from tests.services import ROOT, postgres
from tests.services.base import free_port
from tests.services.proxy import Proxy

Open = Callable[..., PostgresStore]


@pytest.fixture
def url() -> Iterator[str]:
    with postgres.schema() as url:
        yield url


@pytest.fixture
def opened(tmp_path: Path, url: str) -> Iterator[Open]:
    made: list[PostgresStore] = []

    def one(
        at: str = url,
        *,
        timeout: float = 10.0,
        patience: float = 10.0,
        password: str | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> PostgresStore:
        store = open_store(at, Options(tmp_path, patience, timeout, password, environ or {}))
        assert isinstance(store, PostgresStore)
        made.append(store)
        return store

    yield one
    for store in made:
        store.close()


@pytest.fixture
def admin(url: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    with psycopg.connect(url.partition("?")[0].replace("sloth@", "postgres@"), autocommit=True) as server:
        yield server


def key(name: str, namespace: str = "local") -> str:
    return f"{namespace}\x1fk\x1f{name}"


def options(tmp_path: Path, password: str | None = None, environ: Mapping[str, str] | None = None) -> Options:
    return Options(tmp_path, 10.0, 10.0, password, environ or {})


# URLs


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgres://h/d?schem=x", "did you mean 'schema'"),
        ("postgres://h/d?sslmod=require", "did you mean 'sslmode'"),
        ("postgres://h/d?schema=", "can't name a schema"),
        ("postgres://h/d?schema=pg_x", "can't name a schema"),
        ("postgres://h/d?schema=" + "x" * 64, "can't name a schema"),
        ("postgres://h/d?client_encoding=LATIN1", "UTF8"),
        ("postgres://h/d?replication=true", "replication"),
        ("postgres://h/d?target_session_attrs=standby", "replica"),
        ("postgres://h:port%zz/d", "percent-encoded"),
    ],
)
def test_a_url_that_would_not_do_is_refused(tmp_path: Path, url: str, words: str) -> None:
    with pytest.raises(BadConfig) as caught:
        open_store(url, options(tmp_path))
    assert words in " ".join([caught.value.message, *caught.value.next])


def test_a_password_in_a_bad_url_is_not_shown(tmp_path: Path) -> None:
    with pytest.raises(BadConfig) as caught:
        open_store("postgres://u:hunter2%zz@h/d", options(tmp_path))
    assert "hunter2" not in str(caught.value.document()) and caught.value.__cause__ is None


def test_two_passwords_are_one_too_many(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="password_env"):
        open_store("postgres://u:one@h/d", options(tmp_path, password="two"))


def test_the_url_is_libpqs_but_for_the_schema(tmp_path: Path) -> None:
    environ = {
        "PGSSLMODE": "require",
        "PGUSER": "other",
        "PGTARGETSESSIONATTRS": "any",
        "PGCONNECT_TIMEOUT": "7",
    }
    found = target(
        "postgres://u%40x@h1:1,h2/d?schema=a%20b&options=-c%20x%3D1+2", options(tmp_path, environ=environ)
    )
    assert found.schema == "a b"
    assert found.where == "PostgreSQL at h1:1, h2:5432 (database d)"
    params = found.params
    assert (params["user"], params["host"], params["dbname"]) == ("u@x", "h1,h2", "d")
    assert params["options"] == "-c x=1+2"
    assert (params["sslmode"], params["connect_timeout"]) == ("require", "7")
    assert params["target_session_attrs"] == "any"
    assert target("postgres://h1,h2,h3/d", options(tmp_path)).params["connect_timeout"] == "3"
    assert (
        target("postgresql:///d?host=/run/pg", options(tmp_path)).params["target_session_attrs"] == "primary"
    )


def test_a_service_file_is_left_to_libpq(tmp_path: Path) -> None:
    environ = {"PGSERVICE": "x", "PGUSER": "other"}
    found = target("postgres:///", options(tmp_path, environ=environ))
    assert "user" not in found.params


# Logins and TLS


def secured(url: str, role: str, **params: str) -> str:
    base, _, rest = url.partition("?")
    more = "&".join(f"{name}={value}" for name, value in params.items())
    return f"{base.replace('sloth@', role + '@')}?{rest}&{more}"


def permit(admin: psycopg.Connection[tuple[object, ...]], url: str, role: str) -> None:
    name = url.partition("schema=")[2]
    admin.execute(
        sql.SQL("CREATE SCHEMA {} AUTHORIZATION {}").format(sql.Identifier(name), sql.Identifier(role))
    )


@pytest.fixture
def files() -> Path:
    return ROOT / "postgres"


def test_scram_with_the_password_that_a_variable_holds(
    opened: Open, url: str, admin: psycopg.Connection[tuple[object, ...]]
) -> None:
    permit(admin, url, "scram")
    at = secured(url, "scram", require_auth="scram-sha-256", channel_binding="require", sslmode="require")
    store = opened(at, password=postgres.PASSWORD)
    store.commit([Change(key("a"), b"1")])
    assert store.get(key("a")) is not None
    with pytest.raises(Forbidden, match=r"does not let us in: .*password authentication failed") as caught:
        opened(at, password="wr0ng").get(key("a"))
    assert "password_env" in caught.value.next[0]
    assert "wr0ng" not in str(caught.value.document())
    with pytest.raises(Forbidden, match="password"):
        opened(at).get(key("a"))
    with pytest.raises(Forbidden, match="has no such database"):
        opened(at.replace("/state?", "/nowhere?"), password=postgres.PASSWORD).get(key("a"))


def test_a_password_file_and_variables_are_libpqs_own(
    opened: Open, url: str, tmp_path: Path, admin: psycopg.Connection[tuple[object, ...]]
) -> None:
    permit(admin, url, "scram")
    escaped = postgres.PASSWORD.replace(":", "\\:")
    (tmp_path / "pgpass").write_text(f"*:*:*:scram:{escaped}\n")
    (tmp_path / "pgpass").chmod(0o600)
    environ = {"PGPASSFILE": str(tmp_path / "pgpass"), "PGUSER": "scram"}
    store = opened(url.replace("sloth@", ""), environ=environ)
    store.commit([Change(key("a"), b"1")])
    assert store.get(key("a")) is not None


def test_the_servers_certificate_is_checked(opened: Open, url: str, files: Path) -> None:
    good = secured(url, "sloth", sslmode="verify-full", sslrootcert=str(files / "ca.pem"))
    store = opened(good)
    store.commit([Change(key("a"), b"1")])
    assert store.get(key("a")) is not None
    with pytest.raises(Forbidden, match="certificate verify failed"):
        opened(secured(url, "sloth", sslmode="verify-full", sslrootcert=str(files / "another-ca.pem"))).get(
            key("a")
        )


def test_a_client_certificate_lets_in_and_a_strangers_does_not(
    opened: Open, url: str, files: Path, admin: psycopg.Connection[tuple[object, ...]]
) -> None:
    permit(admin, url, "certified")
    shared = {"sslmode": "verify-full", "sslrootcert": str(files / "ca.pem")}
    pair = {"sslcert": str(files / "client.pem"), "sslkey": str(files / "client.key")}
    store = opened(secured(url, "certified", **shared, **pair))
    store.commit([Change(key("a"), b"1")])
    assert store.get(key("a")) is not None
    with pytest.raises(Forbidden):
        opened(secured(url, "certified", **shared)).get(key("a"))
    pair = {"sslcert": str(files / "stranger.pem"), "sslkey": str(files / "stranger.key")}
    with pytest.raises(Forbidden):
        opened(secured(url, "certified", **shared, **pair)).get(key("a"))


# What is there, and who may use it


def test_reading_makes_nothing_and_writing_makes_the_tables(
    opened: Open, url: str, admin: psycopg.Connection[tuple[object, ...]]
) -> None:
    store = opened()
    assert store.get(key("a")) is None and list(store.scan()) == [] and store.namespaces() == []
    name = url.partition("schema=")[2]
    assert admin.execute("SELECT to_regnamespace(%s)", (name,)).fetchone() == (None,)
    with pytest.raises(Conflict):
        store.commit([Check(key("a"), 1)])
    store.commit([Change(key("a"), b"1"), Check(key("b", "web1"), ABSENT)])
    store.commit([Change(key("b", "web.1"), b"1")])
    store.commit([Change(key("b", "web"), b"1", ANY, 0.1)])
    time.sleep(0.15)
    assert store.namespaces() == ["local", "web.1"]


def test_roles_of_the_documentation_can_do_what_they_should_and_no_more(
    opened: Open, url: str, admin: psycopg.Connection[tuple[object, ...]]
) -> None:
    """The grants of docs/stores/postgresql.md: an owner, an operator, an auditor; and one who was granted nothing."""
    name = url.partition("schema=")[2]
    kinds = ("owner", "operator", "auditor", "stranger")

    def at(kind: str) -> str:
        return url.replace("sloth@", f"{name}_{kind}@")

    for kind in kinds:
        admin.execute(f"CREATE ROLE {name}_{kind} LOGIN IN ROLE visitors")
    try:
        admin.execute(f"CREATE SCHEMA {name} AUTHORIZATION {name}_owner")
        opened(at("owner")).commit([Change(key("a"), b"1")])
        for grant in documented_grants():
            admin.execute(grant.replace("sloth_runner", name).replace("sloth_", f"{name}_"))
        operator, auditor, stranger = (opened(at(kind)) for kind in kinds[1:])
        operator.commit([Change(key("a"), b"2")])
        assert operator.traits.bulk is not None and operator.traits.watch is not None
        with operator.traits.bulk("local") as bulk:
            bulk.put([(key("b"), b"1")])
        with operator.traits.watch("") as bell:
            assert bell(0) == ()
        assert auditor.get(key("a")) is not None and len(list(auditor.scan())) == 2
        assert auditor.traits.snapshot is not None
        with auditor.traits.snapshot("local") as view:
            assert view.get(key("a")) is not None
        for refused in (
            lambda: auditor.commit([Change(key("a"), b"2")]),
            lambda: stranger.get(key("a")),
            lambda: stranger.commit([Change(key("a"), b"2")]),
            lambda: opened(at("stranger") + "x").commit([Change(key("a"), b"2")]),
        ):
            with pytest.raises(Forbidden, match="permission denied") as caught:
                refused()
            assert "docs/stores/postgresql.md" in caught.value.next[0]
    finally:
        admin.execute(f"DROP SCHEMA {name} CASCADE")
        for kind in kinds:
            admin.execute(f"DROP ROLE {name}_{kind}")


def documented_grants() -> list[str]:
    """The statements of the documentation that grant something on what is in the schema."""
    text = (Path(__file__).parents[2] / "docs/stores/postgresql.md").read_text()
    grants = [line for line in text.splitlines() if line.startswith("GRANT")]
    assert len(grants) == 5
    return grants


def test_another_format_is_foreign(
    opened: Open, url: str, admin: psycopg.Connection[tuple[object, ...]]
) -> None:
    opened().commit([Change(key("a"), b"1")])
    name = url.partition("schema=")[2]
    admin.execute(f"UPDATE {name}.meta SET value = '2' WHERE name = 'format'")
    for use in (lambda: opened().get(key("a")), lambda: opened().commit([Change(key("a"), b"2")])):
        with pytest.raises(Foreign, match="format 2"):
            use()


def test_tables_of_our_names_that_are_not_ours_are_foreign(
    opened: Open, url: str, admin: psycopg.Connection[tuple[object, ...]]
) -> None:
    name = url.partition("schema=")[2]
    admin.execute(f"CREATE SCHEMA {name}")
    admin.execute(f"CREATE TABLE {name}.entry (id integer)")
    admin.execute(f"GRANT ALL ON SCHEMA {name} TO sloth")
    for use in (lambda: opened().get(key("a")), lambda: opened().commit([Change(key("a"), b"2")])):
        with pytest.raises(Foreign, match="not ours"):
            use()


def test_a_database_that_is_not_utf8_is_foreign(
    opened: Open, url: str, admin: psycopg.Connection[tuple[object, ...]]
) -> None:
    name = url.partition("schema=")[2] + "_latin"
    admin.execute(f"CREATE DATABASE {name} OWNER sloth ENCODING LATIN1 LOCALE 'C' TEMPLATE template0")
    try:
        store = opened(url.replace("/state?", f"/{name}?"))
        with pytest.raises(Foreign, match="LATIN1"):
            store.commit([Change(key("a"), b"2")])
        store.close()
    finally:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_people_read_the_views(opened: Open, admin: psycopg.Connection[tuple[object, ...]], url: str) -> None:
    from tests.state.kit import make_state

    store = opened()
    state = make_state(store)
    state.set("a", "one")
    state.set("a", 2)
    state.set("secret", "hidden", sensitive=True)
    state.set("gone", 1)
    state.delete("gone")
    store.commit([Change(key("sealed"), b"\xffSL\x00\xff")])
    name = url.partition("schema=")[2]
    rows = admin.execute(
        f'SELECT namespace, key, revision, value, "user" FROM {name}.state_keys ORDER BY key'
    )
    assert rows.fetchall() == [
        ("local", "a", 2, "2", "ann"),
        ("local", "sealed", None, "(sealed)", None),
        ("local", "secret", 1, "(sensitive)", "ann"),
    ]
    rows = admin.execute(
        f"SELECT key, revision, operation, value FROM {name}.state_history ORDER BY key, revision"
    )
    assert rows.fetchall()[:2] == [("a", 1, "set", "one"), ("a", 2, "set", "2")]


# Isolation, durability, replicas


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_another_default_isolation_changes_nothing(opened: Open, url: str, level: str) -> None:
    store = opened(f"{url}&options=-c%20default_transaction_isolation%3D{level.replace(' ', '%5C%20')}")
    other = opened()
    (rev,) = store.commit([Change(key("a"), b"1")])
    (rev,) = other.commit([Change(key("a"), b"2", rev)])
    with pytest.raises(Conflict):
        store.commit([Change(key("a"), b"3", 1)])
    assert store.commit([Change(key("a"), b"3", rev)]) > [rev]
    with pytest.raises(TooLarge):
        store.commit([Change(key(os.urandom(9000).hex()), b"1")])
    store.commit([Change(key("b"), b"1", ABSENT)])


def test_commits_wait_for_the_disk_whatever_the_session_says(opened: Open, url: str) -> None:
    """Asked of the server, within the transaction of a commit, by a rule that fires in it."""
    store = opened(f"{url}&options=-c%20synchronous_commit%3Doff")
    store.commit([Change(key("a"), b"1")])
    name = url.partition("schema=")[2]
    with psycopg.connect(url.partition("?")[0], autocommit=True) as server:
        server.execute(
            f"CREATE FUNCTION {name}.spy() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'at %', current_setting('synchronous_commit'); END $$"
        )
        server.execute(
            f"CREATE CONSTRAINT TRIGGER spy AFTER INSERT ON {name}.entry DEFERRABLE INITIALLY DEFERRED "
            f"FOR EACH ROW EXECUTE FUNCTION {name}.spy()"
        )
    with pytest.raises(StoreDown, match="at on"):
        store.commit([Change(key("b"), b"1")])
    assert store.get(key("b")) is None


def test_a_replica_is_refused(tmp_path: Path) -> None:
    primary = postgres.make(tmp_path / "primary")
    replica = postgres.replica(primary, tmp_path / "replica")
    try:
        primary.start()
        store = open_store(f"{primary.url}?schema=s", Options(tmp_path, 10.0))
        store.commit([Change(key("a"), b"1")])
        replica.start()
        for attrs in ("", "&target_session_attrs=any"):
            lagging = open_store(f"{replica.url}?schema=s{attrs}", Options(tmp_path, 10.0))
            with pytest.raises(StoreDown, match=r"replica|standby"):
                lagging.get(key("a"))
            with pytest.raises(StoreDown, match=r"replica|standby"):
                lagging.commit([Change(key("a"), b"2")])
            lagging.close()
        ports = [server.url.partition("@")[2] for server in (replica, primary)]
        both = f"postgres://sloth@{ports[0].partition('/')[0]},{ports[1]}?schema=s"
        found = open_store(both, Options(tmp_path, 10.0))
        assert found.get(key("a")) is not None
        found.close()
        store.close()
        reads_refuse(replica.url)
    finally:
        replica.stop()
        primary.stop()


def reads_refuse(url: str) -> None:
    """Not only the first look does: behind a pooler the server may change unseen."""
    get = names("s").get.replace("$1", "%s")
    scan = scan_sql('"s"', False, False, False, False).replace("$1", "%s")
    with psycopg.connect(url, autocommit=True) as server:
        for text, wanted in ((get, key("a")), (get, key("nothing")), (scan, "zzz")):
            with pytest.raises(errors.DivisionByZero):
                server.execute(text, (wanted,)).fetchall()


def test_a_rev_that_was_lost_with_its_server_never_returns(tmp_path: Path) -> None:
    primary = postgres.make(tmp_path / "primary")
    replica = postgres.replica(primary, tmp_path / "replica")
    try:
        primary.start()
        store = open_store(f"{primary.url}?schema=s", Options(tmp_path, 10.0))
        store.commit([Change(key("a"), b"1")])
        replica.start()
        replica.stop()
        lost = [store.commit([Change(key("a"), b"%d" % number)])[0] for number in range(100)]
        store.close()
        primary.kill()
        replica.start()
        with psycopg.connect(replica.url.replace("sloth@", "postgres@"), autocommit=True) as server:
            server.execute("SELECT pg_promote()")
        store = open_store(f"{replica.url}?schema=s", Options(tmp_path, 10.0))
        found = store.get(key("a"))
        assert found is not None and found.value == b"1"
        assert store.commit([Change(key("a"), b"2", found.rev)])[0] > max(lost)
        assert isinstance(store, PostgresStore) and store.traits.bulk is not None
        with store.traits.bulk("local") as bulk:
            bulk.put([(key("a"), b"3")])
        found = store.get(key("a"))
        assert found is not None and found.rev > max(lost)
        store.close()
    finally:
        replica.stop()
        primary.stop()


def test_a_server_that_does_not_know_its_timeline_will_do(
    opened: Open, url: str, admin: psycopg.Connection[tuple[object, ...]]
) -> None:
    name = url.partition("schema=")[2]
    admin.execute(f"CREATE DATABASE {name} OWNER sloth")
    at = url.replace("/state?", f"/{name}?")
    try:
        with psycopg.connect(at.partition("?")[0].replace("sloth@", "postgres@"), autocommit=True) as server:
            server.execute("REVOKE EXECUTE ON FUNCTION pg_current_wal_lsn() FROM public")
        store = opened(at)
        (one,) = store.commit([Change(key("a"), b"1")])
        (two,) = store.commit([Change(key("a"), b"2", one)])
        assert two == one + 1
        store.close()
    finally:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


# Others in the way


def test_who_waits_too_long_for_others_is_told_so(opened: Open, url: str) -> None:
    store = opened(patience=0.3)
    store.commit([Change(key("a"), b"1")])
    name = url.partition("schema=")[2]
    with psycopg.connect(url.partition("?")[0]) as other:
        other.execute(f"LOCK TABLE {name}.entry IN EXCLUSIVE MODE")
        with pytest.raises(Busy, match="locked by other commits"):
            store.commit([Change(key("a"), b"2")])
    store.commit([Change(key("a"), b"3")])


def test_a_deadlock_with_a_stranger_is_waited_out(opened: Open, url: str) -> None:
    """Commits can't deadlock with each other: they lock in one order. Somebody who writes by hand can."""
    store = opened()
    store.commit([Change(key("a"), b"1"), Change(key("b"), b"1")])
    name = url.partition("schema=")[2]
    other = psycopg.connect(url.partition("?")[0])
    other.execute(f"UPDATE {name}.entry SET until = NULL WHERE key = %s", (key("b"),))
    done: list[list[int]] = []
    thread = threading.Thread(
        target=lambda: done.append(store.commit([Change(key("a"), b"2"), Change(key("b"), b"2")]))
    )
    thread.start()
    while not other.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone()[0]:  # type: ignore[index]
        time.sleep(0.02)
    try:
        other.execute(f"UPDATE {name}.entry SET until = NULL WHERE key = %s", (key("a"),))
        other.commit()
    except errors.DeadlockDetected:
        other.rollback()
    thread.join()
    other.close()
    assert len(done) == 1


def test_a_row_that_somebody_swept_meanwhile_is_put_anew(opened: Open) -> None:
    """A put over an entry whose lease has ended, while commits of others sweep."""
    stores = [opened() for _ in range(4)]
    stores[0].commit([Change(key("x"), b"")])
    failed: list[BaseException] = []

    def run(number: int) -> None:
        try:
            for turn in range(60):
                stores[number].commit([Change(key(f"l{turn % 3}-{number}"), b"%d" % turn, ANY, 0.01)])
                stores[number].commit([Change(key(f"l{turn % 3}-{(number + 1) % 4}"), b"x", ANY, 0.01)])
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    time.sleep(0.05)
    stores[0].commit([Change(key("other"), b"", ANY, 0.01)])
    time.sleep(0.05)
    assert [e.key for e in stores[1].scan()] == [key("x")]


def test_a_commit_of_very_many_keys_excludes_all_others(opened: Open) -> None:
    store, other = opened(), opened()
    many = [Change(key(f"{number:05}"), b"x", ABSENT) for number in range(10_000)]
    outcome: list[object] = []

    def run(handle: PostgresStore) -> None:
        try:
            outcome.append(len(handle.commit(many)))
        except Conflict as conflict:
            outcome.append(len(conflict.keys))

    threads = [threading.Thread(target=run, args=(handle,)) for handle in (store, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcome == [10_000, 10_000]
    assert len(list(store.scan())) == 10_000
    assert len({entry.rev for entry in store.scan()}) == 1


def test_a_commit_of_too_many_bytes_is_refused_with_their_number(opened: Open) -> None:
    store = opened()
    value = bytes(MAX_VALUE)
    with pytest.raises(TooLarge, match="268,435,456"):
        store.commit([Change(key(str(number)), value) for number in range(17)])
    assert list(store.scan()) == []


# Connections that break


@pytest.fixture
def proxied(url: str) -> Iterator[tuple[Proxy, str]]:
    port = int(url.partition("127.0.0.1:")[2].partition("/")[0])
    proxy = Proxy(port)
    yield proxy, url.replace(f":{port}/", f":{proxy.port}/") + "&sslmode=disable"
    proxy.close()


def test_a_read_is_asked_again_and_a_commit_not_sent_is_sent_anew(
    opened: Open, proxied: tuple[Proxy, str]
) -> None:
    proxy, at = proxied
    store = opened(at)
    store.commit([Change(key("a"), b"1")])
    proxy.cut()
    entry = store.get(key("a"))
    assert entry is not None and entry.value == b"1"
    proxy.cut()
    store.commit([Change(key("a"), b"2", entry.rev)])
    proxy.refuse()
    with pytest.raises(StoreDown, match=r"127\.0\.0\.1"):
        store.get(key("a"))
    with pytest.raises(StoreDown) as caught:
        store.commit([Change(key("a"), b"3")])
    assert not isinstance(caught.value, Busy) and caught.value.unchanged
    proxy.mend()
    assert [e.value for e in store.scan()] == [b"2"]


@pytest.mark.parametrize(("count", "to", "applied"), [(40, "to server", False), (0, "to client", True)])
def test_a_commit_whose_reply_is_lost_is_indeterminate(
    opened: Open, proxied: tuple[Proxy, str], count: int, to: str, applied: bool
) -> None:
    proxy, at = proxied
    store = opened(at)
    (rev,) = store.commit([Change(key("a"), b"1")])
    proxy.cut_after(count, to)
    with pytest.raises(Indeterminate):
        store.commit([Change(key("a"), b"2", rev)])
    proxy.mend()
    found = opened().get(key("a"))
    assert found is not None and found.value == (b"2" if applied else b"1")
    entry = store.get(key("a"))
    assert entry == found


def test_a_silent_server_costs_no_more_than_the_time_out(opened: Open, proxied: tuple[Proxy, str]) -> None:
    proxy, at = proxied
    store = opened(at, timeout=0.5)
    begun(store, opened())
    proxy.hold()
    for use in (lambda: store.get(key("a")), lambda: store.commit([Change(key("a"), b"2")])):
        with pytest.raises(StoreDown):
            use()
    proxy.mend()


def begun(store: PostgresStore, other: PostgresStore) -> int:
    """Have a store with a short time-out connected, and write, however long that takes here; what it has put has
    this revision. ``other`` makes the tables."""
    other.commit([Change(key("a"), b"0")])
    while True:
        try:
            (rev,) = store.commit([Change(key("a"), b"1")])
            return rev
        except (StoreDown, Indeterminate):
            continue


def test_a_commit_that_gets_no_answer_in_time_is_indeterminate(
    opened: Open, proxied: tuple[Proxy, str]
) -> None:
    proxy, at = proxied
    store = opened(at, timeout=0.5)
    rev = begun(store, opened())
    proxy.hold()
    with pytest.raises(Indeterminate, match="did not answer in time"):
        store.commit([Change(key("a"), b"2", rev)])
    proxy.mend()


def test_a_server_that_ends_our_session_between_two_calls_does_no_harm(
    opened: Open, url: str, admin: psycopg.Connection[tuple[object, ...]]
) -> None:
    ours = url.partition("schema=")[2]  # the server is shared: others' sessions are let alone
    store = opened(f"{url}&application_name={ours}")
    store.commit([Change(key("a"), b"1")])

    def end() -> None:
        query = "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE application_name = %s"
        assert admin.execute(query, (ours,)).fetchall() == [(True,)]

    for _ in range(2):
        end()
        (rev,) = store.commit([Change(key("a"), b"2")])
        end()
        found = store.get(key("a"))
        assert found is not None and found.rev == rev


def test_a_server_that_is_killed_is_back_with_all_that_was_acknowledged(tmp_path: Path) -> None:
    server = postgres.make(tmp_path / "pg")
    server.start()
    try:
        store = open_store(f"{server.url}?schema=s", Options(tmp_path, 10.0, 5.0))
        for number in range(3):
            (rev,) = store.commit([Change(key("a"), b"%d" % number)])
            server.kill()
            with pytest.raises(StoreDown):
                store.get(key("a"))
            with pytest.raises(StoreDown):
                store.commit([Change(key("a"), b"x")])
            server.start()
            found = store.get(key("a"))
            assert found is not None and (found.value, found.rev) == (b"%d" % number, rev)
        server.signal(signal.SIGSTOP)
        with pytest.raises(Indeterminate):
            store.commit([Change(key("a"), b"slept")])
        server.signal(signal.SIGCONT)
        assert store.commit([Change(key("b"), b"1")]) > [rev]
        store.close()
    finally:
        server.stop()


def test_nobody_listens(tmp_path: Path) -> None:
    store = open_store(f"postgres://u@127.0.0.1:{free_port()}/d", Options(tmp_path, 10.0))
    with pytest.raises(StoreDown, match="refused") as caught:
        store.get(key("a"))
    assert "127.0.0.1" in caught.value.message and caught.value.exit_code == 6


def test_interrupted_in_the_middle_of_a_request_it_begins_anew(opened: Open, url: str) -> None:
    """Ctrl-C while the server has not answered: what it says later belongs to nobody."""
    store = opened()
    store.commit([Change(key("a"), b"1"), Change(key("b"), b"2")])
    name = url.partition("schema=")[2]
    main = threading.get_ident()
    for use in (lambda: store.get(key("a")), lambda: store.commit([Change(key("a"), b"3")])):
        with psycopg.connect(url.partition("?")[0]) as other:
            other.execute(f"LOCK TABLE {name}.entry IN ACCESS EXCLUSIVE MODE")
            timer = threading.Timer(0.3, lambda: signal.pthread_kill(main, signal.SIGINT))
            timer.start()
            with pytest.raises(KeyboardInterrupt):
                use()
            timer.join()
        found = store.get(key("b"))
        assert found is not None and found.value == b"2"


def test_a_handle_is_not_carried_over_fork(opened: Open) -> None:
    store = opened()
    store.commit([Change(key("a"), b"1")])
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            store.get(key("a"))
        except StoreDown:
            os.write(writing, b"refused")
        os._exit(0)
    os.close(writing)
    assert os.read(reading, 10) == b"refused"
    os.close(reading)
    os.waitpid(child, 0)
    assert store.get(key("a")) is not None


# Poolers


def test_a_session_that_forgets_what_was_prepared_does_no_harm(opened: Open) -> None:
    """What a pooler does that gives each transaction another session."""
    store = opened()
    for number in range(12):
        store.commit([Change(key("a"), b"%d" % number)])
        found = store.get(key("a"))
        assert found is not None and found.value == b"%d" % number
        if number in (4, 8):
            link = store._link
            assert link is not None
            link.script("DEALLOCATE ALL", 5.0)


def test_a_session_in_which_others_prepared_the_same_does_no_harm(opened: Open) -> None:
    store, other = opened(), opened()
    for handle in (store, other):
        for _ in range(5):
            handle.commit([Change(key("a"), b"1")])
    store._link, other._link = other._link, store._link
    assert store._link is not None
    store._link._uses.clear()
    for _ in range(5):
        store.commit([Change(key("a"), b"1")])


@pytest.fixture
def pooled(url: str, tmp_path: Path) -> Iterator[str]:
    """The URL of the schema through a pooler that gives each transaction another session."""
    port = int(url.partition("127.0.0.1:")[2].partition("/")[0])
    if not os.path.exists(postgres.PGBOUNCER):  # noqa: PTH110 - a program's place
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no pooler here: apt-get install pgbouncer")
    pooler = postgres.pooler(port, tmp_path / "pooler", 3)
    pooler.start()
    yield f"{pooler.url}?schema={url.partition('schema=')[2]}"
    pooler.stop()


def test_a_pooler_may_give_each_transaction_another_session(opened: Open, pooled: str) -> None:
    stores = [opened(pooled) for _ in range(4)]
    failed: list[BaseException] = []
    stores[0].commit([Change(key("count"), b"0")])

    def run(store: PostgresStore) -> None:
        try:
            for _ in range(25):
                add(store)
                assert len(list(store.scan(key("")))) == 1
        except BaseException as error:
            failed.append(error)

    def add(store: PostgresStore) -> None:
        while True:
            entry = store.get(key("count"))
            assert entry is not None
            try:
                store.commit([Change(key("count"), b"%d" % (int(entry.value) + 1), entry.rev)])
                return
            except Conflict:
                continue

    threads = [threading.Thread(target=run, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    found = stores[0].get(key("count"))
    assert found is not None and found.value == b"100"


def test_all_that_takes_longer_than_a_commit_works_through_a_pooler(opened: Open, pooled: str) -> None:
    store, direct = opened(pooled), opened()
    traits = store.traits
    assert traits.bulk is not None and traits.snapshot is not None and traits.watch is not None
    with traits.bulk("local") as bulk:
        bulk.put([(key(f"{number:04}"), b"1") for number in range(1000)])
    with traits.snapshot("local") as view:
        direct.commit([Change(key("0000"), None)])
        assert len(list(view.scan("local\x1f"))) == 1000
    with traits.watch(key("")) as bell:
        for number in range(10):
            direct.commit([Change(key("0001"), b"%d" % number)])
            assert bell(0) is None, "which, can't be known there; that it may be so, is said"
        assert bell(60) is None


# Errors


def _every_state() -> list[str]:
    return sorted(
        {
            state
            for error in vars(errors).values()
            if isinstance(error, type) and issubclass(error, psycopg.Error) and (state := error.sqlstate)
        }
    )


def test_every_error_of_the_server_becomes_one_of_ours() -> None:
    states = _every_state()
    assert len(states) > 200
    for state in states:
        for fatal in (False, True):
            found = translated(Refused(Said(state, "words", fatal)), "PostgreSQL at h:1")
            assert isinstance(found, SlothError)
            assert "PostgreSQL at h:1" in found.message and state in (found.system or "")
            assert found.unchanged == ["nothing was changed"]
        lost = translated(Refused(Said(state, "words", True)), "PostgreSQL at h:1", committing=True)
        assert isinstance(lost, Indeterminate), "a session that ended while it committed"


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("40001", Busy), ("40P01", Busy), ("55P03", Busy), ("25006", StoreDown), ("22012", StoreDown),
        ("28P01", Forbidden), ("3D000", Forbidden), ("42501", Forbidden), ("42P01", Foreign), ("42883", Foreign),
        ("53100", StoreDown), ("53300", StoreDown), ("54000", TooLarge), ("57014", StoreDown), ("57P01", StoreDown),
        ("XX001", Corrupt), ("XX002", Corrupt), ("SR002", KeyWrong), ("SR003", Foreign), ("P0001", StoreDown),
    ],
)  # fmt: skip
def test_errors_by_their_state(state: str, kind: type[SlothError]) -> None:
    assert type(translated(Refused(Said(state, "words", False)), "PostgreSQL", committing=True)) is kind


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ('connection to server at "h", port 1 failed: FATAL:  role "a" does not exist', Forbidden),
        ('connection to server at "h", port 1 failed: FATAL:  no pg_hba.conf entry for host "h"', Forbidden),
        ('connection to server at "h", port 1 failed: FATAL:  permission denied for database "d"', Forbidden),
        (
            'connection to server at "h", port 1 failed: server does not support SSL, but SSL was required',
            Forbidden,
        ),
        ('connection to server at "h", port 1 failed: FATAL:  sorry, too many clients already', StoreDown),
        ('connection to server at "h", port 1 failed: FATAL:  the database system is starting up', StoreDown),
        ('connection to server at "h", port 1 failed: Connection refused', StoreDown),
    ],
)
def test_failed_logins_by_their_text(words: str, kind: type[SlothError]) -> None:
    found = translated(Refused(None, words), "PostgreSQL")
    assert type(found) is kind
    assert words in found.message and found.next and found.unchanged


def test_real_errors_meet_the_table(opened: Open, url: str) -> None:
    store = opened()
    with pytest.raises(TooLarge):
        store.commit([Change(key("x" * 4000 + os.urandom(2000).hex()), b"1")])
    name = url.partition("schema=")[2]
    store.commit([Change(key("a"), b"1")])
    slow = opened(f"{url}&options=-c%20statement_timeout%3D100")
    with psycopg.connect(url.partition("?")[0]) as other:
        other.execute(f"LOCK TABLE {name}.entry IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(StoreDown, match="statement timeout") as caught:
            slow.get(key("a"))
        assert "statement_timeout" in caught.value.next[0]
        with pytest.raises(StoreDown, match="statement timeout"):
            slow.commit([Change(key("a"), b"2")])
    with psycopg.connect(url.partition("?")[0], autocommit=True) as other:
        other.execute(f"DROP SCHEMA {name} CASCADE")
    with pytest.raises(Foreign):
        store.get(key("a"))
    with pytest.raises(Foreign):
        store.commit([Change(key("a"), b"2")])
