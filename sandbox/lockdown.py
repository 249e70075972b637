"""The order in which a worker gives up everything but its socket, and the proof that it did.

    zygote  1 one thread   2 unprivileged uid, a session keyring of its own
            3 namespaces, empty root            4 capabilities but two     5 not dumpable
    worker  1 descriptors  2 parent's death     3 limits                   4 capabilities
            5 not dumpable, no new privileges   6 Landlock                 7 seccomp, last
            8 self-test

Each step raises where it fails; a worker that raised never says READY.
"""

import os
import select
import signal
import socket
from dataclasses import dataclass, field
from pathlib import Path

from sandbox import (
    capabilities,
    descriptors,
    kernel,
    keyrings,
    landlock,
    limits,
    namespaces,
    seccomp,
    wire,
)
from sandbox.errors import SandboxUnavailable
from sandbox.limits import Limits

# Where a worker's three descriptors stand while it locks itself down; only the socket stays.
SOCKET, _RULESET, _LIFELINE = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Walls:
    """What a worker needs to lock itself down, made in the zygote while it still could.

    lifeline: the reading end of a pipe whose writing end only the zygote holds.
    """

    limits: Limits
    filters: seccomp.Filters = field(repr=False)
    ruleset: int
    lifeline: int
    address_space_bytes: int


def lock_zygote(*, uid: int, gid: int) -> None:
    """Confine the process that holds the weights, before it makes its first worker.

    uid, gid: the unprivileged ids to run as, if this process is root.

    Raises:
        SandboxUnavailable: It has more than one thread.
        OSError: The kernel refused a step.
    """
    # 1
    if len(list(Path("/proc/self/task").iterdir())) != 1:
        raise SandboxUnavailable("SANDBOX_UNAVAILABLE: the zygote has more than one thread")
    last = capabilities.last_known()
    # 2
    if os.geteuid() == 0:
        _drop_root(uid=uid, gid=gid)
    keyrings.leave_session()
    # 3
    namespaces.enter_zygote_world(uid=os.getuid(), gid=os.getgid())
    # 4
    capabilities.drop_all_but(capabilities.ZYGOTE, held=range(last + 1))
    # 5
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)


def lock_worker(walls: Walls, *, connection: int) -> None:
    """Confine this worker for good, leaving it `connection`, which becomes descriptor 0.

    Raises:
        SandboxUnavailable: The self-test found a wall missing.
        OSError: The kernel refused a step.
    """
    # 1
    _take_places(connection=connection, ruleset=walls.ruleset, lifeline=walls.lifeline)
    descriptors.keep_only({SOCKET, _RULESET, _LIFELINE})
    # 2
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    _require_parent()
    # 3
    limits.apply(walls.limits, address_space_bytes=walls.address_space_bytes)
    # 4
    capabilities.drop_all_but((), held=capabilities.ZYGOTE)
    # 5
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    # 6
    landlock.enter(_RULESET)
    os.close(_RULESET)
    os.close(_LIFELINE)
    _require_landlock()
    _require_state()
    # 7
    _filter_calls(walls.filters)
    # 8
    if not seccomp.in_force():
        raise SandboxUnavailable("SANDBOX_UNAVAILABLE: the seccomp filter is not in force")


def _drop_root(*, uid: int, gid: int) -> None:
    """Become an unprivileged user: behind a user namespace, uid 0 would keep RLIMIT_NPROC off."""
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if 0 in (*os.getresuid(), *os.getresgid()) or os.getgroups():
        raise SandboxUnavailable("SANDBOX_UNAVAILABLE: the zygote could not give up root")


def _take_places(*, connection: int, ruleset: int, lifeline: int) -> None:
    """Put the three descriptors in their places, whichever numbers they had before."""
    copies = [os.dup(descriptor) for descriptor in (connection, ruleset, lifeline)]
    for place, copy in zip((SOCKET, _RULESET, _LIFELINE), copies, strict=True):
        os.dup2(copy, place)


def _require_parent() -> None:
    """Raise if the zygote died before its death would have killed us: its pipe has hung up."""
    poll = select.poll()
    poll.register(_LIFELINE, select.POLLIN)
    if poll.poll(0):
        raise SandboxUnavailable("SANDBOX_UNAVAILABLE: the zygote is gone")


def _require_landlock() -> None:
    """Raise unless opening the root directory is refused; without Landlock it would succeed."""
    try:
        os.close(os.open("/", os.O_RDONLY | os.O_DIRECTORY))
    except PermissionError:
        return
    raise SandboxUnavailable("SANDBOX_UNAVAILABLE: Landlock is not in force")


def _require_state() -> None:
    """Raise unless the kernel confirms what was asked of it."""
    if kernel.prctl(kernel.PR_GET_NO_NEW_PRIVS) != 1 or kernel.prctl(kernel.PR_GET_DUMPABLE) != 0:
        raise SandboxUnavailable("SANDBOX_UNAVAILABLE: privileges or dumps are not off")


def _filter_calls(filters: seccomp.Filters) -> None:
    """Install both filters, and between them hand the first one's notices to the gateway."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=SOCKET)
    listener = seccomp.install_noticing(filters)
    socket.send_fds(connection, [wire.frame(wire.NOTICES)], [listener])
    os.close(listener)
    limits.allow_descriptors(1)
    seccomp.install_closing(filters)
    # The descriptor outlives this object: closing it is no longer this process's to do.
    connection.detach()
