"""The title page, the scope with its limits, and the summary."""

from datetime import timedelta

from reportlab.platypus import Flowable, KeepTogether, Spacer

from audit.controls.verdicts import MEANINGS, Verdict
from audit.report import typography as look
from audit.report.charts import Series, draw_shares
from audit.report.dossier import Dossier, stamp
from audit.report.layout import Chip, contents, heading, start_body, table

LEAD = (
    "What this gateway's own records show on each paragraph of the rule, and what they cannot "
    "show. It is evidence for an assessment. It is not an assessment, and it does not say that "
    "anybody complies with a law."
)


def title_page(dossier: Dossier) -> list[Flowable]:
    """Set the title page with what identifies the report, and its contents."""
    catalogue, log = dossier.catalogue, dossier.log
    known = [
        ("Framework", f"{catalogue.title} ({catalogue.citation})"),
        ("Edition", catalogue.edition),
        ("Period", f"{stamp(dossier.period.start)} up to {stamp(dossier.period.end)}"),
        ("Generated", f"{stamp(dossier.generated)} by Sealgate {dossier.version}"),
        ("Log", f"{log.origin}, {log.size:,} entries"),
        ("Root", look.text(log.root_hex or "none", "cell-code")),
        ("Verified", _verified(dossier)),
        ("Anchor", "anchored" if log.anchored else "unanchored"),
        ("Signature", "in this file; check it before you rely on a page (last section)"),
    ]
    return [
        Spacer(1, 16),
        look.text(catalogue.title, "title"),
        look.text(
            f"Evidence report, {stamp(dossier.period.start)[:10]} up to "
            f"{stamp(dossier.period.end)[:10]}",
            "subtitle",
        ),
        look.text(LEAD, "lead"),
        Spacer(1, 8),
        table(
            ["This report", ""],
            [[look.text(name, "cell-strong"), value] for name, value in known],
            [18, 82],
        ),
        Spacer(1, 6),
        look.text("Contents", "subheading"),
        contents(),
        *start_body(),
    ]


def scope(dossier: Dossier) -> list[Flowable]:
    """Say what was examined, and what was not."""
    entries = dossier.row("entries_read")
    limits = [
        (
            "The records are those of this gateway. Requests that did not pass through it, and "
            "what callers did with answers, are outside."
        ),
        (
            "No prompt and no answer is in the log, only keyed digests of them; so this report "
            "does not say whether a text held health information."
        ),
        "Times are those of the gateway's clock.",
        *dossier.catalogue.limits,
    ]
    return [
        *heading("Scope, period and limits"),
        look.text(
            f"Examined: {len(dossier.assessments)} paragraphs of {dossier.catalogue.citation}, "
            f"against {entries['in_period']:,} entries of the period. To judge whether each "
            f"answer has its intent, and the state in which the period began, "
            f"{entries['entries']:,} of the log's {dossier.log.size:,} entries were read. The "
            f"period starts at {stamp(dossier.period.start)} and ends just before "
            f"{stamp(dossier.period.end)}."
        ),
        *_unfinished(dossier),
        look.text("Limits", "subheading"),
        *[look.bullet(limit) for limit in limits],
    ]


def summary(dossier: Dossier) -> list[Flowable]:
    """Count the verdicts, and name what failed."""
    counts = dossier.counts
    series = [
        Series(verdict.value, look.VERDICT_COLOURS[verdict], (counts[verdict],))
        for verdict in Verdict
    ]
    return [
        *heading("Summary"),
        *_silence(dossier),
        *_failures(dossier),
        KeepTogether(
            [
                draw_shares(series, across="controls"),
                look.text(
                    f"Verdicts of all {len(dossier.assessments)} controls.",
                    "caption",
                ),
            ]
        ),
        table(
            ["Verdict", "Controls", "What it means"],
            [[Chip(each), counts[each], MEANINGS[each]] for each in Verdict],
            [17, 11, 72],
            numbers=[1],
        ),
    ]


def _unfinished(dossier: Dossier) -> list[Flowable]:
    if dossier.period.end <= dossier.generated + timedelta(seconds=1):
        return []
    return [
        look.text(
            f"The period had not ended when this report was made, at {stamp(dossier.generated)}. "
            "What was recorded later is not in it."
        )
    ]


def _silence(dossier: Dossier) -> list[Flowable]:
    if dossier.row("entries_read")["in_period"]:
        return []
    return [
        look.text(
            "The log holds no entry of the period, so nothing could be examined. Silence is not "
            "evidence that all was well."
        )
    ]


def _failures(dossier: Dossier) -> list[Flowable]:
    failed = [each for each in dossier.assessments if each.verdict is Verdict.FAIL]
    if not failed:
        return [look.text("No control is contradicted by the records.")]
    return [
        look.text(f"Contradicted by the records or the system's state: {len(failed)}."),
        *[
            look.bullet(f"{each.control.id} {each.control.title}. {each.finding.sentence}")
            for each in failed
        ],
    ]


def _verified(dossier: Dossier) -> str:
    if dossier.log.problem is not None:
        return f"FAILED: {dossier.log.problem}"
    return "every entry, against root and signature" if dossier.log.verified else "not verified"
