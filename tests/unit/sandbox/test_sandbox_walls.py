"""Each wall alone: what it stops, and that the same thing passes without it."""

import errno
import os
import signal
import socket
from pathlib import Path

import pytest

from tests.unit.sandbox.confined import confined

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives up root, so it needs it")


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def abstract_name():
    name = f"sealgate-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(f"\0{name}")
        server.listen()
        yield name


REACH = """
port, name, parent = int(sys.argv[1]), sys.argv[2], os.getppid()
if len(sys.argv) > 3:
    {wall}
def connect(family, address):
    with socket.socket(family) as s:
        s.connect(address)
print(
    tried(os.open, "/etc/passwd", os.O_RDONLY),
    tried(os.mkdir, "/tmp/sealgate-wall"),
    tried(connect, socket.AF_INET, ("127.0.0.1", port)),
    tried(lambda: socket.create_server(("127.0.0.1", 0)).close()),
    tried(connect, socket.AF_UNIX, "\\0" + name),
    tried(os.kill, parent, 0),
)
"""
LANDLOCK = (
    "ruleset = landlock.create_ruleset();"
    "kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1); landlock.enter(ruleset)"
)
WORLD = "namespaces.enter_zygote_world(uid=os.getuid(), gid=os.getgid())"


@pytest.fixture
def no_leftover():
    yield
    Path("/tmp/sealgate-wall").rmdir()  # noqa: S108 - a fixed name, in a script without others


def test_everything_is_in_reach_without_a_wall(listener, abstract_name, no_leftover):
    script = REACH.format(wall="pass")
    assert confined(script, listener, abstract_name).said == ["done"] * 6


def test_landlock_stops_files_ports_abstract_sockets_and_signals(listener, abstract_name):
    script = REACH.format(wall=LANDLOCK)
    assert confined(script, listener, abstract_name, "on").said == [
        *("EACCES", "EACCES"),
        *("EACCES", "EACCES"),
        *("EPERM", "EPERM"),
    ]


KEYS = """
KEYCTL, SESSION = 250, -3

def serial():
    return kernel.syscall(KEYCTL, 0, SESSION, 0)

def found():
    return tried(kernel.syscall, KEYCTL, 10, SESSION, b"user", b"sealgate-test", 0)

def work():
    outside, before = serial(), found()
    keyrings.leave_session()
    print(before, found(), serial() != outside, flush=True)

kernel.syscall(KEYCTL, 1, None)
kernel.syscall(248, b"user", b"sealgate-test", b"secret", 6, SESSION)
end_of(work)
"""


def test_keys_of_the_session_are_out_of_reach_once_it_is_left():
    assert confined(KEYS).said == ["done", "ENOKEY", "True"]


def test_namespaces_leave_no_file_network_or_abstract_socket(listener, abstract_name):
    said = confined(REACH.format(wall=WORLD), listener, abstract_name, "on").said
    # Signals are the PID namespace's: the last word is not this wall's.
    assert said[:5] == ["ENOENT", "ENOENT", "ENETUNREACH", "done", "ECONNREFUSED"]


def test_root_of_the_zygotes_world_is_empty_and_read_only():
    script = f"""
{WORLD}
print(len(os.listdir("/")), tried(os.mkdir, "/here"), os.getuid(), os.getgid())
print(*[name for _, name in socket.if_nameindex()])
"""
    assert confined(script).said == ["0", "EROFS", "65534", "65534", "lo"]


def test_worker_is_alone_in_its_pid_namespace():
    script = f"""
outside = os.getpid()
{WORLD}
child = namespaces.clone_worker()
if child is None:
    alone = (os.getpid(), os.getppid()) == (1, 0)
    stranger = tried(os.kill, outside, 0) == "ESRCH"
    os._exit(0 if alone and stranger else 1)
print(os.waitpid(child.pid, 0)[1], tried(signal.pidfd_send_signal, child.pidfd, 0))
"""
    assert confined(script).said == ["0", "ESRCH"]


