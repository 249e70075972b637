"""What one worker may use: data, and how it is handed to the kernel (setrlimit(2))."""

import resource
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one worker.

    cpu_s: processor seconds. memory_bytes: address space beyond the zygote's own, for the
    request's key-value cache and scratch memory.
    """

    cpu_s: int = 300
    memory_bytes: int = 2 << 30


def apply(limits: Limits, *, address_space_bytes: int) -> None:
    """Lower this process's limits for good: soft and hard alike.

    address_space_bytes: what the zygote had mapped when it forked.

    Raises:
        OSError: The kernel refused one.
    """
    ceilings = {
        resource.RLIMIT_AS: address_space_bytes + limits.memory_bytes,
        resource.RLIMIT_CPU: limits.cpu_s,
        # No file can grow, no core is written, no process or thread can be made.
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NPROC: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_SIGPENDING: 0,
    }
    for name, value in ceilings.items():
        resource.setrlimit(name, (value, value))


def allow_descriptors(count: int) -> None:
    """Let this process hold descriptors below `count` only; none above can ever be made."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))


def address_space_bytes() -> int:
    """Return how much this process has mapped (proc(5), statm)."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[0]
    return int(pages) * resource.getpagesize()
