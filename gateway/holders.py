"""Whose key it is: a credential's row by the key's HMAC, as the database has it at this moment.

Nothing is remembered beyond a turn of the event loop, so that a revocation holds from the next
request. On SQLite the driver is asked itself: that takes some 15 us, and waits for no writer, so
that the event loop may ask.
"""

import sqlite3
from collections.abc import Sequence
from functools import cache
from threading import Lock
from typing import NamedTuple

import sqlalchemy as sa

from audit.errors import LogUnavailable
from gateway.turns import Turn


class Row(NamedTuple):
    """A credential and one of its scopes; it has a row for each, or one without."""

    id: str
    tenant: str
    name: str
    role: str
    expires_ms: int | None
    revoked_ms: int | None
    scope: str | None


class Holders:
    """Looks rows up. Safe to use from several threads."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._lock = Lock()
        self._connection: sa.PoolProxiedConnection | None = None
        self._turn = Turn()

    @property
    def quick(self) -> bool:
        """Whether a look-up is short enough for an event loop."""
        return self._engine.dialect.name == "sqlite"

    def by_hmac(self, hmacs: Sequence[bytes]) -> Sequence[Row]:
        """Return the rows of the credential that has one of the HMACs, none if there is none.

        Raises:
            LogUnavailable: The database cannot be read.
            sqlalchemy.exc.DBAPIError: The same, of a server.
        """
        return self._found("key_hmac", tuple(hmacs))

    def by_id(self, credential_id: str) -> Sequence[Row]:
        """Return a credential's rows; raises as `by_hmac`."""
        return self._found("id", (credential_id,))

    def _found(self, column: str, values: tuple[bytes | str, ...]) -> Sequence[Row]:
        # Requests that come together often show the same key.
        return self._turn.once((column, values), lambda: self._rows(column, values))

    def _rows(self, column: str, values: tuple[bytes | str, ...]) -> Sequence[Row]:
        if not self.quick:
            named = {f"v{number}": each for number, each in enumerate(values)}
            with self._engine.connect() as connection:
                found = connection.execute(sa.text(_statement(column, len(values), ":v{}")), named)
                return [Row(*row) for row in found]
        with self._lock:
            try:
                statement = _statement(column, len(values), "?")
                return [Row(*row) for row in self._driver().execute(statement, values)]
            except (sqlite3.Error, sa.exc.SQLAlchemyError) as error:
                self._forget()
                raise LogUnavailable(f"Credentials cannot be read: {error}.") from error

    def _driver(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = self._engine.raw_connection()
        driver: sqlite3.Connection = self._connection.driver_connection  # type: ignore[assignment]
        return driver

    def _forget(self) -> None:
        """Open another connection next time: this one's file may be gone."""
        if self._connection is not None:
            self._connection.invalidate()
            self._connection = None


@cache
def _statement(column: str, values: int, mark: str) -> str:
    marks = ", ".join(mark.format(n) for n in range(values))
    return (
        "SELECT c.id, c.tenant, c.name, c.role, c.expires_ms, c.revoked_ms, s.scope "  # noqa: S608 - our own words.
        "FROM credential c LEFT JOIN credential_scope s ON s.credential_id = c.id "
        f"WHERE c.{column} IN ({marks})"
    )
