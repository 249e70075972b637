"""Charts as plain numbers: where each shape goes. Templates draw them, and a table says the same.

Coordinates are in the units of the chart's own view box; the page scales it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WIDTH = 720.0
HEIGHT = 180.0
_LEFT = 48.0
# Room for half of the last day's label.
_RIGHT = 12.0
_TOP = 8.0
_BOTTOM = 22.0
_GAP = 0.28
# Tops of a scale that people read with ease, in tenths of a power of ten.
_STEPS = (10, 12, 16, 20, 24, 30, 40, 50, 60, 80)


@dataclass(frozen=True, slots=True)
class Bar:
    """A rectangle. series: which of the chart's words it stands for."""

    x: float
    y: float
    width: float
    height: float
    series: str


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis. at: its coordinate. text: what it says."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Stacked:
    """Bars over days. series: in stacking order. rows: the same as a table, zeros left out."""

    bars: Sequence[Bar]
    rules: Sequence[Tick]
    days: Sequence[Tick]
    series: Sequence[str]
    rows: Sequence[tuple[str, Mapping[str, int]]]
    total: int
    width: float = WIDTH
    height: float = HEIGHT
    left: float = _LEFT
    floor: float = HEIGHT - _BOTTOM


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a whole. x, width: its stretch of the bar, out of 100."""

    name: str
    count: int
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class Divided:
    """A whole in its parts."""

    parts: Sequence[Part]
    total: int


@dataclass(frozen=True, slots=True)
class Age:
    """A key's age. width: out of 100, of the longest or of the mark, whichever is more."""

    name: str
    days: int
    width: float
    beyond: bool


@dataclass(frozen=True, slots=True)
class Ages:
    """Ages against a mark. at: where the mark stands, out of 100."""

    rows: Sequence[Age]
    mark: int
    at: float


def stacked(days: Sequence[tuple[str, Mapping[str, int]]]) -> Stacked:
    """Lay days out as stacked bars. days: at least one, each with the same words in order."""
    most = max(sum(counts.values()) for _, counts in days)
    top = _round_up(most)
    room, floor = WIDTH - _LEFT - _RIGHT, HEIGHT - _BOTTOM
    scale = (floor - _TOP) / top
    slot = room / len(days)
    bars = []
    for place, (_, counts) in enumerate(days):
        y = floor
        for name, count in counts.items():
            height = count * scale
            y -= height
            if count:
                x = _LEFT + (place + _GAP / 2) * slot
                bars.append(Bar(_r(x), _r(y), _r(slot * (1 - _GAP)), _r(max(height, 1.0)), name))
    rules = [Tick(_r(floor - part * top * scale), f"{round(part * top):,}") for part in (0, 0.5, 1)]
    every = max(1, len(days) // 6)
    labels = [
        Tick(_r(_LEFT + (place + 0.5) * slot), day[5:])
        for place, (day, _) in enumerate(days)
        if (len(days) - 1 - place) % every == 0
    ]
    rows = [(day, counts) for day, counts in days if any(counts.values())]
    total = sum(sum(counts.values()) for _, counts in days)
    return Stacked(bars, rules, labels, list(days[0][1]), rows, total)


def divided(parts: Sequence[tuple[str, int]]) -> Divided:
    """Lay the parts of a whole out along one bar."""
    total = sum(count for _, count in parts)
    laid, x = [], 0.0
    for name, count in parts:
        width = 100 * count / total if total else 0.0
        laid.append(Part(name, count, _r(x), _r(width)))
        x += width
    return Divided(laid, total)


def ages(rows: Sequence[tuple[str, int]], *, mark: int) -> Ages:
    """Lay ages out against the age that asks for attention."""
    longest = max([mark * 1.15, *(days for _, days in rows)])
    laid = [
        Age(name, days, _r(max(100 * days / longest, 0.4)), beyond=days > mark)
        for name, days in rows
    ]
    return Ages(laid, mark, _r(100 * mark / longest))


def _round_up(most: int) -> int:
    """Return an even top of the scale, at least 2, whose half is whole too."""
    power = 1
    while True:
        for step in _STEPS:
            top = step * power // 10
            if top >= max(most, 2) and top % 2 == 0 and step * power % 10 == 0:
                return top
        power *= 10


def _r(value: float) -> float:
    return round(value, 2)
