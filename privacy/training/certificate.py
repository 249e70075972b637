"""The certificate of a run: what may have leaked, by which mechanism, signed twice.

docs/formats/certificate-v1.md. Making one is certifying.py's; this checks one without torch.
"""

import base64
import binascii
import hashlib
import importlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
import rfc8785

from privacy.derivation import bind
from privacy.errors import SignatureInvalid
from privacy.training.entries import Head
from privacy.training.errors import CertificateInvalid, PlanInvalid
from privacy.training.mechanism import Plan

FORMAT = "sealgate/certificate-v1"


class Sealer(Protocol):
    """What signs certificates: a keyring."""

    def sign_seal(self, message: bytes) -> bytes:
        """Return the Ed25519 and ML-DSA-65 signatures."""
        ...


@dataclass(frozen=True, slots=True)
class Verified:
    """A certificate that verified. recomputed: whether its ε was computed again."""

    content: Mapping[str, Any]
    digest: str
    recomputed: bool

    @property
    def epsilon(self) -> float:
        """The ε that it certifies."""
        return float(self.content["guarantee"]["epsilon"])


def sign(content: Mapping[str, Any], *, sealer: Sealer) -> bytes:
    """Return the certificate's file: canonical JSON with its signature beside it."""
    body = {"format": FORMAT, **content}
    signature = sealer.sign_seal(_signed(body))
    return rfc8785.dumps({"certificate": body, "signature": base64.b64encode(signature).decode()})


def verify(raw: bytes, *, verify_seal: Callable[[bytes, bytes], None]) -> Verified:
    """Check a certificate.

    verify_seal: raises SignatureInvalid unless both signatures cover the message.

    Raises:
        CertificateInvalid: Something does not hold; the message says what.
    """
    # 1. The form: this version, canonical.
    body, signature = _decoded(raw)
    # 2. Both signatures.
    try:
        verify_seal(_signed(body), signature)
    except SignatureInvalid:
        raise _invalid("its signature does not verify") from None
    # 3. The figures agree with each other.
    _require_consistent(body)
    # 4. The ε is what the mechanism costs, where the accountant is installed.
    return Verified(body, digest_of(raw), recomputed=_recomputed(body))


def ledger_head(verified: Verified) -> Head:
    """Return the ledger's head as the certificate names it."""
    head = verified.content["ledger"]
    return Head(head["size"], bytes.fromhex(head["hash"]))


def digest_of(raw: bytes) -> str:
    """Return a certificate's name: `sha256:` and the hex digest of its file."""
    return "sha256:" + hashlib.sha256(raw).hexdigest()


def _decoded(raw: bytes) -> tuple[dict[str, Any], bytes]:
    try:
        envelope = msgspec.json.decode(raw, type=dict[str, Any])
        body = envelope["certificate"]
        signature = base64.b64decode(envelope["signature"], validate=True)
        whole = rfc8785.dumps(envelope) == raw and body["format"] == FORMAT
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError, binascii.Error):
        whole = False
    if not whole or len(envelope) != 2:  # noqa: PLR2004 - Certificate and signature.
        raise _invalid("it is not a certificate of this version")
    return body, signature


def _require_consistent(body: Mapping[str, Any]) -> None:
    try:
        mechanism, guarantee, data = body["mechanism"], body["guarantee"], body["dataset"]
        _plan(body)
        problems = [
            (mechanism["steps_made"] > mechanism["steps_charged"], "more steps made than charged"),
            (mechanism["steps_charged"] > mechanism["steps_planned"], "more charged than planned"),
            (guarantee["delta"] >= 1 / data["records"], "its delta is not below 1/records"),
            (_finding_exceeds(body), "its own audit refutes its epsilon"),
        ]
    except (KeyError, TypeError, ZeroDivisionError, PlanInvalid):
        raise _invalid("it lacks figures") from None
    for wrong, reason in problems:
        if wrong:
            raise _invalid(reason)


def _finding_exceeds(body: Mapping[str, Any]) -> bool:
    findings = (body["audit"] or {}).get("findings", [])
    return any(finding["epsilon"] > body["guarantee"]["epsilon"] for finding in findings)


def _recomputed(body: Mapping[str, Any]) -> bool:
    if importlib.util.find_spec("dp_accounting") is None:
        return False
    # By name: the accountant is an extra, and most who verify do not have it.
    accountant = importlib.import_module("privacy.training.accountant")
    guarantee = body["guarantee"]
    epsilon = accountant.certified_epsilon(_plan(body), guarantee["delta"])
    # Another version of the accountant may differ in the last digits, not in more.
    if epsilon > guarantee["epsilon"] * 1.001 + 1e-6:
        raise _invalid(f"its mechanism costs an epsilon of {epsilon}, more than it says")
    return True


def _plan(body: Mapping[str, Any]) -> Plan:
    mechanism = body["mechanism"]
    return Plan(
        mechanism["noise_multiplier"], mechanism["sampling_rate"], mechanism["steps_charged"]
    )


def _signed(body: Mapping[str, Any]) -> bytes:
    return bind(b"sealgate/certificate-v1/signature", rfc8785.dumps(dict(body)))


def _invalid(reason: str) -> CertificateInvalid:
    return CertificateInvalid(f"The certificate does not hold: {reason}. Do not rely on it.")
