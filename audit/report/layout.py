"""The page and its furniture: template, running head and foot, tables, verdict chips.

Knows nothing of compliance. Everything is measured in points; a page is A4.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from reportlab.lib.pagesizes import A4
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    BaseDocTemplate,
    CondPageBreak,
    Flowable,
    Frame,
    NextPageTemplate,
    PageBreak,
    PageTemplate,
    Paragraph,
    Table,
    TableStyle,
)
from reportlab.platypus.tableofcontents import TableOfContents

from audit.controls.verdicts import Verdict
from audit.report import typography as look

MARGIN = 18 * mm
CONTENT_WIDTH = A4[0] - 2 * MARGIN


class Chip(Flowable):  # type: ignore[misc]  # reportlab ships no types
    """A verdict as a coloured label; its word is text, so colour is never the only sign."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__()
        self.verdict = verdict
        self.width, self.height = 68, 12

    def draw(self) -> None:
        """Draw the label at the flowable's origin."""
        canvas = self.canv
        canvas.setFillColor(look.VERDICT_COLOURS[self.verdict])
        canvas.roundRect(0, 0, self.width, self.height, 2.5, stroke=0, fill=1)
        canvas.setFillColorRGB(1, 1, 1)
        canvas.setFont(look.BOLD, 6.4)
        canvas.drawCentredString(self.width / 2, 3.6, self.verdict.value)


class Document(BaseDocTemplate):  # type: ignore[misc]  # reportlab ships no types
    """A report's document: a title page, then body pages with head, foot and bookmarks."""

    def __init__(
        self, target: Any, *, title: str, subject: str, head: str, foot: str, made: datetime
    ) -> None:
        super().__init__(
            target,
            pagesize=A4,
            invariant=1,
            lang="en-US",
            title=title,
            subject=subject,
            author="Sealgate",
            creator="Sealgate",
            initialFontName=look.REGULAR,
        )
        self._made = made.astimezone(UTC).strftime("D:%Y%m%d%H%M%S+00'00'")
        self._head, self._foot = look.printable(head), look.printable(foot)
        # Pages of the pass before: `multiBuild` repeats until the contents stand still.
        self._pages = self._pages_so_far = 0
        title_frame = Frame(MARGIN, 20 * mm, CONTENT_WIDTH, A4[1] - 50 * mm, 0, 0, 0, 0)
        body_frame = Frame(MARGIN, 20 * mm, CONTENT_WIDTH, A4[1] - 43 * mm, 0, 0, 0, 0)
        self.addPageTemplates(
            [
                PageTemplate("title", [title_frame], onPage=self._draw_title),
                PageTemplate("body", [body_frame], onPage=self._draw_head),
            ]
        )

    def beforeDocument(self) -> None:  # noqa: N802 - reportlab's name
        """Take over the count of the pass before this one."""
        self._pages, self._pages_so_far = self._pages_so_far, 0

    def afterPage(self) -> None:  # noqa: N802 - reportlab's name
        """Count this page."""
        self._pages_so_far = self.page

    def afterFlowable(self, flowable: Flowable) -> None:  # noqa: N802 - reportlab's name
        """Turn each heading into a bookmark and a line of the contents."""
        if not isinstance(flowable, Paragraph) or flowable.style.name != "heading":
            return
        title = flowable.getPlainText()
        self.canv.bookmarkPage(title)
        self.canv.addOutlineEntry(title, title, 0)
        self.notify("TOCEntry", (0, title, self.page, title))

    def _draw_title(self, canvas: Canvas, _document: BaseDocTemplate) -> None:
        # An invariant document would be dated 2000-01-01.
        canvas.setDateFormatter(lambda *_: self._made)
        canvas.saveState()
        canvas.setFillColor(look.ACCENT)
        canvas.rect(0, A4[1] - 14 * mm, A4[0], 14 * mm, stroke=0, fill=1)
        canvas.setFillColorRGB(1, 1, 1)
        canvas.setFont(look.BOLD, 10)
        canvas.drawString(MARGIN, A4[1] - 9 * mm, "Sealgate")
        self._draw_number(canvas)
        canvas.restoreState()

    def _draw_number(self, canvas: Canvas) -> None:
        canvas.setFont(look.REGULAR, 7)
        canvas.setFillColor(look.MUTED)
        canvas.drawRightString(A4[0] - MARGIN, 11 * mm, f"page {self.page} of {self._pages}")

    def _draw_head(self, canvas: Canvas, _document: BaseDocTemplate) -> None:
        canvas.saveState()
        self._draw_number(canvas)
        canvas.drawString(MARGIN, A4[1] - 13 * mm, self._head)
        canvas.drawString(MARGIN, 11 * mm, self._foot)
        canvas.setStrokeColor(look.RULE)
        canvas.setLineWidth(0.5)
        canvas.line(MARGIN, A4[1] - 15 * mm, A4[0] - MARGIN, A4[1] - 15 * mm)
        canvas.line(MARGIN, 15 * mm, A4[0] - MARGIN, 15 * mm)
        canvas.restoreState()


