"""What a worker that has been taken over might try: one attack each, with valid arguments.

Data first: `refused` is the call that the first wall names, `lifted` what happens to the same
attack where seccomp and the limit on descriptors are taken away, and `because` which wall that
is, or what one wall alone holds back. docs/threat-model.md shows this table; a test compares.

Runs inside the worker: nothing here may be imported late, and arguments are made beforehand.
"""

import ctypes
import errno
import os
import signal
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass

from sandbox import kernel

PASSES = "passes"
# A kernel built without a call has one wall more.
ALWAYS_FINE = "ENOSYS"

_CWD = -100
_PAGE = 4096


@dataclass(frozen=True)
class Target:
    """What the attacks aim at: the zygote, and what the gateway's machine listens on."""

    zygote: int
    port: int
    abstract: bytes


@dataclass(frozen=True)
class Attack:
    """One attack. lifted: an errno's name or PASSES; several where kernels differ."""

    name: str
    refused: str
    lifted: tuple[str, ...]
    because: str
    run: Callable[[Target], object]


ATTACKS: list[Attack] = []


def attack(name, refused, lifted, because):
    """Enter a function in the table."""

    def enter(run):
        ATTACKS.append(Attack(name, refused, tuple(lifted.split("|")), because, run))
        return run

    return enter


def simple(name, refused, lifted, because, number, *arguments):
    """Enter an attack that is a single call."""
    padded = [*arguments, 0, 0, 0, 0, 0][:6]
    attack(name, refused, lifted, because)(lambda _: kernel.syscall(number, *padded))


def aimed(name, refused, lifted, because, number, arguments):
    """Enter an attack that is a single call on the zygote, whose pid `arguments` is given."""
    attack(name, refused, lifted, because)(
        lambda target: kernel.syscall(number, *arguments(target.zygote))
    )


# --- the network


@attack("connect to a TCP port of this machine", "socket", "EACCES", "Landlock; network namespace")
def _inet(target):
    descriptor = kernel.syscall(41, socket.AF_INET, socket.SOCK_STREAM, 0)
    address = struct.pack("=H", socket.AF_INET) + struct.pack(">H4s8x", target.port, b"\x7f\0\0\1")
    kernel.syscall(42, descriptor, address, len(address))


@attack("send a UDP packet out", "socket", "ENETUNREACH", "network namespace")
def _udp(_):
    descriptor = kernel.syscall(41, socket.AF_INET, socket.SOCK_DGRAM, 0)
    address = struct.pack("=H", socket.AF_INET) + struct.pack(">H4s8x", 53, b"\x08\x08\x08\x08")
    kernel.syscall(44, descriptor, b"x", 1, 0, address, len(address))


@attack("connect to an abstract socket", "socket", "ECONNREFUSED", "network namespace; Landlock")
def _abstract(target):
    descriptor = kernel.syscall(41, socket.AF_UNIX, socket.SOCK_STREAM, 0)
    address = struct.pack("=H", socket.AF_UNIX) + b"\0" + target.abstract
    kernel.syscall(42, descriptor, address, len(address))


@attack(
    "talk to the hypervisor (vsock)",
    "socket",
    "passes|EAFNOSUPPORT|ENODEV|EACCES",
    "seccomp alone: no namespace covers it",
)
def _vsock(_):
    kernel.syscall(41, 40, socket.SOCK_STREAM, 0)


simple(
    "open a netlink socket",
    "socket",
    PASSES,
    "seccomp alone: the kernel's netlink code is in reach, of an empty network",
    41,
    *(socket.AF_NETLINK, socket.SOCK_RAW, 0),
)
simple("open a raw packet socket", "socket", "EPERM", "capabilities", 41, 17, socket.SOCK_RAW, 0)
simple(
    "make a socket pair",
    "socketpair",
    PASSES,
    "harmless: both ends are its own",
    *(53, socket.AF_UNIX, socket.SOCK_STREAM, 0, bytes(8)),
)


@attack("pass its descriptor on", "sendmsg or close or prlimit64 or seccomp", PASSES, "harmless")
def _pass_descriptor(_):
    data = ctypes.create_string_buffer(b"x", 1)
    vector = ctypes.create_string_buffer(struct.pack("=QQ", ctypes.addressof(data), 1), 16)
    control = ctypes.create_string_buffer(struct.pack("=QiiiI", 20, 1, 1, 0, 0), 24)
    message = struct.pack(
        *("=QIIQQQQII", 0, 0, 0, ctypes.addressof(vector), 1, ctypes.addressof(control), 24, 0, 0)
    )
    kernel.syscall(46, 0, message, 0)


