"""Seccomp: the few system calls that inference needs; any other kills the worker at once.

The list is data with the reason for each call. The filter is built once in the zygote, as classic
BPF (seccomp(2), linux/filter.h), and installed as the last wall of each worker.
"""

import ctypes
import errno
import hashlib
import struct
from dataclasses import dataclass, field
from typing import Any

from sandbox import kernel

_AUDIT_ARCH_X86_64 = 0xC000003E
_X32_BIT = 0x40000000
_PROT_EXEC = 4

_KILL_PROCESS = 0x80000000
_ERRNO = 0x00050000
_ALLOW = 0x7FFF0000

_SET_MODE_FILTER = 1
_GET_ACTION_AVAIL = 2

# Offsets into struct seccomp_data.
_NUMBER = 0
_ARCHITECTURE = 4


def _argument(index: int) -> int:
    """Return the offset of an argument's low word; the high word follows it."""
    return 16 + 8 * index


@dataclass(frozen=True, slots=True)
class Call:
    """One allowed call. reason: why inference needs it."""

    name: str
    number: int
    reason: str


# Calls on the worker's only descriptor, 0.
ON_SOCKET = (
    Call("read", 0, "the job arrives on the socket"),
    Call("write", 1, "tokens leave on the socket"),
)
# Calls whose third argument is a protection: never executable.
NOT_EXECUTABLE = (
    Call("mmap", 9, "the key-value cache and large arrays"),
    Call("mprotect", 10, "malloc grows a thread's heap"),
)
FREE = (
    Call("munmap", 11, "large arrays go back"),
    Call("brk", 12, "malloc grows the main heap"),
    Call("rt_sigreturn", 15, "return from a signal handler"),
    Call("mremap", 25, "realloc of a large array"),
    Call("madvise", 28, "malloc asks for and gives back huge pages"),
    Call("futex", 202, "locks of the interpreter and the engine, contended or not"),
    Call("clock_gettime", 228, "time, where the vDSO cannot answer"),
    Call("exit_group", 231, "the worker's end"),
)
# Answered without being run: it proves to the self-test that the filter stands.
SENTINEL = Call("sched_get_priority_max", 146, "self-test")
SENTINEL_ERRNO = errno.ENOTRECOVERABLE

ALLOWED = tuple(call.name for call in (*ON_SOCKET, *NOT_EXECUTABLE, *FREE))


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter ready to be installed; `keep` holds the memory that the kernel reads.

    digest: hex SHA-256 of the BPF program.
    """

    digest: str
    program: bytes = field(repr=False)
    keep: ctypes.Array[Any] = field(repr=False)


def kills_available() -> bool:
    """Tell whether this kernel has seccomp filters that kill a whole process."""
    action = struct.pack("=I", _KILL_PROCESS)
    try:
        kernel.syscall(kernel.SECCOMP, _GET_ACTION_AVAIL, 0, action)
    except OSError:
        return False
    return True


def build() -> Filter:
    """Assemble the filter for this list."""
    instructions = [
        _load(_ARCHITECTURE),
        _jump_equal(_AUDIT_ARCH_X86_64, 1, 0),
        _return(_KILL_PROCESS),
        _load(_NUMBER),
        # The x32 ABI has the same architecture and its own numbers.
        _jump_at_least(_X32_BIT, 0, 1),
        _return(_KILL_PROCESS),
    ]
    for call in FREE:
        instructions += [_jump_equal(call.number, 0, 1), _return(_ALLOW)]
    for call in ON_SOCKET:
        instructions += _only_descriptor_zero(call.number)
    for call in NOT_EXECUTABLE:
        instructions += _without_execution(call.number)
    instructions += [_jump_equal(SENTINEL.number, 0, 1), _return(_ERRNO | SENTINEL_ERRNO)]
    instructions.append(_return(_KILL_PROCESS))
    program = b"".join(instructions)
    memory = ctypes.create_string_buffer(program, len(program))
    return Filter(
        digest=hashlib.sha256(program).hexdigest(),
        program=struct.pack("=HxxxxxxQ", len(instructions), ctypes.addressof(memory)),
        keep=memory,
    )


def install(program: Filter) -> None:
    """Put the filter in force for good. No-new-privileges must be set.

    Raises:
        OSError: The kernel refused.
    """
    kernel.syscall(kernel.SECCOMP, _SET_MODE_FILTER, 0, program.program)


def in_force() -> bool:
    """Tell whether the filter answers the sentinel call."""
    try:
        kernel.syscall(SENTINEL.number, 0)
    except OSError as error:
        return error.errno == SENTINEL_ERRNO
    return False


def _only_descriptor_zero(number: int) -> list[bytes]:
    """Allow a call on descriptor 0. The kernel reads the argument as 32 bits, so its low word."""
    return [
        _jump_equal(number, 0, 4),
        _load(_argument(0)),
        _jump_equal(0, 0, 1),
        _return(_ALLOW),
        _return(_KILL_PROCESS),
    ]


def _without_execution(number: int) -> list[bytes]:
    """Allow a call whose protection has no PROT_EXEC; its flags stand in the low word."""
    return [
        _jump_equal(number, 0, 4),
        _load(_argument(2)),
        _jump_any_bit(_PROT_EXEC, 1, 0),
        _return(_ALLOW),
        _return(_KILL_PROCESS),
    ]


def _load(offset: int) -> bytes:
    return _instruction(0x20, 0, 0, offset)


def _jump_equal(value: int, then: int, otherwise: int) -> bytes:
    return _instruction(0x15, then, otherwise, value)


def _jump_at_least(value: int, then: int, otherwise: int) -> bytes:
    return _instruction(0x35, then, otherwise, value)


def _jump_any_bit(value: int, then: int, otherwise: int) -> bytes:
    return _instruction(0x45, then, otherwise, value)


def _return(action: int) -> bytes:
    return _instruction(0x06, 0, 0, action)


def _instruction(code: int, then: int, otherwise: int, value: int) -> bytes:
    return struct.pack("=HBBI", code, then, otherwise, value)
