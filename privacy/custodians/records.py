"""Custodian records: reading what a custodian stored, whatever was done to it since."""

import base64
from collections.abc import Mapping

from privacy.errors import KeyringLocked

Record = Mapping[str, str | int]


def require_kind(record: Record, kind: str, *, means: str) -> None:
    """Raise KeyringLocked unless the record is of that kind. means: what opens it, for a person."""
    if record.get("kind") != kind:
        raise KeyringLocked(f"This keyring opens with a {record.get('kind')}, not with {means}.")


def text(record: Record, name: str) -> str:
    """Return a member that is text.

    Raises:
        KeyringLocked: The record has none of that name.
    """
    value = record.get(name)
    if not isinstance(value, str):
        raise KeyringLocked("The keyring's custodian record is damaged. Restore its backup.")
    return value


def octets(record: Record, name: str) -> bytes:
    """Return a member that is base64.

    Raises:
        KeyringLocked: The record has none of that name.
    """
    try:
        return base64.b64decode(text(record, name), validate=True)
    except ValueError:
        raise KeyringLocked(
            "The keyring's custodian record is damaged. Restore its backup."
        ) from None


def encoded(data: bytes) -> str:
    """Return bytes as a record holds them."""
    return base64.b64encode(data).decode()