# --- files

simple("open /etc/passwd", "open", "ENOENT|EACCES", "empty root; Landlock", 2, b"/etc/passwd", 0)
simple("open the root", "open", "EACCES", "Landlock", 2, b"/", os.O_RDONLY)
simple(
    "read another's environment",
    "openat",
    "ENOENT|EACCES",
    "empty root; Landlock",
    *(257, _CWD, b"/proc/1/environ", 0),
)
simple(
    "open by openat2",
    "openat2",
    "ENOENT|EACCES",
    "empty root; Landlock",
    *(437, _CWD, b"/etc/passwd", struct.pack("=QQQ", 0, 0, 0), 24),
)
simple(
    "open by file handle",
    "open_by_handle_at",
    "EPERM|ESTALE|EBADF",
    "capabilities",
    *(304, _CWD, struct.pack("=II8x", 8, 1), 0),
)
simple("list a directory", "getdents64", "ENOTDIR", "no directory is open", 217, 0, bytes(512), 512)
simple("make a directory", "mkdir", "EROFS|EACCES", "read-only root; Landlock", 83, b"/x", 0o700)
simple("read a stray descriptor", "read", "EBADF", "no other descriptor", 0, 3, bytes(8), 8)
simple("write a stray descriptor", "write", "EBADF", "no other descriptor", 1, 2, b"x", 1)
simple("copy its descriptor", "dup", PASSES, "harmless: the same socket twice", 32, 0)


@attack("put a program into memory", "memfd_create", "EFBIG", "limits (no file may grow)")
def _memory_file(_):
    descriptor = kernel.syscall(319, b"x", 0)
    kernel.syscall(1, descriptor, b"\x7fELF", 4)


simple("take secret memory", "memfd_secret", PASSES, "harmless: memory of its own", 447, 0)
simple("watch files", "inotify_init1", PASSES, "harmless: no file to watch", 294, 0)
simple("watch the file system", "fanotify_init", "EPERM|EMFILE", "capabilities", 300, 0, 0)

# --- other processes

_word = ctypes.create_string_buffer(8)
_vector = struct.pack("=QQ", ctypes.addressof(_word), 8)

aimed("attach to the zygote", "ptrace", "ESRCH", "PID namespace", 101, lambda z: (16, z, 0, 0))
aimed(
    "read the zygote's memory",
    "process_vm_readv",
    "ESRCH",
    "PID namespace",
    310,
    lambda z: (z, _vector, 1, _vector, 1, 0),
)
aimed(
    "write the zygote's memory",
    "process_vm_writev",
    "ESRCH",
    "PID namespace",
    311,
    lambda z: (z, _vector, 1, _vector, 1, 0),
)
aimed("open the zygote's pidfd", "pidfd_open", "ESRCH", "PID namespace", 434, lambda z: (z, 0))
aimed("kill the zygote", "kill", "ESRCH", "PID namespace", 62, lambda z: (z, 9))
aimed("kill one thread of it", "tgkill", "ESRCH", "PID namespace", 234, lambda z: (z, z, 9))
aimed("compare it with itself", "kcmp", "ESRCH", "PID namespace", 312, lambda z: (z, 1, 0, 0, 0))
aimed(
    "change its limits",
    "sendmsg or close or prlimit64 or seccomp",
    "ESRCH",
    "PID namespace",
    302,
    lambda z: (z, 7, struct.pack("=QQ", 1, 1), None),
)
simple("kill everyone", "kill", "ESRCH", "PID namespace", 62, -1, 9)
simple(
    "kill its process group",
    "kill",
    "passes|EPERM",
    "Landlock: the signal reaches itself alone, which ignores it as process 1",
    *(62, 0, 9),
)
simple("move into another namespace", "setns", "EINVAL", "no namespace can be opened", 308, 0, 0)

# --- new processes, programs and threads

