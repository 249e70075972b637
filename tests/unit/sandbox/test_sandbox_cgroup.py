import os
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox import cgroup, outer
from sandbox.errors import SandboxUnavailable


def hierarchy(tmp_path, *, own="/service/gateway", controllers="cpu memory pids"):
    """Lay out the files of a delegated subtree, as the kernel would show them."""
    root = tmp_path / "cgroup"
    (root / own.lstrip("/")).mkdir(parents=True)
    parent = (root / own.lstrip("/")).parent
    (parent / "cgroup.controllers").write_text(controllers)
    (parent / "cgroup.subtree_control").write_text("")
    mounts, membership = tmp_path / "mounts", tmp_path / "membership"
    mounts.write_text(f"proc /proc proc rw 0 0\ncgroup2 {root} cgroup2 rw 0 0\n")
    membership.write_text(f"4:memory:/other\n0::{own}\n")
    return parent, {"mounts": mounts, "own": membership}


def test_delegated_directory_is_the_one_above_our_own(tmp_path):
    parent, files = hierarchy(tmp_path)
    assert cgroup.delegated(**files) == parent


def test_missing_controllers_are_named(tmp_path):
    _, files = hierarchy(tmp_path, controllers="cpuset pids")
    with pytest.raises(SandboxUnavailable, match="cpu, memory"):
        cgroup.delegated(**files)


def test_root_group_is_not_taken(tmp_path):
    _, files = hierarchy(tmp_path)
    files["own"].write_text("0::/\n")
    with pytest.raises(SandboxUnavailable, match="root group"):
        cgroup.delegated(**files)


def test_machine_without_version_2_is_told_so(tmp_path):
    _, files = hierarchy(tmp_path)
    files["mounts"].write_text("cgroup /sys/fs/cgroup/memory cgroup rw 0 0\n")
    with pytest.raises(SandboxUnavailable, match="no cgroup v2"):
        cgroup.delegated(**files)


def test_group_gets_its_limits_and_controllers(tmp_path):
    parent, _ = hierarchy(tmp_path)
    group = cgroup.make(parent, name="zygote-1")
    assert (parent / "cgroup.subtree_control").read_text() == "+cpu +memory +pids"
    assert (group.path / "pids.max").read_text() == str(cgroup.MOST_PROCESSES)
    assert (group.path / "memory.swap.max").read_text() == "0"
    group.add(4711)
    assert (group.path / "cgroup.procs").read_text() == "4711"


def test_group_that_cannot_be_made_is_an_error(tmp_path):
    parent, _ = hierarchy(tmp_path)
    (parent / "zygote-1").write_text("a file in its place")
    with pytest.raises(SandboxUnavailable, match="cannot be made"):
        cgroup.make(parent, name="zygote-1")


def test_attestation_says_what_stands():
    assert outer.Outer().attestation() == {"outer": "absent", "cgroup": "absent"}
    found = outer.Outer(("/usr/bin/bwrap",), cgroup.Group(Path("/sys/fs/cgroup/x")))
    assert found.attestation() == {"outer": "bubblewrap", "cgroup": "v2"}


def unified():
    """Return a mounted cgroup v2 hierarchy that this process may change, or None."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        fields = line.split()
        if fields[2] == "cgroup2" and os.access(fields[1], os.W_OK):
            return Path(fields[1])
    return None


@pytest.mark.skipif(unified() is None, reason="no writable cgroup v2 hierarchy is mounted")
def test_removing_a_real_group_kills_what_is_in_it():
    group = cgroup.Group(unified() / f"sealgate-test-{os.getpid()}")
    group.path.mkdir()
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        group.add(sleeper.pid)
        group.remove()
        assert sleeper.wait(timeout=60) == -9
    finally:
        sleeper.kill()
        sleeper.wait()
        group.remove()
    assert not group.path.exists()


def test_directory_of_somebody_else_is_not_taken(tmp_path):
    parent, files = hierarchy(tmp_path)
    (parent / "cgroup.subtree_control").unlink()
    with pytest.raises(SandboxUnavailable, match="not delegated to this user"):
        cgroup.delegated(**files)
