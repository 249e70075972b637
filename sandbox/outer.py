"""What may stand around a zygote beyond our own walls: bubblewrap and a cgroup, where they work.

Neither is required. Which of them stood is in the attestation of every answer.
"""

import itertools
import os
from collections.abc import Mapping
from dataclasses import dataclass

from sandbox import bubblewrap, cgroup
from sandbox.cgroup import Group
from sandbox.errors import SandboxUnavailable

_serial = itertools.count()


@dataclass(frozen=True, slots=True)
class Outer:
    """prefix: what the zygote's command is run under, or nothing. group: its cgroup, or None."""

    prefix: tuple[str, ...] = ()
    group: Group | None = None

    def attestation(self) -> Mapping[str, str]:
        """Say which of the two stand."""
        return {
            "outer": "bubblewrap" if self.prefix else "absent",
            "cgroup": "absent" if self.group is None else "v2",
        }


def find() -> Outer:
    """Return what this machine offers to one new zygote. Runs a trial of bubblewrap once.

    Raises:
        SandboxUnavailable: A cgroup is delegated, but a group with limits cannot be made in it.
    """
    try:
        parent = cgroup.delegated()
    except SandboxUnavailable:
        return Outer(bubblewrap.prefix())
    name = f"zygote-{os.getpid()}-{next(_serial)}"
    return Outer(bubblewrap.prefix(), cgroup.make(parent, name=name))
