"""Seccomp: the few system calls that inference needs. Any other is never run and ends the worker.

The list is data with the reason for each call. Two filters, built once in the zygote as classic
BPF (seccomp(2), linux/filter.h) and installed by each worker, last of all:

- the first suspends a call outside the list and tells the gateway its name (seccomp_unotify(2)),
  which kills the worker. Killing at once would leave nobody who knows which call it was;
- the second kills at once for the calls that handing the gateway that notice took.
"""

import ctypes
import errno
import fcntl
import hashlib
import select
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sandbox import calls, kernel

_AUDIT_ARCH_X86_64 = 0xC000003E
_X32_BIT = 0x40000000
_PROT_EXEC = 4

_KILL_PROCESS = 0x80000000
_NOTIFY = 0x7FC00000
_ERRNO = 0x00050000
_ALLOW = 0x7FFF0000

_SET_MODE_FILTER = 1
_GET_ACTION_AVAIL = 2
_NEW_LISTENER = 8

# struct seccomp_notif: id, pid, flags, then struct seccomp_data.
_NOTICE = struct.Struct("=QIIiIQ6Q")
_NOTICE_RECEIVE = 0xC0502100

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
# MADV_DONTNEED, _FREE, _HUGEPAGE, _NOHUGEPAGE. Not, say, _MERGEABLE: shared pages tell by the
# time of a write what others hold.
ADVISED = (4, 8, 14, 15)
# FUTEX_WAIT, _WAKE, _WAIT_BITSET, _WAKE_BITSET, with either flag (_PRIVATE, _CLOCK_REALTIME). Not
# the priority-inheriting and requeueing kinds, where the kernel's own mistakes have been.
FUTEX_COMMANDS = (0, 1, 9, 10)
_FUTEX_FLAGS = 128 | 256
MADVISE = Call("madvise", 28, "malloc asks for and gives back huge pages")
FUTEX = Call("futex", 202, "locks of the interpreter and the engine, contended or not")
FREE = (
    Call("munmap", 11, "large arrays go back"),
    Call("brk", 12, "malloc grows the main heap"),
    Call("rt_sigreturn", 15, "return from a signal handler"),
    Call("mremap", 25, "realloc of a large array"),
    Call("clock_gettime", 228, "time, where the vDSO cannot answer"),
    Call("exit_group", 231, "the worker's end"),
)
# What handing over the first filter's notices takes; the second filter ends them.
PASSING = (
    Call("sendmsg", 46, "the notices' descriptor goes to the gateway"),
    Call("close", 3, "the worker's own copy of it goes"),
    Call("prlimit64", 302, "no descriptor can be made from then on"),
    Call("seccomp", 317, "the second filter"),
)
# Answered without being run: it proves to the self-test that the filter stands.
SENTINEL = Call("sched_get_priority_max", 146, "self-test")
SENTINEL_ERRNO = errno.ENOTRECOVERABLE

LIST = (*ON_SOCKET, *NOT_EXECUTABLE, MADVISE, FUTEX, *FREE)
ALLOWED = tuple(call.name for call in LIST)


