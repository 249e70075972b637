"""How fast something grows, told so that a single leap or dip among the samples does not decide it.

The slope is the median of the slopes between every two samples (Theil, 1950), and its interval
holds the slopes that Kendall's test would not reject at 95 % (Sen, JASA 63, 1968, section 4).
Samples that follow from each other, as memory's do, make the interval too narrow, never the
slope wrong.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

_Z = 1.96


@dataclass(frozen=True, slots=True)
class Trend:
    """A slope with its 95 % interval. unit: of what was sampled, over that of the counts."""

    slope: float
    low: float
    high: float

    def scaled(self, factor: float) -> "Trend":
        """Return the same trend over so many counts."""
        return Trend(self.slope * factor, self.low * factor, self.high * factor)


def trend(counts: Sequence[float], values: Sequence[float]) -> Trend:
    """Return how `values` grow with `counts`, which must all differ; three samples at least."""
    slopes = sorted(
        (there - here) / (later - earlier)
        for (earlier, here), (later, there) in combinations(zip(counts, values, strict=True), 2)
    )
    samples = len(counts)
    spread = _Z * math.sqrt(samples * (samples - 1) * (2 * samples + 5) / 18)
    lowest = max(0, round((len(slopes) - spread) / 2) - 1)
    highest = min(len(slopes) - 1, round((len(slopes) + spread) / 2))
    return Trend(statistics.median(slopes), slopes[lowest], slopes[highest])
