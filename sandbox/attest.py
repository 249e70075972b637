"""What the kernel says of a worker, read from outside by the gateway (proc(5), status).

A worker's own word is its self-test; this is a second one that the worker cannot give.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sandbox.errors import SandboxUnavailable

_SECCOMP_FILTER = "2"
_EMPTY = "0000000000000000"
_EXPECTED = {
    "Seccomp": _SECCOMP_FILTER,
    "NoNewPrivs": "1",
    "CapInh": _EMPTY,
    "CapPrm": _EMPTY,
    "CapEff": _EMPTY,
    "CapBnd": _EMPTY,
    "CapAmb": _EMPTY,
    "Threads": "1",
}


def observe(pid: int) -> Mapping[str, Any]:
    """Check a ready worker from outside and return what its attestation says of that.

    Raises:
        SandboxUnavailable: The kernel reports a wall missing.
    """
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        # A /proc mounted with hidepid shows no such process to an ordinary user.
        return {"observed": False}
    check(text)
    return {"observed": True}


def check(status: str) -> None:
    """Read a worker's /proc/PID/status.

    Raises:
        SandboxUnavailable: It shows a wall missing.
    """
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    for name, expected in _EXPECTED.items():
        if fields.get(name, "").strip() != expected:
            raise SandboxUnavailable(
                f"SANDBOX_UNAVAILABLE: a worker's {name} is {fields.get(name, 'absent')!r} "
                f"and must be {expected}"
            )
    if len(fields.get("NSpid", "").split()) < 2:  # noqa: PLR2004 - outside and inside
        raise SandboxUnavailable("SANDBOX_UNAVAILABLE: a worker has no PID namespace of its own")
