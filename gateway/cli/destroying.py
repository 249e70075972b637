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
from gateway.twopersons import makers, open_request, require_another
from privacy import destruction
from privacy.references import Reference


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
    now = datetime.fromtimestamp(act.at_s, UTC)
    asked = open_request(keyring.snapshot().content.destructions, str(name), now=now)
    if asked is None:
        keyring.change(lambda s: destruction.requested(s, name, act=act, window_s=window_s))
        session.record_transitions()
        return "destruction-requested"
    known, made_by = session.credentials().list(), makers(session.engine)
    require_another(asked, principal, known, made_by=made_by, now=datetime.now(UTC))
    keyring.change(lambda s: destruction.destroyed(s, name, act=act))
    session.record_transitions()
    return "destroyed"


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
