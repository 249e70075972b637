"""Whose key it is, is looked up afresh each time, and without asking the broker again."""

import asyncio
from datetime import UTC, datetime

import pytest

from audit.errors import LogUnavailable
from audit.store import open_log
from gateway.identity import Credentials
from gateway.peppers import Peppers
from privacy import keystore
from privacy.custodians.keyfile import KeyFile
from privacy.keyring import Keyring
from tests.unit.gateway.issued import issue

NOW = datetime(2026, 3, 1, tzinfo=UTC)


class Counted:
    """A keyring that counts what is asked of it."""

    def __init__(self, keyring):
        self._keyring, self.asked = keyring, 0

    def epochs(self, purpose):
        self.asked += 1
        return self._keyring.epochs(purpose)

    def derive(self, *arguments, epoch):
        self.asked += 1
        return self._keyring.derive(*arguments, epoch=epoch)


@pytest.fixture
def keyring(tmp_path):
    return Keyring.create(tmp_path / "keyring", KeyFile.create(tmp_path / "key"))


@pytest.fixture
def engine(tmp_path):
    engine = open_log(tmp_path / "sealgate.db")
    yield engine
    engine.dispose()


@pytest.fixture
def counted(keyring):
    return Counted(keyring)


@pytest.fixture
def credentials(engine, counted, tmp_path):
    stamp = keystore.watch(tmp_path / "keyring")
    return Credentials(engine, peppers=Peppers(counted, stamp=stamp))


def test_the_broker_is_asked_once_until_the_keyring_changes(credentials, counted, keyring):
    _, key = issue(credentials, now=NOW)
    assert credentials.quick
    asked = counted.asked
    assert all(credentials.principal(key, now=NOW) for _ in range(5))
    assert counted.asked == asked
    keyring.rotate("credential")
    assert not credentials.quick
    assert credentials.principal(key, now=NOW)
    assert counted.asked > asked
    # What is issued now stands under the new pepper, and is known as well.
    assert credentials.principal(issue(credentials, now=NOW)[1], now=NOW)


def test_another_processs_revocation_holds_from_the_next_look_up(credentials, tmp_path, counted):
    credential, key = issue(credentials, now=NOW)
    assert credentials.principal(key, now=NOW)
    other = open_log(tmp_path / "sealgate.db")
    Credentials(other, peppers=Peppers(counted)).revoke(credential.credential_id, now=NOW)
    other.dispose()
    assert credentials.principal(key, now=NOW) is None


def test_in_a_loop_a_revocation_holds_from_the_next_turn(credentials):
    credential, key = issue(credentials, now=NOW)

    async def run():
        known = [credentials.principal(key, now=NOW) for _ in range(3)]
        await asyncio.to_thread(credentials.revoke, credential.credential_id, now=NOW)
        return known, credentials.principal(key, now=NOW)

    known, after = asyncio.run(run())
    assert all(known)
    assert after is None


@pytest.mark.parametrize("scopes", [None, frozenset({"chat"}), frozenset({"chat", "model:a"})])
def test_every_scope_comes_with_its_credential(credentials, scopes):
    credential, key = issue(credentials, now=NOW, scopes=scopes)
    assert credentials.principal(key, now=NOW).scopes == scopes
    found = credentials.active(credential.credential_id, method="session", now=NOW)
    assert (found.scopes, found.method) == (scopes, "session")


def test_a_database_that_cannot_be_read_is_an_unavailable_log(credentials, engine):
    _, key = issue(credentials, now=NOW)
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE credential RENAME TO lost")
    with pytest.raises(LogUnavailable, match="cannot be read"):
        credentials.principal(key, now=NOW)
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE lost RENAME TO credential")
    assert credentials.principal(key, now=NOW)


def test_a_keyring_that_cannot_be_looked_at_is_asked_each_time(engine, counted, tmp_path):
    stamp = keystore.watch(tmp_path / "nowhere")
    credentials = Credentials(engine, peppers=Peppers(counted, stamp=stamp))
    _, key = issue(credentials, now=NOW)
    assert not credentials.quick
    asked = counted.asked
    assert credentials.principal(key, now=NOW)
    assert counted.asked > asked
