"""Credentials as the console and the command line issue them, without the log's entry."""

from datetime import datetime
from typing import Any

from gateway.identity import Credential, Credentials, Role
from gateway.issuance import draw


def issue(
    credentials: Credentials,
    *,
    now: datetime,
    name: str = "app",
    role: Role = Role.CLIENT,
    **options: Any,
) -> tuple[Credential, str]:
    """Store a new credential of the tenant `clinic`, which does not expire, with its key.

    options: what `draw` takes beside.
    """
    given = {"tenant": "clinic", "expires": None} | options
    credential, key = draw(name=name, role=role, now=now, **given)
    credentials.store(credential, key)
    return credential, key