@needs_root
def test_dropped_capabilities_are_in_no_set_and_do_not_come_back():
    script = """
without = tried(os.chroot, "/")
every = range(capabilities.last_known() + 1)
capabilities.drop_all_but((), held=every)
raised = tried(kernel.prctl, kernel.PR_CAP_AMBIENT, 2, capabilities.SYS_ADMIN)
print(without, tried(os.chroot, "/"), tried(os.setuid, STRANGER), raised)
for line in open("/proc/self/status"):
    if line.startswith("Cap"):
        print(line.split()[1])
"""
    assert confined(script).said == ["done", "EPERM", "EPERM", "EPERM", *["0" * 16] * 5]


@needs_root
def test_kept_capabilities_are_the_only_ones_and_a_worker_drops_those():
    script = """
def sets():
    return [line.split()[1] for line in open("/proc/self/status") if line.startswith("Cap")]
capabilities.drop_all_but(capabilities.ZYGOTE, held=range(capabilities.last_known() + 1))
print(*sets())
capabilities.drop_all_but((), held=capabilities.ZYGOTE)
print(*sets())
"""
    mask = f"{1 << 8 | 1 << 21:016x}"
    zygotes, workers = ["0" * 16, mask, mask, mask, "0" * 16], ["0" * 16] * 5
    assert confined(script).said == [*zygotes, *workers]


def test_only_the_named_descriptors_stay_open():
    script = """
opened = [os.dup(0) for _ in range(40)]
descriptors.keep_only({1, 2, opened[7]})
alive = [d for d in range(200) if tried(os.fstat, d) == "done"]
print(alive == [1, 2, opened[7]])
"""
    assert confined(script).said == ["True"]


PEER = """
become_stranger()
kernel.prctl(kernel.PR_SET_DUMPABLE, 1)
reading, writing = os.pipe()
child = os.fork()
if child == 0:
    if sys.argv[1] == "on":
        confinement.forbid_dumps()
    os.write(writing, b"x")
    signal.pause()
os.read(reading, 1)
print(tried(os.open, f"/proc/{child}/mem", os.O_RDONLY),
      tried(os.open, f"/proc/{child}/environ", os.O_RDONLY))
os.kill(child, signal.SIGKILL)
os.waitpid(child, 0)
"""


@needs_root
@pytest.mark.parametrize(("wall", "expected"), [("off", "done"), ("on", "EACCES")])
def test_peers_of_the_same_user_read_no_undumpable_memory(wall, expected):
    assert confined(PEER, wall).said == [expected, expected]


DUMP = """
os.chdir(sys.argv[2])
def crash():
    resource.setrlimit(resource.RLIMIT_CORE, (1 << 20, 1 << 20))
    if sys.argv[1] == "on":
        kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    os.kill(os.getpid(), signal.SIGSEGV)
status = end_of(crash)
print(os.WTERMSIG(status), os.WCOREDUMP(status), len(os.listdir(".")))
"""


@needs_root
def test_crash_of_an_undumpable_process_leaves_no_core(tmp_path):
    pattern = Path("/proc/sys/kernel/core_pattern").read_text(encoding="ascii").strip()
    dumped = confined(DUMP, "off", tmp_path).said
    if not pattern.startswith(("|", "/")):
        assert dumped == ["11", "True", "1"]
    for core in tmp_path.iterdir():
        core.unlink()
    assert confined(DUMP, "on", tmp_path).said == ["11", "False", "0"]


LIMITED = """
become_stranger()
bounds = limits.Limits(cpu_s=1, memory_bytes=64 << 20)
limits.apply(bounds, address_space_bytes=limits.address_space_bytes())
"""


@needs_root
def test_limits_stop_memory_processes_files_and_their_own_raising():
    script = f"""
{LIMITED}
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
file = os.memfd_create("file")
small = mmap.mmap(-1, 8 << 20)
print(tried(mmap.mmap, -1, 256 << 20), tried(os.fork), tried(os.write, file, b"x"))
for name in ("AS", "CPU", "NPROC", "FSIZE", "CORE", "MEMLOCK"):
    _, hard = resource.getrlimit(getattr(resource, f"RLIMIT_{{name}}"))
    try:
        resource.setrlimit(getattr(resource, f"RLIMIT_{{name}}"), (hard + 1, hard + 1))
        print("raised")
    except ValueError:
        print("refused")
limits.allow_descriptors(1)
print(tried(os.dup, 0))
"""
    assert confined(script).said == [
        *("ENOMEM", "EAGAIN", "EFBIG"),
        *["refused"] * 6,
        "EMFILE",
    ]


