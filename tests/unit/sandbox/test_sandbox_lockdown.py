"""What the lock-down checks of itself: a wall that does not stand ends it."""

import os

import pytest

from tests.unit.sandbox.confined import confined

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="tries to keep root, so it needs it")
TOLD = """
from sandbox.errors import SandboxUnavailable

def told(check, *arguments, **named):
    try:
        check(*arguments, **named)
    except SandboxUnavailable as error:
        return str(error).removeprefix("SANDBOX_UNAVAILABLE: ")
    return "passed"

"""


def said(script):
    return " ".join(confined(TOLD + script).said)


def test_worker_whose_zygote_is_gone_goes_no_further():
    assert (
        said("""
reading, writing = os.pipe()
os.dup2(reading, lockdown._LIFELINE)
before = told(lockdown._require_parent)
os.close(writing)
print(before, told(lockdown._require_parent))
""")
        == "passed the zygote is gone"
    )


def test_worker_whose_privileges_or_dumps_are_not_off_goes_no_further():
    assert (
        said("""
kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
dumpable = told(lockdown._require_state)
kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
print(dumpable, "/", told(lockdown._require_state))
""")
        == "privileges or dumps are not off / passed"
    )


@needs_root
def test_zygote_that_kept_root_goes_no_further():
    assert said("print(told(lockdown._drop_root, uid=0, gid=0))") == (
        "the zygote could not give up root"
    )


@pytest.mark.parametrize(
    ("wall", "expected"),
    [
        ("", "passed"),
        # Installed, and not heard of by the call that would prove it.
        ("seccomp.in_force = lambda: False", "the seccomp filter is not in force"),
        ("landlock.enter = lambda ruleset: None", "Landlock is not in force"),
    ],
)
def test_worker_is_ready_only_behind_every_wall(wall, expected):
    assert (
        said(f"""
ours, theirs = socket.socketpair()
lifeline, held = os.pipe()
walls = lockdown.Walls(
    limits=limits.Limits(),
    filters=seccomp.build(),
    ruleset=landlock.create_ruleset(),
    lifeline=lifeline,
    address_space_bytes=limits.address_space_bytes(),
)
{wall}
lockdown.lock_zygote(uid=65534, gid=65534)
child = os.fork()
if child == 0:
    os.write(0, told(lockdown.lock_worker, walls, connection=theirs.fileno()).encode())
    os._exit(0)
theirs.close()
with ours.makefile("rb") as stream:
    heard = stream.read()
os.waitpid(child, 0)
print(heard.decode(errors="replace").rpartition("N")[2])
""")
        == expected
    )
