"""Why: one connection to PostgreSQL that keeps its time, and knows of each statement whether it went out.

It speaks libpq through psycopg's own binding: a connection's general interface can't say whether a failed statement
was sent, waits without an end for a server that is silent, and gives prepared statements numbers, which two clients
of one pooler give to different statements. Here a prepared statement's name is the digest of its text, so whoever
prepared it, it is the right one.
"""

from __future__ import annotations

import select
import time
from collections.abc import Mapping, Sequence
from hashlib import blake2b

from sloth_runner.plain import TYPE_CHECKING, Final, TypeAlias
from sloth_runner.state.backends.postgres_errors import PREPARED, Refused, Said

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.pq.abc import PGresult

PREPARE_AFTER: Final = 2
"""Uses of a statement on one connection after which it is prepared there."""

TEXT: Final = 25
BYTEA: Final = 17
BYTEA_ARRAY: Final = 1001
TEXT_ARRAY: Final = 1009
INT4: Final = 23
INT8: Final = 20
INT2_ARRAY: Final = 1005
INT8_ARRAY: Final = 1016
FLOAT8_ARRAY: Final = 1022
BOOL_ARRAY: Final = 1000
"""Object ids of PostgreSQL's types (pg_type.dat)."""

_AS_TEXT: Final = (INT4, INT8, INT2_ARRAY, INT8_ARRAY, FLOAT8_ARRAY, BOOL_ARRAY)

Param: TypeAlias = bytes | None


class Statement:
    """SQL with the types of its parameters. Results travel in binary, and parameters but for those of numbers."""

    __slots__ = ("formats", "name", "sql", "types")

    def __init__(self, sql: str, *types: int) -> None:
        self.sql = sql.encode()
        self.types = types
        self.formats = [0 if kind in _AS_TEXT else 1 for kind in types]
        self.name = b"sr_" + blake2b(self.sql, digest_size=9).hexdigest().encode()