simple("fork", "fork", "EAGAIN", "limits (no process)", 57)
simple("vfork", "vfork", "EAGAIN", "limits (no process)", 58)
simple("clone", "clone", "EAGAIN", "limits (no process)", 56, signal.SIGCHLD, None, None, None, 0)
simple(
    "clone by clone3",
    "clone3",
    "EAGAIN",
    "limits (no process)",
    *(435, struct.pack("=8Q", 0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0), 64),
)
_stack = ctypes.create_string_buffer(1 << 16)
simple(
    "start a thread",
    "clone",
    "EAGAIN",
    "limits (no process)",
    # CLONE_VM, _FS, _FILES, _SIGHAND, _THREAD and _SYSVSEM: what a thread is made with.
    *(56, 0x50F00, ctypes.addressof(_stack) + (1 << 15), None, None, 0),
)
simple("run a program", "execve", "ENOENT|EACCES", "empty root", 59, b"/bin/true", None, None)
simple("run one by execveat", "execveat", "ENOENT|EACCES", "empty root", 322, _CWD, b"/bin/true")

# --- memory

simple(
    "map executable memory",
    "mmap",
    PASSES,
    "seccomp alone: code can also be reused where it stands",
    *(9, None, _PAGE, 7, 0x22, -1, 0),
)


@attack("make memory executable", "mprotect", PASSES, "seccomp alone, as above")
def _executable(_):
    kernel.syscall(10, kernel.syscall(9, None, _PAGE, 3, 0x22, -1, 0), _PAGE, 5)


@attack("make it executable by key", "pkey_mprotect", PASSES, "seccomp alone, as above")
def _executable_by_key(_):
    kernel.syscall(329, kernel.syscall(9, None, _PAGE, 3, 0x22, -1, 0), _PAGE, 5, -1)


@attack("offer pages for merging", "madvise", "passes|EINVAL", "seccomp alone: a timing channel")
def _mergeable(_):
    kernel.syscall(28, kernel.syscall(9, None, _PAGE, 3, 0x22, -1, 0), _PAGE, 12)


simple("handle page faults", "userfaultfd", "passes|EPERM", "seccomp alone", 323, 1)
simple("lock memory", "mlockall", "EPERM|ENOMEM", "limits (no locked memory)", 151, 1)
simple("make shared memory", "shmget", PASSES, "IPC namespace: its own", 29, 1, _PAGE, 0o1600)
simple("make a message queue", "msgget", PASSES, "IPC namespace: its own", 68, 1, 0o1600)
simple(
    "make a POSIX queue",
    "mq_open",
    "EMFILE|EACCES",
    "limits (no queue)",
    *(240, b"x", os.O_CREAT | os.O_RDWR, 0o600, None),
)

# --- the walls themselves

simple("become root", "setuid", "EINVAL|EPERM", "user namespace (no such user)", 105, 0)
simple("become root by setresuid", "setresuid", "EINVAL|EPERM", "user namespace", 117, 0, 0, 0)
simple(
    "take capabilities back",
    "capset",
    "EPERM",
    "capabilities",
    *(126, struct.pack("=II", 0x20080522, 0), struct.pack("=6I", 1 << 21, 1 << 21, 0, 0, 0, 0)),
)
simple(
    "be dumpable again",
    "prctl",
    PASSES,
    "seccomp alone: opens it to peers, not them to it",
    *(157, 4, 1, 0, 0, 0),
)
simple("leave seccomp", "prctl", "EINVAL", "the kernel has no way back", 157, 22, 0, 0, 0, 0)
simple(
    "add a filter",
    "sendmsg or close or prlimit64 or seccomp",
    "EFAULT",
    "the kernel only adds filters",
    *(317, 1, 0, None),
)
simple(
    "raise a limit",
    "setrlimit",
    "EPERM",
    "limits (none goes up)",
    *(160, 9, struct.pack("=QQ", 2**64 - 1, 2**64 - 1)),
)
simple(
    "raise a limit by prlimit64",
    "sendmsg or close or prlimit64 or seccomp",
    "EPERM",
    "limits (none goes up)",
    *(302, 0, 9, struct.pack("=QQ", 2**64 - 1, 2**64 - 1), None),
)
simple(
    "add a Landlock rule",
    "landlock_add_rule",
    "EBADF|EBADFD",
    "no ruleset is open",
    *(445, 0, 1, struct.pack("=QI", 1, 0), 0),
)
simple("mount", "mount", "EPERM", "capabilities; Landlock", 165, b"x", b"/", b"tmpfs", 0, None)
simple("mount by the new calls", "fsopen", "EPERM", "capabilities", 430, b"tmpfs", 0)
simple("change the root", "chroot", "EPERM", "capabilities", 161, b"/")
simple("swap the root", "pivot_root", "EPERM", "capabilities; Landlock", 155, b".", b".")
simple(
    "make a user namespace",
    "unshare",
    "passes|ENOSPC|EPERM",
    "seccomp alone: it would be root in there, of nothing that is here",
    *(272, 0x10000000),
)
simple("make a network namespace", "unshare", "EPERM", "capabilities", 272, 0x40000000)

