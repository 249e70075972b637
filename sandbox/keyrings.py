"""Kernel keyrings: the zygote leaves the session's, which it inherits with whatever is in it.

Only a second wall: workers cannot make the call that would read it (keyrings(7)).
"""

import errno

from sandbox import kernel

_KEYCTL = 250
_JOIN_SESSION_KEYRING = 1
# A container's filter or a kernel without keys: then no child of ours can read one either.
_NO_KEYS_HERE = {errno.EPERM, errno.ENOSYS}


def leave_session() -> None:
    """Give this process and its children an empty session keyring of their own.

    Raises:
        OSError: The kernel has keyrings and refused.
    """
    try:
        kernel.syscall(_KEYCTL, _JOIN_SESSION_KEYRING, None)
    except OSError as error:
        if error.errno not in _NO_KEYS_HERE:
            raise
