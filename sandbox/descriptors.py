"""Open descriptors: how a process keeps exactly those it needs, and no other."""

import array
import socket
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


def receive(connection: socket.socket, size: int, *, most: int) -> tuple[bytes, list[int]]:
    """Receive up to `size` bytes and up to `most` descriptors, which no child will inherit.

    `socket.recv_fds` leaves them inheritable: it drops its flags (CPython 3.11).

    Raises:
        OSError: As recvmsg(2).
    """
    numbers = array.array("i")
    data, ancillary, _, _ = connection.recvmsg(
        size, socket.CMSG_LEN(most * numbers.itemsize), socket.MSG_CMSG_CLOEXEC
    )
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            numbers.frombytes(content[: len(content) - len(content) % numbers.itemsize])
    return data, list(numbers)
