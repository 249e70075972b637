"""Receipts of answers: what the log holds of a request, signed for who was answered."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import sqlalchemy as sa

from audit.errors import AuditError, ProofInvalid
from audit.proof import Proved, prove, verify_proof
from gateway.errors import RequestRefused
from watermark import receipts

SIGNER = "receipt"
AUDIT_PURPOSE = "audit-hmac"


class Keys(Protocol):
    """What a receipt needs of the key broker, or of an open keyring."""

    def derive(self, purpose: str, *context: bytes, epoch: int | None = None) -> bytes:
        """Derive 32 bytes."""
        ...

    def public_key(self, name: str) -> bytes:
        """Return a raw Ed25519 public key."""
        ...

    def public_keys(self, name: str) -> Sequence[bytes]:
        """Return the public keys trusted as `name`, the active one first."""
        ...

    def sign(self, name: str, message: bytes) -> bytes:
        """Sign with Ed25519."""
        ...


def receipt_context(tenant: str, request_id: str) -> tuple[bytes, bytes, bytes]:
    """Name the key that a request's commitments are salted with, within `AUDIT_PURPOSE`."""
    return tenant.encode(), b"receipt", request_id.encode()


def issue(request_id: str, *, log: sa.Engine, keys: Keys, origin: str, now_s: int) -> str:
    """Return the receipt of a request whose outcome is in the log, as a compact JWS.

    Raises:
        RequestUnknown: The log holds no entry of it.
        RequestRefused: 409, it has no outcome yet, or one that no receipt can be given for.
        AuditError: The log cannot be read or does not verify.
        PrivacyError: The keys cannot be used.
    """
    proved = _proved(prove(log, request_id), origin=origin, keys=keys)
    for entry in proved.entries:
        own = entry.event["sealgate"]
        if own["phase"] == "outcome" and own.get("commitment_epoch") is not None:
            receipt = receipts.Receipt(
                issuer=origin,
                request_id=request_id,
                issued_s=now_s,
                model_id=own["model"]["id"],
                model_digest=own["model"]["digest"],
                ending=own["ending"],
                outputs=_outputs(entry.event, keys),
                entry=entry.index,
                size=proved.checkpoint.size,
                root=proved.checkpoint.root,
            )
            return receipts.sign(
                receipt,
                public_key=keys.public_key(SIGNER),
                signer=lambda message: keys.sign(SIGNER, message),
            )
    raise RequestRefused(
        "This request has no outcome that a receipt could be given for.",
        status=409,
        code="no_outcome",
    )


def _proved(document: str, *, origin: str, keys: Keys) -> Proved:
    """Check our own proof before it is signed for: a receipt never vouches for a broken log."""
    failure: AuditError | None = None
    for public_key in keys.public_keys("checkpoint"):
        try:
            return verify_proof(document, origin=origin, public_key=public_key)
        except ProofInvalid as error:
            failure = error
    raise failure or ProofInvalid("No key is trusted to sign checkpoints.")


def _outputs(event: Mapping[str, Any], keys: Keys) -> tuple[receipts.Output, ...]:
    own = event["sealgate"]
    context = receipt_context(event["metadata"]["tenant_uid"], event["api"]["request"]["uid"])
    key = keys.derive(AUDIT_PURPOSE, *context, epoch=own["commitment_epoch"])
    return tuple(
        receipts.Output(
            choice=index,
            tokens=choice["tokens"],
            salt=receipts.salt(key, index),
            commitment=bytes.fromhex(choice["output_commitment"]),
        )
        for index, choice in enumerate(own["choices"])
    )
