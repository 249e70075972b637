"""Reports of a serving gateway: asked for, made one after another beside it, and kept.

Who asks is answered at once; the report is there some seconds later. What is queued outlives the
gateway. A report is ready only when its digest is an entry of the log.
"""

import asyncio
import hashlib
import logging
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from audit.controls.catalogue import load
from audit.controls.scope import Period
from audit.errors import AuditError
from gateway import logbook
from gateway.catalogue import Catalogue
from gateway.errors import GatewayError, RequestRefused
from gateway.home import Home
from gateway.recorder import Recorder
from gateway.report_facts import facts, key_fact, model_fact
from gateway.report_making import DAY
from gateway.report_process import make_apart
from gateway.report_rows import READY, Filed, maker
from gateway.report_schedules import Schedules
from gateway.report_shelf import Shelf
from gateway.settings import Settings
from privacy.broker import BrokerClient
from privacy.errors import PrivacyError

LOOK_S = 60.0
LIMIT_S = 3600.0
QUEUE_LIMIT = 16
# What a report's file can be had as: the part of a route after its id, and its media type.
FORMS = {
    "pdf": "application/pdf",
    "p7s": "application/pkcs7-signature",
    "json": "application/json",
    "summary.json": "application/json",
}

# What lies beside the PDF, by its suffix there.
_TWINS = {"json": "oscal.json", "summary.json": "summary.json"}

_log = logging.getLogger("sealgate")


@dataclass(frozen=True, slots=True)
class Workshop:
    """What reports are made from and with, in a gateway that serves."""

    settings: Settings
    home: Home
    engine: sa.Engine
    keys: BrokerClient
    catalogue: Catalogue
    recorder: Recorder

    @property
    def maker(self) -> str:
        """Name this home among those that share the tables."""
        return maker(self.home.path)