# --- the kernel's wider surface

simple(
    "use io_uring",
    "io_uring_setup",
    "ENOMEM|EPERM",
    "limits (no locked memory)",
    *(425, 1, bytes(120)),
)
simple(
    "load a BPF program",
    "bpf",
    "EPERM",
    "capabilities",
    *(321, 5, struct.pack("=IIQQ", 1, 0, 0, 0).ljust(72, b"\0"), 72),
)
simple(
    "count hardware events",
    "perf_event_open",
    "passes|EPERM|EACCES|ENOENT|EOPNOTSUPP",
    "seccomp alone where perf is open to all: a timing channel",
    *(298, struct.pack("=II", 1, 112).ljust(112, b"\0"), 0, -1, -1, 0),
)
simple(
    "read the session's keys",
    "keyctl",
    "passes|ENOKEY|EACCES",
    "the session keyring is the zygote's own, and empty",
    *(250, 11, -3, bytes(64), 64),
)
simple(
    "add a key",
    "add_key",
    "passes|EDQUOT|EACCES|ENOKEY",
    "user namespace: its own keys",
    *(248, b"user", b"x", b"y", 1, -2),
)
simple(
    "ask for a key",
    "request_key",
    "ENOKEY",
    "user namespace: its own keys",
    *(249, b"user", b"x", None, 0),
)
simple("load a module", "init_module", "EPERM", "capabilities", 175, b"x", 1, b"")
simple("reboot", "reboot", "EPERM", "capabilities", 169, 0xFEE1DEAD, 672274793, 0)
simple("set the clock", "settimeofday", "EPERM", "capabilities", 164, bytes(16), None)
simple("rename the machine", "sethostname", "EPERM", "capabilities", 170, b"x", 1)
simple("read the kernel's log", "syslog", "EPERM", "capabilities", 103, 5, None, 0)
simple("reach the ports", "iopl", "EPERM|EINVAL", "capabilities", 172, 3)
simple("change its personality", "personality", PASSES, "harmless to others", 135, 0x0400000)
simple(
    "write its descriptor table",
    "modify_ldt",
    "passes|EINVAL",
    "seccomp alone: old, rarely used kernel code",
    *(154, 1, struct.pack("=IIII", 0, 0, 0xFFFFF, 0x51), 16),
)
simple("type into the terminal", "ioctl", "ENOTTY", "no terminal is open", 16, 0, 0x5412, b"x")
simple(
    "wait with priority inheritance",
    "futex",
    "EPERM|ESRCH|EDEADLK|passes",
    "seccomp alone: where kernels have been broken",
    *(202, bytes(8), 6, 0, None),
)
simple("handle a signal", "rt_sigaction", PASSES, "harmless", 13, 15, None, bytes(152), 8)
simple("learn its parent", "getppid", PASSES, "PID namespace: it has none", 110)

# --- other ways into the kernel

simple("call by the x32 numbers", "x32 getpid", "ENOSYS", "a kernel without x32", 39 | 0x40000000)

# mov eax, 20 (getpid, i386); int 0x80; ret
_CODE = bytes.fromhex("b814000000 cd80 c3")
_page = ctypes.create_string_buffer(_PAGE)


def prepare():
    """Make, while it still can be made, the executable page that a real bug would find ready."""
    address = kernel.syscall(9, None, _PAGE, 3, 0x22, -1, 0)
    ctypes.memmove(address, _CODE, len(_CODE))
    kernel.syscall(10, address, _PAGE, 5)
    _code_at.append(address)


_code_at: list[int] = []


@attack("call by the i386 numbers", "20 of another architecture", PASSES, "seccomp alone")
def _i386(_):
    if ctypes.CFUNCTYPE(ctypes.c_int)(_code_at[0])() < 0:
        raise OSError(errno.ENOSYS, "no i386")
