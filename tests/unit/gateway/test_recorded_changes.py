"""A change of credentials or schedules is in the log before it is made, or it is not made."""

import json
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from audit.errors import LogUnavailable
from gateway.cli.session import Session


def refuse(*_):
    raise LogUnavailable("The disk is full.")


@pytest.fixture
def told(sealgate):
    def run(*words):
        code, out, err = sealgate(*words, "--json")
        assert code == 0, err
        return json.loads(out)

    return run


@pytest.fixture
def issued(told):
    return told("clients", "add", "--name", "app", "--tenant", "clinic")["id"]


@pytest.mark.parametrize(
    "words",
    [
        ("add", "--name", "other", "--tenant", "clinic"),
        ("rotate", "ID", "--overlap-hours", "0"),
        ("revoke", "ID"),
    ],
    ids=lambda words: words[0],
)
def test_credentials_stay_as_they_were_where_no_entry_can_be_written(
    sealgate, told, issued, monkeypatch, words
):
    before = told("clients", "list")
    command = ["clients", *(issued if word == "ID" else word for word in words)]
    with monkeypatch.context() as broken:
        broken.setattr(Session, "record", refuse)
        code, out, err = sealgate(*command)
    assert (code, out) == (3, "")
    assert "disk is full" in err
    assert told("clients", "list") == before
    assert sealgate(*command)[0] == 0
    assert told("clients", "list") != before


def test_schedules_stay_as_they_were_where_no_entry_can_be_written(sealgate, told, monkeypatch):
    with monkeypatch.context() as broken:
        broken.setattr(Session, "record", refuse)
        assert sealgate("report", "schedule", "add", "hipaa")[0] == 3
    assert told("report", "schedule", "list") == []
    made = told("report", "schedule", "add", "hipaa")
    with monkeypatch.context() as broken:
        broken.setattr(Session, "record", refuse)
        assert sealgate("report", "schedule", "remove", made["id"])[0] == 3
    assert told("report", "schedule", "list") == [made]
    assert told("report", "schedule", "remove", made["id"])["removed"]


@pytest.mark.parametrize(
    "words",
    [
        ("clients", "rotate", "cred_none"),
        ("clients", "revoke", "cred_none"),
        ("report", "schedule", "remove", "sch_none"),
        ("audit", "lift", "CASE-0"),
    ],
    ids=str,
)
def test_change_of_what_is_not_there_is_refused_and_no_entry(sealgate, told, words):
    size = told("audit", "verify")["size"]
    assert sealgate(*words)[0] == 2
    assert told("audit", "verify")["size"] == size


def test_what_is_refused_twice_is_in_the_log_once(sealgate, told, issued):
    told("report", "schedule", "add", "hipaa")
    told("clients", "revoke", issued)
    told("audit", "hold", "CASE-1")
    told("audit", "lift", "CASE-1")
    size = told("audit", "verify")["size"]
    assert sealgate("clients", "revoke", issued)[0] == 2
    assert sealgate("clients", "rotate", issued)[0] == 2
    assert sealgate("report", "schedule", "add", "hipaa")[0] == 2
    assert sealgate("audit", "hold", "CASE-1")[0] == 2
    assert sealgate("audit", "lift", "CASE-1")[0] == 2
    assert told("audit", "verify")["size"] == size


def test_certificate_that_is_a_credential_already_is_refused_before_its_entry(
    sealgate, told, tmp_path
):
    key = ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "edge")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2030, 1, 1, tzinfo=UTC))
        .sign(key, None)
    )
    file = tmp_path / "edge.pem"
    file.write_bytes(made.public_bytes(Encoding.PEM))
    words = ("clients", "add", "--name", "edge", "--tenant", "clinic", "--certificate", file)
    told(*words)
    size = told("audit", "verify")["size"]
    code, _, err = sealgate(*words)
    assert (code, "already" in err) == (2, True)
    assert told("audit", "verify")["size"] == size