class Link:
    """An open connection, in autocommit. Not used again once ``broken``."""

    def __init__(self, params: Mapping[str, str]) -> None:
        """Connect, within ``connect_timeout`` of ``params`` for each host. Raises Refused."""
        from psycopg import Connection, Error
        from psycopg.conninfo import make_conninfo

        try:
            info = make_conninfo("", **params)
            self._connection: Connection[tuple[object, ...]] = Connection.connect(info, autocommit=True)
        except Error as error:
            raise _no_login(error) from None
        self._pgconn = self._connection.pgconn
        self._uses: dict[bytes, int] = {}
        self._poll = select.poll()
        self._poll.register(self._pgconn.socket, select.POLLIN)
        self._never = False
        self.broken = False
        self.ready = False
        """For the store's own use: whether what is behind the connection was looked at."""

    @property
    def session(self) -> int:
        """The process that serves us, as it said when we connected; a pooler says anything."""
        return self._pgconn.backend_pid

    def close(self) -> None:
        """Give the connection back."""
        self.broken = True
        self._connection.close()

    def quiet(self) -> bool:
        """Whether nothing has come unasked. A server says something only when it ends the session (or, rarely, when
        a setting changed): met here, before a commit is sent whose fate could then not be known."""
        return not self._poll.poll(0)

    def run(self, statement: Statement, params: Sequence[Param], seconds: float) -> PGresult:
        """The statement's result. Raises Refused: the server's error, or that it was lost or silent."""
        end = time.monotonic() + seconds
        uses = self._uses.get(statement.name, 0)
        if uses < PREPARE_AFTER or self._never:
            self._uses[statement.name] = uses + 1
            return self._ask(statement, params, end)
        if uses == PREPARE_AFTER:
            self._prepare(statement, end)
            self._uses[statement.name] = uses + 1
        try:
            return self._ask_prepared(statement, params, end)
        except Refused as refused:
            if refused.lost or refused.state not in PREPARED:
                raise
        self._never = True  # a pooler gave us another session; nothing was done there
        return self._ask(statement, params, end)

    def begin(self, statement: Statement, params: Sequence[Param]) -> None:
        """Send a statement, and what fits of its parameters; ``finish`` waits for the result. Raises Refused."""
        try:
            self._pgconn.send_query_params(statement.sql, params, statement.types, statement.formats, 1)
            self._pgconn.flush()
        except BaseException as error:
            raise self._given_up(error) from None

    def finish(self, seconds: float) -> PGresult:
        """The result of what was begun. Raises Refused."""
        try:
            return self._result(time.monotonic() + seconds)
        except BaseException as error:
            raise self._given_up(error) from None

    def heard(self, seconds: float) -> list[tuple[str, str]]:
        """Channel and payload of notifications that came, or come within ``seconds``. Raises Refused."""
        pgconn = self._pgconn
        try:
            if seconds > 0 and self._poll.poll(seconds * 1000):
                pgconn.consume_input()
            return [(note.relname.decode(), note.extra.decode()) for note in iter(pgconn.notifies, None)]
        except BaseException as error:
            raise self._given_up(error) from None

    def ask(self, sql: str, seconds: float) -> list[tuple[bytes | None, ...]]:
        """The rows of a query without parameters, as text. Raises Refused."""
        found = self._whole(sql, seconds)
        columns = range(found.nfields)
        return [tuple(found.get_value(row, column) for column in columns) for row in range(found.ntuples)]

    def script(self, sql: str, seconds: float) -> None:
        """Run statements that return nothing of interest, in one transaction. Raises Refused."""
        self._whole(sql, seconds)

    def _whole(self, sql: str, seconds: float) -> PGresult:
        try:
            self._pgconn.send_query(sql.encode())
            return self._result(time.monotonic() + seconds)
        except BaseException as error:
            raise self._given_up(error) from None

    def _ask(self, statement: Statement, params: Sequence[Param], end: float) -> PGresult:
        try:
            self._pgconn.send_query_params(statement.sql, params, statement.types, statement.formats, 1)
            return self._result(end)
        except BaseException as error:
            raise self._given_up(error) from None

    def _ask_prepared(self, statement: Statement, params: Sequence[Param], end: float) -> PGresult:
        try:
            self._pgconn.send_query_prepared(statement.name, params, statement.formats, 1)
            return self._result(end)
        except BaseException as error:
            raise self._given_up(error) from None

    def _prepare(self, statement: Statement, end: float) -> None:
        try:
            self._pgconn.send_prepare(statement.name, statement.sql, statement.types)
            self._result(end)
        except BaseException as error:
            given_up = self._given_up(error)
            if not isinstance(given_up, Refused) or given_up.lost or given_up.state not in PREPARED:
                raise given_up from None

    def _result(self, end: float) -> PGresult:
        """What came of all that was sent: the last result, or the first error. Raises Refused, psycopg's errors."""
        pgconn = self._pgconn
        while pgconn.flush():
            self._wait(end, writing=True)
        last: PGresult | None = None
        said: Said | None = None
        while said is None or not said.fatal:
            while pgconn.is_busy():
                self._wait(end)
            result = pgconn.get_result()
            if result is None:
                break
            if result.status == _FATAL_ERROR:
                said = said or _said(result)
            last = result
        if said is not None:
            raise Refused(said)
        assert last is not None
        return last

    def _wait(self, end: float, *, writing: bool = False) -> None:
        """Until the server has sent something (or takes more); reads it."""
        left = end - time.monotonic()
        if writing:
            self._poll.modify(self._pgconn.socket, select.POLLIN | select.POLLOUT)
        ready = self._poll.poll(max(0.0, left) * 1000)
        if writing:
            self._poll.modify(self._pgconn.socket, select.POLLIN)
        if not ready:
            raise Refused(None, "it did not answer in time", sent=True)
        if ready[0][1] & ~select.POLLOUT:
            self._pgconn.consume_input()

    def _given_up(self, error: BaseException) -> BaseException:
        """The error to raise, after what has to be done about it: a connection in an unknown state is closed."""
        from psycopg import OperationalError

        if isinstance(error, OperationalError):
            error = Refused(None, _line(str(error)), sent=True)
        if not isinstance(error, Refused) or error.lost:
            self.close()
        return error


_FATAL_ERROR: Final = 7
"""ExecStatus.FATAL_ERROR: any error, of whatever severity."""


def _said(result: PGresult) -> Said:
    from psycopg.pq import DiagnosticField

    def field(which: DiagnosticField) -> str:
        return (result.error_field(which) or b"").decode(errors="replace")

    state = field(DiagnosticField.SQLSTATE)
    if not state:  # libpq's own: the connection is gone
        raise Refused(None, _line(result.error_message.decode(errors="replace")), sent=True)
    fatal = field(DiagnosticField.SEVERITY_NONLOCALIZED) in ("FATAL", "PANIC")
    return Said(state, field(DiagnosticField.MESSAGE_PRIMARY), fatal, field(DiagnosticField.MESSAGE_DETAIL))


def _no_login(error: Exception) -> Refused:
    """A failed connection, of which libpq gives nothing but text: some of it twice, with and without TLS."""
    lines = dict.fromkeys(part.strip() for part in str(error).splitlines())
    return Refused(None, "; ".join(line for line in lines if line).removeprefix("connection failed: "))


def _line(text: str) -> str:
    """libpq's message as one line."""
    return "; ".join(part.strip() for part in text.strip().splitlines() if part.strip())
