"""Measures branches in processes that can write no file: zygotes, workers, brokers, forked ones.

A plug-in of coverage (`plugins = ["tests.measuring"]`, with `patch = ["subprocess"]`). Each process
that coverage starts maps a file which it inherited, before a line of ours runs; at its end, walled
in or not, it leaves there which branches it took. Writing to mapped memory takes no system call, so
no wall is any lower while measured. `python -m tests.measuring FILE` then turns what was left into
a data file that `coverage combine` takes. A process that a signal ends may leave less than it took:
the figure errs downwards.

Not for use without coverage, and not loaded by tests.
"""

import contextlib
import itertools
import marshal
import mmap
import os
import signal
import subprocess
import sys
import time
import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path

from coverage import Coverage, CoverageData
from coverage.tracer import CFileDisposition

ROOT = Path(__file__).parents[1]
MEASURED = tuple(f"{ROOT / name}{os.sep}" for name in ("audit", "privacy", "sandbox", "watermark"))
# Beside the data, where COVERAGE_FILE puts it elsewhere: two measurements share nothing.
DATA = "COVERAGE_FILE"
LEFT = Path(os.environ.get(DATA, ROOT / "build" / ".coverage")).absolute().parent / "measured"
CONFIG = "COVERAGE_PROCESS_CONFIG"
# Names the inherited descriptor of the memory that a process leaves its branches in.
MEMORY = "COVERAGE_MEMORY"
# The first two slots are the process's own, in turns: a kill in the midst of one leaves the other.
# The rest are its forked children's; of two that find the same one, the later one's branches count.
OWN_SLOTS, SLOTS, SLOT_BYTES, HEADER_BYTES = 2, 256, 1 << 16, 4
EVERY_S = 0.05


def coverage_init(_registry, _options):
    """Arm this process; coverage calls it before it starts."""
    home = os.getpid()
    Coverage._should_trace = _should_trace
    _pass_on()
    given = os.environ.pop(MEMORY, None)
    memory = _mapped(_made() if given is None else int(given))
    save, leave_for_good = Coverage._atexit, os._exit

    def at_end(coverage, event="atexit"):
        # No handler is left once the interpreter goes.
        signal.setitimer(signal.ITIMER_REAL, 0)
        if given is None and os.getpid() == home:
            save(coverage, event)
        else:
            _leave(memory, forked=os.getpid() != home)

    def measured_exit(status):
        # Nothing that goes wrong here may change what the process tells by its end. Nor may it
        # ask which process this is: a worker is ended for asking.
        with contextlib.suppress(Exception):
            _leave(memory, forked=True)
        leave_for_good(status)

    Coverage._atexit = at_end
    os._exit = measured_exit
    os.execv, os.execve = _disarmed(os.execv), _disarmed(os.execve)
    if given is not None and "-c" not in sys.orig_argv:
        # The gateway ends a zygote with SIGKILL, so it leaves what it has in between as well. A
        # timer is not inherited: workers and other forked children leave theirs at their end. So
        # do lines given to an interpreter, and a signal would stop them where they are traced.
        signal.signal(signal.SIGALRM, lambda *_: _leave(memory, forked=False))
        signal.setitimer(signal.ITIMER_REAL, EVERY_S, EVERY_S)


def _disarmed(become):
    """Stop the timer first: another program inherits it without its handler."""

    def measured(*arguments):
        signal.setitimer(signal.ITIMER_REAL, 0)
        become(*arguments)

    return measured


_turns = itertools.count()


def _made() -> int:
    LEFT.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(LEFT / uuid.uuid4().hex, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    os.ftruncate(descriptor, SLOTS * SLOT_BYTES)
    return descriptor


def _mapped(descriptor: int) -> mmap.mmap:
    try:
        return mmap.mmap(descriptor, SLOTS * SLOT_BYTES)
    finally:
        os.close(descriptor)


def _leave(memory: mmap.mmap, *, forked: bool) -> None:
    coverage = Coverage.current()
    if coverage is None:
        # The timer was faster than coverage itself.
        return
    # As coverage keeps them: a set of packed pairs of lines for each file.
    taken = {name: set(arcs) for name, arcs in coverage._collector.data.items()}
    body = zlib.compress(marshal.dumps(taken), 1)
    turn = time.time_ns() // 1000
    slot = OWN_SLOTS + turn % (SLOTS - OWN_SLOTS) if forked else next(_turns) % OWN_SLOTS
    start = slot * SLOT_BYTES
    if len(body) <= SLOT_BYTES - HEADER_BYTES:
        # Said to be there once it is.
        memory[start : start + HEADER_BYTES] = bytes(HEADER_BYTES)
        memory[start + HEADER_BYTES : start + HEADER_BYTES + len(body)] = body
        memory[start : start + HEADER_BYTES] = len(body).to_bytes(HEADER_BYTES, "big")


def _should_trace(_coverage, filename, _frame):
    """Decide by the name alone: coverage's own rules look at files, which a wall would punish."""
    disposition = CFileDisposition()
    disposition.original_filename = disposition.canonical_filename = filename
    disposition.source_filename = filename
    disposition.trace = filename.startswith(MEASURED)
    disposition.reason = "" if disposition.trace else "not measured"
    disposition.file_tracer = None
    disposition.has_dynamic_filename = False
    return disposition


def _pass_on() -> None:
    """Give each child process its memory, and one of a fixed environment what starts coverage.

    Inherited, not opened there: a child may begin behind a read-only root.
    """
    start = subprocess.Popen.__init__

    def measured(process, *arguments, env=None, pass_fds=(), close_fds=True, **options):
        if CONFIG not in os.environ or not close_fds:
            start(process, *arguments, env=env, close_fds=close_fds, **options)
            return
        memory = _made()
        try:
            own = {name: os.environ[name] for name in (CONFIG, DATA) if name in os.environ}
            env = {**(os.environ if env is None else env), **own, MEMORY: str(memory)}
            start(process, *arguments, env=env, pass_fds=(*pass_fds, memory), **options)
        finally:
            os.close(memory)

    subprocess.Popen.__init__ = measured


def collect(into: str) -> None:
    """Write what all processes left into a data file of coverage's."""
    taken: dict[str, set[tuple[int, int]]] = {}
    for path in LEFT.iterdir():
        for body in _slots(path.read_bytes()):
            try:
                left = marshal.loads(zlib.decompress(body))  # noqa: S302 - ours
            except zlib.error:
                # Two children wrote there at once.
                continue
            for name, packed in left.items():
                arcs = taken.setdefault(str(Path(name).relative_to(ROOT)), set())
                arcs.update(map(_unpacked, packed))
        path.unlink()
    data = CoverageData(into)
    data.add_arcs(taken)
    data.write()


def _slots(memory: bytes) -> Iterator[bytes]:
    for start in range(0, len(memory), SLOT_BYTES):
        body = start + HEADER_BYTES
        length = int.from_bytes(memory[start:body], "big")
        if length:
            yield memory[body : body + length]


def _unpacked(packed: int) -> tuple[int, int]:
    """Undo CTracer_record_pair of coverage's tracer.c: two 28-bit numbers, then their signs."""
    first, second = packed & 0xFFFFFFF, packed >> 28 & 0xFFFFFFF
    return -first if packed >> 56 & 1 else first, -second if packed >> 57 & 1 else second


if __name__ == "__main__":
    collect(sys.argv[1])
