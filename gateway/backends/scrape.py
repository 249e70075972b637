"""Reading a server's load from its Prometheus page. Pure; a page that lies is bounded elsewhere."""

import math
from collections.abc import Iterator

from gateway.backends.profiles import Gauges

# More requests than any server holds at once.
REQUESTS_LIMIT = 1_000_000


def read(page: str, gauges: Gauges) -> tuple[int, int, float] | None:
    """Return running, waiting and the cache's fraction; None where a gauge is missing or absurd.

    Ranks of one server report under several labels: requests add up, and the fullest cache counts.
    """
    running = [_count(value) for value in _values(page, gauges.running)]
    waiting = [_count(value) for value in _values(page, gauges.waiting)]
    if not running or not waiting or None in running or None in waiting:
        return None
    fractions = list(_values(page, gauges.kv_fraction)) if gauges.kv_fraction else [0.0]
    fraction = max(fractions, default=0.0)
    if not 0 <= fraction <= 1:
        return None
    return sum(map(int, filter(None, running))), sum(map(int, filter(None, waiting))), fraction


def _values(page: str, name: str) -> Iterator[float]:
    for line in page.splitlines():
        if not line.startswith(name):
            continue
        rest = line[len(name) :]
        if rest[:1] not in {"{", " "}:
            continue
        try:
            yield float(rest.rpartition("}")[2].split()[0])
        except (IndexError, ValueError):
            yield math.nan


def _count(value: float) -> int | None:
    return int(value) if 0 <= value <= REQUESTS_LIMIT else None
