"""What the gateway makes of a zygote that fails, lies, wedges or dies: here any program is one."""

import asyncio
import os
import signal
import socket
import struct
import subprocess
import sys

import pytest

from sandbox import cgroup, launch, wire
from sandbox.errors import SandboxUnavailable, ZygoteFailed
from sandbox.limits import Limits
from sandbox.outer import Outer
from sandbox.vocabulary import LIMIT_BYTES, VERSION, Vocabulary, pack, receive
from tests import descriptors

OPENING = """
import os, socket, sys, time
control = socket.socket(fileno=int(sys.argv[sys.argv.index("--control") + 1]))
weights = socket.socket(fileno=int(sys.argv[sys.argv.index("--weights") + 1]))
"""
LOADED = f"control.send({wire.LOADED + wire.encode({'kernel': '6'})!r})\n"
STAY = "control.recv(1)\ntime.sleep(60)\n"


class Heard:
    """What a zygote's owner was told: workers, misses and the reason of the end."""

    def __init__(self):
        self.all = []
        self._more = asyncio.Event()

    def take(self, kind):
        def told(what):
            self.all.append((kind, what))
            self._more.set()

        return told

    async def of(self, kind, *, count=1):
        """Wait until so many of a kind were told, and return them."""
        async with asyncio.timeout(60):
            while len(found := [told for name, told in self.all if name == kind]) < count:
                self._more.clear()
                await self._more.wait()
        return found


async def launched(script, heard=None, *, send_weights=lambda _: None, group=None):
    heard = Heard() if heard is None else heard
    return await launch.launch(
        limits=Limits(),
        send_weights=send_weights,
        on_worker=heard.take("worker"),
        on_miss=heard.take("miss"),
        on_end=heard.take("end"),
        entry=("-I", "-S", "-c", OPENING + script),
        outer=Outer(group=group),
    )


async def test_loaded_zygote_gives_its_attestation_and_stops_for_good():
    zygote = await launched(LOADED + STAY)
    assert await zygote.loaded() == {"kernel": "6"}
    await zygote.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(zygote.pid, 0)
    with pytest.raises(ZygoteFailed, match="died as soon as it was loaded"):
        await zygote.loaded()


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (f"control.send({wire.FAILED!r} + b'landlock is missing')\n" + STAY, "landlock is missing"),
        ("", "the zygote died"),
        ("control.send(b'?what')\n" + STAY, "what"),
        (f"control.send({wire.WORKER!r} + b'rubbish')\n" + STAY, "failed"),
    ],
)
async def test_zygote_that_does_not_load_says_why(script, said):
    heard = Heard()
    zygote = await launched(script, heard)
    with pytest.raises(ZygoteFailed, match=said):
        await zygote.loaded()
    assert await heard.of("end")
    await zygote.stop()


async def test_zygote_that_takes_too_long_is_given_up(monkeypatch):
    monkeypatch.setattr(launch, "START_LIMIT_S", 0.05)
    zygote = await launched(STAY)
    with pytest.raises(ZygoteFailed, match="did not load within"):
        await zygote.loaded()
    await zygote.stop()


async def test_weights_that_cannot_be_sent_leave_no_zygote():
    def broken(_):
        raise ConnectionError("no broker")

    with descriptors.none_left(), pytest.raises(ConnectionError):
        await launched(STAY, send_weights=broken)


async def test_worker_without_its_descriptors_is_a_miss():
    spawned = wire.WORKER + wire.encode(wire.Spawned(7))
    heard = Heard()
    zygote = await launched(
        f"{LOADED}control.recv(1)\nsocket.send_fds(control, [{spawned!r}], [0])\n{STAY}", heard
    )
    await zygote.loaded()
    zygote.spawn()
    (missed,) = await heard.of("miss")
    assert "without its descriptors" in missed
    await zygote.stop()


async def test_worker_that_cannot_be_made_is_a_miss_and_the_zygote_stays():
    heard = Heard()
    failed = wire.FAILED + b"no more processes"
    zygote = await launched(f"{LOADED}control.recv(1)\ncontrol.send({failed!r})\n{STAY}", heard)
    await zygote.loaded()
    zygote.spawn()
    (missed,) = await heard.of("miss")
    assert missed.endswith("no more processes")
    assert await zygote.loaded() == {"kernel": "6"}
    await zygote.stop()


