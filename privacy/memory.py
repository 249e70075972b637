"""Secrets in memory: locked keys, anonymous files that nobody can change, wiping on failure.

Python copies: what a library call takes or returns passes through ordinary objects for a moment.
What is held is held here.
"""

import ctypes
import fcntl
import mmap
import os
import resource
from collections.abc import Callable
from contextlib import suppress

_WIPE_BYTES = 1 << 20
# Linux's number; the mmap module of Python 3.11 does not name it.
_MADV_WIPEONFORK = 18
_MCL_CURRENT = 1
SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class LockedBytes:
    """A secret in a page of its own: locked against swapping, out of core dumps, wiped at the end.

    `locked` says whether the kernel granted the lock; RLIMIT_MEMLOCK may not allow one more page.
    """

    __slots__ = ("_length", "_page", "locked")

    def __init__(self, secret: bytes) -> None:
        self._length = len(secret)
        self._page = mmap.mmap(-1, max(len(secret), 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._page.madvise(mmap.MADV_DONTDUMP)
        # A child gets zeros in its place.
        self._page.madvise(_MADV_WIPEONFORK)
        self.locked = _lock(self._page)
        self._page[: self._length] = secret

    def read(self) -> bytes:
        """Return a copy, for the call that needs it."""
        return bytes(self._page[: self._length])

    def wipe(self) -> None:
        """Overwrite it; it reads as zeros from now on."""
        self._page[: self._length] = bytes(self._length)

    def __del__(self) -> None:
        # At the interpreter's end the page may be closed already.
        with suppress(AttributeError, ValueError):
            self.wipe()


def lock_memory() -> bool:
    """Keep what this process has in memory now from being swapped; say whether it was granted.

    Memory that comes later, such as weights, is not locked: RLIMIT_MEMLOCK seldom allows it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (hard, hard))
    return bool(ctypes.CDLL(None, use_errno=True).mlockall(_MCL_CURRENT) == 0)


def sealed_memory(length: int, fill: Callable[[int], None]) -> int:
    """Return the descriptor of an anonymous file of `length` bytes that `fill` wrote, sealed.

    The caller closes it. If `fill` raises, what it wrote is wiped and the file is gone.
    """
    descriptor = os.memfd_create("sealgate-weights", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, length)
        try:
            fill(descriptor)
        except BaseException:
            _wipe_file(descriptor, length)
            raise
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, SEALS)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def huge_memory(length: int, fill: Callable[[memoryview], None]) -> mmap.mmap:
    """Return private anonymous memory of `length` bytes that `fill` wrote, in huge pages.

    If `fill` raises, what it wrote is wiped and the memory is gone.
    """
    mapping = mmap.mmap(-1, max(length, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    # Page faults cost more than the cipher: huge pages where the kernel grants them.
    mapping.madvise(mmap.MADV_HUGEPAGE)
    mapping.madvise(mmap.MADV_DONTDUMP)
    with memoryview(mapping) as view, view[:length] as wanted:
        _filled(wanted, fill)
    return mapping


def wipe(view: memoryview) -> None:
    """Overwrite a buffer with zeros."""
    zeros = bytes(min(len(view), _WIPE_BYTES))
    for start in range(0, len(view), _WIPE_BYTES):
        end = min(start + _WIPE_BYTES, len(view))
        view[start:end] = zeros[: end - start]


def _wipe_file(descriptor: int, length: int) -> None:
    """Overwrite what was written of a file in memory, and nothing that was not."""
    end = 0
    zeros = bytes(_WIPE_BYTES)
    while end < length:
        try:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
        except OSError:
            # Nothing was written from there on.
            return
        end = os.lseek(descriptor, start, os.SEEK_HOLE)
        for at in range(start, end, _WIPE_BYTES):
            os.pwrite(descriptor, zeros[: end - at], at)


def _lock(page: mmap.mmap) -> bool:
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.mlock(ctypes.c_void_p(address), ctypes.c_size_t(len(page))) == 0)


def _filled(view: memoryview, fill: Callable[[memoryview], None]) -> None:
    try:
        fill(view)
    except BaseException:
        wipe(view)
        raise
