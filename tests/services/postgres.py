"""Why: the PostgreSQL store is tested on a PostgreSQL of its own: a cluster in a folder, on a port of loopback.

Debian's binaries; as root, the server runs as Debian's user ``postgres``. Roles: ``sloth`` (owner of the database
``state``, trusted), ``scram`` (by the password ``PASSWORD``), ``certified`` (by a certificate, over TLS). The
authority of all certificates is ``ca.pem`` in the folder, the client's are ``client.pem`` and ``client.key``.
"""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.services import shared_url
from tests.services.base import Server, free_port, listens

PASSWORD = "correct horse: battery/staple?"
PGBOUNCER = "/usr/sbin/pgbouncer"
ROLES = ("sloth", "scram", "certified")

HBA = """\
local all all trust
hostssl all certified 127.0.0.1/32 cert
host all scram 127.0.0.1/32 scram-sha-256
host all sloth 127.0.0.1/32 trust
host all postgres 127.0.0.1/32 trust
host replication postgres 127.0.0.1/32 trust
host all +visitors 127.0.0.1/32 trust
"""
CONF = """\
listen_addresses = '127.0.0.1'
max_connections = 300
ssl = on
ssl_cert_file = '{folder}/server.pem'
ssl_key_file = '{folder}/server.key'
ssl_ca_file = '{folder}/ca.pem'
password_encryption = 'scram-sha-256'
"""


class Postgres(Server):
    """A cluster; each of its backends leads a group of processes of its own, so signals go to each."""

    def signal(self, number: signal.Signals) -> None:
        """See Server. The first is held meanwhile, so that it starts no others."""
        assert self.pid is not None
        if number == signal.SIGKILL:
            os.kill(self.pid, signal.SIGSTOP)
        children = [self.pid] if number == signal.SIGSTOP else []
        children += [*_children(self.pid)]
        if number != signal.SIGSTOP:
            children.append(self.pid)
        for one in children:
            try:
                os.kill(one, number)
            except ProcessLookupError:
                continue  # ended by itself

    def kill(self) -> None:
        """See Server. A cluster is not started again while a backend of its past has its memory."""
        assert self.pid is not None
        os.kill(self.pid, signal.SIGSTOP)
        children = _children(self.pid)
        super().kill()
        while any(map(_lives, children)):
            time.sleep(0.001)


