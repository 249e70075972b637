"""Many statements in one exchange with a PostgreSQL server: libpq's pipeline mode, by psycopg's pq.

A statement is prepared when it is first sent, goes out at once, and the server works on it while
the next is made. Nobody waits before `answers`. psycopg's own pipelines wait at every statement.
"""

import select
from collections.abc import Sequence
from struct import Struct, pack
from typing import Any

# A server that neither takes nor sends anything for so long counts as gone.
SILENCE_LIMIT_S = 30.0
# Format code of the wire protocol: values as the server keeps them.
_BINARY = 1
# An array's elements: a type's object id (pg_type.h).
_OIDS = {"bigint": 20, "text": 25, "bytea": 17}
# Dimensions, whether there are nulls, the elements' type; length and lower bound of the dimension.
_ARRAY = Struct(">iiIii")
_LENGTH = Struct(">i")
_NULL = _LENGTH.pack(-1)

# A row's values in binary. None of the columns that are read this way is ever null.
Row = tuple[bytes, ...]


class Refused(Exception):
    """The server refused a statement or is gone. sqlstate: its code, empty where there is none."""

    def __init__(self, message: str, sqlstate: str = "") -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class Exchange:
    """One exchange over an idle connection. After an error the connection is to be dropped.

    pgconn: psycopg's handle of libpq's connection. pq: the module that it comes from. prepared:
    the connection's own memory of what was prepared on it, statement to name. turn_limit_s: how
    long the server may wait for a lock, and be silent meanwhile.
    """

    def __init__(
        self, pgconn: Any, *, pq: Any, prepared: dict[str, bytes], turn_limit_s: float = 0.0
    ) -> None:
        self._pgconn = pgconn
        self._pq = pq
        self._prepared = prepared
        self._turn_limit_s = turn_limit_s
        self._sent: list[bool] = []

    def send(self, statement: str, *values: bytes | None) -> None:
        """Send a statement and go on. values: of its parameters $1, $2 ..., in binary.

        Raises:
            Refused: The server takes nothing more.
            Error: psycopg's, where the connection is gone.
        """
        if not self._sent:
            self._pgconn.enter_pipeline_mode()
        name = self._prepared.get(statement)
        if name is None:
            name = self._prepared[statement] = b"sealgate_%d" % len(self._prepared)
            self._pgconn.send_prepare(name, statement.encode())
            self._sent.append(False)
        self._pgconn.send_query_prepared(
            name, values, param_formats=[_BINARY] * len(values), result_format=_BINARY
        )
        self._sent.append(True)
        self._flush()

    def answers(self) -> list[list[Row]]:
        """Wait for the server; return the rows of every statement since the last answers.

        Raises:
            Refused: It refused one, and those behind it were not run; or it does not answer, or
                answers something else.
            Error: psycopg's, where the connection is gone.
        """
        status = self._pq.ExecStatus
        self._pgconn.pipeline_sync()
        self._flush()
        answers = []
        for asked in self._sent:
            result = self._expected(status.COMMAND_OK, status.TUPLES_OK)
            if asked:
                answers.append(_rows(result))
            if self._result() is not None:
                raise Refused("a statement was answered twice")
        # The last to come says that the exchange is over.
        self._expected(status.PIPELINE_SYNC)
        self._pgconn.exit_pipeline_mode()
        self._sent = []
        return answers

    def _expected(self, *statuses: int) -> Any:
        """Return the next result, which must have one of the statuses."""
        result = self._result()
        if result is None:
            raise Refused("the server is gone")
        if result.status not in statuses:
            raise self._refusal(result)
        return result

    def _flush(self) -> None:
        """Hand over all that waits to be sent, taking in answers so that the server can go on."""
        while self._pgconn.flush():
            self._wait(select.POLLIN | select.POLLOUT)
            self._pgconn.consume_input()

    def _result(self) -> Any:
        while self._pgconn.is_busy():
            self._wait(select.POLLIN)
            self._pgconn.consume_input()
        return self._pgconn.get_result()

    def _wait(self, events: int) -> None:
        poll = select.poll()
        poll.register(self._pgconn.socket, events)
        limit_s = SILENCE_LIMIT_S + self._turn_limit_s
        if not poll.poll(limit_s * 1000):
            raise Refused(f"the server did not answer within {limit_s:g} s")

    def _refusal(self, result: Any) -> Refused:
        state = result.error_field(self._pq.DiagnosticField.SQLSTATE) or b""
        if not result.error_message:
            # What is no error has no message.
            return Refused(f"the server answered {self._pq.ExecStatus(result.status).name}")
        return Refused(result.get_error_message().strip(), state.decode())


def integer(value: int) -> bytes:
    """Return a `bigint`."""
    return pack(">q", value)


def read_integer(value: bytes) -> int:
    """Read a `bigint`."""
    return int.from_bytes(value, "big", signed=True)


def array(kind: str, values: Sequence[Any]) -> bytes:
    """Return an array of one dimension. kind: `bigint`, `text` or `bytea`; None is a null."""
    header = _ARRAY.pack(1, int(None in values), _OIDS[kind], len(values), 1)
    if kind == "bigint":
        flat = [8] * (2 * len(values))
        flat[1::2] = values
        return header + pack(f">{'iq' * len(values)}", *flat)
    parts = [header]
    for value in values:
        if value is None:
            parts.append(_NULL)
            continue
        data = value.encode() if kind == "text" else value
        parts += (_LENGTH.pack(len(data)), data)
    return b"".join(parts)


def _rows(result: Any) -> list[Row]:
    columns = range(result.nfields)
    return [
        tuple(result.get_value(row, column) for column in columns) for row in range(result.ntuples)
    ]
