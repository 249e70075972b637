"""The C2PA manifest behind a text, read back by the standard's reference library."""

import hashlib
import unicodedata
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from watermark.cbor import Tagged, encode
from watermark.credentials import Origin, Signer, credential
from watermark.readings import readings

PRIVATE = Ed25519PrivateKey.from_private_bytes(b"\x01" * 32)
TEXT = "Take two of these \u2014 daily. Cafe\u0301.\n"
ORIGIN = Origin(
    producer="Ward Clinic",
    product="Sealgate",
    version="0.1.0",
    request_id="req_1",
    choice=0,
    model_id="smollm2-135m",
    model_digest="sha256:" + "0f" * 32,
    issued="2026-11-24T12:00:00Z",
)


@pytest.fixture(scope="module")
def signer():
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Sealgate")])
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(PRIVATE.public_key())
        .serial_number(7)
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=365))
        .sign(PRIVATE, None)
    )
    return Signer(certificate.public_bytes(Encoding.DER), PRIVATE.sign)


@pytest.fixture(scope="module")
def reference():
    return pytest.importorskip("c2pa_text")


def boxes(data):
    """Read nested JUMBF: label to content, a superbox's content again such a map."""
    found, place = {}, 0
    while place < len(data):
        size, kind = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
        content = data[place + 8 : place + size]
        if kind == b"jumb":
            described = int.from_bytes(content[:4], "big")
            label = content[8 + 17 : described - 1].decode()
            found[label] = boxes(content[described:])
        else:
            found[kind.decode()] = content
        place += size
    return found


def manifest_of(reference, whole):
    manifest, text = reference.extract_manifest(whole)
    return boxes(manifest)["c2pa"].popitem()[1], text


def test_reference_library_finds_a_valid_manifest_and_the_text(reference, signer):
    whole = TEXT + credential(TEXT, ORIGIN, signer)
    manifest, text = manifest_of(reference, whole)
    assert text == unicodedata.normalize("NFC", TEXT)
    assert set(manifest) == {"c2pa.assertions", "c2pa.claim.v2", "c2pa.signature"}
    assert reference.validate_text(unicodedata.normalize("NFC", whole)).valid


def test_manifest_round_trips_through_the_reference_librarys_own_wrapper(reference, signer):
    manifest, text = reference.extract_manifest(TEXT + credential(TEXT, ORIGIN, signer))
    again, clean = reference.extract_manifest(reference.embed_manifest(text, manifest))
    assert (again, clean) == (manifest, text)
    assert reference.validate_manifest(manifest).valid


@pytest.mark.parametrize("text", [TEXT, "", "a" * 5000, "\U0001f469\u200d\U0001f467" * 40])
def test_hash_covers_all_but_the_wrapper_whose_length_is_told(reference, signer, text):
    whole = unicodedata.normalize("NFC", text) + credential(text, ORIGIN, signer)
    _, start, length = reference.find_wrapper_info(whole)
    body = whole.encode()
    assert start + length == len(body)
    binding = manifest_of(reference, whole)[0]["c2pa.assertions"]["c2pa.hash.data"]["cbor"]
    assert hashlib.sha256(body[:start]).digest() in binding
    for number in (start, length):
        assert b"\x1a" + number.to_bytes(4, "big") in binding


def test_claim_is_signed_over_and_names_each_assertions_hash(reference, signer):
    whole = TEXT + credential(TEXT, ORIGIN, signer)
    manifest, _ = manifest_of(reference, whole)
    claim, signed = manifest["c2pa.claim.v2"]["cbor"], manifest["c2pa.signature"]["cbor"]
    protected = encode({1: -8, 33: [signer.certificate]})
    assert signed == encode(Tagged(18, [protected, {}, None, signed[-64:]]))
    covered = encode(["Signature1", protected, b"", claim])
    PRIVATE.public_key().verify(signed[-64:], covered)
    with pytest.raises(InvalidSignature):
        PRIVATE.public_key().verify(signed[-64:], covered + b"x")
    raw, _ = reference.extract_manifest(whole)
    for label in ("c2pa.actions.v2", "c2pa.hash.data", "org.sealgate.aigc"):
        place = raw.index(label.encode() + b"\x00") - 17 - 8
        size = int.from_bytes(raw[place - 8 : place - 4], "big")
        assert hashlib.sha256(raw[place : place - 8 + size]).digest() in claim


def test_manifest_says_generated_in_both_standards_words(reference, signer):
    manifest, _ = manifest_of(reference, TEXT + credential(TEXT, ORIGIN, signer))
    assertions = manifest["c2pa.assertions"]
    assert b"trainedAlgorithmicMedia" in assertions["c2pa.actions.v2"]["cbor"]
    aigc = assertions["org.sealgate.aigc"]["cbor"]
    for member in (b"Label", b"ContentProducer", b"Ward Clinic", b"ProduceID", b"req_1/0"):
        assert member in aigc


def test_manifest_is_invisible_to_the_search_for_marks(signer):
    """The cleaned reading of a text with its manifest is the text."""
    plain = "The dose was right. She signed it, and I did too."
    found = [each.text for each in readings(plain + credential(plain, ORIGIN, signer))]
    assert plain in found


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (0, "00"), (23, "17"), (24, "1818"), (1000, "1903e8"), (1 << 32, "1b0000000100000000"),
        (-1, "20"), (-500, "3901f3"), (b"\x01", "4101"), ("a", "6161"), ("\u00fc", "62c3bc"),
        ([1, [2]], "82018102"), ({"a": 1, 2: None}, "a2616101 02f6"), (Tagged(1, 2), "c102"),
    ],
)  # fmt: skip
def test_cbor_is_that_of_rfc_8949(value, encoded):
    """Appendix A, as far as it is spoken here."""
    assert encode(value) == bytes.fromhex(encoded)


@pytest.mark.parametrize("value", [1.5, object(), 1 << 64])
def test_cbor_refuses_what_it_does_not_speak(value):
    with pytest.raises(TypeError):
        encode(value)