@dataclass(frozen=True, slots=True)
class Program:
    """A filter ready to be installed; `memory` is what the kernel reads."""

    header: bytes = field(repr=False)
    memory: ctypes.Array[Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Filters:
    """Both filters. digest: hex SHA-256 over their BPF, the first before the second."""

    digest: str
    noticing: Program
    closing: Program


def available() -> bool:
    """Tell whether this kernel can both suspend a call for us and kill a whole process."""
    for action in (_NOTIFY, _KILL_PROCESS):
        try:
            kernel.syscall(kernel.SECCOMP, _GET_ACTION_AVAIL, 0, struct.pack("=I", action))
        except OSError:
            return False
    return True


def build() -> Filters:
    """Assemble both filters for this list."""
    noticing = [*_foreign(_NOTIFY)]
    for call in (*FREE, *PASSING):
        noticing += [_jump_equal(call.number, 0, 1), _return(_ALLOW)]
    for call in ON_SOCKET:
        noticing += _only_descriptor_zero(call.number)
    for call in NOT_EXECUTABLE:
        noticing += _without_execution(call.number)
    noticing += _only_values(MADVISE.number, 2, ADVISED)
    noticing += _only_values(FUTEX.number, 1, FUTEX_COMMANDS, ignoring=_FUTEX_FLAGS)
    noticing += [_jump_equal(SENTINEL.number, 0, 1), _return(_ERRNO | SENTINEL_ERRNO)]
    noticing.append(_return(_NOTIFY))
    closing = [_load(_NUMBER)]
    for call in PASSING:
        closing += [_jump_equal(call.number, 0, 1), _return(_KILL_PROCESS)]
    closing.append(_return(_ALLOW))
    digest = hashlib.sha256(b"".join([*noticing, *closing])).hexdigest()
    return Filters(digest, _program(noticing), _program(closing))


def install_noticing(filters: Filters) -> int:
    """Put the first filter in force for good and return the descriptor of its notices.

    Raises:
        OSError: The kernel refused, or no-new-privileges is not set.
    """
    return kernel.syscall(kernel.SECCOMP, _SET_MODE_FILTER, _NEW_LISTENER, filters.noticing.header)


def install_closing(filters: Filters) -> None:
    """Put the second filter in force for good.

    Raises:
        OSError: The kernel refused.
    """
    kernel.syscall(kernel.SECCOMP, _SET_MODE_FILTER, 0, filters.closing.header)


def in_force() -> bool:
    """Tell whether the filter answers the sentinel call."""
    try:
        kernel.syscall(SENTINEL.number, 0)
    except OSError as error:
        return error.errno == SENTINEL_ERRNO
    return False


def refused_call(listener: int) -> str | None:
    """Return the name of the call that a worker is suspended in, or None if it is gone."""
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    if not any(event & select.POLLIN for _, event in poll.poll(0)):
        # The worker has ended. Asking now could wait for a notice that never comes.
        return None
    notice = bytearray(_NOTICE.size)
    try:
        fcntl.ioctl(listener, _NOTICE_RECEIVE, notice)
    except OSError:
        return None
    _, _, _, number, architecture, *_ = _NOTICE.unpack(notice)
    if architecture != _AUDIT_ARCH_X86_64:
        return f"{number} of another architecture"
    if number & _X32_BIT:
        return f"x32 {calls.name(number & ~_X32_BIT)}"
    return calls.name(number)


def _foreign(action: int) -> list[bytes]:
    """Treat every call of another ABI alike. x32 has this architecture and its own numbers."""
    return [
        _load(_ARCHITECTURE),
        _jump_equal(_AUDIT_ARCH_X86_64, 1, 0),
        _return(action),
        _load(_NUMBER),
        _jump_at_least(_X32_BIT, 0, 1),
        _return(action),
    ]


def _only_descriptor_zero(number: int) -> list[bytes]:
    """Allow a call on descriptor 0. The kernel reads the argument as 32 bits, so its low word."""
    return [
        _jump_equal(number, 0, 4),
        _load(_argument(0)),
        _jump_equal(0, 0, 1),
        _return(_ALLOW),
        _return(_NOTIFY),
    ]


def _without_execution(number: int) -> list[bytes]:
    """Allow a call whose protection has no PROT_EXEC; its flags stand in the low word."""
    return [
        _jump_equal(number, 0, 4),
        _load(_argument(2)),
        _jump_any_bit(_PROT_EXEC, 1, 0),
        _return(_ALLOW),
        _return(_NOTIFY),
    ]


def _only_values(
    number: int, argument: int, values: Sequence[int], *, ignoring: int = 0
) -> list[bytes]:
    """Allow a call whose 32-bit argument, without the bits `ignoring`, is one of `values`."""
    body = [_load(_argument(argument)), _keep_bits(~ignoring & 0xFFFFFFFF)]
    for value in values:
        body += [_jump_equal(value, 0, 1), _return(_ALLOW)]
    body.append(_return(_NOTIFY))
    return [_jump_equal(number, 0, len(body)), *body]


def _program(instructions: list[bytes]) -> Program:
    code = b"".join(instructions)
    memory = ctypes.create_string_buffer(code, len(code))
    header = struct.pack("=HxxxxxxQ", len(instructions), ctypes.addressof(memory))
    return Program(header, memory)


def _load(offset: int) -> bytes:
    return _instruction(0x20, 0, 0, offset)


def _jump_equal(value: int, then: int, otherwise: int) -> bytes:
    return _instruction(0x15, then, otherwise, value)


def _jump_at_least(value: int, then: int, otherwise: int) -> bytes:
    return _instruction(0x35, then, otherwise, value)


def _jump_any_bit(value: int, then: int, otherwise: int) -> bytes:
    return _instruction(0x45, then, otherwise, value)


def _keep_bits(mask: int) -> bytes:
    return _instruction(0x54, 0, 0, mask)


def _return(action: int) -> bytes:
    return _instruction(0x06, 0, 0, action)


def _instruction(code: int, then: int, otherwise: int, value: int) -> bytes:
    return struct.pack("=HBBI", code, then, otherwise, value)
