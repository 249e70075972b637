import re
from pathlib import Path

import pytest

from sandbox import calls, kernel, seccomp

HEADER = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")

# syscall_64.tbl of Linux, by hand: first, last and both sides of each gap of the table.
KNOWN = {
    0: "read",
    39: "getpid",
    59: "execve",
    101: "ptrace",
    156: "_sysctl",
    174: "create_module",
    202: "futex",
    257: "openat",
    317: "seccomp",
    319: "memfd_create",
    334: "rseq",
    424: "pidfd_send_signal",
    435: "clone3",
    437: "openat2",
    447: "memfd_secret",
    462: "mseal",
}


@pytest.mark.parametrize(("number", "name"), KNOWN.items())
def test_known_numbers_have_their_names(number, name):
    assert calls.name(number) == name


@pytest.mark.parametrize("number", [335, 423, 4096, -1])
def test_number_without_a_name_is_told_as_a_number(number):
    assert calls.name(number) == f"number {number}"


@pytest.mark.skipif(not HEADER.exists(), reason="the kernel's headers are not installed")
def test_names_agree_with_the_kernel_headers_of_this_machine():
    defined = re.findall(r"#define __NR_(\w+) (\d+)", HEADER.read_text(encoding="ascii"))
    assert len(defined) > 300
    for name, number in defined:
        assert calls.name(int(number)) == name


def test_the_list_and_the_table_agree():
    for call in (*seccomp.LIST, *seccomp.PASSING, seccomp.SENTINEL):
        assert calls.name(call.number) == call.name


@pytest.mark.parametrize(
    "name",
    [
        "CLONE",
        "LANDLOCK_CREATE_RULESET",
        "LANDLOCK_RESTRICT_SELF",
        "CAPSET",
        "PIVOT_ROOT",
        "SECCOMP",
        "CLOSE_RANGE",
    ],
)
def test_numbers_that_are_called_are_those_of_the_table(name):
    assert calls.name(getattr(kernel, name)) == name.lower()
