"""What the console alone needs while a gateway serves: sessions, tallies, keys, the issuer."""

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa

from gateway.console.daybook import Daybook
from gateway.console.sessions import Limits, Sessions
from gateway.keybroker import CHANGES
from gateway.keycare import KeyCare
from gateway.settings import Settings

if TYPE_CHECKING:
    from gateway.console.codeflow import CodeFlow


@dataclass(frozen=True, slots=True)
class Desk:
    """sessions: who is signed in. daybook: what happened each day. keys: the life of each key.

    codeflow: sign-in at the issuer; None where none is set up.
    """

    sessions: Sessions
    daybook: Daybook
    keys: KeyCare
    codeflow: "CodeFlow | None"


def permissions(settings: Settings) -> tuple[str, ...]:
    """Return what the key broker is to allow this gateway beside serving."""
    return (CHANGES,) if settings.console and settings.console_key_changes else ()


def desk(settings: Settings, engine: sa.Engine, keys: KeyCare) -> Desk | None:
    """Return the desk of a gateway, or None where the console is off.

    Raises:
        SettingsInvalid: The sign-in at the issuer is half set up.
    """
    if not settings.console:
        return None
    limits = Limits(
        idle=timedelta(seconds=settings.console_idle_s),
        longest=timedelta(seconds=settings.console_session_s),
    )
    return Desk(
        sessions=Sessions.over(engine, holders=keys.credentials, limits=limits),
        daybook=Daybook(engine),
        keys=keys,
        codeflow=_codeflow(settings),
    )


def _codeflow(settings: Settings) -> "CodeFlow | None":
    if settings.console_oidc_client is None:
        return None
    from gateway.console.codeflow import CodeFlow, client  # noqa: PLC0415 - where it is set up.

    found = client(settings)
    return None if found is None else CodeFlow(found)
