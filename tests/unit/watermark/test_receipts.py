import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from watermark import receipts
from watermark.errors import ReceiptInvalid
from watermark.receipts import Output, Receipt, check_text, commitment, salt, sign, verify

PRIVATE = Ed25519PrivateKey.from_private_bytes(b"\x01" * 32)
PUBLIC = PRIVATE.public_key().public_bytes_raw()
OTHER = Ed25519PrivateKey.from_private_bytes(b"\x02" * 32)
PAGE = Path(__file__).parents[3] / "docs" / "receipts.md"
TEXT = "Take two of these \u2014 daily.\n"


def output(choice, text):
    secret = salt(b"k" * 32, choice)
    return Output(choice, 9, secret, commitment(text, salt=secret))


RECEIPT = Receipt(
    issuer="ward.example/log",
    request_id="req_1",
    issued_s=1_790_000_000,
    model_id="smollm2-135m",
    model_digest="sha256:" + "0f" * 32,
    ending="completed",
    outputs=(output(0, TEXT), output(1, "Another.")),
    entry=41,
    size=43,
    root=b"\x05" * 32,
)


def signed(receipt=RECEIPT, *, key=PRIVATE):
    public = key.public_key().public_bytes_raw()
    return sign(receipt, public_key=public, signer=key.sign)


def forged(header=None, claims=None):
    """A token of the right key over a header and claims that are not as they should be."""
    parts = signed().split(".")
    told = [json.loads(receipts._decoded(part)) for part in parts[:2]]
    body = ".".join(
        receipts._encoded(json.dumps(base | change).encode())
        for base, change in zip(told, (header or {}, claims or {}), strict=True)
    )
    return f"{body}.{receipts._encoded(PRIVATE.sign(body.encode()))}"


def test_receipt_says_what_was_signed():
    assert verify(signed(), public_key=PUBLIC) == RECEIPT
    assert verify(signed() + "\n", public_key=PUBLIC) == RECEIPT


def test_key_travels_as_a_jwk():
    assert receipts.read_jwk(json.dumps(receipts.public_jwk(PUBLIC))) == PUBLIC


def test_thumbprint_is_that_of_rfc_8037():
    """RFC 8037, appendix A.3."""
    x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    assert receipts.key_id(receipts._decoded(x)) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_receipt_of_another_key_is_refused():
    with pytest.raises(ReceiptInvalid):
        verify(signed(key=OTHER), public_key=PUBLIC)


def test_any_changed_character_is_refused():
    token = signed()
    for place in range(0, len(token), 7):
        swapped = "B" if token[place] == "A" else "A"
        with pytest.raises(ReceiptInvalid):
            verify(token[:place] + swapped + token[place + 1 :], public_key=PUBLIC)


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none"},
        {"alg": "HS256"},
        {"typ": "JWT"},
        {"crit": ["exp"]},
        {"kid": "another"},
    ],
)
def test_header_that_is_no_receipts_is_refused_though_the_key_signed_it(header):
    with pytest.raises(ReceiptInvalid):
        verify(forged(header=header), public_key=PUBLIC)


@pytest.mark.parametrize(
    "claims",
    [
        {"ver": 2},
        {"entry": "x"},
        {"outputs": 3},
        {"outputs": [{}]},
        {"checkpoint": None},
        {"model": []},
    ],
)
def test_claims_of_the_wrong_form_are_refused(claims):
    with pytest.raises(ReceiptInvalid):
        verify(forged(claims=claims), public_key=PUBLIC)


@pytest.mark.parametrize(
    "token", ["", "a.b", "a.b.c.d", "....", "\u00e9.\u00e9.\u00e9", "x" * 200_000, "e30.e30.e30"]
)
def test_what_is_no_receipt_is_refused_in_one_line(token):
    with pytest.raises(ReceiptInvalid) as refused:
        verify(token, public_key=PUBLIC)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"kty": "RSA"}', '{"kty":"OKP","crv":"Ed25519"}'])
def test_what_is_no_key_is_refused(text):
    with pytest.raises(ReceiptInvalid):
        receipts.read_jwk(text)


def test_text_is_recognised_to_the_last_byte():
    assert check_text(RECEIPT, TEXT).choice == 0
    assert check_text(RECEIPT, "Another.").choice == 1
    for other in (TEXT.strip(), TEXT + " ", "", TEXT.replace("\u2014", "-")):
        with pytest.raises(ReceiptInvalid):
            check_text(RECEIPT, other)


def test_salts_differ_by_choice_and_key():
    assert len({salt(key * 32, choice) for key in (b"a", b"b") for choice in (0, 1)}) == 4


def test_pyjwt_reads_it():
    jwt = pytest.importorskip("jwt")
    key = jwt.PyJWK(receipts.public_jwk(PUBLIC))
    assert jwt.decode(signed(), key, algorithms=["EdDSA"])["jti"] == "req_1"
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(signed(key=OTHER), key, algorithms=["EdDSA"])


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
def test_joserfc_reads_it():
    jws = pytest.importorskip("joserfc.jws")
    jwk = pytest.importorskip("joserfc.jwk")
    errors = pytest.importorskip("joserfc.errors")
    key = jwk.OKPKey.import_key(receipts.public_jwk(PUBLIC))
    read = jws.deserialize_compact(signed(), key, algorithms=["EdDSA"])
    assert json.loads(read.payload)["entry"] == 41
    assert key.thumbprint() == receipts.key_id(PUBLIC)
    with pytest.raises(errors.BadSignatureError):
        jws.deserialize_compact(signed(key=OTHER), key, algorithms=["EdDSA"])


def test_page_for_strangers_checks_a_receipt(tmp_path):
    """Runs the page's own code, as a stranger would, in a folder with the three files."""
    pytest.importorskip("jwt")
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "key.json").write_text(json.dumps(receipts.public_jwk(PUBLIC)))
    (tmp_path / "answer.txt").write_text(TEXT)

    def run(token):
        (tmp_path / "receipt.jws").write_text(token)
        command = [sys.executable, "-I", "-c", code]
        return subprocess.run(
            command, cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True, check=False
        )

    done = run(signed())
    assert (done.returncode, done.stderr) == (0, "")
    assert "req_1" in done.stdout
    assert run(signed(key=OTHER)).returncode
    assert run(signed(replace(RECEIPT, outputs=RECEIPT.outputs[1:]))).returncode
