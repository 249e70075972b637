"""System calls that Python does not wrap, each with its return value checked.

Numbers are those of x86-64; `probe.py` refuses any other machine.
"""

import ctypes
import os
from typing import Any

MACHINE = "x86_64"

# PyDLL keeps the interpreter's lock over the call: a clone must not return without it.
_libc = ctypes.PyDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

CLONE = 56
LANDLOCK_CREATE_RULESET = 444
LANDLOCK_RESTRICT_SELF = 446
CAPSET = 126
PIVOT_ROOT = 155
SECCOMP = 317
CLOSE_RANGE = 436

PR_SET_PDEATHSIG = 1
PR_GET_DUMPABLE = 3
PR_SET_DUMPABLE = 4
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
PR_GET_NO_NEW_PRIVS = 39
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4

Argument = int | bytes | ctypes.Array[Any] | None


def syscall(number: int, *arguments: Argument) -> int:
    """Make a system call.

    Raises:
        OSError: It failed; errno says why.
    """
    result: int = _libc.syscall(ctypes.c_long(number), *map(_word, arguments))
    return _checked(result, f"system call {number}")


def prctl(option: int, *arguments: int) -> int:
    """Control one attribute of this process (prctl(2)); absent arguments are zero.

    Raises:
        OSError: It failed.
    """
    padded = [*arguments, 0, 0, 0, 0][:4]
    result: int = _libc.prctl(ctypes.c_int(option), *map(ctypes.c_ulong, padded))
    return _checked(result, f"prctl {option}")


def madvise(address: int, length: int, advice: int) -> None:
    """Advise the kernel about mapped memory (madvise(2)).

    Raises:
        OSError: It knows no such advice, or cannot follow it now.
    """
    result: int = _libc.madvise(
        ctypes.c_void_p(address), ctypes.c_size_t(length), ctypes.c_int(advice)
    )
    _checked(result, f"madvise {advice}")


def mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """Mount a file system (mount(2)).

    Raises:
        OSError: It failed.
    """
    result = _libc.mount(
        source.encode(),
        target.encode(),
        kind.encode() if kind else None,
        ctypes.c_ulong(flags),
        data.encode() if data else None,
    )
    _checked(result, f"mount on {target}")


def detach(target: str) -> None:
    """Take a mount away lazily (umount2(2), MNT_DETACH).

    Raises:
        OSError: It failed.
    """
    _checked(_libc.umount2(target.encode(), 2), f"unmount of {target}")


def unshare(flags: int) -> None:
    """Leave namespaces shared so far (unshare(2)).

    Raises:
        OSError: It failed.
    """
    _checked(_libc.unshare(ctypes.c_int(flags)), f"unshare {flags:#x}")


def _word(argument: Argument) -> Any:
    return ctypes.c_long(argument) if isinstance(argument, int) else argument


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result
