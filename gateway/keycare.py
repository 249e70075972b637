"""The life of keys under a serving gateway: listed, rotated, destroyed by two, each step an entry.

The key broker makes the changes; who may ask for one is settled before. Not here: the KEK, backups
and models' seals, which stay with a person at the machine (docs/keys.md).
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from audit.errors import EventConflict, LogUnavailable
from gateway.identity import Credentials, Principal
from gateway.keyevents import event, principal_name
from gateway.recorder import Recorder
from gateway.twopersons import makers, open_request, require_another
from privacy.broker import BrokerClient
from privacy.changes import KeyChanges
from privacy.destruction import WINDOW_S
from privacy.records import Destruction


@dataclass(frozen=True, slots=True)
class Key:
    """A key's name, with its epoch, and state. created: when."""

    name: str
    state: str
    epoch: int
    created: datetime


@dataclass(frozen=True, slots=True)
class KeyCare:
    """Keys of one gateway. log: where the making of credentials is recorded."""

    broker: BrokerClient
    recorder: Recorder
    credentials: Credentials
    log: sa.Engine

    async def listed(self) -> Sequence[Key]:
        """Return every key but the KEK; never a secret.

        Raises:
            PrivacyError: The key broker does not answer.
        """
        found = await asyncio.to_thread(self.broker.list_keys)
        return [
            Key(
                each["name"],
                each["state"],
                each["epoch"],
                datetime.fromtimestamp(each["created_s"], UTC),
            )
            for each in found
        ]

    async def requests(self) -> Sequence[Destruction]:
        """Return the requests to destroy a key that another may confirm now.

        Raises:
            ChangeForbidden: Nothing may be changed here.
        """
        pending = await asyncio.to_thread(KeyChanges(self.broker).pending)
        now_s = int(datetime.now(UTC).timestamp())
        return [e for e in pending.destructions if e.requested_s <= now_s <= e.expires_s]

    async def rotate(self, name: str, principal: Principal, *, reason: str) -> None:
        """Begin a key's next epoch. Earlier ones stay readable.

        Raises:
            PrivacyError: It cannot be rotated so, or nothing may be changed here.
            LogUnavailable: It happened, or half of it, and the entry waits for the next change.
        """
        changes, actor = KeyChanges(self.broker), principal_name(principal)
        # The new key's entry is written while the old one signs: who trusts the old checkpoint
        # key finds its successor under it.
        await asyncio.to_thread(changes.prepare, name, actor=actor, reason=reason)
        await self._record(changes)
        await asyncio.to_thread(changes.activate, name, actor=actor, reason=reason)
        await self._record(changes)

    async def destroy(self, key: str, principal: Principal, *, reason: str) -> str:
        """Ask for a key's destruction, or confirm what another asked; return what came of it.

        Raises:
            PrivacyError: It cannot be destroyed, or not by this person, or not here.
            LogUnavailable: It happened, and the entry waits for the next change.
        """
        changes, actor = KeyChanges(self.broker), principal_name(principal)
        now = datetime.now(UTC)
        pending = await asyncio.to_thread(changes.pending)
        asked = open_request(pending.destructions, key, now=now)
        if asked is None:
            await asyncio.to_thread(
                changes.request_destruction, key, actor=actor, reason=reason, window_s=WINDOW_S
            )
            await self._record(changes)
            return "destruction-requested"
        known = await asyncio.to_thread(self.credentials.list)
        made_by = await asyncio.to_thread(makers, self.log)
        require_another(asked, principal, known, made_by=made_by, now=now)
        await asyncio.to_thread(changes.confirm_destruction, key, actor=actor, reason=reason)
        await self._record(changes)
        return "destroyed"

    async def _record(self, changes: KeyChanges) -> None:
        """Write an entry for each transition that waits, then let the keyring forget them."""
        waiting = (await asyncio.to_thread(changes.pending)).transitions
        for transition in waiting:
            try:
                await self.recorder.record(event(transition))
            except LogUnavailable as error:
                # It was written before a crash, by another version of this program.
                if not isinstance(error.__cause__, EventConflict):
                    raise
        if waiting:
            await asyncio.to_thread(changes.settle, [each.id for each in waiting])
