"""Landlock: no file, no port, no abstract socket and no signal beyond the worker itself.

A ruleset that handles every right and grants none (landlock(7)). It is made once in the zygote,
since a worker may not open descriptors, and entered by each worker.
"""

import errno
import struct

from sandbox import kernel

# ABI 6 (Linux 6.12) is the first that also confines abstract sockets and signals.
REQUIRED_ABI = 6
_CREATE_RULESET_VERSION = 1
# ABI 5: the sixteen file rights, from EXECUTE to IOCTL_DEV.
_ALL_FILE_RIGHTS = (1 << 16) - 1
_BIND_AND_CONNECT_TCP = 3
_ABSTRACT_SOCKETS_AND_SIGNALS = 3


def abi() -> int:
    """Return the kernel's Landlock ABI, 0 where it has none or it is switched off."""
    try:
        return kernel.syscall(kernel.LANDLOCK_CREATE_RULESET, None, 0, _CREATE_RULESET_VERSION)
    except OSError as error:
        if error.errno in {errno.ENOSYS, errno.EOPNOTSUPP}:
            return 0
        raise


def create_ruleset() -> int:
    """Return a descriptor of the ruleset that grants nothing.

    Raises:
        OSError: The kernel lacks a right that it would handle.
    """
    attributes = struct.pack(
        "=QQQ", _ALL_FILE_RIGHTS, _BIND_AND_CONNECT_TCP, _ABSTRACT_SOCKETS_AND_SIGNALS
    )
    return kernel.syscall(kernel.LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0)


def enter(ruleset: int) -> None:
    """Confine this process to the ruleset for good. No-new-privileges must be set.

    Raises:
        OSError: The kernel refused.
    """
    kernel.syscall(kernel.LANDLOCK_RESTRICT_SELF, ruleset, 0)
