import os
from pathlib import Path

import pytest

from sandbox import attest
from sandbox.errors import SandboxUnavailable

CONFINED = """Name:\tpython
Uid:\t65534\t65534\t65534\t65534
NSpid:\t4711\t1
Threads:\t1
CapInh:\t0000000000000000
CapPrm:\t0000000000000000
CapEff:\t0000000000000000
CapBnd:\t0000000000000000
CapAmb:\t0000000000000000
NoNewPrivs:\t1
Seccomp:\t2
Seccomp_filters:\t2
"""


def test_confined_worker_passes():
    attest.check(CONFINED)


@pytest.mark.parametrize(
    ("line", "doctored"),
    [
        ("Seccomp:\t2", "Seccomp:\t0"),
        ("Seccomp:\t2", "Seccomp:\t1"),
        ("NoNewPrivs:\t1", "NoNewPrivs:\t0"),
        ("Threads:\t1", "Threads:\t2"),
        ("CapInh:\t0000000000000000", "CapInh:\t0000000000000001"),
        ("CapPrm:\t0000000000000000", "CapPrm:\t0000000000200000"),
        ("CapEff:\t0000000000000000", "CapEff:\t0000000000200000"),
        ("CapBnd:\t0000000000000000", "CapBnd:\t000001ffffffffff"),
        ("CapAmb:\t0000000000000000", "CapAmb:\t0000000000000100"),
    ],
)
def test_missing_wall_is_named(line, doctored):
    with pytest.raises(SandboxUnavailable, match=line.partition(":")[0]):
        attest.check(CONFINED.replace(line, doctored))


@pytest.mark.parametrize("name", ["Seccomp", "NoNewPrivs", "CapEff", "Threads"])
def test_line_that_the_kernel_does_not_give_is_a_missing_wall(name):
    doctored = "".join(
        line for line in CONFINED.splitlines(keepends=True) if not line.startswith(f"{name}:")
    )
    with pytest.raises(SandboxUnavailable, match=f"{name} is 'absent'"):
        attest.check(doctored)


@pytest.mark.parametrize("line", ["NSpid:\t4711\n", ""])
def test_worker_among_other_processes_is_refused(line):
    with pytest.raises(SandboxUnavailable, match="PID namespace"):
        attest.check(CONFINED.replace("NSpid:\t4711\t1\n", line))


def test_unconfined_process_is_refused():
    with pytest.raises(SandboxUnavailable):
        attest.observe(os.getpid())


def test_process_that_cannot_be_seen_is_recorded_as_not_observed():
    most = int(Path("/proc/sys/kernel/pid_max").read_text(encoding="ascii"))
    assert attest.observe(most + 1) == {"observed": False}
