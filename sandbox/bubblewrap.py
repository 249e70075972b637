"""bubblewrap, where it is installed and works: one outer sandbox around the zygote.

It confines what the zygote's own lock-down comes too late for: importing libraries and loading
weights happen with a read-only file system, no network and hardly a capability. It is no
substitute for a wall of ours, so its absence weakens nothing that is promised.
"""

import os
import shutil
import subprocess
import sys
from functools import cache

from sandbox.errors import SandboxUnavailable

_TRIAL_LIMIT_S = 10
# Only where the system keeps it: a PATH of somebody's choosing could name another program.
_SYSTEM_PATH = "/usr/bin:/bin:/usr/local/bin"
_OPTIONS = (
    "--die-with-parent",
    "--unshare-net",
    "--unshare-ipc",
    "--unshare-uts",
    "--unshare-cgroup-try",
    # No PID namespace: the gateway looks at workers by the ids that the zygote tells it.
    *("--ro-bind", "/", "/"),
    *("--dev", "/dev"),
    *("--proc", "/proc"),
    # Root keeps every capability otherwise.
    *("--cap-drop", "ALL"),
)
# What a root zygote needs until it has given up root: to read its code wherever it lies, and to
# change its ids. Anybody else keeps none.
_ROOT_CAPABILITIES = ("CAP_DAC_READ_SEARCH", "CAP_SETGID", "CAP_SETUID")


@cache
def prefix() -> tuple[str, ...]:
    """Return what to put before the zygote's command: nothing where bubblewrap does not work."""
    try:
        return require()
    except SandboxUnavailable:
        return ()


def require() -> tuple[str, ...]:
    """Return the command's prefix, having run a trial under it.

    Raises:
        SandboxUnavailable: It is not installed, or it does not work here; the message says which.
    """
    program = shutil.which("bwrap", path=_SYSTEM_PATH)
    if program is None:
        raise SandboxUnavailable("bwrap is not installed")
    kept = _ROOT_CAPABILITIES if os.geteuid() == 0 else ()
    wrapped = (program, *_OPTIONS, *(part for name in kept for part in ("--cap-add", name)), "--")
    trial = [*wrapped, sys.executable, "-I", "-S", "-c", ""]
    try:
        subprocess.run(
            trial,
            env={},
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=_TRIAL_LIMIT_S,
        )
    except subprocess.CalledProcessError as error:
        told = error.stderr.decode(errors="replace").strip().partition("\n")[0]
        raise SandboxUnavailable(f"bwrap does not work here: {told[:200]}") from None
    except subprocess.TimeoutExpired:
        raise SandboxUnavailable("bwrap does not work here: it did not come back") from None
    return wrapped