def binaries() -> Path:
    """The folder of the newest PostgreSQL's programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    if found:
        return found[-1].parent
    initdb = shutil.which("initdb")
    if initdb is None:
        raise RuntimeError("no PostgreSQL server here: apt-get install postgresql")
    return Path(initdb).resolve().parent


def as_server(argv: list[str]) -> list[str]:
    """``argv`` as the server's user, if we are root, whom PostgreSQL refuses; it may pass through root's folders."""
    if os.geteuid() != 0:
        return argv
    caps = "+dac_override"
    user = ["--reuid=postgres", "--regid=postgres", "--clear-groups"]
    return ["setpriv", *user, f"--inh-caps={caps}", f"--ambient-caps={caps}", "--", *argv]


def make(folder: Path, settings: str = "") -> Postgres:
    """A cluster in ``folder``; ``settings`` are added to its postgresql.conf."""
    data, port, programs = folder / "data", free_port(), binaries()

    def prepare() -> None:
        if (data / "PG_VERSION").exists():
            (data / "postmaster.pid").unlink(missing_ok=True)
            return
        data.mkdir()
        _certificates(folder)
        _own(data)
        _run([str(programs / "initdb"), "-D", str(data), "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8"])
        conf = CONF.format(folder=folder) + f"unix_socket_directories = '{data}'\n" + settings
        with (data / "postgresql.conf").open("a") as file:
            file.write(conf)
        (data / "pg_hba.conf").write_text(HBA)
        _single(programs, data, [_role(role) for role in ROLES])
        _single(programs, data, ["CREATE ROLE visitors", "CREATE DATABASE state OWNER sloth"])

    def ready() -> bool:
        argv = [str(programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port), "-d", "state"]
        return subprocess.run(argv, check=False).returncode == 0

    argv = as_server([str(programs / "postgres"), "-D", str(data), "-p", str(port)])
    url = f"postgres://sloth@127.0.0.1:{port}/state"
    return Postgres("postgres", folder, argv, url, ready, prepare=prepare, stop_signal=signal.SIGINT)


_numbers = itertools.count()


@contextmanager
def schema(base: str | None = None) -> Iterator[str]:
    """The URL of a schema, of the shared server or of that at ``base``, that nobody else has; dropped afterwards."""
    import psycopg

    server = base or shared_url("postgres")
    name = f"t{os.getpid()}_{next(_numbers)}"
    yield f"{server}?schema={name}"
    quiet = "-c client_min_messages=warning"
    with psycopg.connect(server.replace("sloth@", "postgres@"), autocommit=True, options=quiet) as connection:
        connection.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE")


def replica(primary: Postgres, folder: Path) -> Postgres:
    """A hot standby of a primary that runs by the time it is started."""
    data, port, programs = folder / "data", free_port(), binaries()
    source = primary.url.replace("sloth@", "postgres@").removesuffix("/state")

    def prepare() -> None:
        if data.exists():
            return
        data.mkdir(mode=0o700)
        _own(data)
        _run(
            [
                str(programs / "pg_basebackup"),
                "-d",
                source,
                "-D",
                str(data),
                "-R",
                "-c",
                "fast",
                "-X",
                "stream",
            ]
        )
        with (data / "postgresql.conf").open("a") as file:
            file.write(f"unix_socket_directories = '{data}'\n")

    def ready() -> bool:
        argv = [str(programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port), "-d", "state"]
        return subprocess.run(argv, check=False).returncode == 0

    argv = as_server([str(programs / "postgres"), "-D", str(data), "-p", str(port)])
    url = f"postgres://sloth@127.0.0.1:{port}/state"
    return Postgres("replica", folder, argv, url, ready, prepare=prepare, stop_signal=signal.SIGINT)


def pooler(port: int, folder: Path, connections: int) -> Server:
    """PgBouncer before the server on ``port``: each transaction gets any of so many sessions."""
    own = free_port()

    def prepare() -> None:
        (folder / "users").write_text('"sloth" ""\n')
        (folder / "pgbouncer.ini").write_text(
            f"[databases]\n* = host=127.0.0.1 port={port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
            f"listen_port = {own}\nauth_type = trust\nauth_file = {folder}/users\npool_mode = transaction\n"
            f"default_pool_size = {connections}\nserver_round_robin = 1\nunix_socket_dir =\n"
        )

    argv = as_server([PGBOUNCER, str(folder / "pgbouncer.ini")])
    url = f"postgres://sloth@127.0.0.1:{own}/state"
    return Server("pgbouncer", folder, argv, url, lambda: listens(own), prepare=prepare)


def _role(name: str) -> str:
    return f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'"


def _single(programs: Path, data: Path, statements: list[str]) -> None:
    """Run SQL without a server: the way to the first roles and databases."""
    argv = as_server([str(programs / "postgres"), "--single", "-D", str(data), "postgres"])
    _run(argv, "\n".join(statements) + "\n", wrapped=True)


def _run(argv: list[str], text: str = "", *, wrapped: bool = False) -> None:
    done = subprocess.run(
        argv if wrapped else as_server(argv),
        input=text,
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )
    if done.returncode != 0 or "ERROR" in done.stderr:
        raise RuntimeError(f"{argv[0]} failed:\n{done.stdout}\n{done.stderr}")


def _certificates(folder: Path) -> None:
    import trustme

    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    server = authority.issue_cert("127.0.0.1", "localhost")
    client = authority.issue_cert("certified", common_name="certified")
    other = trustme.CA().issue_cert("certified", common_name="certified")
    for name, issued in (("server", server), ("client", client), ("stranger", other)):
        issued.private_key_pem.write_to_path(folder / f"{name}.key")
        (folder / f"{name}.key").chmod(0o600)
        issued.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
    trustme.CA().cert_pem.write_to_path(folder / "another-ca.pem")
    _own(folder / "server.key")


def _own(path: Path) -> None:
    if os.geteuid() == 0:
        owner = pwd.getpwnam("postgres")
        os.chown(path, owner.pw_uid, owner.pw_gid)


def _children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def _lives(pid: int) -> bool:
    """Whether a process has not ended; one that nobody has asked about since has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False
