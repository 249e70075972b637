"""`/reports`: compliance reports asked for, listed, fetched and scheduled. Each is itself recorded.

Officers ask and schedule; auditors may read. docs/formats/report-v1.md says what a report is.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import Response

from audit.controls.catalogue import load
from audit.controls.errors import ControlsError, FrameworkUnknown
from gateway.api.access import admit, record
from gateway.api.asgi import read_body
from gateway.api.decoding import decode
from gateway.errors import (
    PeriodUnclear,
    ReportUnknown,
    RequestRefused,
    ScheduleExists,
    ScheduleUnknown,
)
from gateway.identity import Role
from gateway.report_calendar import Cadence
from gateway.report_making import DAY, day
from gateway.report_rows import Filed, Schedule
from gateway.reports import FORMS

READERS = frozenset({Role.OFFICER, Role.AUDITOR})
OFFICERS = frozenset({Role.OFFICER})
BODY_LIMIT_BYTES = 16 << 10

router = APIRouter(prefix="/reports")


class ReportRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """start, end: first and last day, YYYY-MM-DD in UTC; the log's first day and now if absent."""

    framework: str = "hipaa"
    start: str | None = msgspec.field(default=None, name="from")
    end: str | None = msgspec.field(default=None, name="to")


class ScheduleRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """every: `monthly` or `quarterly`, by calendar periods in UTC."""

    framework: str
    every: Cadence


_reports = msgspec.json.Decoder(ReportRequest)
_schedules = msgspec.json.Decoder(ScheduleRequest)


@router.post("", status_code=202)
async def create_report(request: Request, response: Response) -> dict[str, Any]:
    """Ask for a report; it is made in turn, and found under the id that is returned."""
    principal = await admit(request, "reports.create", roles=OFFICERS)
    asked = decode(_reports, await read_body(request.receive, limit_bytes=BODY_LIMIT_BYTES))
    start, end = _period(asked)
    try:
        filed = await request.app.state.gateway.reports.ask(
            asked.framework, start=start, end=end, requested_by=principal.credential_id
        )
    except ControlsError as error:
        raise _refused(error) from None
    await record(request, principal, "reports.create", {"report": filed.id} | _asked(filed))
    response.headers["location"] = f"/reports/{filed.id}"
    return _shown(filed)


@router.get("")
async def list_reports(request: Request) -> dict[str, Any]:
    """List the newest reports, the newest first."""
    principal = await admit(request, "reports.list", roles=READERS)
    found = await asyncio.to_thread(request.app.state.gateway.reports.shelf.newest)
    await record(request, principal, "reports.list", {"found": len(found)})
    return {"object": "list", "data": [_shown(each) for each in found]}


@router.get("/schedules")
async def list_schedules(request: Request) -> dict[str, Any]:
    """List what is reported again and again."""
    principal = await admit(request, "reports.schedules.list", roles=READERS)
    found = await asyncio.to_thread(request.app.state.gateway.reports.schedules.every)
    await record(request, principal, "reports.schedules.list", {"found": len(found)})
    return {"object": "list", "data": [_planned(each) for each in found]}


@router.post("/schedules", status_code=201)
async def create_schedule(request: Request) -> dict[str, Any]:
    """Have a report made of each calendar period, beginning with the one that runs now."""
    principal = await admit(request, "reports.schedules.create", roles=OFFICERS)
    asked = decode(_schedules, await read_body(request.receive, limit_bytes=BODY_LIMIT_BYTES))
    reports = request.app.state.gateway.reports
    try:
        load(asked.framework)
        now = datetime.now(UTC)
        made = await asyncio.to_thread(
            reports.schedules.draw, asked.framework, asked.every, now=now
        )
        detail = {"schedule": made.id, "framework": made.framework, "every": made.cadence.value}
        await record(request, principal, "reports.schedules.create", detail)
        await asyncio.to_thread(reports.schedules.add, made)
    except ControlsError as error:
        raise _refused(error) from None
    except ScheduleExists as error:
        raise RequestRefused(str(error), status=409, code="schedule_exists") from None
    return _planned(made)


