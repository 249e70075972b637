"""What this kernel offers for the sandbox, what each absence means, and the refusal to go without.

Every check asks the kernel to do the thing, in a short-lived child where that would change us;
none reads a version number.
"""

import contextlib
import os
import platform
import select
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sandbox import bubblewrap, cgroup, kernel, landlock, lockdown, namespaces, seccomp
from sandbox.errors import SandboxUnavailable


@dataclass(frozen=True, slots=True)
class Wall:
    """One thing a sandbox is made of. found: what the kernel answered. without: what is lost."""

    name: str
    required: bool
    present: bool
    found: str
    without: str


@dataclass(frozen=True, slots=True)
class _Check:
    """ask: returns what was found; raises OSError where it is missing."""

    name: str
    required: bool
    ask: Callable[[], str]
    without: str


def probe() -> list[Wall]:
    """Ask for every wall, required or not."""
    return [_asked(check) for check in CHECKS]


def require(walls: Sequence[Wall] | None = None) -> None:
    """Refuse to go on where a required wall is missing. There is no weaker mode.

    Raises:
        SandboxUnavailable: `SANDBOX_UNAVAILABLE: ` and every missing wall by name.
    """
    missing = [w for w in (probe() if walls is None else walls) if w.required and not w.present]
    if missing:
        named = "; ".join(f"{wall.name}: {wall.found}" for wall in missing)
        raise SandboxUnavailable(f"SANDBOX_UNAVAILABLE: {named}. `sealgate doctor` explains each.")


def _asked(check: _Check) -> Wall:
    try:
        found, present = check.ask(), True
    except SandboxUnavailable as error:
        found, present = str(error), False
    except OSError as error:
        found, present = error.strerror or str(error), False
    return Wall(check.name, check.required, present, found, check.without)


def _machine() -> str:
    found = f"{sys.platform} {platform.machine()}"
    if found != f"linux {kernel.MACHINE}":
        raise OSError(f"{found} is not linux {kernel.MACHINE}")
    return found


def _namespaces() -> str:
    _in_child(_enter_zygote_world)
    return "user, net, mnt, ipc, uts, cgroup, and an empty root"


def _pid_namespace() -> str:
    def clone() -> None:
        _enter_zygote_world()
        child = namespaces.clone_worker()
        if child is None:
            os._exit(0)
        poll = select.poll()
        poll.register(child.pidfd, select.POLLIN)
        poll.poll(1000)
        if os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1]) != 0:
            raise OSError("a worker could not be cloned")

    _in_child(clone)
    return "a worker is process 1 of its own"


def _enter_zygote_world() -> None:
    """Go in as the zygote does, without root: some kernels give namespaces to root alone."""
    lockdown.lock_zygote(uid=namespaces.NOBODY, gid=namespaces.NOBODY)


def _landlock() -> str:
    abi = landlock.abi()
    if abi < landlock.REQUIRED_ABI:
        raise OSError(f"landlock abi {abi} < {landlock.REQUIRED_ABI}")
    return f"landlock abi {abi}"


def _seccomp() -> str:
    def install() -> None:
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        filters = seccomp.build()
        # Nobody listens to a child that only probes: a refused call then fails at once.
        os.close(seccomp.install_noticing(filters))
        seccomp.install_closing(filters)
        # A filter that allows too little would fail here: little more is left to this child.
        os._exit(0 if seccomp.in_force() else 1)

    if not seccomp.available():
        raise OSError("no filter that suspends a call or kills the process")
    _in_child(install)
    return f"{len(seccomp.ALLOWED)} calls allowed, any other ends the worker"


def _memfd() -> str:
    descriptor = os.memfd_create("probe", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.close(descriptor)
    return "memory that can be sealed against writes"


def _close_range() -> str:
    kernel.syscall(kernel.CLOSE_RANGE, 0xFFFFFFF0, 0xFFFFFFFE, 0)
    return "close_range"


def _cgroup() -> str:
    return f"delegated at {cgroup.delegated()}"


def _huge_pages() -> str:
    path = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    chosen = path.read_text(encoding="ascii").partition("[")[2].partition("]")[0]
    if chosen == "never":
        raise OSError("transparent huge pages are off")
    return chosen


def _bubblewrap() -> str:
    return bubblewrap.require()[0]


def _in_child(work: Callable[[], None]) -> None:
    """Run `work` in a forked child; raise OSError with what it says if it fails."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException as error:  # noqa: BLE001 - the child's edge: it only reports
            # Behind half a seccomp filter even that may be refused.
            with contextlib.suppress(OSError):
                os.write(writing, str(error).encode()[:400])
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read().decode(errors="replace")
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code != 0:
        raise OSError(told or f"the probing child ended with {code}")


CHECKS = (
    _Check("machine", True, _machine, "No system call number below would be right."),
    _Check("namespaces", True, _namespaces, "A worker would see files, networks and peers."),
    _Check("pid namespace", True, _pid_namespace, "A worker would see and signal processes."),
    _Check("landlock", True, _landlock, "Files and sockets would have one wall instead of two."),
    _Check("seccomp", True, _seccomp, "A worker could make any system call."),
    _Check("close_range", True, _close_range, "A worker might inherit an open descriptor."),
    _Check("sealed memory", True, _memfd, "Verified weights could be changed before they load."),
    _Check("cgroup v2", False, _cgroup, "Memory and processor are bounded by rlimits alone."),
    _Check("huge pages", False, _huge_pages, "Forking a large model takes several times longer."),
    _Check("bubblewrap", False, _bubblewrap, "The zygote has no second, outer sandbox."),
)
