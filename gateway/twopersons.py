"""The rule of two: whoever confirms a destruction is somebody else, and who asked still may ask.

Security staff issue credentials, in other people's names too: two that one of them made, or one of
them and one that they made, are one person here.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

import sqlalchemy as sa

from audit.search import PAGE_LIMIT, Query, search
from gateway.identity import Credential, Principal, Role
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


def makers(log: sa.Engine) -> dict[str, str]:
    """Return who made which credential, by ids; those made at the machine are not among them.

    Raises:
        LogUnavailable: The log cannot be read.
    """
    found: dict[str, str] = {}
    after: int | None = -1
    while after is not None:
        query = Query(operation="credential.added", after=after, limit=PAGE_LIMIT)
        page = search(log, query)
        for _, event in page.entries:
            user = event["actor"]["user"]
            if user["type"] == Role.SECURITY:
                found[event["sealgate"]["detail"]["credential_id"]] = user["uid"]
        after = page.more
    return found


def require_another(
    asked: Destruction,
    principal: Principal,
    credentials: Iterable[Credential],
    *,
    made_by: Mapping[str, str],
    now: datetime,
) -> None:
    """Require that the first principal is someone else, and still may ask.

    made_by: as `makers` returns it.

    Raises:
        DestructionUnconfirmed: It is the same person, or one whose credential was withdrawn.
    """
    _, credential_id, name = asked.actor.split(":", 2)
    if credential_id == principal.credential_id or name.casefold() == principal.name.casefold():
        raise DestructionUnconfirmed(
            f"{principal.name} asked for this: another security principal must confirm it."
        )
    if _origin(credential_id, made_by) == _origin(principal.credential_id, made_by):
        raise DestructionUnconfirmed(
            "One person issued both credentials, or one with the other. Confirm with a credential "
            "that was issued at the machine: `sealgate clients add --role security`."
        )
    now_ms = int(now.timestamp() * 1000)
    for credential in credentials:
        expired = credential.expires_ms is not None and credential.expires_ms <= now_ms
        works = not expired and credential.revoked_ms is None
        if works and credential.credential_id == credential_id:
            return
    raise DestructionUnconfirmed("The credential of who asked was withdrawn. Ask anew.")


def _origin(credential_id: str, made_by: Mapping[str, str]) -> str:
    """Return the credential or person that a credential goes back to."""
    while credential_id in made_by:
        credential_id = made_by[credential_id]
    return credential_id
