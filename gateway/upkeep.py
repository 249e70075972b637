"""What a serving gateway does beside answering: spending and traffic written down, metrics told."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import sqlalchemy as sa

from audit.errors import AuditError
from audit.sequencer import Sequencer
from gateway.admin import admin_listener
from gateway.budgets import Budgets
from gateway.catalogue import Catalogue
from gateway.fingerprints import Fingerprints
from gateway.insight.rollups import roll_up
from gateway.limits import RequestLimits
from gateway.metrics import Metrics
from gateway.replicas import EXCHANGE_S, Learned, Replicas
from gateway.settings import Settings

# What a gateway that is killed may forget of its tenants' spending, and of answers' fingerprints.
FLUSH_S = 1.0
# Between looks for an hour of traffic that is over.
ROLL_UP_S = 300.0

_log = logging.getLogger("sealgate")


@asynccontextmanager
async def flushed(budgets: Budgets, fingerprints: Fingerprints) -> AsyncIterator[None]:
    """Keep the database's account of what was spent, and of answers' words, while entered."""

    async def keep() -> None:
        while True:
            await asyncio.sleep(FLUSH_S)
            for what, flush in (("Wording", fingerprints.flush), ("Spending", budgets.flush)):
                try:
                    await asyncio.to_thread(flush)
                except Exception as error:  # noqa: BLE001 - A task that died writes nothing more.
                    # No spending is forgotten: the next one writes it too.
                    _log.warning("%s was not written: %s", what, type(error).__name__)

    try:
        async with _beside(keep()):
            yield
    finally:
        await asyncio.to_thread(fingerprints.flush)


@asynccontextmanager
async def exchanged(limits: RequestLimits, replicas: Replicas | None) -> AsyncIterator[None]:
    """Keep the minute limits of several gateways together while entered; None for a lone one."""

    async def keep() -> None:
        while True:
            told = limits.told()
            try:
                learned = Learned()
                if replicas is not None:
                    learned = await asyncio.to_thread(replicas.exchange, told)
                # A lone gateway has nothing to learn, and forgets who is at rest all the same.
                limits.learn(learned)
            except sa.exc.SQLAlchemyError as error:
                limits.untold(told)
                _log.warning("Limits were not exchanged: %s", type(error).__name__)
            await asyncio.sleep(EXCHANGE_S)

    try:
        async with _beside(keep()):
            yield
    finally:
        # One that stays in the account is forgotten there soon.
        with contextlib.suppress(sa.exc.SQLAlchemyError):
            if replicas is not None:
                await asyncio.to_thread(replicas.leave)


@asynccontextmanager
async def rolled_up(engine: sa.Engine) -> AsyncIterator[None]:
    """Store the hours of traffic that are over, while entered."""

    async def keep() -> None:
        while True:
            try:
                await asyncio.to_thread(roll_up, engine, now_ms=int(time.time() * 1000))
            except AuditError as error:
                # Nothing is lost: the hours are in the log, and the next pass tries again.
                _log.warning("Hours of traffic were not stored: %s", error)
            await asyncio.sleep(ROLL_UP_S)

    async with _beside(keep()):
        yield


@asynccontextmanager
async def measured(
    settings: Settings, metrics: Metrics, sequencer: Sequencer, catalogue: Catalogue
) -> AsyncIterator[None]:
    """Serve the metrics while entered, if there is a port for them.

    Raises:
        GatewayNotStarted: The port cannot be listened on.
    """
    if settings.admin_port is None:
        yield
        return

    def render() -> bytes:
        metrics.log_writable.set(sequencer.writable)
        for model in catalogue.all.values():
            metrics.sandboxes_ready.labels(model.model_id).set(model.backend.ready)
            metrics.sandboxes_waited_for.labels(model.model_id).set(model.backend.waiting)
        return metrics.render()

    async with admin_listener(settings.admin_host, settings.admin_port, render):
        yield


@asynccontextmanager
async def _beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Do endless work while entered."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
