"""Open descriptors: how a process keeps exactly those it needs, and no other."""

from collections.abc import Collection

from sandbox import kernel

HIGHEST = 0xFFFFFFFF


def keep_only(kept: Collection[int]) -> None:
    """Close every descriptor but those in `kept` (close_range(2)).

    Raises:
        OSError: The kernel refused.
    """
    first = 0
    for descriptor in sorted(kept):
        if descriptor > first:
            kernel.syscall(kernel.CLOSE_RANGE, first, descriptor - 1, 0)
        first = descriptor + 1
    kernel.syscall(kernel.CLOSE_RANGE, first, HIGHEST, 0)
