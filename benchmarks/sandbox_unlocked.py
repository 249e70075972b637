"""A zygote whose workers have no wall: what the sandbox's cost is measured against.

Everything else is the same: a fork, a socket, one answer. Nothing here is importable by a gateway.
"""

import os
import signal
import socket

from sandbox import kernel, lockdown, namespaces, wire, zygote
from sandbox.lockdown import SOCKET, Walls


def lock_zygote(**_: int) -> None:
    """Leave it as it is."""


def lock_worker(walls: Walls, *, connection: int) -> None:  # noqa: ARG001 - the real one's shape
    """Put the socket in its place and keep the protocol: some descriptor stands for notices."""
    # A benchmark that is cut short leaves nothing behind.
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    os.dup2(connection, SOCKET)
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=SOCKET)
    reading, writing = os.pipe()
    socket.send_fds(channel, [wire.frame(wire.NOTICES)], [reading])
    # The writing end stays open to the worker's end: a closed one would look like a notice.
    del writing
    channel.detach()


if __name__ == "__main__":
    lockdown.lock_zygote = lock_zygote
    lockdown.lock_worker = lock_worker
    namespaces.WORKER = 0
    zygote.main()
