"""The two principals of a key's destruction: who they are, and that they are two.

Each shows an API key of role security, from a file or typed; never as an argument.
"""

import sys
from datetime import UTC, datetime
from getpass import getpass
from pathlib import Path

from gateway.cli.output import read_file
from gateway.cli.session import Session
from gateway.errors import CredentialInvalid, SettingsInvalid
from gateway.identity import Principal, Role
from gateway.keyevents import principal_name
from privacy import destruction
from privacy.errors import DestructionUnconfirmed
from privacy.references import Reference
from privacy.snapshot import Snapshot
from privacy.states import Act


def destroy_key(
    session: Session, name: Reference, principal: Principal, *, reason: str, window_s: int
) -> str:
    """Ask for a key's destruction, or confirm what another principal asked; return what came.

    Raises:
        DestructionUnconfirmed: Who asked is the same person, or may not ask any more.
        KeyInUse, KeyDestroyed, KeyUnknown: It cannot be destroyed.
        LogUnavailable: It happened, and the entry waits for the next session.
    """
    keyring = session.keyring
    act = keyring.act(actor=principal_name(principal), reason=reason)
    asked = _open_request(keyring.snapshot(), name, act)
    if asked is None:
        keyring.change(lambda s: destruction.requested(s, name, act=act, window_s=window_s))
        session.record_transitions()
        return "destruction-requested"
    _require_another(session, asked, principal)
    keyring.change(lambda s: destruction.destroyed(s, name, act=act))
    session.record_transitions()
    return "destroyed"


def _open_request(snapshot: Snapshot, name: Reference, act: Act) -> str | None:
    """Return who asked to destroy the key within the window, or None."""
    for each in snapshot.content.destructions:
        if each.key == str(name) and each.requested_s <= act.at_s <= each.expires_s:
            return each.actor
    return None


def _require_another(session: Session, asked: str, principal: Principal) -> None:
    """Require that the first principal is someone else, and still may ask."""
    _, credential_id, name = asked.split(":", 2)
    if credential_id == principal.credential_id or name.casefold() == principal.name.casefold():
        raise DestructionUnconfirmed(
            f"{principal.name} asked for this: another security principal must confirm it."
        )
    now_ms = int(datetime.now(UTC).timestamp() * 1000)
    for credential in session.credentials().list():
        expired = credential.expires_ms is not None and credential.expires_ms <= now_ms
        works = not expired and credential.revoked_ms is None
        if works and credential.credential_id == credential_id:
            return
    raise DestructionUnconfirmed("The credential of who asked was withdrawn. Ask anew.")


def security_principal(session: Session, file: Path | None) -> Principal:
    """Return the security principal whose API key a file holds, or a person types.

    Raises:
        CredentialInvalid: The key is not of that role, or does not work.
        SettingsInvalid: No file is named and nobody can be asked.
    """
    if file is not None:
        key = read_file(file).decode(errors="replace").strip()
    elif sys.stdin.isatty():
        key = getpass("Your API key of role security: ").strip()
    else:
        raise SettingsInvalid("Give --credential-file, or run in a terminal.")
    principal = session.credentials().principal(key, now=datetime.now(UTC))
    if principal is None or principal.role is not Role.SECURITY:
        raise CredentialInvalid("That is no API key of role security that works now.")
    return principal
