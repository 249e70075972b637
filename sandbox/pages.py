"""Where the zygote's memory lies, so that workers write to little of what they share.

A worker's write to a shared huge page breaks the page up for that worker: 512 entries to fill, to
miss in the TLB, and to take down at its end. So what a model leaves in memory is kept apart from
what a run allocates, and gathered into huge pages before the first worker is made. All of this is
about time: a kernel or a C library that does not do it costs milliseconds, never a wall.
"""

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from sandbox import kernel

Result = TypeVar("Result")

HUGE_BYTES = 2 << 20
# madvise(2); Python knows neither for memory that it did not map itself.
MADV_HUGEPAGE = 14
MADV_COLLAPSE = 25


def apart(load: Callable[[], Result]) -> Result:
    """Call `load` in a thread that ends with it.

    glibc serves each thread from an arena of its own (mallopt(3)), so the holes that loading
    leaves between weights are never filled by what the main thread allocates later.
    """
    with ThreadPoolExecutor(max_workers=1) as loader:
        return loader.submit(load).result()


def gather() -> None:
    """Put this process's private memory into huge pages, as far as the kernel will (Linux 6.1)."""
    for address in _huge_places():
        with contextlib.suppress(OSError):
            kernel.madvise(address, HUGE_BYTES, MADV_HUGEPAGE)
            kernel.madvise(address, HUGE_BYTES, MADV_COLLAPSE)


def _huge_places() -> Iterator[int]:
    """Yield the address of each aligned 2 MiB of writable memory that no file stands behind."""
    for line in Path("/proc/self/maps").read_text("ascii").splitlines():
        span, permissions, _, _, inode, *name = line.split()
        if permissions != "rw-p" or inode != "0" or (name and name != ["[heap]"]):
            continue
        begin, end = (int(bound, 16) for bound in span.split("-"))
        first = -(-begin // HUGE_BYTES) * HUGE_BYTES
        yield from range(first, end - HUGE_BYTES + 1, HUGE_BYTES)
