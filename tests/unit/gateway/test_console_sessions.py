"""Sessions of the console: what is kept of them, and everything that ends one."""

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from gateway.console.sessions import Limits, Sessions, form_token
from gateway.identity import Credentials, Principal, Role
from tests.unit.gateway.issued import issue

NOW = datetime(2026, 11, 24, 9, tzinfo=UTC)
LIMITS = Limits(idle=timedelta(minutes=15), longest=timedelta(hours=8))
MINUTE = timedelta(minutes=1)


@pytest.fixture
def engine(tmp_path):
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'sessions.db'}")
    yield engine
    engine.dispose()


@pytest.fixture
def credentials(engine):
    return Credentials(engine, peppers=lambda: [bytes(32)])


@pytest.fixture
def sessions(engine, credentials):
    return Sessions.over(engine, holders=credentials, limits=LIMITS)


@pytest.fixture
def officer(credentials):
    made, key = issue(credentials, name="Ann", role=Role.OFFICER, now=NOW)
    assert made.credential_id
    return credentials.principal(key, now=NOW)


def test_session_is_found_by_its_id_and_by_no_other(sessions, officer):
    token = sessions.begin(officer, now=NOW)
    found = sessions.find(token, now=NOW)
    assert (found.principal, found.ends) == (officer, NOW + LIMITS.longest)
    for other in ("", token[:-1], token + "x", token.swapcase()):
        assert sessions.find(other, now=NOW) is None


def test_ids_are_random_and_the_table_holds_none(sessions, officer, engine):
    tokens = {sessions.begin(officer, now=NOW) for _ in range(20)}
    assert len(tokens) == 20
    assert all(len(token) == 43 for token in tokens)
    with engine.connect() as connection:
        kept = repr(connection.exec_driver_sql("SELECT * FROM console_session").all())
    assert not any(token in kept for token in tokens)


def test_session_ends_after_its_idle_time(sessions, officer):
    token = sessions.begin(officer, now=NOW)
    assert sessions.find(token, now=NOW + 14 * MINUTE)
    assert sessions.find(token, now=NOW + 28 * MINUTE)
    assert sessions.find(token, now=NOW + 43 * MINUTE) is None


def test_session_ends_after_its_longest_time_however_busy(sessions, officer):
    token = sessions.begin(officer, now=NOW)
    for minutes in range(0, 480, 10):
        assert sessions.find(token, now=NOW + minutes * MINUTE)
    assert sessions.find(token, now=NOW + 480 * MINUTE) is None


def test_session_ends_with_what_its_holder_showed(sessions):
    principal = Principal("oidc:ann", "clinic", "Ann", Role.AUDITOR, "oidc")
    token = sessions.begin(principal, now=NOW, until=NOW + 5 * MINUTE)
    assert sessions.find(token, now=NOW + 4 * MINUTE).principal == principal
    assert sessions.find(token, now=NOW + 5 * MINUTE) is None


def test_session_ends_when_its_credential_is_revoked(sessions, officer, credentials):
    token = sessions.begin(officer, now=NOW)
    credentials.revoke(officer.credential_id, now=NOW)
    assert sessions.find(token, now=NOW) is None
    with sessions.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM console_session").scalar() == 0


def test_session_ends_when_it_is_ended_and_others_go_on(sessions, officer):
    first, second = (sessions.begin(officer, now=NOW) for _ in range(2))
    sessions.end(first)
    sessions.end("never begun")
    assert sessions.find(first, now=NOW) is None
    assert sessions.find(second, now=NOW)


def test_sessions_that_are_over_are_cleared_away(sessions, officer, engine):
    for _ in range(5):
        sessions.begin(officer, now=NOW)
    sessions.begin(officer, now=NOW + timedelta(days=2))
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM console_session").scalar() == 1


def test_form_token_tells_nothing_of_the_session():
    token = form_token("secret")
    assert "secret" not in token
    assert token == form_token("secret") != form_token("Secret")
