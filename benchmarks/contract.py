"""What every benchmark shares: its options, its table, its JSON and how two things are compared.

A figure is a number with a target. One that could not be measured is printed as absent and holds
neither way. Two things are measured in one run, in turns, and compared by their medians.
"""

import argparse
import json
import operator
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

REPOSITORY = Path(__file__).resolve().parents[1]
ABSENT = "absent"
T = TypeVar("T")
_COMPARISONS = {"<=": operator.le, ">=": operator.ge}


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number. target: `<= 3` or `>= 2.5`. value: None where it was not measured.

    ours, peer: what the value was made of, as the table shows it.
    """

    name: str
    value: float | None
    unit: str
    target: str
    ours: str = ""
    peer: str = ""

    @property
    def holds(self) -> bool | None:
        """Whether the target is met; None where nothing was measured."""
        if self.value is None:
            return None
        comparison, limit = self.target.split()
        return bool(_COMPARISONS[comparison](self.value, float(limit)))


@dataclass(frozen=True, slots=True)
class Samples:
    """Repeated measurements of one thing."""

    values: Sequence[float]

    @property
    def median(self) -> float:
        """The middle value."""
        return statistics.median(self.values)

    def __str__(self) -> str:
        """Show the median with the spread: the smallest and the largest value."""
        return f"{self.median:.4g} ({min(self.values):.4g} to {max(self.values):.4g})"


def parser(description: str) -> argparse.ArgumentParser:
    """Return the options that every benchmark has; it may add its own."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--quick", action="store_true", help="end within 45 s")
    options.add_argument("--json", metavar="FILE", help="write the figures there; - for stdout")
    return options


def in_turns(*measures: Callable[[], T], rounds: int) -> list[list[T]]:
    """Measure several things in alternation, so that a busy moment meets them all.

    Returns each one's measurements, in the order of `measures`.
    """
    turns = [[measure() for measure in measures] for _ in range(rounds)]
    return [list(taken) for taken in zip(*turns, strict=True)]


def report(figures: Sequence[Figure], *, destination: str | None) -> None:
    """Print the table, and the JSON where it is asked for; `-` leaves stdout to the JSON."""
    table = sys.stderr if destination == "-" else sys.stdout
    rows = [("figure", "ours", "peer", "value", "target", "holds"), *map(_row, figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip(), file=table)
    if destination is None:
        return
    document = json.dumps(_document(figures), indent=2)
    if destination == "-":
        print(document)
    else:
        Path(destination).write_text(document + "\n")


def _row(figure: Figure) -> tuple[str, ...]:
    value = ABSENT if figure.value is None else f"{figure.value:.4g} {figure.unit}".strip()
    holds = {True: "yes", False: "NO", None: "-"}[figure.holds]
    return figure.name, figure.ours, figure.peer, value, figure.target, holds


def _document(figures: Sequence[Figure]) -> dict[str, Any]:
    return {
        "figures": {
            figure.name: {
                "value": figure.value,
                "unit": figure.unit,
                "target": figure.target,
                "holds": figure.holds,
            }
            for figure in figures
        },
        "machine": _machine(),
        "commit": _commit(),
    }


def _machine() -> dict[str, Any]:
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _commit() -> str:
    """Name the commit; `+` says that the working tree differs from it."""
    command = ["git", "-C", str(REPOSITORY), "describe", "--always", "--abbrev=40", "--dirty=+"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"
