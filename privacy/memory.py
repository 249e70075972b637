"""Decrypted bytes in memory: an anonymous file that nobody can change, and wiping on failure."""

import fcntl
import mmap
import os
from collections.abc import Callable

_WIPE_BYTES = 1 << 20
SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


def sealed_memory(length: int, fill: Callable[[memoryview], None]) -> int:
    """Return the descriptor of an anonymous file of `length` bytes that `fill` wrote, sealed.

    The caller closes it. If `fill` raises, what it wrote is wiped and the file is gone.
    """
    descriptor = os.memfd_create("sealgate-weights", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, length)
        with mmap.mmap(descriptor, length) as mapping:
            # Page faults cost more than the cipher: huge pages where the kernel grants them.
            mapping.madvise(mmap.MADV_HUGEPAGE)
            mapping.madvise(mmap.MADV_DONTDUMP)
            with memoryview(mapping) as view:
                _filled(view, fill)
        # The kernel refuses this seal while a writable mapping exists; ours is closed.
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, SEALS)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def wipe(view: memoryview) -> None:
    """Overwrite a buffer with zeros."""
    zeros = bytes(min(len(view), _WIPE_BYTES))
    for start in range(0, len(view), _WIPE_BYTES):
        end = min(start + _WIPE_BYTES, len(view))
        view[start:end] = zeros[: end - start]


def _filled(view: memoryview, fill: Callable[[memoryview], None]) -> None:
    try:
        fill(view)
    except BaseException:
        wipe(view)
        raise
