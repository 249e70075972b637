"""Personal data: what was handled and why, what left, what was spent of privacy budgets.

The log holds no text: these sections print what callers stated and detectors counted, and say so
where nothing was stated.
"""

from collections import Counter
from typing import Any

from reportlab.platypus import Flowable, KeepTogether

from audit.controls.findings import counted
from audit.report import typography as look
from audit.report.charts import Series, draw_daily
from audit.report.dossier import Dossier
from audit.report.layout import heading, table

MOST_CLASSES = 4
UNCLASSIFIED = "unclassified"
UNMEASURED = -1
_COLOURS = (look.FAILED, look.DENIED, look.TRACEABLE, look.ANSWERED)


def personal_data(dossier: Dossier) -> list[Flowable]:
    """Print the classes of data and purposes that requests named, and what detectors counted."""
    row = dossier.row("minimum_necessary")
    return [
        *heading("Health information and the minimum necessary"),
        look.text(
            f"Of {counted(row['requests'], 'request')} let in, {row['purposed']:,} name a purpose, "
            f"{row['classified']:,} a class of data, and {row['pseudonymous']:,} concern a person "
            "under a pseudonym. What callers state is recorded as stated; it is not checked."
        ),
        *_classes(dossier),
        *_named(dossier),
        *_detected(dossier),
    ]


def disclosures(dossier: Dossier) -> list[Flowable]:
    """Print what left this machine, to whom and for what."""
    row, rows = dossier.row("disclosure_counts"), dossier.rows("disclosures")
    if not rows:
        return [
            *heading("Disclosures"),
            look.text(
                f"No disclosure is recorded: of {counted(row['requests'], 'request')} that ended "
                "in the period, none was sent to a tier outside this machine."
            ),
        ]
    return [
        *heading("Disclosures"),
        look.text(
            f"Recorded: {counted(row['disclosed'], 'disclosure')}, {row['unnamed']:,} of them "
            f"without a recipient, {row['pseudonymous']:,} about a person named by pseudonym."
        ),
        table(
            ["Operation", "Tier", "Recipient", "Purpose", "First", "Last", "Number"],
            [_disclosure(each) for each in rows],
            [22, 10, 22, 14, 11, 11, 10],
            numbers=[6],
        ),
    ]


def budgets(dossier: Dossier) -> list[Flowable]:
    """Print what was spent of each privacy budget."""
    rows = dossier.rows("budgets")
    if not rows:
        return [
            *heading("Privacy budgets"),
            look.text("No expense of a privacy budget is recorded in the period."),
            *_trained(dossier),
        ]
    return [
        *heading("Privacy budgets"),
        *_spent(dossier),
        table(
            ["Budget", "Tenant", "Expenses", "Spent (epsilon)", "Limit (epsilon)"],
            [
                [each["budget"], look.shortened(str(each["tenant"]), 40), each["expenses"],
                 _micro(each["spent_micro"]), _micro(each["limit_micro"])]
                for each in rows
            ],
            [30, 25, 13, 16, 16],
            numbers=[2, 3, 4],
        ),
        *_trained(dossier),
    ]  # fmt: skip


def _trained(dossier: Dossier) -> list[Flowable]:
    """Print what each certificate of a private training promises, and what its audit could show."""
    rows = dossier.rows("training_certificates")
    if not rows:
        return [look.text("No model that was trained privately is on record.")]
    return [
        look.text("Models that were trained privately", "subheading"),
        look.text(
            "Epsilon and delta bound what one record can have changed; they are proved by the "
            "accountant that the certificate names. The audit's bound is a lower one, at 95 % "
            "confidence: what an attack on the run, or on a rehearsal of its plan, did show. Its "
            "cap is the most that so many guesses could have shown, and its control the same "
            "attack with the noise off: a small bound says little under a small cap, and nothing "
            "under a small control."
        ),
        table(
            ["Model", "Certificate", "Epsilon", "Delta", "Audit: bound", "cap", "control"],
            [
                [look.shortened(str(each["model_id"]), 40), each["certificate"],
                 *(_figure(each[name]) for name in
                   ("epsilon", "delta", "audit_bound", "audit_cap", "audit_control"))]
                for each in rows
            ],
            [19, 27, 11, 12, 12, 9, 10],
            numbers=[2, 3, 4, 5, 6],
            codes=[1],
        ),
    ]  # fmt: skip


