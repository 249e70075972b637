"""Whether something leaves a descriptor of this process open."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def none_left() -> Iterator[None]:
    """Require that as many descriptors are open at the end as at the beginning.

    Raises:
        AssertionError: There are more, or fewer.
    """
    # What other tests left is not closed meanwhile.
    gc.collect()
    before = _opened()
    yield
    after = _opened()
    assert after == before, f"{before} descriptors were open, {after} are now."


def _opened() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
