"""Namespaces: a world without files, network, peers or other processes (namespaces(7)).

The zygote leaves user, network, mount, IPC, UTS and cgroup namespaces before it serves; each
worker is cloned into PID and IPC namespaces of its own, where it is process 1.
"""

import ctypes
import os
import signal
from dataclasses import dataclass

from sandbox import kernel

NEWNS = 0x00020000
NEWCGROUP = 0x02000000
NEWUTS = 0x04000000
NEWIPC = 0x08000000
NEWUSER = 0x10000000
NEWPID = 0x20000000
NEWNET = 0x40000000
_CLONE_PIDFD = 0x00001000

# The unprivileged user and group of every Linux (user_namespaces(7), overflow ids).
NOBODY = 65534

ZYGOTE = NEWUSER | NEWNET | NEWNS | NEWIPC | NEWUTS | NEWCGROUP
WORKER = NEWPID | NEWIPC
NAMES = ("user", "net", "mnt", "ipc", "uts", "cgroup", "pid")

_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REMOUNT = 1, 2, 4, 8, 32
_MS_PRIVATE_RECURSIVE = 0x40000 | 0x4000
# Any directory serves as the place to stand on while the old root is taken away; this one exists.
_FOOTING = "/proc"


@dataclass(frozen=True, slots=True)
class Child:
    """A worker as its zygote sees it. pidfd: never names another process, as a pid may."""

    pid: int
    pidfd: int


def enter_zygote_world(*, uid: int, gid: int) -> None:
    """Leave every shared namespace and stand in an empty, read-only root.

    uid, gid: what this process is outside; inside it is nobody, and no other id exists.

    Raises:
        OSError: The kernel refused a step.
    """
    kernel.unshare(ZYGOTE)
    map_identity(uid=uid, gid=gid, inside_uid=NOBODY, inside_gid=NOBODY)
    _empty_root()


def clone_worker() -> Child | None:
    """Fork into fresh PID and IPC namespaces. Returns None in the child.

    The interpreter's own fork protocol runs around the raw call (PyOS_BeforeFork and so on).

    Raises:
        OSError: The kernel refused.
    """
    pidfd = ctypes.c_int(-1)
    ctypes.pythonapi.PyOS_BeforeFork()
    try:
        flags = WORKER | _CLONE_PIDFD | signal.SIGCHLD
        pid = kernel.syscall(kernel.CLONE, flags, None, ctypes.addressof(pidfd), None, None)
    except OSError:
        ctypes.pythonapi.PyOS_AfterFork_Parent()
        raise
    if pid == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
        return None
    ctypes.pythonapi.PyOS_AfterFork_Parent()
    return Child(pid, pidfd.value)


def map_identity(*, uid: int, gid: int, inside_uid: int, inside_gid: int) -> None:
    """Map only this process's own ids (user_namespaces(7)): no other id exists inside.

    Raises:
        OSError: The kernel refused.
    """
    # The files of an undumpable process belong to root, so that it could not write its own maps.
    dumpable = kernel.prctl(kernel.PR_GET_DUMPABLE)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 1)
    try:
        _write_own("setgroups", "deny")
        _write_own("uid_map", f"{inside_uid} {uid} 1")
        _write_own("gid_map", f"{inside_gid} {gid} 1")
    finally:
        kernel.prctl(kernel.PR_SET_DUMPABLE, dumpable & 1)


def _write_own(name: str, line: str) -> None:
    descriptor = os.open(f"/proc/self/{name}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def _empty_root() -> None:
    """Make an empty tmpfs the root and detach every other mount (pivot_root(2), with ".")."""
    kernel.mount("none", "/", None, _MS_PRIVATE_RECURSIVE)
    flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
    kernel.mount("none", _FOOTING, "tmpfs", flags, "size=4k,mode=0555")
    os.chdir(_FOOTING)
    kernel.syscall(kernel.PIVOT_ROOT, b".", b".")
    kernel.detach(".")
    kernel.mount("none", "/", None, _MS_REMOUNT | _MS_RDONLY | flags)
    os.chdir("/")