def _figure(text: str) -> str:
    """Print a figure that the log keeps as text, to four digits; what is none, as it is."""
    try:
        return f"{float(text):.4g}"
    except ValueError:
        return text or "none"


def _classes(dossier: Dossier) -> list[Flowable]:
    rows = dossier.rows("data_classes_daily")
    totals: Counter[str] = Counter()
    for each in rows:
        totals[each["data_class"]] += each["requests"]
    named = [name for name, _ in totals.most_common() if name != UNCLASSIFIED][:MOST_CLASSES]
    if not named:
        return []
    days = dossier.days()
    series = [
        Series(look.shortened(name, 20), colour, _daily(rows, days, name))
        for name, colour in zip(named, _COLOURS, strict=False)
    ]
    series.append(Series(UNCLASSIFIED, look.NEUTRAL, _daily(rows, days, UNCLASSIFIED)))
    return [
        KeepTogether(
            [
                draw_daily(days, series, unit="requests"),
                look.text("Requests by the class of data that they named.", "caption"),
            ]
        )
    ]


def _daily(rows: list[dict[str, Any]], days: Any, name: str) -> tuple[int, ...]:
    found = {each["day"]: each["requests"] for each in rows if each["data_class"] == name}
    return tuple(found.get(day.isoformat(), 0) for day in days)


def _named(dossier: Dossier) -> list[Flowable]:
    rows = [[each["data_class"], each["purpose"], each["requests"]]
            for each in dossier.rows("data_handling")]  # fmt: skip
    return [
        table(
            ["Class of data", "Purpose", "Requests"],
            rows or [["no request was let in during the period", "", ""]],
            [40, 42, 18],
            numbers=[2],
        )
    ]


def _detected(dossier: Dossier) -> list[Flowable]:
    detectors, found = dossier.rows("detectors"), dossier.rows("identifiers")
    if not detectors:
        return [look.text("No request records what a detector of identifiers found in it.")]
    return [
        look.text("What detectors of identifiers counted", "subheading"),
        look.text(
            "A detector misses some identifiers and takes other words for one. Its measured "
            "recall is the share that it found in a test; nothing here says that a text is free "
            "of identifiers."
        ),
        table(
            ["Detector", "Requests", "Measured recall"],
            [[each["detector"], each["requests"], _recall(each["recall_milli"])]
             for each in detectors],
            [56, 20, 24],
            numbers=[1, 2],
        ),
        table(
            ["Kind of identifier", "Requests", "Found"],
            [[each["kind"], each["requests"], each["found"]] for each in found]
            or [["none found", "", ""]],
            [56, 20, 24],
            numbers=[1, 2],
        ),
    ]  # fmt: skip


def _disclosure(row: dict[str, Any]) -> list[object]:
    return [
        row["operation"],
        row["tier"],
        look.shortened(str(row["recipient"]) or "not named", 60),
        look.shortened(str(row["purpose"]), 40),
        row["first_day"],
        row["last_day"],
        row["disclosures"],
    ]


def _spent(dossier: Dossier) -> list[Flowable]:
    found = {each["day"]: each["spent_micro"] for each in dossier.rows("budgets_daily")}
    days = dossier.days()
    spent = tuple(max(0, found.get(day.isoformat(), 0)) // 1000 for day in days)
    return [
        KeepTogether(
            [
                draw_daily(
                    days, [Series("spent", look.ANSWERED, spent)], unit="thousandths of epsilon"
                ),
                look.text("Epsilon spent, all budgets together.", "caption"),
            ]
        )
    ]


def _micro(micro: int) -> str:
    return f"{micro / 1_000_000:,.3f}"


def _recall(milli: int) -> str:
    return "not measured" if milli == UNMEASURED else f"{milli / 10:.1f} %"
