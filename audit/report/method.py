"""The method: how a stranger gets the same figures, with each figure's query and digest."""

from reportlab.platypus import Flowable, KeepTogether

from audit.controls.tables import TABLES
from audit.report import typography as look
from audit.report.dossier import Dossier
from audit.report.layout import heading

STEPS = (
    (
        "Obtain the log's entries and a checkpoint of at least this size from somewhere else than "
        "this report, and verify the tree (docs/formats)."
    ),
    (
        "Load the entries into a table leaf (idx, body) in SQLite 3.38 or later, body as text, "
        "and run the statement under Tables."
    ),
    "Run a figure's query with :start and :end as printed here.",
    (
        "Write the rows as an array of JSON objects, column name to value, in canonical form "
        "(RFC 8785); its SHA-256 is the figure's digest."
    ),
)


def method(dossier: Dossier) -> list[Flowable]:
    """Print the steps, the tables and every figure's query with its digest."""
    period = dossier.period
    return [
        *heading("Method"),
        look.text(
            "Every number drawn from the log is in one of the figures below, or a sum of such "
            "numbers. Each figure can be computed again:"
        ),
        *[look.bullet(step, mark=f"{at}.") for at, step in enumerate(STEPS, 1)],
        look.text(f":start = {period.start_ms}, :end = {period.end_ms}"),
        *[each for name in dossier.figures for each in _figure(dossier, name)],
        look.text("Tables", "subheading"),
        look.lines(TABLES.strip("\n")),
    ]


def _figure(dossier: Dossier, name: str) -> list[Flowable]:
    figure = dossier.figures[name]
    return [
        KeepTogether(
            [
                look.text(name, "figure-name"),
                look.text(f"SHA-256 {figure.sha256}", "digest"),
                look.lines(figure.query),
            ]
        )
    ]
