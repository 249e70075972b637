"""Text of requests kept beside the log, where the policy says for how long and the settings let it.

What is kept is encrypted under the key of whom it concerns, and its digest is in the request's own
entries: `audit.content`. Without a place nothing is kept, whatever a policy says.
"""

import asyncio
import json
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Protocol

import sqlalchemy as sa

from audit import forgetting
from audit.content import Contents, Text
from audit.errors import AuditError
from audit.sequencer import Sequencer
from gateway import logbook
from gateway.ocsf import Event
from gateway.question import Question
from gateway.settings import Settings
from privacy.errors import PrivacyError

PROMPT, ANSWER = "prompt", "answer"
DAY_MS = 86_400_000
LOOK_S = 60.0
# No request waits here: a slow disk gets time.
RECORD_LIMIT_S = 30.0
# No tenant's name and no pseudonym has a slash.
_KEYS = ("audit-hmac", b"sealgate/content-keys")

_log = logging.getLogger("sealgate")


class Keys(Protocol):
    """What wraps the subjects' keys: a client of the key broker, or an open keyring."""

    def derive(self, purpose: str, *context: bytes, epoch: int | None = None) -> bytes:
        """Derive 32 bytes."""
        ...

    def epochs(self, purpose: str) -> list[int]:
        """Return the epochs that can be derived from, the active one first."""
        ...


def contents(engine: sa.Engine, keys: Keys) -> Contents:
    """Return the side table of a log, under a deployment's keys."""
    purpose, context = _KEYS

    def derived() -> Sequence[bytes]:
        return [keys.derive(purpose, context, epoch=epoch) for epoch in keys.epochs(purpose)]

    return Contents(engine, derived)


def subject(question: Question) -> str:
    """Return under whose key a request's text is kept."""
    return question.pseudonym or f"tenant/{question.principal.tenant}"


class Keeper:
    """Keeps text. place: None where the settings want none kept."""

    def __init__(self, place: Contents | None = None) -> None:
        self._place = place

    async def keep(self, question: Question, kind: str, text: bytes) -> dict[str, Any]:
        """Return what the request's entry says of what is kept: nothing, where nothing is.

        Raises:
            LogUnavailable: It is not kept; the request must not go on.
            PrivacyError: The keys cannot be used.
        """
        days = int((question.policy or {}).get("retention_days", 0))
        if self._place is None or not days:
            return {}
        until_ms = time.time_ns() // 1_000_000 + days * DAY_MS
        kept = Text(
            question.request_id, kind, subject(question), question.principal.tenant, until_ms, text
        )
        digest = await asyncio.to_thread(self._place.keep, kept)
        return {"content": {"digest": digest.hex(), "until_ms": until_ms}}


def answered(texts: Sequence[str]) -> bytes:
    """Return an answer's texts as they are kept."""
    return json.dumps(list(texts), ensure_ascii=False).encode()


@asynccontextmanager
async def kept_content(
    settings: Settings, engine: sa.Engine, keys: Keys, sequencer: Sequencer
) -> AsyncIterator[Keeper]:
    """Keep text if the settings want it, and delete what was kept long enough, while entered."""

    def record(event: Event) -> None:
        sequencer.submit(event).result(RECORD_LIMIT_S)

    task = asyncio.create_task(_again(engine, record))
    try:
        yield Keeper(contents(engine, keys) if settings.keep_content else None)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _again(engine: sa.Engine, record: Callable[[Event], Any]) -> None:
    while True:
        try:
            await asyncio.to_thread(expire, engine, record)
        except (AuditError, PrivacyError, TimeoutError) as error:
            _log.warning("Kept content was not all deleted: %s", error)
        await asyncio.sleep(LOOK_S)


def expire(engine: sa.Engine, record: Callable[[Event], Any]) -> forgetting.Shredded:
    """Delete what has been kept long enough, and say so in the log first.

    Raises:
        LogUnavailable: The log cannot be used.
    """

    def tell(number: int) -> None:
        uid = f"sys_{secrets.token_hex(12)}"
        detail = {"contents": number}
        record(logbook.system("content.expired", uid=uid, now=datetime.now(UTC), detail=detail))

    return forgetting.expire(engine, now_ms=time.time_ns() // 1_000_000, record=tell)
