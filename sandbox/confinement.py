"""Confinement of our own long-lived processes: no dumps of their memory, no network."""

import os
import resource

from sandbox import kernel, namespaces


def forbid_dumps() -> None:
    """Make this process's memory unreadable to its peers and leave no core file.

    Raises:
        OSError: The kernel refused.
    """
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def leave_network() -> None:
    """Move this process into a network namespace with no device up.

    Without privilege it takes a user namespace, in which it keeps its own ids.

    Raises:
        OSError: The kernel refused.
    """
    try:
        kernel.unshare(namespaces.NEWNET)
    except PermissionError:
        uid, gid = os.getuid(), os.getgid()
        kernel.unshare(namespaces.NEWUSER | namespaces.NEWNET)
        namespaces.map_identity(uid=uid, gid=gid, inside_uid=uid, inside_gid=gid)