class Reports:
    """The reports of one gateway. Its methods but `ask` may be called from any thread."""

    def __init__(self, workshop: Workshop) -> None:
        self._workshop = workshop
        self.shelf = Shelf(workshop.engine)
        self.schedules = Schedules(workshop.engine)
        self._awake = asyncio.Event()
        self._asking = asyncio.Lock()

    async def ask(
        self,
        framework: str,
        *,
        start: datetime | None,
        end: datetime | None,
        requested_by: str,
    ) -> Filed:
        """Queue a report.

        Raises:
            ControlsError: There is no such framework, or the period is empty or in the future.
            RequestRefused: 429, too many wait already.
        """
        now = datetime.now(UTC)
        load(framework)
        _require_period(start, end, now)
        own = self._workshop.maker
        # One at a time: a crowd must not find room for each where there is room for one.
        async with self._asking:
            if await asyncio.to_thread(self.shelf.waiting, own) >= QUEUE_LIMIT:
                raise _crowded()
            filed = await asyncio.to_thread(
                lambda: self.shelf.ask(
                    framework, start=start, end=end, requested_by=requested_by, maker=own, now=now
                )
            )
        self._awake.set()
        return filed

    def file(self, filed: Filed, form: str) -> bytes:
        """Return a report's file in a form.

        Raises:
            RequestRefused: 409, it is not ready; 404, its file lies elsewhere, is gone or is not
                what the log has the digest of.
        """
        if filed.status != READY or filed.file is None:
            raise RequestRefused(
                f"The report is {filed.status}. GET /reports/{filed.id} says more.",
                status=409,
                code="report_not_ready",
            )
        pdf = self._workshop.home.reports / filed.file
        try:
            if form in _TWINS:
                return pdf.with_suffix(f".{_TWINS[form]}").read_bytes()
            content = pdf.read_bytes()
        except OSError:
            raise _missing() from None
        if hashlib.sha256(content).hexdigest() != filed.sha256:
            raise _missing()
        if form != "p7s":
            return content
        from audit.report.hole import detached  # noqa: PLC0415 - what reads ASN.1 is large.

        return detached(content)

    async def work(self) -> None:
        """Make what is queued or falls due, for ever."""
        own, resumed = self._workshop.maker, False
        while True:
            self._awake.clear()
            try:
                if not resumed:
                    await asyncio.to_thread(self.shelf.resume, own, now=datetime.now(UTC))
                    resumed = True
                await self._work_off()
            except Exception as error:  # noqa: BLE001 - A task that died makes no report again.
                # Nothing is forgotten: what was taken is failed, or queued again.
                _log.warning("Reports have to wait: %s", type(error).__name__)
                resumed = False
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._awake.wait()

    async def _work_off(self) -> None:
        own = self._workshop.maker
        await asyncio.to_thread(self.schedules.plan, own, now=datetime.now(UTC))
        while (filed := await asyncio.to_thread(self.shelf.take, own)) is not None:
            try:
                await self._make(filed)
            except (GatewayError, AuditError, PrivacyError) as error:
                _log.error("The report %s was not made: %s", filed.id, error)
                await self._failed(filed, str(error))

    async def _make(self, filed: Filed) -> None:
        # 1. Made and on disk. 2. Its digest in the log. 3. Only then is it there for others.
        file = f"{filed.framework}-{filed.id}.pdf"
        order = await asyncio.to_thread(self._order, filed, file)
        made = await make_apart(order, sign=self._workshop.keys.sign_document, limit_s=LIMIT_S)
        detail = {
            "framework": filed.framework,
            "file": file,
            "sha256": made["sha256"],
            "log_size": made["log_size"],
            "report": filed.id,
            "requested_by": filed.requested_by,
        }
        await self._note("report.generated", detail)
        told = {name: made[name] for name in ("counts", "log_size", "problem")}
        await asyncio.to_thread(
            lambda: self.shelf.finish(
                filed.id, file=file, sha256=made["sha256"], told=told, now=datetime.now(UTC)
            )
        )

    async def _failed(self, filed: Filed, problem: str) -> None:
        await asyncio.to_thread(
            lambda: self.shelf.fail(filed.id, problem=problem, now=datetime.now(UTC))
        )
        await self._note("report.failed", {"framework": filed.framework, "report": filed.id})

    async def _note(self, operation: str, detail: Mapping[str, Any]) -> None:
        uid = f"sys_{secrets.token_hex(12)}"
        now = datetime.now(UTC)
        await self._workshop.recorder.record(
            logbook.system(operation, uid=uid, now=now, detail=detail)
        )

    def _order(self, filed: Filed, file: str) -> dict[str, Any]:
        """Say what is to be made, from what and by whom it is to be trusted."""
        shop = self._workshop
        key = shop.keys.document_key()
        return {
            "location": str(shop.settings.log_location),
            "framework": filed.framework,
            "start": filed.start.isoformat() if filed.start else None,
            "end": filed.end.isoformat() if filed.end else None,
            "origin": shop.settings.origin,
            "trusted": [each.hex() for each in shop.keys.public_keys("checkpoint")],
            "history": [each.hex() for each in shop.keys.history("checkpoint")],
            "report_key": key.public.hex(),
            "report_key_created_s": key.created_s,
            "facts": _facts(shop),
            "archive": str(shop.home.archive),
            "pdf": str(shop.home.reports / file),
        }


@asynccontextmanager
async def kept(workshop: Workshop) -> AsyncIterator[Reports]:
    """Serve reports while entered; one that is being made as it ends is made after the next start.

    Raises:
        LogUnavailable: The tables cannot be made.
    """
    reports = await asyncio.to_thread(Reports, workshop)
    task = asyncio.create_task(reports.work())
    try:
        yield reports
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _missing() -> RequestRefused:
    return RequestRefused(
        "The report's file is not here: another gateway made it, or it was moved or changed.",
        status=404,
        code="report_file_missing",
    )


def _crowded() -> RequestRefused:
    return RequestRefused(
        f"{QUEUE_LIMIT} reports wait already. Ask again when one of them is ready.",
        status=429,
        kind="rate_limit_error",
        code="too_many_reports",
        retry_after_s=LOOK_S,
    )


def _require_period(start: datetime | None, end: datetime | None, now: datetime) -> None:
    if start is not None:
        Period(start, end or max(now, start + DAY)).require_begun(now)


def _facts(shop: Workshop) -> dict[str, Any]:
    return facts(
        shop.engine,
        shop.settings,
        keys=[
            key_fact(
                each["name"],
                created_s=each["created_s"],
                epoch=each["epoch"],
                state=each["state"],
            )
            for each in shop.keys.list_keys()
        ],
        models=[
            model_fact(each.model_id, digest=each.digest, generation=each.generation)
            for each in shop.catalogue.all.values()
        ],
    )