@needs_root
def test_root_behind_a_user_namespace_would_fork_past_its_limit():
    script = """
limits.apply(limits.Limits(), address_space_bytes=1 << 40)
print(end_of(lambda: 0))
"""
    # Which is why the zygote gives up root first.
    assert confined(script).said == ["0"]


@needs_root
def test_processor_limit_kills():
    script = f"""
def spin():
    {LIMITED.replace(chr(10), chr(10) + "    ")}
    while True:
        pass
print(os.WTERMSIG(end_of(spin)))
"""
    assert confined(script).said == [str(int(signal.SIGKILL))]


FILTERED = """
kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
filters = seccomp.build()
os.close(seccomp.install_noticing(filters))
seccomp.install_closing(filters)
"""


def test_refused_call_that_nobody_listens_to_is_still_not_run(tmp_path):
    script = f"""
path = sys.argv[1].encode() + bytes(1)
def act():
    {FILTERED.replace(chr(10), chr(10) + "    ")}
    return errno.ENOSYS if tried(kernel.syscall, 83, path, 0o700) == "ENOSYS" else 1
print(os.waitstatus_to_exitcode(end_of(act)))
"""
    assert confined(script, tmp_path / "made").said == [str(errno.ENOSYS)]
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("number", [3, 46, 302, 317])
def test_call_that_the_closing_filter_ends_kills_with_sigsys(number):
    script = f"""
def act():
    {FILTERED.replace(chr(10), chr(10) + "    ")}
    kernel.syscall({number}, 0, 0, 0, 0)
print(os.WTERMSIG(end_of(act)))
"""
    assert confined(script).said == [str(int(signal.SIGSYS))]


def test_filter_is_seen_to_be_in_force_only_when_it_is():
    script = f"""
def act():
    before = seccomp.in_force()
    {FILTERED.replace(chr(10), chr(10) + "    ")}
    return 0 if (before, seccomp.in_force()) == (False, True) else 1
print(end_of(act))
"""
    assert confined(script).said == ["0"]


@pytest.mark.parametrize("user", ["root", "stranger"])
def test_process_can_leave_the_network_after_it_forbade_dumps(user, listener):
    if os.geteuid() != 0 and user == "root":
        pytest.skip("not root")
    script = """
if sys.argv[1] == "stranger" and os.getuid() == 0:
    become_stranger()
def connect():
    with socket.socket() as s:
        s.connect(("127.0.0.1", int(sys.argv[2])))
before = tried(connect)
confinement.forbid_dumps()
uid = os.getuid()
confinement.leave_network()
print(before, tried(connect), os.getuid() == uid, kernel.prctl(kernel.PR_GET_DUMPABLE))
"""
    assert confined(script, user, listener).said == ["done", "ENETUNREACH", "True", "0"]


LOCK_ZYGOTE = """
if sys.argv[1] == "stranger":
    become_stranger()
confinement.forbid_dumps()
lockdown.lock_zygote(uid=65534, gid=65534)
print(os.getuid(), tried(os.open, "/etc/passwd", os.O_RDONLY), len(os.listdir("/")),
      kernel.prctl(kernel.PR_GET_DUMPABLE))
"""


@needs_root
@pytest.mark.parametrize("user", ["root", "stranger"])
def test_zygote_locks_itself_down_with_root_and_without(user):
    assert confined(LOCK_ZYGOTE, user).said == ["65534", "ENOENT", "0", "0"]


def test_zygote_with_a_second_thread_refuses():
    script = """
threading.Thread(target=threading.Event().wait, daemon=True).start()
try:
    lockdown.lock_zygote(uid=65534, gid=65534)
except Exception as error:
    print(error)
sys.stdout.flush()
os._exit(0)
"""
    said = " ".join(confined(script).said)
    assert said == "SANDBOX_UNAVAILABLE: the zygote has more than one thread"


def test_this_process_is_not_confined_itself():
    # A wall put up in pytest by mistake would hollow out every test above.
    assert "Seccomp:\t0" in Path("/proc/self/status").read_text(encoding="ascii")
