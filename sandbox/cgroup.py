"""cgroup v2, where a subtree is delegated to us: one group for a zygote and all its workers.

It bounds what rlimits cannot, the sum over all workers, and it keeps their memory out of swap.
The gateway must sit in a group of its own below the delegated one, as systemd's
`Delegate=yes` with `DelegateSubgroup=` puts it (cgroups(7), "no internal processes").
"""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from sandbox.errors import SandboxUnavailable

CONTROLLERS = ("cpu", "memory", "pids")
# One zygote, its idle workers and those at work; far above any real pool, far below a fork bomb.
MOST_PROCESSES = 512


@dataclass(frozen=True, slots=True)
class Group:
    """A group that was made for one zygote."""

    path: Path

    def add(self, pid: int) -> None:
        """Move a process into the group; what it forks stays in it.

        Raises:
            SandboxUnavailable: The kernel refused.
        """
        try:
            (self.path / "cgroup.procs").write_text(str(pid), encoding="ascii")
        except OSError as error:
            raise SandboxUnavailable(
                f"The zygote cannot enter {self.path}: {error.strerror}. Delegate the group anew."
            ) from None

    def remove(self) -> None:
        """Kill whatever is left in the group and remove it; one that is gone is no error."""
        with contextlib.suppress(OSError):
            (self.path / "cgroup.kill").write_text("1", encoding="ascii")
        # The dead leave a moment later; a group that is still busy is removed at the next start.
        with contextlib.suppress(OSError):
            self.path.rmdir()


def delegated(
    *, mounts: Path = Path("/proc/self/mounts"), own: Path = Path("/proc/self/cgroup")
) -> Path:
    """Return the directory below which this process may make groups with limits.

    Raises:
        SandboxUnavailable: There is none; the message says what is missing.
    """
    directory = _own_directory(mounts, own)
    parent = directory.parent
    if not os.access(parent, os.W_OK) or not os.access(parent / "cgroup.subtree_control", os.W_OK):
        raise SandboxUnavailable(f"{parent} is not delegated to this user")
    offered = (parent / "cgroup.controllers").read_text(encoding="ascii").split()
    missing = sorted(set(CONTROLLERS) - set(offered))
    if missing:
        raise SandboxUnavailable(f"controllers not delegated: {', '.join(missing)}")
    return parent


def make(parent: Path, *, name: str) -> Group:
    """Make a group with its limits below a delegated directory, replacing one left by a crash.

    Raises:
        SandboxUnavailable: The kernel refused one.
    """
    group = Group(parent / name)
    try:
        wanted = " ".join(f"+{controller}" for controller in CONTROLLERS)
        (parent / "cgroup.subtree_control").write_text(wanted, encoding="ascii")
        group.remove()
        group.path.mkdir(exist_ok=True)
        for file, value in (("pids.max", str(MOST_PROCESSES)), ("memory.swap.max", "0")):
            (group.path / file).write_text(value, encoding="ascii")
    except OSError as error:
        raise SandboxUnavailable(
            f"A group with limits cannot be made in {parent}: {error.strerror}."
        ) from None
    return group


def _own_directory(mounts: Path, own: Path) -> Path:
    path = next(
        (line[3:] for line in own.read_text(encoding="ascii").splitlines() if line[:3] == "0::"),
        None,
    )
    root = next(
        (
            Path(fields[1])
            for line in mounts.read_text(encoding="utf-8").splitlines()
            if (fields := line.split(" "))[2] == "cgroup2"
        ),
        None,
    )
    if path is None or root is None:
        raise SandboxUnavailable("no cgroup v2 hierarchy")
    if path == "/":
        raise SandboxUnavailable("this process is in the root group, which cannot be delegated")
    return root / path.lstrip("/")
