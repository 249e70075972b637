"""Charts of a report, as vector drawings: every axis is named and has its unit.

Charts only draw. They take the figures' own data, and compute nothing but the grouping of days
that keeps the bars apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from reportlab.graphics.charts.barcharts import HorizontalBarChart, VerticalBarChart
from reportlab.graphics.shapes import Drawing, Rect, String
from reportlab.lib.colors import Color

from audit.report import typography as look

WIDTH = 500.0
# More bars than this cannot be told apart at the width of a page.
MOST_BARS = 31
MOST_DATES = 11
WIDEST = 40.0


@dataclass(frozen=True, slots=True)
class Series:
    """One named row of counts, one for each category."""

    name: str
    colour: Color
    counts: tuple[int, ...]


def draw_daily(days: Sequence[date], series: Sequence[Series], *, unit: str) -> Drawing:
    """Draw counts a day as stacked columns; long periods are summed over equal runs of days.

    `days` are consecutive; each series has one count for each of them.
    """
    run = max(1, -(-len(days) // MOST_BARS))
    starts = range(0, len(days), run)
    summed = [
        Series(each.name, each.colour, tuple(sum(each.counts[at : at + run]) for at in starts))
        for each in series
    ]
    span = "day (UTC)" if run == 1 else f"{run} days (UTC), by first day"
    labels = [days[at].strftime("%d %b") for at in starts]
    return _columns(_thinned(labels), summed, across=span, up=f"{unit} per {_run(run)}")


def draw_daily_peak(days: Sequence[date], peaks: Series, *, unit: str) -> Drawing:
    """Draw the highest value of each day as columns; of long periods, of equal runs of days."""
    run = max(1, -(-len(days) // MOST_BARS))
    starts = range(0, len(days), run)
    highest = Series(
        peaks.name, peaks.colour, tuple(max(peaks.counts[at : at + run]) for at in starts)
    )
    span = "day (UTC)" if run == 1 else f"{run} days (UTC), by first day"
    labels = [days[at].strftime("%d %b") for at in starts]
    return _columns(_thinned(labels), [highest], across=span, up=f"{unit}, longest of {_run(run)}")


def draw_histogram(labels: Sequence[str], series: Series, *, across: str, up: str) -> Drawing:
    """Draw one series as columns over named classes."""
    return _columns(list(labels), [series], across=across, up=up)


def draw_shares(series: Sequence[Series], *, across: str) -> Drawing:
    """Draw one horizontal bar for each series' only count, the number printed beside it."""
    row = 26
    drawing = Drawing(WIDTH, row * len(series) + 46)
    chart = HorizontalBarChart()
    chart.x, chart.y, chart.width, chart.height = 110, 34, WIDTH - 170, row * len(series)
    # A horizontal chart counts its categories from below.
    ordered = list(reversed(series))
    chart.data = [tuple(each.counts[0] for each in ordered)]
    chart.categoryAxis.categoryNames = [f"{each.name}" for each in ordered]
    chart.barWidth, chart.groupSpacing = 6, 3
    for at, each in enumerate(ordered):
        chart.bars[(0, at)].fillColor = each.colour
    chart.bars.strokeColor = None
    chart.barLabelFormat = "%d"
    chart.barLabels.fontName, chart.barLabels.fontSize = look.BOLD, 7.5
    chart.barLabels.fillColor = look.INK
    chart.barLabels.boxAnchor, chart.barLabels.boxTarget, chart.barLabels.dx = "w", "hi", 4
    most = max(chart.data[0], default=0)
    # Room for the number beside the longest bar.
    _dress(chart.categoryAxis, chart.valueAxis, most=most + -(-most // 12))
    drawing.add(chart)
    _name(drawing, chart, across=across)
    return drawing


def _columns(labels: list[str], series: Sequence[Series], *, across: str, up: str) -> Drawing:
    drawing = Drawing(WIDTH, 178)
    chart = VerticalBarChart()
    chart.x, chart.y, chart.width, chart.height = 46, 42, WIDTH - 56, 108
    chart.data = [each.counts for each in series]
    chart.categoryAxis.style = "stacked"
    chart.categoryAxis.categoryNames = labels
    # Both are shares of a category's width: a lone column must not fill the whole chart.
    chart.barWidth, chart.groupSpacing = 8, max(3, 8 * (chart.width / len(labels) / WIDEST - 1))
    for at, each in enumerate(series):
        chart.bars[at].fillColor = each.colour
    chart.bars.strokeColor = None
    totals = [sum(column) for column in zip(*chart.data, strict=True)]
    _dress(chart.categoryAxis, chart.valueAxis, most=max(totals, default=0))
    drawing.add(chart)
    _name(drawing, chart, across=across)
    drawing.add(_label(4, chart.y + chart.height + 16, up))
    _legend(drawing, series, y=chart.y + chart.height + 16)
    return drawing


def _dress(category: Any, value: Any, *, most: int) -> None:
    """Give both axes the report's fonts, and the values whole-number ticks from zero."""
    for axis in (category, value):
        axis.labels.fontName, axis.labels.fontSize = look.REGULAR, 7
        axis.labels.fillColor = look.MUTED
        axis.strokeColor = look.NEUTRAL
    category.visibleTicks = 0
    step = _step(most)
    value.valueMin, value.valueStep = 0, step
    value.valueMax = step * max(1, -(-most // step))
    value.labelTextFormat = "%d"
    value.visibleGrid, value.gridStrokeColor, value.gridStrokeWidth = 1, look.RULE, 0.4


def _step(most: int) -> int:
    """Return a round tick that divides 0 to `most` into at most six parts."""
    size = 1
    while True:
        for factor in (1, 2, 5):
            if factor * size * 6 >= most:
                return factor * size
        size *= 10


def _thinned(labels: list[str]) -> list[str]:
    """Blank out labels so that those which stay do not overlap."""
    keep = -(-len(labels) // MOST_DATES)
    return [label if at % keep == 0 else "" for at, label in enumerate(labels)]


def _name(drawing: Drawing, chart: VerticalBarChart | HorizontalBarChart, *, across: str) -> None:
    drawing.add(_label(chart.x + chart.width / 2, 8, across, anchor="middle"))


def _legend(drawing: Drawing, series: Sequence[Series], *, y: float) -> None:
    x = WIDTH - 12
    for each in reversed(series):
        x -= 5.0 * len(each.name) + 22
        drawing.add(Rect(x, y - 1, 7, 7, fillColor=each.colour, strokeColor=None))
        drawing.add(_label(x + 11, y, each.name))


def _label(x: float, y: float, content: str, *, anchor: str = "start") -> String:
    return String(
        x, y, content, fontName=look.REGULAR, fontSize=7.4, fillColor=look.MUTED, textAnchor=anchor
    )


def _run(days: int) -> str:
    return "day" if days == 1 else f"{days} days"
