from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.labelling import VISIBLE, Labeller, certificate
from gateway.question import Labelling

PRIVATE = Ed25519PrivateKey.from_private_bytes(b"\x01" * 32)
PUBLIC = PRIVATE.public_key().public_bytes_raw()
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


class Keys:
    def public_key(self, name):
        assert name == "receipt"
        return PUBLIC

    def sign(self, name, message):
        assert name == "receipt"
        return PRIVATE.sign(message)


def trailer(**wanted):
    model = SimpleNamespace(model_id="smol", digest="sha256:" + "0f" * 32)
    question = SimpleNamespace(request_id="req_1", model=model, labelling=Labelling(**wanted))
    return Labeller(Keys(), origin="ward.example/log").trailer(question, 0, "Text.", now=NOW)


def test_visible_labels_have_the_words_that_both_standards_want():
    assert "AI" in VISIBLE["en"]
    assert "Generated" in VISIBLE["en"]
    assert "\u4eba\u5de5\u667a\u80fd" in VISIBLE["zh"]
    assert "\u751f\u6210" in VISIBLE["zh"]
    assert trailer(visible="zh") == VISIBLE["zh"]
    assert trailer() == ""


def test_manifest_follows_the_label_and_covers_it():
    reference = pytest.importorskip("c2pa_text")
    whole = "Text." + trailer(visible="en", manifest=True)
    _, text = reference.extract_manifest(whole)
    assert text == "Text." + VISIBLE["en"]
    assert reference.validate_text(whole).valid


def test_certificate_is_the_receipt_keys_own_and_signs_itself():
    read = x509.load_der_x509_certificate(
        certificate(PUBLIC, origin="ward.example/log", sign=PRIVATE.sign)
    )
    assert read.public_key().public_bytes_raw() == PUBLIC
    read.verify_directly_issued_by(read)
    usage = read.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert [each.dotted_string for each in usage] == ["1.3.6.1.5.5.7.3.36"]
    assert certificate(PUBLIC, origin="ward.example/log", sign=PRIVATE.sign) == read.public_bytes(
        Encoding.DER
    )
