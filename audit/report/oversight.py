"""Who watches the watcher: incidents, how fast the log acknowledges, and its anchors."""

from typing import Any

from reportlab.platypus import Flowable, KeepTogether

from audit.report import typography as look
from audit.report.charts import Series, draw_daily_peak, draw_histogram
from audit.report.dossier import Dossier
from audit.report.layout import heading, table

LISTED = 50
ACKNOWLEDGED_LABELS = {
    0: "< 1",
    1: "1-2",
    2: "2-5",
    5: "5-10",
    10: "10-25",
    25: "25-100",
    100: "100-250",
    250: ">= 250",
}


def incidents(dossier: Dossier) -> list[Flowable]:
    """Print what could be an incident, and what was recorded of handling one."""
    rows = dossier.rows("incident_events")
    signs = _signs(dossier)
    return [
        *heading("Incidents"),
        look.text(
            "Signs in the records that somebody should look at. None of them is an incident by "
            "itself; whether one was is for the organisation to find and record."
        ),
        table(["Sign", "Number"], signs, [80, 20], numbers=[1]),
        look.text("Steps on record", "subheading"),
        table(
            ["Day", "Entry", "Step", "Incident", "Severity"],
            [_step(each) for each in rows] or [["no step is recorded", "", "", "", ""]],
            [15, 12, 27, 30, 16],
            numbers=[1],
        ),
        *([look.text(f"The first {LISTED} are listed.")] if len(rows) == LISTED else []),
    ]


def acknowledgement(dossier: Dossier) -> list[Flowable]:
    """Print how long the log took to acknowledge entries, where entries say."""
    rows = {each["from_ms"]: each["entries"] for each in dossier.rows("acknowledgement")}
    if not rows:
        return [look.text("The entries do not say how long the log took to acknowledge them.")]
    summary = dossier.row("acknowledgement_summary")
    entries = Series(
        "entries", look.ANSWERED, tuple(rows.get(each, 0) for each in ACKNOWLEDGED_LABELS)
    )
    return [
        KeepTogether(
            [
                draw_histogram(
                    list(ACKNOWLEDGED_LABELS.values()),
                    entries,
                    across="milliseconds until an entry was on disk",
                    up="entries",
                ),
                look.text(
                    f"Acknowledgement of {summary['entries']:,} entries by the log: median "
                    f"{summary['median_ms']:,} ms, 99th percentile {summary['p99_ms']:,} ms "
                    "(nearest rank).",
                    "caption",
                ),
            ]
        )
    ]


def anchors(dossier: Dossier) -> list[Flowable]:
    """Print where the log's checkpoints were put out of its own reach."""
    rows = dossier.rows("anchors")
    if not rows:
        return [*_places(dossier), look.text("No entry of the period records an anchor.")]
    return [
        *_places(dossier),
        *_lag(dossier),
        table(
            ["Anchored at", "Days", "Times", "Newest size", "Longest lag (ms)"],
            [_kind(kind, [each for each in rows if each["kind"] == kind])
             for kind in sorted({each["kind"] for each in rows})],
            [32, 14, 17, 18, 19],
            numbers=[1, 2, 3, 4],
        )
    ]  # fmt: skip


def _kind(kind: str, rows: list[dict[str, Any]]) -> list[object]:
    """Put the days of one kind of place together: a month of rows would hide what matters."""
    return [
        kind,
        len(rows),
        sum(each["anchors"] for each in rows),
        max(each["size"] for each in rows),
        max(each["longest_lag_ms"] for each in rows),
    ]


def _lag(dossier: Dossier) -> list[Flowable]:
    """Draw how long entries waited for an anchor, at whichever place was the slowest."""
    longest: dict[str, int] = {}
    for each in dossier.rows("anchors"):
        longest[each["day"]] = max(longest.get(each["day"], 0), each["longest_lag_ms"])
    days = dossier.days()
    seconds = tuple(-(-longest.get(day.isoformat(), 0) // 1000) for day in days)
    return [
        KeepTogether(
            [
                draw_daily_peak(days, Series("lag", look.ANSWERED, seconds), unit="seconds"),
                look.text(
                    "Anchor lag: the longest that an entry of the day waited before a place "
                    "outside the log's reach held a checkpoint that covers it.",
                    "caption",
                ),
            ]
        )
    ]


def _places(dossier: Dossier) -> list[Flowable]:
    if not dossier.facts.anchors:
        return [look.text("No anchor was given to this report.")]
    return [
        look.text("Anchors as the gateway described them when the report was made."),
        table(
            ["Kind", "Place", "Taken", "Newest size", "Entries since"],
            [
                [each.kind, look.shortened(each.place or "not given", 60),
                 each.taken or "not given", _size(each.size),
                 _size(None if each.size is None else max(0, dossier.log.size - each.size))]
                for each in dossier.facts.anchors
            ],
            [14, 36, 22, 14, 14],
            numbers=[3, 4],
        ),
    ]  # fmt: skip


def _size(number: int | None) -> str:
    return "not given" if number is None else f"{number:,}"


def _signs(dossier: Dossier) -> list[tuple[str, int]]:
    endings = {each["ending"]: each["requests"] for each in dossier.rows("endings")}
    killed = {each["operation"]: each["events"] for each in dossier.rows("system_operations")}
    attempts = dossier.row("authentication")
    revoked = sum(each["requests"] for each in dossier.rows("revoked_then_used"))
    return [
        ("Attempts without a valid credential", attempts["rejected"]),
        ("Attempts outside the credential's role", attempts["forbidden"]),
        ("Requests under a credential after its revocation", revoked),
        ("Sandboxes killed", killed.get("sandbox.killed", 0)),
        ("Requests that failed", endings.get("failed", 0)),
        ("Requests whose outcome was lost in an interruption", endings.get("unknown", 0)),
        ("Faults in the order of entries", dossier.row("sequence")["outcomes_without_intent"]
         + dossier.row("sequence")["dangling_intents"]),
    ]  # fmt: skip


def _step(row: dict[str, Any]) -> list[object]:
    return [
        row["day"],
        row["idx"],
        row["operation"],
        look.shortened(str(row["incident"]) or "-", 48),
        look.shortened(str(row["severity"]) or "-", 24),
    ]
