from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from audit.store import open_log
from audit.turns import Turns
from gateway.errors import CredentialInvalid, CredentialUnknown
from gateway.identity import KEY_PATTERN, Credentials, Role
from gateway.issuance import draw
from tests.unit.gateway.issued import issue

NOW = datetime(2026, 3, 1, tzinfo=UTC)
PEPPER = b"p" * 32


@pytest.fixture
def engine(tmp_path):
    engine = open_log(tmp_path / "sealgate.db")
    yield engine
    engine.dispose()


@pytest.fixture
def credentials(engine):
    return Credentials(engine, peppers=lambda: [PEPPER])


def add(credentials, **options):
    return issue(credentials, **{"now": NOW} | options)


def test_key_names_its_principal(credentials):
    credential, key = add(credentials, role=Role.OFFICER)
    principal = credentials.principal(key, now=NOW)
    assert principal.credential_id == credential.credential_id
    assert (principal.tenant, principal.name, principal.role) == ("clinic", "app", Role.OFFICER)
    assert KEY_PATTERN.fullmatch(key)


def test_no_column_holds_a_key(credentials, engine):
    _, key = add(credentials)
    with engine.connect() as connection:
        rows = connection.execute(sa.text("SELECT * FROM credential")).all()
    assert key not in str(rows)
    assert key.encode() not in b"".join(v for row in rows for v in row if isinstance(v, bytes))


def test_other_pepper_opens_nothing(credentials, engine):
    _, key = add(credentials)
    assert Credentials(engine, peppers=lambda: [b"q" * 32]).principal(key, now=NOW) is None


@pytest.mark.parametrize(
    "key", ["", "sg-", "sg-" + "A" * 43, "' OR 1=1 --", "sg-" + "A" * 42 + "\n", "x" * 10_000]
)
def test_unknown_key_has_no_principal(credentials, key):
    add(credentials)
    assert credentials.principal(key, now=NOW) is None


def test_key_expires_at_its_moment(credentials):
    _, key = add(credentials, expires=NOW + timedelta(days=1))
    assert credentials.principal(key, now=NOW + timedelta(days=1, milliseconds=-1))
    assert credentials.principal(key, now=NOW + timedelta(days=1)) is None


def test_revoked_key_is_refused_also_by_another_connection(credentials, tmp_path):
    credential, key = add(credentials)
    other = open_log(tmp_path / "sealgate.db")
    Credentials(other, peppers=lambda: [PEPPER]).revoke(credential.credential_id, now=NOW)
    other.dispose()
    assert credentials.principal(key, now=NOW) is None
    with pytest.raises(CredentialUnknown):
        credentials.revoke(credential.credential_id, now=NOW)


def test_list_is_oldest_first_and_shows_states(credentials):
    first, _ = add(credentials, name="first")
    add(credentials, name="second", now=NOW + timedelta(seconds=1))
    credentials.revoke(first.credential_id, now=NOW)
    assert [c.name for c in credentials.list()] == ["first", "second"]
    assert [c.revoked_ms is None for c in credentials.list()] == [False, True]


@pytest.mark.parametrize("tenant", ["", "a/b", "a b", "x" * 65, "é"])
def test_tenant_that_cannot_be_stored_is_refused(credentials, tenant):
    with pytest.raises(CredentialInvalid):
        add(credentials, tenant=tenant)


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 129])
def test_name_that_cannot_be_stored_is_refused(credentials, name):
    with pytest.raises(CredentialInvalid):
        add(credentials, name=name)


def test_key_of_an_earlier_pepper_works_until_that_pepper_is_gone(engine):
    peppers = [PEPPER]
    credentials = Credentials(engine, peppers=lambda: peppers)
    _, old = add(credentials)
    peppers.insert(0, b"q" * 32)
    _, new = add(credentials, name="new")
    assert credentials.principal(old, now=NOW).name == "app"
    peppers.pop()
    assert credentials.principal(old, now=NOW) is None
    assert credentials.principal(new, now=NOW).name == "new"


def test_a_credential_that_was_revoked_meanwhile_has_no_successor(credentials):
    credential, _ = add(credentials)
    successor, key = draw(tenant="clinic", name="app", role=Role.CLIENT, now=NOW, expires=None)
    credentials.revoke(credential.credential_id, now=NOW)
    with pytest.raises(CredentialUnknown):
        credentials.succeed(
            credential.credential_id, successor, key, now=NOW, overlap=timedelta(hours=1)
        )
    assert credentials.principal(key, now=NOW) is None
    assert len(credentials.list()) == 1


def test_a_change_waits_its_turn_with_the_logs_entries(credentials, monkeypatch):
    waited = []
    take = Turns.take

    def taken(self, holder, **limits):
        waited.append(holder)
        return take(self, holder, **limits)

    credential, _ = add(credentials)
    monkeypatch.setattr(Turns, "take", taken)
    credentials.revoke(credential.credential_id, now=NOW)
    assert len(waited) == 1
