"""The control matrix, and the list of what no record of this system can evidence."""

from reportlab.platypus import CondPageBreak, Flowable

from audit.controls.catalogue import Kind
from audit.controls.examination import Assessment
from audit.controls.verdicts import Verdict
from audit.report import typography as look
from audit.report.dossier import Dossier
from audit.report.layout import Chip, heading, table

MARKS = {"required": "R", "addressable": "A", "standard": "S"}
LEGEND = "R: required. A: addressable. S: a standard without specifications, which is mandatory. "
FIGURES = (
    "The figures behind each sentence are named in the summary's JSON and listed under Method."
)


def control_matrix(dossier: Dossier) -> list[Flowable]:
    """Print every control under its standard, with its verdict and the reason for it."""
    titles = {each.id: f"{each.id}  {each.title}" for each in dossier.catalogue.standards}
    rows: list[list[object]] = []
    headings: list[int] = []
    standard = None
    for each in dossier.assessments:
        if each.control.standard != standard:
            standard = each.control.standard
            headings.append(len(rows))
            rows.append([titles[standard], "", "", ""])
        rows.append([each.control.id, _title(each), Chip(each.verdict), _reason(each)])
    return [
        *heading("Control matrix"),
        look.text(f"{_legend(dossier)}{FIGURES}"),
        table(["Paragraph", "Title", "Verdict", "Why"], rows, [19, 24, 15.5, 41.5],
              headings=headings),
    ]  # fmt: skip


def not_evidenced(dossier: Dossier) -> list[Flowable]:
    """List what stays with the organisation: whole controls, and the rest of partial ones."""
    whole = [each for each in dossier.assessments if each.verdict is Verdict.NOT_EVIDENCED]
    rest = [each for each in dossier.assessments if each.control.kind is Kind.PARTIAL]
    empty = [each for each in dossier.assessments if each.verdict is Verdict.NO_DATA]
    return [
        *heading("What is not evidenced"),
        look.text(
            f"{len(whole)} controls are organisational; {len(rest)} are evidenced in part at "
            f"most; on {len(empty)} the period holds no data. Each needs evidence from elsewhere."
        ),
        look.text("Organisational controls", "subheading"),
        look.text("; ".join(f"{each.control.id} {each.control.title}" for each in whole) + "."),
        CondPageBreak(120),
        look.text("Left to the organisation by partial controls", "subheading"),
        look.text("What remains open whatever the verdict, since no record here could show it."),
        table(
            ["Paragraph", "Title", "What remains"],
            [[each.control.id, each.control.title, each.control.remains] for each in rest],
            [20, 32, 48],
        ),
    ]


def _legend(dossier: Dossier) -> str:
    used = {each.control.designation for each in dossier.assessments}
    return LEGEND if {"required", "addressable"} <= used else ""


def _title(assessment: Assessment) -> str:
    mark = MARKS.get(assessment.control.designation)
    return f"{assessment.control.title} ({mark})" if mark else assessment.control.title


def _reason(assessment: Assessment) -> str:
    sentence, remains = assessment.finding.sentence, assessment.control.remains
    if assessment.verdict is Verdict.PARTIAL and remains:
        return f"{sentence} Not shown: {remains}."
    return sentence
