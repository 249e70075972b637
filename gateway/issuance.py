"""What is said of a credential, in lists and in the log: never its key."""

from typing import Any

from gateway.identity import Credential


def added(credential: Credential, *, succeeds: str | None = None) -> dict[str, Any]:
    """Return the detail of `credential.added`. succeeds: the credential it takes the place of."""
    detail = {
        "credential_id": credential.credential_id,
        "name": credential.name,
        "tenant": credential.tenant,
        "role": credential.role.value,
        "expires_ms": credential.expires_ms,
        "scopes": sorted(credential.scopes or ()),
    }
    return detail | ({"succeeds": succeeds} if succeeds else {})


def state(credential: Credential, *, now_ms: int) -> str:
    """Return `active`, `expired` or `revoked`."""
    if credential.revoked_ms is not None:
        return "revoked"
    if credential.expires_ms is not None and credential.expires_ms <= now_ms:
        return "expired"
    return "active"
