"""Anchors as the settings name them, handed the newest checkpoint again and again.

A place that fails is told to the operator's log and tried again; nothing waits for it.
"""

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from cryptography import x509

from audit import anchoring
from audit.anchoring import ANCHORED, Attempt
from audit.anchors.file import FileAnchor
from audit.anchors.kinds import Anchor
from audit.anchors.witness import Witness, WitnessKey
from audit.errors import AnchorFailed, AuditError, TileUnknown
from audit.publication import publish
from gateway import logbook, ocsf
from gateway.errors import ExtraMissing, SettingsInvalid
from gateway.ocsf import Actor, Event
from gateway.settings import Settings

_log = logging.getLogger("sealgate")


@dataclass(frozen=True, slots=True)
class Trust:
    """Whose checkpoints count. earlier: keys from before the log's key was rotated."""

    origin: str
    public_key: bytes
    earlier: Sequence[bytes]


def anchors(settings: Settings) -> list[Anchor]:
    """Return the places that the settings name; none for an unanchored log.

    Raises:
        SettingsInvalid: A place lacks what belongs to it.
        ExtraMissing: A place needs an extra that is not installed.
    """
    places: list[Anchor] = []
    if settings.anchor_file is not None:
        places.append(FileAnchor(settings.anchor_file.expanduser().absolute()))
    if settings.anchor_timestamp_url is not None:
        places.append(_authority(settings.anchor_timestamp_url, settings))
    if settings.anchor_witness_url is not None:
        places.append(_witness(settings.anchor_witness_url, settings))
    if settings.anchor_s3_bucket is not None:
        places.append(_bucket(settings.anchor_s3_bucket, settings))
    return places


def held_against(engine: sa.Engine, places: Sequence[Anchor], trust: Trust) -> None:
    """Hold the log against the newest checkpoint of each place, as a start does.

    Raises:
        LogTampered: The log does not extend it, or the place lost it.
        LogUnavailable: The log cannot be read.
    """
    for place in places:
        try:
            anchoring.check_newest(
                engine,
                [place],
                origin=trust.origin,
                public_key=trust.public_key,
                earlier=trust.earlier,
            )
        except AnchorFailed as error:
            _log.warning("An anchor cannot be asked: %s", error)


@asynccontextmanager
async def kept_anchored(
    engine: sa.Engine, settings: Settings, places: Sequence[Anchor], submit: Callable[[Event], Any]
) -> AsyncIterator[None]:
    """Anchor and publish every `anchor_every_s` while the block runs, and once more as it ends.

    submit: writes an entry, and need not wait for it.
    """

    def once() -> None:
        for attempt in _once(engine, settings, places):
            _tell(attempt, submit)

    task = asyncio.create_task(_again(once, settings.anchor_every_s))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        # Without an entry of its own, which no anchor would cover.
        await asyncio.to_thread(_once, engine, settings, places)


def anchored_event(attempt: Attempt, *, actor: Actor = ocsf.SYSTEM) -> Event:
    """Build the entry of a checkpoint that a place took; a file is named without its directory."""
    place = Path(attempt.place).name if attempt.kind == "file" else attempt.place
    return logbook.system(
        ANCHORED,
        uid=f"sys_{secrets.token_hex(12)}",
        now=datetime.now(UTC),
        actor=actor,
        detail={
            "kind": attempt.kind,
            "place": place,
            "size": attempt.size,
            "lag_ms": attempt.lag_ms,
        },
    )


def _tell(attempt: Attempt, submit: Callable[[Event], Any]) -> None:
    if attempt.problem is None and attempt.news:
        # A log that takes no entry is told of by those who need one.
        with contextlib.suppress(AuditError):
            submit(anchored_event(attempt))


async def _again(once: Callable[[], None], every_s: float) -> None:
    while True:
        try:
            # What runs in the thread ends there: a cancelled wait does not leave half a line.
            await asyncio.shield(asyncio.to_thread(once))
        except Exception:  # noqa: BLE001 - A task that died anchors nothing, and tells nobody.
            _log.exception("The log was not anchored.")
        await asyncio.sleep(every_s)


def _once(engine: sa.Engine, settings: Settings, places: Sequence[Anchor]) -> list[Attempt]:
    try:
        if settings.tiles_directory is not None:
            publish(engine, settings.tiles_directory.expanduser().absolute())
        attempts = anchoring.anchor(engine, places, now_ms=time.time_ns() // 1_000_000)
    except TileUnknown:
        return []
    except AuditError as error:
        _log.error("The log was not anchored: %s", error)
        return []
    for attempt in attempts:
        if attempt.problem is not None:
            _log.warning("%s has no checkpoint: %s", attempt.place, attempt.problem)
    return attempts


def _authority(url: str, settings: Settings) -> Anchor:
    if settings.anchor_timestamp_roots is None:
        raise SettingsInvalid("anchor_timestamp_url needs anchor_timestamp_roots.")
    try:
        from audit.anchors.timestamp import TimestampAuthority  # noqa: PLC0415 - An extra.

        data = settings.anchor_timestamp_roots.expanduser().read_bytes()
        return TimestampAuthority(url, tuple(x509.load_pem_x509_certificates(data)))
    except ModuleNotFoundError:
        raise ExtraMissing(
            "anchor_timestamp_url needs an extra: pip install 'sealgate[anchors]'."
        ) from None
    except (OSError, ValueError) as error:
        raise SettingsInvalid(f"anchor_timestamp_roots holds no certificate: {error}.") from None


def _witness(url: str, settings: Settings) -> Anchor:
    if settings.anchor_witness_key is None:
        raise SettingsInvalid("anchor_witness_url needs anchor_witness_key.")
    try:
        return Witness(url, WitnessKey.decode(settings.anchor_witness_key))
    except AnchorFailed as error:
        raise SettingsInvalid(f"anchor_witness_key: {error}") from None


def _bucket(name: str, settings: Settings) -> Anchor:
    try:
        import boto3  # type: ignore[import-not-found, import-untyped, unused-ignore]  # noqa: PLC0415 - An extra.
    except ModuleNotFoundError:
        raise ExtraMissing(
            "anchor_s3_bucket needs an extra: pip install 'sealgate[anchors]'."
        ) from None
    from audit.anchors.s3 import Bucket  # noqa: PLC0415 - Goes with the extra.

    return Bucket(
        boto3.client("s3", endpoint_url=settings.anchor_s3_endpoint),
        name,
        prefix=settings.anchor_s3_prefix,
        retention_days=settings.retention_days,
    )
