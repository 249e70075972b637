"""A service that answers strangely opens no keyring, and neither does a damaged record."""

import base64
import json

import pytest

from privacy.custodians.aws_kms import AwsKms
from privacy.custodians.records import octets, require_kind, text
from privacy.custodians.transit import VaultTransit
from privacy.errors import CustodianUnusable, KeyringLocked, LibraryMissing
from privacy.extras import library
from tests.loopback import Answering, serving

KEK = bytes(range(32))


@pytest.fixture
def answering():
    """Return a service that gives one answer to everything: its address, and what to say."""
    answers = []

    class Handler(Answering):
        def post(self):
            self.body()
            self.answer(*answers[-1])

    with serving(Handler) as server:
        yield f"http://127.0.0.1:{server.server_port}", lambda *answer: answers.append(answer)


@pytest.fixture
def strange(tmp_path, answering):
    """Return a custodian of a Transit engine that gives one answer to everything."""
    address, answer = answering
    token_file = tmp_path / "token"
    token_file.write_text("a-token\n")

    def custodian(status, body):
        answer(status, body if isinstance(body, bytes) else json.dumps(body).encode())
        return VaultTransit(address=address, key="kek", token_file=token_file)

    return custodian


@pytest.fixture
def kms(answering, monkeypatch):
    """Return a custodian of a KMS that refuses everything with one code."""
    pytest.importorskip("boto3", reason="the extra [aws]")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    address, answer = answering

    def custodian(code):
        answer(400, json.dumps({"__type": code, "message": "arn:of:somebody"}).encode())
        return AwsKms("kek", "eu-central-1", endpoint=address)

    return custodian


KMS_RECORD = {"kind": "aws-kms", "key": "kek", "wrapped": "QUJD"}


def record(**changes):
    return {"kind": "vault-transit", "mount": "transit", "key": "kek", "wrapped": "v:1"} | changes


def told(kek):
    return {"data": {"plaintext": base64.b64encode(kek).decode()}}


def test_service_that_gives_the_kek_back_opens_the_keyring(strange):
    assert strange(200, told(KEK)).unwrap(record()) == KEK


@pytest.mark.parametrize(
    "answer", [told(KEK[:-1]), told(b""), {"data": {"plaintext": "?"}}, {"data": {}}]
)
def test_answer_that_is_no_kek_opens_nothing(strange, answer):
    with pytest.raises(KeyringLocked, match="no KEK"):
        strange(200, answer).unwrap(record())


@pytest.mark.parametrize("answer", [b"", b"<html>", [], {}, {"data": None}, {"data": "text"}])
def test_answer_of_another_api_is_said_to_be_so(strange, answer):
    with pytest.raises(CustodianUnusable, match="not of its API"):
        strange(200, answer).unwrap(record())


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, CustodianUnusable), (403, CustodianUnusable), (500, CustodianUnusable)],
)
def test_error_of_the_service_is_told_without_its_words(strange, status, error):
    with pytest.raises(error) as raised:
        strange(status, b"/secret/path").unwrap(record())
    assert "secret" not in str(raised.value)


def test_key_that_wraps_nothing_makes_no_record(strange):
    with pytest.raises(CustodianUnusable, match="without a ciphertext"):
        strange(200, {"data": {}}).wrap(KEK)
    with pytest.raises(CustodianUnusable, match="cannot encrypt"):
        strange(400, b"").wrap(KEK)


def test_another_keys_record_is_not_sent_to_this_one(strange):
    for other in ({"key": "another"}, {"mount": "another"}):
        with pytest.raises(KeyringLocked, match="another Transit key"):
            strange(200, told(KEK)).unwrap(record(**other))


@pytest.mark.parametrize("token", [b"", b"\n", b"two\nlines", b"\xff", "t\u00f6ken".encode()])
def test_token_that_could_break_its_header_is_not_sent(strange, tmp_path, token):
    custodian = strange(200, told(KEK))
    (tmp_path / "token").write_bytes(token)
    with pytest.raises(CustodianUnusable, match="cannot be read"):
        custodian.unwrap(record())


def test_missing_token_file_is_said_to_be_unreadable(strange, tmp_path):
    custodian = strange(200, told(KEK))
    (tmp_path / "token").unlink()
    with pytest.raises(CustodianUnusable, match="cannot be read"):
        custodian.unwrap(record())


@pytest.mark.parametrize("wrapped", [None, 7, "no base64!", "QUJ"])
def test_damaged_record_is_said_to_be_damaged(wrapped):
    with pytest.raises(KeyringLocked, match="damaged"):
        octets({"wrapped": wrapped}, "wrapped")
    assert octets({"wrapped": "QUJD"}, "wrapped") == b"ABC"


def test_record_names_its_own_kind_to_whoever_brings_another_key():
    require_kind({"kind": "aws-kms"}, "aws-kms", means="AWS KMS")
    with pytest.raises(KeyringLocked, match="opens with a aws-kms, not with a file"):
        require_kind({"kind": "aws-kms"}, "key-file", means="a file")
    with pytest.raises(KeyringLocked, match="damaged"):
        text({}, "key")


def test_missing_library_names_the_extra_that_brings_it():
    assert library("json", extra="none") is json
    with pytest.raises(LibraryMissing, match=r"pip install 'sealgate\[aws\]'"):
        library("no_such_library.part", extra="aws")


@pytest.mark.parametrize("code", ["InvalidCiphertextException", "IncorrectKeyException"])
def test_a_ciphertext_that_is_not_the_keys_of_kms_locks_the_keyring(kms, code):
    with pytest.raises(KeyringLocked, match="does not open"):
        kms(code).unwrap(KMS_RECORD)


@pytest.mark.parametrize("code", ["AccessDeniedException", "DisabledException"])
def test_a_refusal_of_kms_is_told_by_its_code(kms, code):
    with pytest.raises(CustodianUnusable, match=f"refuses: {code}") as raised:
        kms(code).unwrap(KMS_RECORD)
    assert "arn:of:somebody" not in str(raised.value)
