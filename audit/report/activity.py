"""Requests and their latency, access and denials, authentication."""

from collections.abc import Sequence
from datetime import date
from typing import Any

from reportlab.platypus import Flowable, KeepTogether

from audit.controls.findings import counted
from audit.report import typography as look
from audit.report.charts import Series, draw_daily, draw_histogram, draw_shares
from audit.report.dossier import Dossier
from audit.report.layout import heading, table

MOST_CREDENTIALS = 25
MOST_REASONS = 8
LATENCY_LABELS = {
    0: "< 0.1",
    100: "0.1-0.25",
    250: "0.25-0.5",
    500: "0.5-1",
    1000: "1-2",
    2000: "2-5",
    5000: "5-10",
    10000: "10-30",
    30000: ">= 30",
}


def requests(dossier: Dossier) -> list[Flowable]:
    """Print how many requests were answered, and how fast."""
    endings = dossier.rows("endings")
    return [
        *heading("Requests and latency"),
        *_volume(dossier),
        *_latency(dossier),
        table(
            ["How requests that were let in ended", "Requests", "Tokens generated"],
            [[each["ending"], each["requests"], each["completion_tokens"]] for each in endings]
            or [["no request was let in during the period", "", ""]],
            [60, 20, 20],
            numbers=[1, 2],
        ),
    ]


def access(dossier: Dossier) -> list[Flowable]:
    """Print who asked, and who was turned away and why."""
    people = dossier.rows("access_by_credential")
    queries = sum(each["queries"] for each in dossier.rows("officer_queries"))
    more = len(people) - MOST_CREDENTIALS
    note = f" The {MOST_CREDENTIALS} busiest are listed; {more:,} more are not." if more > 0 else ""
    return [
        *heading("Access and denials"),
        look.text(
            f"{counted(len(people), 'caller')}, by credential, and "
            f"{counted(queries, 'query', 'queries')} of officers, auditors or operators about "
            f"others' requests.{note}"
        ),
        *_denials(dossier),
        table(
            ["Credential", "Identifier", "Tenant", "Role", "Requests", "Queries", "Denials"],
            [_person(each) for each in people[:MOST_CREDENTIALS]]
            or [["nobody asked in the period", "", "", "", "", "", ""]],
            [22, 25, 13, 12, 10, 9, 9],
            numbers=[4, 5, 6],
        ),
    ]


def authentication(dossier: Dossier) -> list[Flowable]:
    """Print how callers proved who they are."""
    row = dossier.row("authentication")
    checked = [
        ("Requests and queries let in", row["requests"]),
        ("Of these, without a known credential", row["requests_unknown"]),
        ("Answered requests", row["answered"]),
        ("Of these, without a known credential", row["answered_unknown"]),
        ("Attempts without a valid credential", row["rejected"]),
        ("Attempts outside the credential's role", row["forbidden"]),
    ]
    changes = dossier.rows("credential_changes")
    return [
        *heading("Authentication"),
        *_failures(dossier),
        table(["Authentication in the period", "Events"], checked, [80, 20], numbers=[1]),
        table(
            ["Means of authentication", "Requests and queries"],
            [[each["issuer"], each["requests"]] for each in dossier.rows("authentication_methods")]
            or [["none recorded", 0]],
            [70, 30],
            numbers=[1],
        ),
        table(
            ["Changes of credentials", "Events"],
            [[each["operation"], each["events"]] for each in changes] or [["none recorded", 0]],
            [80, 20],
            numbers=[1],
        ),
    ]


def _failures(dossier: Dossier) -> list[Flowable]:
    rows = {each["day"]: each for each in dossier.rows("authentication_daily")}
    if not rows:
        return [look.text("No attempt to authenticate failed in the period.")]
    days = dossier.days()
    series = [
        Series("no valid credential", look.FAILED, _counts(days, rows, "rejected")),
        Series("outside the role", look.DENIED, _counts(days, rows, "forbidden")),
    ]
    return [
        KeepTogether(
            [
                draw_daily(days, series, unit="attempts"),
                look.text("Attempts that were turned away, by day.", "caption"),
            ]
        )
    ]


def _volume(dossier: Dossier) -> list[Flowable]:
    rows = {each["day"]: each for each in dossier.rows("daily_volume")}
    if not rows:
        return [look.text("No request was answered, denied or broken off in the period.")]
    days = dossier.days()
    series = [
        Series("answered", look.ANSWERED, _counts(days, rows, "answered")),
        Series("denied", look.DENIED, _counts(days, rows, "denied")),
        Series("failed", look.FAILED, _counts(days, rows, "failed")),
    ]
    return [
        KeepTogether(
            [
                draw_daily(days, series, unit="requests"),
                look.text(
                    "Daily volume: requests answered in full, denied before a model ran, and "
                    "failed (every other ending, a caller who left among them).",
                    "caption",
                ),
            ]
        )
    ]


def _latency(dossier: Dossier) -> list[Flowable]:
    rows = {each["from_ms"]: each["answers"] for each in dossier.rows("latency")}
    if not rows:
        return [look.text("No answer was completed in the period, so there is no latency.")]
    summary = dossier.row("latency_summary")
    answers = Series("answers", look.ANSWERED, tuple(rows.get(each, 0) for each in LATENCY_LABELS))
    return [
        KeepTogether(
            [
                draw_histogram(
                    list(LATENCY_LABELS.values()),
                    answers,
                    across="seconds from request to the answer's end",
                    up="answers",
                ),
                look.text(
                    f"Latency of {summary['answers']:,} completed answers: median "
                    f"{summary['median_ms']:,} ms, 95th percentile {summary['p95_ms']:,} ms "
                    "(nearest rank).",
                    "caption",
                ),
            ]
        )
    ]


def _denials(dossier: Dossier) -> list[Flowable]:
    rows = dossier.rows("denials_by_reason")
    if not rows:
        return [look.text("No request was denied in the period.")]
    shown = [(each["reason"], each["denials"]) for each in rows[:MOST_REASONS]]
    others = sum(each["denials"] for each in rows[MOST_REASONS:])
    if others:
        shown.append(("other reasons", others))
    bars = [Series(look.shortened(reason, 26), look.DENIED, (number,)) for reason, number in shown]
    anonymous = sum(each["anonymous"] for each in rows)
    return [
        KeepTogether(
            [
                draw_shares(bars, across="denials"),
                look.text(
                    f"Denials by reason; {anonymous:,} of them by callers without a known "
                    "credential.",
                    "caption",
                ),
            ]
        )
    ]


def _person(row: dict[str, Any]) -> list[object]:
    return [
        look.shortened(str(row["name"])),
        look.shortened(str(row["user_uid"]), 32),
        look.shortened(str(row["tenant"]), 40),
        row["user_type"],
        row["requests"],
        row["queries"],
        row["denials"],
    ]


def _counts(days: Sequence[date], rows: dict[str, dict[str, Any]], column: str) -> tuple[int, ...]:
    return tuple(rows.get(day.isoformat(), {}).get(column, 0) for day in days)
