"""An operator's session at a home: keyring unlocked, log open, every deed recorded.

It works beside a serving gateway: both write the one log, each in whole transactions. It never
recovers open intents, since a gateway may be answering them at this moment.
"""

import os
import pwd
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from audit.sequencer import Sequencer
from audit.store import existing_log, open_log
from gateway import home as homes
from gateway import keyevents, logbook, ocsf
from gateway.custody import custodian, secret
from gateway.home import Home
from gateway.identity import Credentials
from gateway.peppers import Peppers
from gateway.settings import Settings, load
from privacy.keyring import Keyring

# A person waits here, not a request: a slow disk gets time.
RECORD_LIMIT_S = 30.0
# Between processes SQLite's lock is not fair: beside a busy gateway a turn may take a while.
BUSY_LIMIT_S = 20.0


@dataclass(frozen=True, slots=True)
class Session:
    """What the commands work with."""

    settings: Settings
    home: Home
    keyring: Keyring
    engine: sa.Engine
    sequencer: Sequencer

    def credentials(self) -> Credentials:
        """Return the table of API credentials."""
        return Credentials(self.engine, peppers=Peppers(self.keyring))

    def record(self, operation: str, detail: Mapping[str, Any]) -> None:
        """Record a deed of the operator; it is durable on return.

        Raises:
            LogUnavailable: It is not.
        """
        self.submit(
            logbook.system(
                operation,
                uid=f"sys_{secrets.token_hex(12)}",
                now=datetime.now(UTC),
                actor=operator(),
                detail=detail,
            )
        )

    def record_access(
        self, operation: str, detail: Mapping[str, Any], *, pseudonym: str | None = None
    ) -> None:
        """Record that the operator asked or told about others; it is durable on return.

        pseudonym: whose data were disclosed, if any were.

        Raises:
            LogUnavailable: It is not, and the answer must not be shown.
        """
        self.submit(
            logbook.access(
                operation,
                request_id=f"acc_{secrets.token_hex(12)}",
                actor=operator(),
                tenant=logbook.SYSTEM_TENANT,
                detail=detail,
                source_ip=None,
                now=datetime.now(UTC),
                pseudonym=pseudonym,
            )
        )

    def record_transitions(self) -> None:
        """Record what changed in the keyring and is in no entry yet; durable on return.

        Raises:
            LogUnavailable: It is not; the keyring keeps it for the next session.
        """
        keyevents.record_transitions(self.keyring, self.submit)

    def submit(self, event: Mapping[str, Any]) -> None:
        """Write an entry; it is durable on return.

        Raises:
            LogUnavailable: It is not.
        """
        self.sequencer.submit(event).result(RECORD_LIMIT_S)


@contextmanager
def opened(home: Path | None) -> Iterator[Session]:
    """Unlock the home's keyring and open its log.

    Raises:
        HomeMissing, HomeUnusable, SettingsInvalid: The home is not ready.
        PrivacyError: The keyring does not open.
        AuditError: The log does not open or contradicts itself.
    """
    with inspected(home) as session, recording(session):
        yield session


@contextmanager
def inspected(home: Path | None) -> Iterator[Session]:
    """Unlock the home's keyring and open its log to read, whatever state that is in.

    Nothing can be recorded: for checks that must reach the entry that is wrong.

    Raises:
        HomeMissing, HomeUnusable, SettingsInvalid: The home is not ready.
        PrivacyError: The keyring does not open.
        AuditError: The log is not there, or is none.
    """
    settings = load(home=home)
    place = homes.existing(settings.home)
    keyring = Keyring.unlock(place.keyring, custodian(secret(settings)))
    # A log that is lost must not come back empty.
    engine = existing_log(settings.log_location, busy_limit_s=BUSY_LIMIT_S)
    try:
        yield _session(settings, place, keyring, engine)
    finally:
        engine.dispose()


@contextmanager
def working(settings: Settings, home: Home, keyring: Keyring) -> Iterator[Session]:
    """Open the log of a home whose keyring is open already, and make it if there is none."""
    engine = open_log(settings.log_location, busy_limit_s=BUSY_LIMIT_S)
    try:
        with recording(_session(settings, home, keyring, engine)) as session:
            yield session
    finally:
        engine.dispose()


def _session(settings: Settings, home: Home, keyring: Keyring, engine: sa.Engine) -> Session:
    sequencer = Sequencer(
        engine,
        origin=settings.origin,
        public_key=keyring.public_key("checkpoint"),
        sign=lambda message: keyring.sign("checkpoint", message),
        public_keys=lambda: keyring.public_keys("checkpoint"),
    )
    return Session(settings, home, keyring, engine, sequencer)


@contextmanager
def recording(session: Session) -> Iterator[Session]:
    """Let an inspected session write to its log.

    Raises:
        LogTampered: The log's end contradicts itself; nothing is written to it.
        LogUnavailable: It cannot be written.
    """
    try:
        session.sequencer.start()
        # A seal, or a command that was cut off, may have left some.
        session.record_transitions()
        yield session
        session.record_transitions()
    finally:
        session.sequencer.close()


def operator() -> ocsf.Actor:
    """Return who runs this command: the account, not a name that the environment claims."""
    uid = os.getuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = f"uid {uid}"
    return ocsf.operator(name)
