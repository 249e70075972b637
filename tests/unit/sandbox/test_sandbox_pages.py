"""Memory that is moved must hold what it held; a load that fails must say so."""

import ctypes
import mmap
import threading
from pathlib import Path

import pytest

from sandbox import pages
from sandbox.errors import ZygoteFailed


def _huge_kib() -> int:
    rollup = Path("/proc/self/smaps_rollup").read_text("ascii").splitlines()
    return sum(int(line.split()[1]) for line in rollup if line.startswith("AnonHugePages"))


def test_gathered_memory_holds_what_it_held() -> None:
    length = 3 * pages.HUGE_BYTES
    with mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory.madvise(mmap.MADV_NOHUGEPAGE)
        pattern = bytes(range(256)) * (length // 256)
        memory[:] = pattern
        small = _huge_kib()
        pages.gather()
        assert memory[:] == pattern
        if _huge_kib() == small:
            pytest.skip("this kernel gathers no pages (MADV_COLLAPSE, Linux 6.1)")


def test_nothing_but_private_memory_without_a_file_is_touched() -> None:
    shared = mmap.mmap(-1, 2 * pages.HUGE_BYTES, flags=mmap.MAP_SHARED | mmap.MAP_ANONYMOUS)
    with shared:
        view = (ctypes.c_char * len(shared)).from_buffer(shared)
        begin = ctypes.addressof(view)
        del view
        places = list(pages._huge_places())
        assert all(place % pages.HUGE_BYTES == 0 for place in places)
        assert not any(begin <= place < begin + len(shared) for place in places)


def test_a_load_apart_returns_its_result_and_leaves_no_thread() -> None:
    loaders: list[int] = []

    def load() -> str:
        loaders.append(threading.get_ident())
        return "engine"

    before = threading.active_count()
    assert pages.apart(load) == "engine"
    assert loaders != [threading.get_ident()]
    assert threading.active_count() == before


def test_a_load_apart_that_fails_says_so_here() -> None:
    def load() -> None:
        raise ZygoteFailed("no weights came")

    with pytest.raises(ZygoteFailed, match="no weights came"):
        pages.apart(load)