def start_body() -> list[Flowable]:
    """Leave the title page."""
    return [NextPageTemplate("body"), PageBreak()]


def heading(title: str) -> list[Flowable]:
    """Start a section, on a new page where little more than its heading would fit."""
    return [CondPageBreak(62 * mm), look.text(title, "heading")]


def contents() -> TableOfContents:
    """Return the list of headings with their pages."""
    table = TableOfContents()
    table.levelStyles = [look.STYLES["contents"]]
    # All of it must fit the title page, or every page moves once its length is known.
    table.tableStyle = TableStyle(
        [
            ("LEFTPADDING", (0, 0), (-1, -1), 0),
            ("RIGHTPADDING", (0, 0), (-1, -1), 0),
            ("TOPPADDING", (0, 0), (-1, -1), 0.6),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 0.6),
        ]
    )
    return table


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[object]],
    widths: Sequence[float],
    *,
    numbers: Sequence[int] = (),
    codes: Sequence[int] = (),
    headings: Sequence[int] = (),
) -> Table:
    """Set a table whose head is repeated on every page.

    Args:
        head: the columns' names.
        rows: cells; a Flowable is placed as it is, anything else is set as plain text.
        widths: the columns' shares of the width; they are scaled to fill it.
        numbers: columns set flush right.
        codes: columns of hashes, which may break anywhere.
        headings: rows (counted from 0) whose first cell spans the width as a group's name.
    """
    scale = CONTENT_WIDTH / sum(widths)
    cells: list[list[Any]] = [
        [look.text(each, f"cell-head{_flush(at, numbers)}") for at, each in enumerate(head)]
    ]
    cells += [[_cell(each, at, numbers, codes) for at, each in enumerate(row)] for row in rows]
    commands: list[tuple[Any, ...]] = [
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ("LEFTPADDING", (0, 0), (-1, -1), 4),
        ("RIGHTPADDING", (0, 0), (-1, -1), 4),
        ("TOPPADDING", (0, 0), (-1, -1), 3),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 3.5),
        ("BACKGROUND", (0, 0), (-1, 0), look.SHADE),
        ("LINEBELOW", (0, 0), (-1, 0), 0.8, look.ACCENT),
        ("LINEBELOW", (0, 1), (-1, -1), 0.35, look.RULE),
    ]
    for at in headings:
        cells[at + 1][0] = look.text(rows[at][0], "cell-strong")
        commands += [
            ("SPAN", (0, at + 1), (-1, at + 1)),
            ("BACKGROUND", (0, at + 1), (-1, at + 1), look.BAND),
            # A group's name never stands alone at the foot of a page.
            ("NOSPLIT", (0, at + 1), (0, at + 2)),
        ]
    return Table(
        cells,
        colWidths=[width * scale for width in widths],
        repeatRows=1,
        style=TableStyle(commands),
        spaceBefore=3,
        spaceAfter=8,
    )


def _cell(content: object, at: int, numbers: Sequence[int], codes: Sequence[int]) -> Any:
    if isinstance(content, Flowable):
        return content
    if isinstance(content, int) and at in numbers:
        content = f"{content:,}"
    return look.text(content, "cell-code" if at in codes else f"cell{_flush(at, numbers)}")


def _flush(at: int, numbers: Sequence[int]) -> str:
    return "-number" if at in numbers else ""
