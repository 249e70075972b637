"""What a process that holds keys does about being swapped, in a process of its own."""

import subprocess
import sys

LOCKING = """
import resource
from privacy.memory import lock_memory
resource.setrlimit(resource.RLIMIT_MEMLOCK, tuple(map(int, {limits!r})))
granted = lock_memory()
soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
with open("/proc/self/status") as status:
    (locked,) = [int(line.split()[1]) for line in status if line.startswith("VmLck")]
print(granted, soft, hard, locked > 0)
"""


def locked(*limits):
    command = [sys.executable, "-c", LOCKING.format(limits=limits)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.split()


def test_all_that_may_be_locked_is_asked_for_and_the_answer_is_true():
    # Whoever starts a process seldom gives it its hard limit. An ordinary user gets no more.
    granted, soft, hard, is_locked = locked(4096, 1 << 20)
    assert soft == hard == str(1 << 20)
    assert granted == is_locked
