"""Queries on the log itself: that it is whole, that it is read, and how far back it reaches."""

from audit.controls.findings import contradicted, counted, evidenced, no_data, share_evidenced
from audit.controls.records import Records
from audit.controls.verdicts import Finding

# 164.316(b)(2)(i) asks for six years; two of them may be leap years.
SIX_YEARS_DAYS = 6 * 365 + 2
# Six months, whichever they are.
SIX_MONTHS_DAYS = 184
DAY_MS = 86_400_000


def audit_controls(records: Records) -> Finding:
    """Judge whether activity is recorded, whole and in order. 164.312(b)."""
    log, read = records.log, records.row("entries_read")
    if log.problem is not None:
        return contradicted(f"The log does not verify: {log.problem}", "log_state")
    faults = _record_faults(records)
    if faults:
        return contradicted(
            f"The records of the period are incomplete: {'; '.join(faults)}.",
            "sequence",
            "choice_records",
            "broken_choices",
        )
    if not {each["phase"] for each in records.rows("events_by_phase")} - {"system"}:
        return no_data("The log holds no request of the period.", "events_by_phase")
    if read["entries"] < log.size:
        return share_evidenced(
            f"Only {read['entries']:,} of {log.size:,} entries were at hand; those are in order.",
            "entries_read",
        )
    return evidenced(
        f"{counted(read['in_period'], 'entry', 'entries')} of the period in a log of "
        f"{log.size:,}, replayed against its signed root. Every answer has its intent before it "
        f"and its outcome after it. {_open(records)}{_anchor(records)}",
        "log_state",
        "entries_read",
        "sequence",
        "choice_records",
    )


def _record_faults(records: Records) -> list[str]:
    """Name every way in which the period's records contradict the promise of a whole record."""
    sequence, choices = records.row("sequence"), records.row("choice_records")
    # An outcome of no choice at all lacks everything that is recorded of a choice.
    empty = records.row("answers_without_choices")["answers"]
    named = (
        (sequence["outcomes_without_intent"], "outcome without an intent before it"),
        (sequence["dangling_intents"], "intent left open over a restart"),
        (choices["without_sandbox"], "answer without sandbox attestation"),
        (choices["without_mark"], "answer without mark evidence"),
        (choices["without_hmac"], "answer without its HMAC"),
        (choices["foreign_trace"], "answer with a trace id that its intent did not issue"),
        (empty, "completed outcome that records no answer"),
    )
    return [f"{what}: {number:,}" for number, what in named if number]


def _open(records: Records) -> str:
    number = records.row("sequence")["open_intents"]
    return f"Still open at the checkpoint: {counted(number, 'intent')}. " if number else ""


def _anchor(records: Records) -> str:
    if records.log.anchored:
        return "Its checkpoint is anchored in another trust domain."
    return (
        "It is unanchored: whoever holds both the log and its signing key could rewrite all of "
        "it unnoticed."
    )


def activity_review(records: Records) -> Finding:
    """Judge whether records of activity were looked at. 164.308(a)(1)(ii)(D)."""
    queries = sum(each["queries"] for each in records.rows("officer_queries"))
    counts = operations(records)
    reviews, reports = counts.get("review.acknowledged", 0), counts.get("report.generated", 0)
    if not queries + reports + reviews:
        return no_data(
            "No review, no query of an officer and no earlier report is recorded in the period.",
            "officer_queries",
            "system_operations",
        )
    return share_evidenced(
        f"Recorded: {counted(reviews, 'review')} that somebody answers for, "
        f"{counted(queries, 'query', 'queries')} of officers or auditors, "
        f"{counted(reports, 'earlier report')}.",
        "officer_queries",
        "system_operations",
    )


def evaluations(records: Records) -> Finding:
    """Judge whether the system was evaluated technically. 164.308(a)(8)."""
    counts = operations(records)
    reports, checks = counts.get("report.generated", 0), counts.get("model.verified", 0)
    if not reports + checks:
        return no_data(
            "No earlier report and no verification of a model is recorded in the period; this "
            "report is not evidence of itself.",
            "system_operations",
        )
    return share_evidenced(
        f"Recorded: {counted(reports, 'earlier report')}, {counted(checks, 'verification')} of "
        "sealed models.",
        "system_operations",
    )


def documentation(records: Records) -> Finding:
    """Judge whether actions are documented as records. 164.316(b)(1)."""
    read = records.row("entries_read")
    if not read["in_period"]:
        return no_data("The log holds no entry of the period.", "entries_read")
    return share_evidenced(
        f"The gateway's acts are documented by {counted(read['in_period'], 'entry', 'entries')} of "
        "the period.",
        "entries_read",
        "events_by_phase",
    )


def retention(records: Records) -> Finding:
    """Judge whether records are kept. 164.316(b)(2)(i)."""
    read, days = records.row("entries_read"), records.facts.retention_days
    if short := _not_shown_kept(records, SIX_YEARS_DAYS, "six years"):
        return short
    kept = "No limit of retention was stated." if days is None else f"Retention: {days:,} days."
    return share_evidenced(
        f"No entry has been removed since the log's first, of {read['first_day']}. {kept}",
        "entries_read",
        "system_facts",
    )


def logs_kept_six_months(records: Records) -> Finding:
    """Judge whether logs are kept for six months. AI Act 19(1), 26(6); Labelling Measures 9."""
    read, days = records.row("entries_read"), records.facts.retention_days
    if short := _not_shown_kept(records, SIX_MONTHS_DAYS, "six months"):
        return short
    kept_days = (records.period.end_ms - read["first_ms"]) // DAY_MS
    if days is None and kept_days < SIX_MONTHS_DAYS:
        return share_evidenced(
            f"No entry has been removed since the log's first, {counted(kept_days, 'day')} before "
            "the period's end; the log is younger than six months, and for how long entries are "
            "kept was not stated.",
            "entries_read",
            "system_facts",
        )
    stated = "" if days is None else f" Stated retention: {days:,} days."
    return evidenced(
        f"No entry has been removed since the log's first, of {read['first_day']}, "
        f"{counted(kept_days, 'day')} before the period's end.{stated}",
        "entries_read",
        "system_facts",
    )


def availability(records: Records) -> Finding:
    """Judge whether those responsible could reach the records. 164.316(b)(2)(ii)."""
    queries = sum(each["queries"] for each in records.rows("officer_queries"))
    if not queries:
        return no_data("No query of an officer or auditor is recorded.", "officer_queries")
    return share_evidenced(
        f"Officers or auditors reached the records: {counted(queries, 'query', 'queries')}.",
        "officer_queries",
    )


def operations(records: Records) -> dict[str, int]:
    """Return how often each operation of the system is recorded in the period."""
    return {each["operation"]: each["events"] for each in records.rows("system_operations")}


def _not_shown_kept(records: Records, least_days: int, said: str) -> Finding | None:
    """Return why the log cannot show that it is kept for a term, or None where it may.

    least_days: the term. said: the term in words.
    """
    read, days = records.row("entries_read"), records.facts.retention_days
    if days is not None and days < least_days:
        return contradicted(
            f"Entries are kept for {days:,} days, which is less than {said}.", "system_facts"
        )
    if not read["in_period"]:
        return no_data("The log holds no entry of the period.", "entries_read")
    if read["entries"] < records.log.size:
        return no_data(
            f"Only {read['entries']:,} of {records.log.size:,} entries were at hand.",
            "entries_read",
        )
    return None