async def test_worker_hears_of_its_end_from_the_zygote_or_with_it():
    # Two workers are the zygote itself; it tells of one's end, and of a stranger's.
    script = LOADED + "control.recv(1)\nfd = os.pidfd_open(os.getpid())\n"
    for pid in (1, 2):
        message = wire.WORKER + wire.encode(wire.Spawned(pid))
        script += f"socket.send_fds(control, [{message!r}], [os.dup(weights.fileno()), fd])\n"
    for pid in (9, 1, 1):
        exited = wire.encode(wire.Exited(pid=pid, signal=0, code=3, peak_kib=1, cpu_ms=1))
        script += f"control.send({wire.EXITED + exited!r})\n"
    heard = Heard()
    zygote = await launched(script + STAY, heard)
    await zygote.loaded()
    zygote.spawn()
    one, two = await heard.of("worker", count=2)
    assert (await one.exited).code == 3
    os.kill(zygote.pid, signal.SIGKILL)
    assert await two.exited is None
    assert await heard.of("end") == ["the zygote died"]
    zygote.spawn()
    await zygote.stop()
    one.discard()
    two.discard()


async def test_zygote_that_reads_no_commands_is_ended():
    heard = Heard()
    zygote = await launched(LOADED + "time.sleep(60)\n", heard)
    await zygote.loaded()
    for _ in range(10_000):
        zygote.spawn()
        if heard.all:
            break
    assert heard.all == [("end", "the zygote does not take commands")]
    await zygote.stop()


def test_vocabulary_is_read_to_its_end_and_no_further_than_its_limit():
    words = Vocabulary([b"a", b"bc", b""], [2])

    def sent(data):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            theirs.settimeout(0)
            theirs.sendall(data)
            theirs.shutdown(socket.SHUT_WR)
            return receive(ours)

    assert sent(b"") is None
    assert sent(pack(words)) == words
    with pytest.raises(ZygoteFailed, match="version 9"):
        sent(struct.pack(">BII", VERSION + 8, 0, 0))


def test_vocabulary_over_its_limit_is_refused_before_it_has_ended():
    class Endless:
        given = 0

        def recv(self, most):
            self.given += most
            return bytes(most)

    endless = Endless()
    with pytest.raises(ZygoteFailed, match="has over"):
        receive(endless)
    assert endless.given <= LIMIT_BYTES + (1 << 16)


def group_of(path):
    """Lay out a cgroup's directory, as the kernel would show it."""
    path.mkdir()
    (path / "cgroup.procs").write_text("")
    return cgroup.Group(path)


async def test_zygote_enters_its_group_before_it_gets_its_weights_and_takes_it_along(tmp_path):
    group = group_of(tmp_path / "zygote-1")
    entered = []
    zygote = await launched(
        LOADED + STAY,
        send_weights=lambda _: entered.append((group.path / "cgroup.procs").read_text()),
        group=group,
    )
    assert entered == [str(zygote.pid)]
    await zygote.stop()
    assert (group.path / "cgroup.kill").read_text() == "1"


async def test_zygote_that_cannot_enter_its_group_gets_no_weights(tmp_path):
    with pytest.raises(SandboxUnavailable, match="Delegate the group anew"):
        await launched(
            LOADED + STAY,
            send_weights=lambda _: pytest.fail("weights were sent"),
            group=cgroup.Group(tmp_path / "gone"),
        )


async def test_zygote_is_loaded_once():
    again = wire.LOADED + wire.encode({"kernel": "other"})
    failed = wire.FAILED + b"no more processes"
    heard = Heard()
    script = f"{LOADED}control.send({again!r})\ncontrol.send({failed!r})\n{STAY}"
    zygote = await launched(script, heard)
    assert await heard.of("miss")
    assert await zygote.loaded() == {"kernel": "6"}
    await zygote.stop()


async def test_end_of_a_worker_that_nobody_waits_for_any_more_is_no_error():
    message = wire.WORKER + wire.encode(wire.Spawned(1))
    script = f"{LOADED}fd = os.pidfd_open(os.getpid())\n"
    script += f"socket.send_fds(control, [{message!r}], [os.dup(weights.fileno()), fd])\n{STAY}"
    heard = Heard()
    zygote = await launched(script, heard)
    (worker,) = await heard.of("worker")
    worker.exited.cancel()
    os.kill(zygote.pid, signal.SIGKILL)
    assert await heard.of("end") == ["the zygote died"]
    await zygote.stop()
    worker.discard()


async def test_worker_that_is_let_go_of_twice_takes_no_descriptor_of_anothers():
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    process = subprocess.Popen(command)  # noqa: ASYNC220 - it returns at once
    ours, theirs = socket.socketpair()
    worker = launch.Worker(
        pid=process.pid,
        pidfd=os.pidfd_open(process.pid),
        connection=ours,
        exited=asyncio.get_running_loop().create_future(),
    )
    worker.discard()
    assert process.wait(20) == -signal.SIGKILL
    # These take the numbers that have come free.
    others = [os.open(os.devnull, os.O_RDONLY) for _ in range(8)]
    worker.close()
    worker.discard()
    for descriptor in others:
        os.fstat(descriptor)
        os.close(descriptor)
    theirs.close()
