"""Reports: asked for, listed, fetched, scheduled and checked. Officers ask; auditors may read."""

import asyncio
import hashlib
from datetime import UTC, datetime, timedelta

from starlette.responses import Response

from audit.controls.catalogue import FRAMEWORKS, load
from audit.controls.errors import ControlsError
from gateway.console.report_check import Checked, checked
from gateway.console.visit import Visit
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
from gateway.report_rows import Filed
from gateway.reports import FORMS

_SIGNED = b"%PDF-"


async def show(visit: Visit) -> Response:
    """List reports and schedules; that somebody looked is an entry."""
    return await _page(visit, done=visit.request.query_params.get("done"))


async def create(visit: Visit) -> Response:
    """Ask for a report."""
    form, reports = visit.form, visit.gateway.reports
    framework = form.text("framework", limit=32)
    try:
        start, end = _days(form.text("from", limit=10), form.text("to", limit=10))
        filed = await reports.ask(
            framework, start=start, end=end, requested_by=visit.principal.credential_id
        )
    except (ControlsError, PeriodUnclear):
        return await _page(visit, told="period", status=400)
    detail = {"report": filed.id, "framework": framework, **_asked(filed)}
    await visit.record("reports.create", detail)
    return visit.to(f"/console/reports/{filed.id}")


async def show_one(visit: Visit) -> Response:
    """Tell what became of a report."""
    filed = await _found(visit)
    await visit.record("reports.get", {"report": filed.id})
    return visit.page(
        "report.html",
        filed=filed,
        title=_titles()[filed.framework],
        last=_last(filed),
        waiting=filed.status in ("queued", "running"),
    )


async def file(visit: Visit) -> Response:
    """Return a report's file in a form."""
    form = visit.request.path_params["form"]
    if form not in FORMS:
        raise RequestRefused("A report has no such form.", status=404, code="unknown_url")
    filed = await _found(visit)
    content = await asyncio.to_thread(visit.gateway.reports.file, filed, form)
    await visit.record("reports.download", {"report": filed.id, "form": form})
    name = f"{filed.framework}-{filed.id}.{form}"
    return Response(
        content,
        media_type=FORMS[form],
        headers={"content-disposition": f'attachment; filename="{name}"'},
    )


async def schedule(visit: Visit) -> Response:
    """Have a report made of each calendar period."""
    framework, every = visit.form.text("framework", limit=32), visit.form.text("every", limit=16)
    if framework not in FRAMEWORKS or every not in set(Cadence):
        raise RequestRefused("The form holds a word that means nothing.", code="invalid_form")
    now, schedules = datetime.now(UTC), visit.gateway.reports.schedules
    try:
        made = await asyncio.to_thread(schedules.draw, framework, Cadence(every), now=now)
        detail = {"schedule": made.id, "framework": framework, "every": every}
        await visit.record("reports.schedules.create", detail)
        await asyncio.to_thread(schedules.add, made)
    except ScheduleExists:
        return await _page(visit, told="scheduled", status=409)
    return visit.to("/console/reports?done=scheduled")


async def unschedule(visit: Visit) -> Response:
    """End a schedule; its reports stay."""
    identifier = visit.request.path_params["schedule_id"]
    schedules = visit.gateway.reports.schedules
    try:
        await asyncio.to_thread(schedules.require, identifier)
        await visit.record("reports.schedules.delete", {"schedule": identifier})
        await asyncio.to_thread(schedules.remove, identifier)
    except ScheduleUnknown:
        raise RequestRefused(
            "There is no schedule of that id.", status=404, code="schedule_not_found"
        ) from None
    return visit.to("/console/reports?done=ended")


async def check(visit: Visit) -> Response:
    """Check a report that somebody handed over: whose is it, and is it unchanged."""
    pdf = visit.form.files.get("file", b"")
    if not pdf.startswith(_SIGNED):
        return await _page(visit, told="pdf", status=400)
    keys = visit.console.desk.keys.broker
    public = await asyncio.to_thread(lambda: keys.document_key().public)
    found = await asyncio.to_thread(checked, pdf, log=visit.gateway.log, public_keys=[public])
    detail = {"sha256": hashlib.sha256(pdf).hexdigest(), "holds": found.holds}
    await visit.record("report.verify", detail)
    return await _page(visit, found=found, recorded=False)


async def _page(
    visit: Visit,
    *,
    done: str | None = None,
    told: str | None = None,
    found: Checked | None = None,
    status: int = 200,
    recorded: bool = True,
) -> Response:
    reports = visit.gateway.reports
    filed = await asyncio.to_thread(reports.shelf.newest)
    schedules = await asyncio.to_thread(reports.schedules.every)
    if recorded:
        await visit.record("reports.list", {"found": len(filed)})
    return visit.page(
        "reports.html",
        status=status,
        reports=filed,
        schedules=schedules,
        frameworks=_titles(),
        cadences=[each.value for each in Cadence],
        officer=visit.principal.role is Role.OFFICER,
        last=_last,
        done=done if done in ("scheduled", "ended") else None,
        told=told,
        found=found,
    )


async def _found(visit: Visit) -> Filed:
    try:
        return await asyncio.to_thread(
            visit.gateway.reports.shelf.find, visit.request.path_params["report_id"]
        )
    except ReportUnknown:
        raise RequestRefused(
            "No report of that id was asked for.", status=404, code="report_not_found"
        ) from None


def _titles() -> dict[str, str]:
    return {name: load(name).title for name in FRAMEWORKS}


def _days(start: str, last: str) -> tuple[datetime | None, datetime | None]:
    return day(start) if start else None, day(last) + DAY if last else None


def _last(filed: Filed) -> datetime | None:
    """Return a moment of the period's last day."""
    return filed.end - timedelta(microseconds=1) if filed.end else None


def _asked(filed: Filed) -> dict[str, str | None]:
    last = _last(filed)
    return {
        "from": f"{filed.start:%Y-%m-%d}" if filed.start else None,
        "to": f"{last:%Y-%m-%d}" if last else None,
    }
