"""Capabilities: dropped from every set, so that none can come back (capabilities(7)).

The zygote is root inside its own user namespace. It keeps the two that making a worker takes;
a worker keeps none.
"""

import struct
from collections.abc import Collection, Iterable
from pathlib import Path

from sandbox import kernel

SETPCAP = 8  # To drop the rest of the bounding set.
SYS_ADMIN = 21  # To clone into new namespaces.
# What a zygote has left, and its workers begin with.
ZYGOTE = frozenset({SETPCAP, SYS_ADMIN})
_VERSION_3 = 0x20080522


def last_known() -> int:
    """Return the highest capability this kernel knows; ask before /proc is gone."""
    return int(Path("/proc/sys/kernel/cap_last_cap").read_text(encoding="ascii"))


def drop_all_but(kept: Collection[int], *, held: Iterable[int]) -> None:
    """Keep `kept` in the bounding, effective and permitted sets, and nothing in any other.

    held: what the bounding set may still have.

    Raises:
        OSError: The kernel refused.
    """
    for capability in held:
        if capability not in kept:
            kernel.prctl(kernel.PR_CAPBSET_DROP, capability)
    kernel.prctl(kernel.PR_CAP_AMBIENT, kernel.PR_CAP_AMBIENT_CLEAR_ALL)
    mask = sum(1 << capability for capability in kept)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    header = struct.pack("=II", _VERSION_3, 0)
    data = struct.pack("=IIIIII", low, low, 0, high, high, 0)
    kernel.syscall(kernel.CAPSET, header, data)
