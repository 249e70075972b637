"""What a serving gateway's reports need of the key broker, and what it does not give for them."""

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from privacy.errors import KeyUnknown


def test_reports_are_signed_by_the_key_that_the_broker_names(keyring, broker):
    key = broker.document_key()
    assert key == keyring.document_key()
    point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), key.public)
    point.verify(broker.sign_document(b"attributes"), b"attributes", ec.ECDSA(hashes.SHA256()))


@pytest.mark.parametrize("name", ["credential", "seal", ""])
def test_no_other_document_is_signed(broker, name):
    with pytest.raises(KeyUnknown):
        broker.sign_document(b"attributes", name)
    with pytest.raises(KeyUnknown):
        broker.document_key(name)


def test_keys_are_listed_by_name_and_state_alone(keyring, broker):
    keyring.rotate("watermark")
    listed = broker.list_keys()
    assert all(each.keys() == {"name", "created_s", "epoch", "state"} for each in listed)
    states = {each["name"]: each["state"] for each in listed}
    assert states["watermark@1"] == "decrypt-only"
    assert states["watermark@2"] == "active"


def test_history_holds_what_is_no_longer_trusted(keyring, broker):
    first = keyring.public_key("checkpoint")
    keyring.rotate("checkpoint")
    assert broker.history("checkpoint") == [keyring.public_key("checkpoint"), first]
