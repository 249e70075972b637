"""The appendix: the period's entries, one line each, as the log has them.

Ten thousand lines would take a minute as table cells. They are drawn straight onto the page.
"""

from datetime import UTC, datetime
from typing import Any

from reportlab.platypus import Flowable

from audit.report import typography as look
from audit.report.dossier import Dossier
from audit.report.layout import CONTENT_WIDTH, heading

LEADING = 8.4
SIZE = 6.2
HEAD = 13.0
GAP = 4.0
# Share of the width. The credential's id, 21 characters of any width, is the widest that is whole.
COLUMNS = (
    ("Entry", 7),
    ("Time (UTC)", 18),
    ("Phase", 8),
    ("Operation", 21),
    ("Tenant", 14),
    ("Credential", 18),
    ("Result", 14),
)
_UNIT = CONTENT_WIDTH / sum(share for _, share in COLUMNS)


def appendix(dossier: Dossier) -> list[Flowable]:
    """Print the entries of the period, as many as a report lists."""
    rows, total = dossier.rows("entries_listed"), dossier.row("entries_read")["in_period"]
    more = total - len(rows)
    return [
        *heading("Appendix: entries"),
        look.text(
            f"The period's {'first ' if more else ''}{len(rows):,} entries"
            f"{f'; {more:,} more are in the log alone' if more else ''}. No name, address, prompt "
            "or answer is listed."
        ),
        *([Listing([_line(each) for each in rows])] if rows else []),
    ]


class Listing(Flowable):  # type: ignore[misc]  # reportlab ships no types
    """Lines of columns, split over as many pages as they need."""

    def __init__(self, lines: list[tuple[str, ...]]) -> None:
        super().__init__()
        self.lines = lines

    def wrap(self, width: float, _height: float) -> tuple[float, float]:
        """Return the size: all the width, a line's height for each and the head's."""
        return width, HEAD + LEADING * len(self.lines)

    def split(self, _width: float, height: float) -> list["Listing"]:
        """Cut off as many lines as fit; each part repeats the head."""
        fit = int((height - HEAD) // LEADING)
        if fit < 1:
            return []
        return [Listing(part) for part in (self.lines[:fit], self.lines[fit:]) if part]

    def draw(self) -> None:
        """Draw head, rules and lines downwards from the top."""
        canvas, y = self.canv, LEADING * len(self.lines)
        canvas.setFillColor(look.SHADE)
        canvas.rect(0, y + 1, CONTENT_WIDTH, HEAD - 1, stroke=0, fill=1)
        canvas.setFillColor(look.ACCENT)
        canvas.setFont(look.BOLD, SIZE)
        for x, (name, _) in zip(_offsets(), COLUMNS, strict=True):
            canvas.drawString(x, y + 4.5, name)
        canvas.setFillColor(look.BAND)
        for at in range(1, len(self.lines), 2):
            canvas.rect(0, y - LEADING * (at + 1), CONTENT_WIDTH, LEADING, stroke=0, fill=1)
        # One text object for all: an object for each cell takes three times as long.
        cells = canvas.beginText()
        cells.setFillColor(look.INK)
        cells.setFont(look.REGULAR, SIZE)
        offsets = _offsets()
        for line in self.lines:
            y -= LEADING
            for x, content in zip(offsets, line, strict=True):
                if content:
                    cells.setTextOrigin(x, y + 2.4)
                    cells.textOut(content)
        canvas.drawText(cells)


def _offsets() -> list[float]:
    offsets, x = [], 3.0
    for _, share in COLUMNS:
        offsets.append(x)
        x += share * _UNIT
    return offsets


def _line(row: dict[str, Any]) -> tuple[str, ...]:
    at = datetime.fromtimestamp(row["time_ms"] / 1000, UTC)
    cells = (
        str(row["idx"]),
        at.isoformat(sep=" ", timespec="milliseconds").removesuffix("+00:00"),
        row["phase"],
        row["operation"],
        row["tenant"],
        row["user_uid"],
        row["result"],
    )
    return tuple(
        look.fitted(str(content), share * _UNIT - GAP, SIZE)
        for content, (_, share) in zip(cells, COLUMNS, strict=True)
    )
