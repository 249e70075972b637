import base64
import copy
import json

import pytest
import rfc8785

from privacy.training import certificate
from privacy.training.errors import CertificateInvalid

CONTENT = {
    "run": "run_1",
    "issued_s": 1_700_000_000,
    "mechanism": {
        "noise_multiplier": 1.0,
        "sampling_rate": 0.0256,
        "steps_planned": 500,
        "steps_charged": 400,
        "steps_made": 390,
    },
    "guarantee": {"epsilon": 3.2506, "delta": 1e-5},
    "dataset": {"records": 10_000},
    "audit": {"findings": [{"epsilon": 1.2}], "control": None},
}


def signed(keyring, *path_and_value):
    content = copy.deepcopy(CONTENT)
    if path_and_value:
        *path, name, value = path_and_value
        place = content
        for part in path:
            place = place[part]
        place[name] = value
    return certificate.sign(content, sealer=keyring)


def verify(raw, keyring):
    return certificate.verify(raw, verify_seal=keyring.verify_seal)


def test_a_certificate_verifies_and_its_epsilon_is_computed_again(keyring):
    found = verify(signed(keyring), keyring)
    assert found.recomputed
    assert found.epsilon == 3.2506
    assert found.digest.startswith("sha256:")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("guarantee", "epsilon", 3.2), "costs an epsilon of"),
        (("mechanism", "noise_multiplier", 0.9), "costs an epsilon of"),
        (("guarantee", "delta", 1e-4), "not below 1/records"),
        (("mechanism", "steps_made", 401), "more steps made than charged"),
        (("mechanism", "steps_charged", 501), "more charged than planned"),
        (("audit", "findings", [{"epsilon": 3.3}]), "audit refutes"),
        (("dataset", {}), "lacks figures"),
        (("mechanism", "noise_multiplier", "much"), "lacks figures"),
    ],
)
def test_a_certificate_whose_figures_do_not_agree_is_refused(keyring, change, reason):
    with pytest.raises(CertificateInvalid, match=reason):
        verify(signed(keyring, *change), keyring)


def test_any_change_breaks_the_signature(keyring):
    raw = signed(keyring).replace(b"run_1", b"run_2")
    with pytest.raises(CertificateInvalid, match="signature"):
        verify(raw, keyring)


@pytest.mark.parametrize("half", [slice(0, 64), slice(64, None)])
def test_both_signatures_must_verify(keyring, half):
    envelope = json.loads(signed(keyring))
    signature = bytearray(base64.b64decode(envelope["signature"]))
    signature[half] = bytes(len(signature[half]))
    envelope["signature"] = base64.b64encode(signature).decode()
    with pytest.raises(CertificateInvalid, match="signature"):
        verify(rfc8785.dumps(envelope), keyring)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b'{"certificate":{},"signature":""}',
        b'{"certificate":[],"signature":""}',
        b'{"certificate":{"format":"sealgate/certificate-v2"},"signature":""}',
    ],
)
def test_what_is_no_certificate_is_refused(keyring, raw):
    with pytest.raises(CertificateInvalid, match="not a certificate of this version"):
        verify(raw, keyring)


def test_a_certificate_has_one_form(keyring):
    with pytest.raises(CertificateInvalid, match="not a certificate of this version"):
        verify(json.dumps(json.loads(signed(keyring))).encode(), keyring)
    extra = json.loads(signed(keyring)) | {"more": 1}
    with pytest.raises(CertificateInvalid, match="not a certificate of this version"):
        verify(rfc8785.dumps(extra), keyring)


def test_without_the_accountant_a_certificate_still_verifies_and_says_so(keyring, monkeypatch):
    monkeypatch.setattr(certificate.importlib.util, "find_spec", lambda _: None)
    assert not verify(signed(keyring), keyring).recomputed
