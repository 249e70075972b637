"""Making a credential, up to where it is stored, and what is said of one: never its key."""

import secrets
from datetime import datetime
from typing import Any

from gateway import instants
from gateway.errors import CredentialInvalid
from gateway.identity import TENANT_PATTERN, Credential, Role, fingerprint
from gateway.scopes import Scopes, require_scopes

NAME_LIMIT = 128


def draw(
    *,
    tenant: str,
    name: str,
    role: Role,
    now: datetime,
    expires: datetime | None,
    scopes: Scopes = None,
    certificate: bytes | None = None,
) -> tuple[Credential, str]:
    """Return a new credential with its key, which nothing knows yet: record it, then store it.

    certificate: DER of the client certificate that is to stand for a key; the key is then
    the name of its fingerprint, and opens nothing.

    Raises:
        CredentialInvalid: A name or a scope cannot be stored.
    """
    _require_names(tenant, name)
    require_scopes(scopes)
    credential = Credential(
        credential_id=f"cred_{secrets.token_hex(8)}",
        tenant=tenant,
        name=name,
        role=role,
        created_ms=instants.milliseconds(now),
        expires_ms=instants.milliseconds(expires) if expires else None,
        revoked_ms=None,
        scopes=scopes,
    )
    if certificate is not None:
        return credential, fingerprint(certificate)
    return credential, f"sg-{secrets.token_urlsafe(32)}"


def draw_successor(old: Credential, *, now: datetime) -> tuple[Credential, str]:
    """Return a new credential of the same name, tenant, role and scopes, with its key."""
    return draw(
        tenant=old.tenant,
        name=old.name,
        role=old.role,
        now=now,
        expires=instants.moment(old.expires_ms) if old.expires_ms else None,
        scopes=old.scopes,
    )


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


def _require_names(tenant: str, name: str) -> None:
    if not TENANT_PATTERN.fullmatch(tenant):
        raise CredentialInvalid(
            "A tenant's name is 1 to 64 letters, digits, dots, dashes or underscores."
        )
    if not name.isprintable() or not 1 <= len(name) <= NAME_LIMIT:
        raise CredentialInvalid(f"A credential's name is 1 to {NAME_LIMIT} printable characters.")
