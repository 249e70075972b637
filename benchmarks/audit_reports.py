"""What reports cost: thirty pages, ten thousand rows, and memory for each further entry."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from audit_events import request
from contract import Figure, Samples

from audit.controls.scope import LogState
from audit.report.generate import generate_report

ORIGIN = "sealgate.bench/log"
START = datetime(2026, 1, 1, tzinfo=UTC)
DAYS = 30


def report_figures(*, rounds: int) -> list[Figure]:
    """Measure reports."""
    return [_thirty_pages(rounds=rounds), _long_appendix(rounds=rounds)]


def _thirty_pages(*, rounds: int) -> Figure:
    """Measure a report over enough requests for some thirty pages."""
    pages = 0

    def work() -> None:
        nonlocal pages
        pages = _pages(_report(requests=300))

    taken = times(work, rounds)
    return Figure("report_30_pages_s", taken.median, "s", "<= 2", f"{taken}, {pages} pages")


def _long_appendix(*, rounds: int) -> Figure:
    pages = 0

    def work() -> None:
        nonlocal pages
        pages = _pages(_report(requests=5_000))

    taken = times(work, rounds)
    ours = f"{taken}, 10000 rows, {pages} pages"
    return Figure("report_10k_rows_s", taken.median, "s", "<= 6", ours)


def _report(*, requests: int) -> bytes:
    spacing = timedelta(days=DAYS) / requests
    events = [event for number in range(requests) for event in request(START + number * spacing)]
    end = START + timedelta(days=DAYS)
    state = LogState(ORIGIN, len(events), "00" * 32, "", verified=True)
    return generate_report(
        framework="hipaa",
        start=START,
        end=end,
        events=enumerate(events),
        log=state,
        system={},
        now=end,
        version="0",
    ).pdf


def _pages(pdf: bytes) -> int:
    return pdf.count(b"/Type /Page\n") + pdf.count(b"/Type /Page ")


def times(work: Callable[[], object], rounds: int) -> Samples:
    """Return how long each of some rounds took, in seconds."""
    values = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        values.append(time.perf_counter() - began)
    return Samples(values)