@router.delete("/schedules/{schedule_id}", status_code=204)
async def delete_schedule(schedule_id: str, request: Request) -> Response:
    """End a schedule; reports that were made of it stay."""
    principal = await admit(request, "reports.schedules.delete", roles=OFFICERS)
    reports = request.app.state.gateway.reports
    try:
        await asyncio.to_thread(reports.schedules.require, schedule_id)
        await record(request, principal, "reports.schedules.delete", {"schedule": schedule_id})
        await asyncio.to_thread(reports.schedules.remove, schedule_id)
    except ScheduleUnknown:
        raise RequestRefused(
            "There is no schedule of that id.", status=404, code="schedule_not_found"
        ) from None
    return Response(status_code=204)


@router.get("/{report_id}.pdf")
async def get_pdf(report_id: str, request: Request) -> Response:
    """Return the signed PDF."""
    return await _file(report_id, "pdf", request)


@router.get("/{report_id}.p7s")
async def get_signature(report_id: str, request: Request) -> Response:
    """Return the PDF's signature by itself: CMS, of the file without what the hole holds."""
    return await _file(report_id, "p7s", request)


@router.get("/{report_id}.summary.json")
async def get_summary(report_id: str, request: Request) -> Response:
    """Return the report's summary."""
    return await _file(report_id, "summary.json", request)


@router.get("/{report_id}.json")
async def get_oscal(report_id: str, request: Request) -> Response:
    """Return the report as OSCAL assessment results."""
    return await _file(report_id, "json", request)


@router.get("/{report_id}")
async def get_report(report_id: str, request: Request) -> dict[str, Any]:
    """Tell what became of a report."""
    principal = await admit(request, "reports.get", roles=READERS)
    filed = await _found(request, report_id)
    await record(request, principal, "reports.get", {"report": filed.id})
    return _shown(filed)


async def _file(report_id: str, form: str, request: Request) -> Response:
    principal = await admit(request, "reports.download", roles=READERS)
    filed = await _found(request, report_id)
    content = await asyncio.to_thread(request.app.state.gateway.reports.file, filed, form)
    await record(request, principal, "reports.download", {"report": filed.id, "form": form})
    headers = {
        "content-disposition": f'attachment; filename="{filed.framework}-{filed.id}.{form}"',
        "cache-control": "private, no-store",
    }
    return Response(content, media_type=FORMS[form], headers=headers)


async def _found(request: Request, report_id: str) -> Filed:
    try:
        filed: Filed = await asyncio.to_thread(
            request.app.state.gateway.reports.shelf.find, report_id
        )
    except ReportUnknown:
        raise RequestRefused(
            "No report of that id was asked for.", status=404, code="report_not_found"
        ) from None
    return filed


def _period(asked: ReportRequest) -> tuple[datetime | None, datetime | None]:
    try:
        start = None if asked.start is None else day(asked.start)
        end = None if asked.end is None else day(asked.end) + DAY
    except PeriodUnclear as error:
        raise RequestRefused(str(error), code="invalid_period") from None
    return start, end


def _refused(error: ControlsError) -> RequestRefused:
    if isinstance(error, FrameworkUnknown):
        return RequestRefused(str(error), param="framework", code="unknown_framework")
    return RequestRefused(str(error), param="from", code="invalid_period")


def _asked(filed: Filed) -> dict[str, Any]:
    last = filed.end - timedelta(microseconds=1) if filed.end else None
    return {
        "framework": filed.framework,
        "from": f"{filed.start:%Y-%m-%d}" if filed.start else None,
        "to": f"{last:%Y-%m-%d}" if last else None,
    }


def _shown(filed: Filed) -> dict[str, Any]:
    """Return what a report's row says, as JSON."""
    return {
        "object": "report",
        "id": filed.id,
        "status": filed.status,
        **_asked(filed),
        "requested": int(filed.requested.timestamp()),
        "requested_by": filed.requested_by,
        "schedule": filed.schedule,
        "finished": int(filed.finished.timestamp()) if filed.finished else None,
        "sha256": filed.sha256,
        "counts": filed.told.get("counts"),
        "log_size": filed.told.get("log_size"),
        "problem": filed.told.get("problem"),
    }


def _planned(schedule: Schedule) -> dict[str, Any]:
    return {
        "object": "report.schedule",
        "id": schedule.id,
        "framework": schedule.framework,
        "every": schedule.cadence.value,
        "created": int(schedule.created.timestamp()),
        "from": f"{schedule.since:%Y-%m-%d}",
    }
