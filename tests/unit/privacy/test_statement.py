import base64
import json

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from privacy import statement
from privacy.errors import SealBroken


@pytest.fixture
def exported(tmp_path, keyring, seal):
    sealed = seal()
    (tmp_path / "m.sig").write_bytes(statement.bundle(sealed.path, keyring=keyring))
    (tmp_path / "seal.pem").write_bytes(statement.public_key_pem(keyring))
    return sealed.path, tmp_path / "m.sig", tmp_path / "seal.pem"


def test_the_bundle_is_signed_over_its_statement(exported):
    path, signature, pem = exported
    envelope = json.loads(signature.read_bytes())["dsseEnvelope"]
    payload = base64.b64decode(envelope["payload"])
    kind = envelope["payloadType"].encode()
    signed = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
    key = load_pem_public_key(pem.read_bytes())
    raw = base64.b64decode(envelope["signatures"][0]["sig"])
    key.verify(raw, signed, ec.ECDSA(hashes.SHA256()))
    with pytest.raises(InvalidSignature):
        key.verify(raw, signed + b" ", ec.ECDSA(hashes.SHA256()))
    [resource] = json.loads(payload)["predicate"]["resources"]
    assert resource["name"] == path.name


def test_the_openssf_projects_own_verifier_agrees(exported):
    verifying = pytest.importorskip("model_signing.verifying", reason="model-signing itself")
    path, signature, pem = exported
    verifier = verifying.Config().use_elliptic_key_verifier(public_key=pem)
    verifier.verify(path.parent, signature)
    raw = bytearray(path.read_bytes())
    raw[200] ^= 1
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=r"[Mm]ismatch"):
        verifier.verify(path.parent, signature)


def test_a_broken_seal_gets_no_statement(tmp_path, keyring, seal):
    path = seal().path
    raw = bytearray(path.read_bytes())
    raw[200] ^= 1
    path.write_bytes(raw)
    with pytest.raises(SealBroken):
        statement.bundle(path, keyring=keyring)
