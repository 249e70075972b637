"""Queries on generated content that must be recognisable as such.

A mark in the choice of words and a label that a reader or a program can see are different things,
and neither is evidence of the other.
"""

from audit.controls.findings import contradicted, counted, evidenced, no_data, share_evidenced
from audit.controls.records import Records
from audit.controls.verdicts import Finding


def marked_answers(records: Records) -> Finding:
    """Judge whether outputs are marked in a machine-readable way. AI Act 50(2)."""
    row = records.row("choice_records")
    if row["without_mark"]:
        return contradicted(
            f"Of {counted(row['choices'], 'answer')}, {row['without_mark']:,} lack mark evidence.",
            "choice_records",
        )
    marks = {each["mark"]: each["choices"] for each in records.rows("mark_coverage")}
    texts = sum(marks.values())
    if not texts:
        return no_data("No text was answered in the period.", "mark_coverage")
    marked = marks.get("traceable", 0) + marks.get("weak", 0)
    if not marked:
        return contradicted(f"None of {counted(texts, 'answer')} bears a mark.", "mark_coverage")
    return share_evidenced(
        f"Of {counted(texts, 'answer')}, {marked:,} bear a mark that the detector is "
        f"built to find; it is sure of {marks.get('traceable', 0):,}.",
        "mark_coverage",
        "choice_records",
    )


def explicit_labels(records: Records) -> Finding:
    """Judge whether answers bear a label that people see. Labelling Measures, Article 4."""
    return _labels(records, kind="explicit")


def implicit_labels(records: Records) -> Finding:
    """Judge whether files bear a label in their metadata. Labelling Measures, Article 5."""
    return _labels(records, kind="implicit")


def _labels(records: Records, *, kind: str) -> Finding:
    row = records.row("label_records")
    written, missing = row[f"{kind}_written"], row[f"{kind}_missing"]
    if missing:
        return contradicted(
            f"Recorded as without {kind} label: {counted(missing, 'answer')}.", "label_records"
        )
    if not written:
        return no_data(f"No answer records an {kind} label.", "label_records")
    if written < row["answers"]:
        return share_evidenced(
            f"Of {counted(row['answers'], 'completed answer')}, {written:,} record their {kind} "
            "label; the others do not say.",
            "label_records",
        )
    return evidenced(
        f"Every completed answer ({row['answers']:,}) records its {kind} label.", "label_records"
    )
