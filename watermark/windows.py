"""Which stretches of a text are tested. Positions and widths count scored tokens."""

import numpy as np
from numpy.typing import NDArray

WIDTHS = (50, 100, 200, 400)
STRIDES_PER_WIDTH = 4


def windows(scored: int) -> NDArray[np.int64]:
    """Return the windows of a text of `scored` scored tokens: int64 [m, 2], start and end.

    Each width below `scored` is laid at every multiple of a quarter of it, rounded down, and once
    more at the very end. The whole text is the last row.
    """
    found = [
        (start, start + width)
        for width in WIDTHS
        if width < scored
        for start in (*range(0, scored - width, width // STRIDES_PER_WIDTH), scored - width)
    ]
    return np.array([*found, (0, scored)], np.int64)


def count(scored: int) -> int:
    """Return how many windows a text of `scored` scored tokens has."""
    return 1 + sum(
        1 + -(-(scored - width) // (width // STRIDES_PER_WIDTH))
        for width in WIDTHS
        if width < scored
    )
