"""The rule of two: whoever confirms a destruction is somebody else, and who asked still may ask."""

from collections.abc import Iterable
from datetime import datetime

from gateway.identity import Credential, Principal
from privacy.errors import DestructionUnconfirmed
from privacy.records import Destruction


def open_request(
    destructions: Iterable[Destruction], key: str, *, now: datetime
) -> Destruction | None:
    """Return the request to destroy a key that is within its window, or None."""
    at_s = int(now.timestamp())
    for each in destructions:
        if each.key == key and each.requested_s <= at_s <= each.expires_s:
            return each
    return None


def require_another(
    asked: Destruction, principal: Principal, credentials: Iterable[Credential], *, now: datetime
) -> None:
    """Require that the first principal is someone else, and still may ask.

    Raises:
        DestructionUnconfirmed: It is the same person, or one whose credential was withdrawn.
    """
    _, credential_id, name = asked.actor.split(":", 2)
    if credential_id == principal.credential_id or name.casefold() == principal.name.casefold():
        raise DestructionUnconfirmed(
            f"{principal.name} asked for this: another security principal must confirm it."
        )
    now_ms = int(now.timestamp() * 1000)
    for credential in credentials:
        expired = credential.expires_ms is not None and credential.expires_ms <= now_ms
        works = not expired and credential.revoked_ms is None
        if works and credential.credential_id == credential_id:
            return
    raise DestructionUnconfirmed("The credential of who asked was withdrawn. Ask anew.")
