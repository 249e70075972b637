"""The gateway's handle on one zygote: starts it, asks it for workers, hears of their ends."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from sandbox import namespaces, seccomp, wire
from sandbox.cgroup import Group
from sandbox.descriptors import receive
from sandbox.errors import FrameInvalid, ZygoteFailed
from sandbox.limits import Limits
from sandbox.outer import Outer

SendWeights = Callable[[socket.socket], None]

# `-I`: neither the current directory nor the user's site-packages is looked at.
ENTRY = ("-I", "-m", "sandbox.zygote")
# Nothing is inherited. Huge pages make forking a large model several times cheaper; one thread
# and no telemetry are what the lock-down needs.
ENVIRONMENT = {
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    "ORT_TELEMETRY_DISABLED": "1",
}
START_LIMIT_S = 120.0
_MESSAGE_BYTES = 4096


@dataclass(slots=True, eq=False)
class Worker:
    """One worker: its socket, its pidfd, and its end once the zygote has reaped it.

    listener: where the kernel tells of refused calls. refused: the name of one, if there was.
    admitted: whether it ever waited for a job. rehearsed: whether it was told to rehearse.
    """

    pid: int
    pidfd: int
    connection: socket.socket
    exited: "asyncio.Future[wire.Exited | None]"
    attestation: Mapping[str, Any] = field(default_factory=dict)
    listener: int = -1
    refused: str | None = None
    admitted: bool = False
    rehearsed: bool = False

    def watch(self, listener: int) -> None:
        """Kill the worker when the kernel tells of a call outside its list, and keep its name."""
        self.listener = listener
        asyncio.get_running_loop().add_reader(listener, self._refuse)

    def kill(self) -> None:
        """End the process at once, if it has not ended; the pidfd never names another."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def discard(self) -> None:
        """End it, if it has not ended, and let go of it. Safe to repeat."""
        if self.pidfd >= 0:
            self.kill()
            self.close()

    def close(self) -> None:
        """Let go of its descriptors; it must have ended or been killed."""
        self.connection.close()
        if self.listener >= 0:
            asyncio.get_running_loop().remove_reader(self.listener)
            os.close(self.listener)
            self.listener = -1
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1

    def _refuse(self) -> None:
        # The call stays suspended; killing is the only answer it ever gets.
        self.refused = seccomp.refused_call(self.listener) or self.refused
        self.kill()
        asyncio.get_running_loop().remove_reader(self.listener)


class Zygote:
    """A running zygote. Made by `launch`."""

    def __init__(
        self,
        process: "subprocess.Popen[bytes]",
        control: socket.socket,
        *,
        group: Group | None,
        on_worker: Callable[[Worker], None],
        on_miss: Callable[[str], object],
        on_end: Callable[[str], None],
    ) -> None:
        self._process = process
        self._control = control
        self._group = group
        self._on_worker = on_worker
        self._on_miss = on_miss
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._workers: dict[int, Worker] = {}
        self._loaded: asyncio.Future[Mapping[str, Any]] = self._loop.create_future()
        self._ended = False
        control.setblocking(False)
        self._loop.add_reader(control.fileno(), self._readable)

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    async def loaded(self) -> Mapping[str, Any]:
        """Wait until it holds the weights and is locked down; return its attestation.

        Raises:
            ZygoteFailed: It ended first, said why not, or took too long.
        """
        try:
            async with asyncio.timeout(START_LIMIT_S):
                attestation = await asyncio.shield(self._loaded)
        except TimeoutError:
            raise ZygoteFailed(f"The zygote did not load within {START_LIMIT_S:g} s.") from None
        if self._ended:
            raise ZygoteFailed("The zygote died as soon as it was loaded.")
        return attestation

    def spawn(self) -> None:
        """Ask for one worker; it arrives at `on_worker`. Does nothing once the zygote ended."""
        try:
            self._control.send(wire.SPAWN)
        except BlockingIOError:
            # Hundreds of commands lie unread: it is stopped or wedged.
            self._end("the zygote does not take commands")
        except OSError:
            return

    async def stop(self) -> None:
        """End the zygote and with it every worker, and reap it."""
        self._end("stopped")
        await asyncio.to_thread(self._process.wait)
        if self._group is not None:
            self._group.remove()

    def _readable(self) -> None:
        try:
            data, descriptors = receive(self._control, _MESSAGE_BYTES, most=2)
        except BlockingIOError:
            return
        except OSError:
            data, descriptors = b"", []
        if not data:
            self._end("the zygote died")
            return
        try:
            self._dispatch(data[:1], data[1:], descriptors)
        except FrameInvalid as error:
            self._end(str(error))

    def _dispatch(self, kind: bytes, payload: bytes, descriptors: Sequence[int]) -> None:
        if kind == wire.WORKER:
            self._arrived(wire.decode_spawned(payload).pid, descriptors)
        elif kind == wire.EXITED:
            exited = wire.decode_exited(payload)
            worker = self._workers.pop(exited.pid, None)
            if worker is not None and not worker.exited.done():
                worker.exited.set_result(exited)
        elif kind == wire.LOADED:
            if not self._loaded.done():
                self._loaded.set_result(msgspec.msgpack.decode(payload))
        elif kind == wire.FAILED and self._loaded.done():
            self._on_miss(f"the zygote could not make a worker: {payload.decode(errors='replace')}")
        else:
            self._end(payload.decode(errors="replace"))

    def _arrived(self, pid: int, descriptors: Sequence[int]) -> None:
        if len(descriptors) != 2:  # noqa: PLR2004 - a socket and a pidfd
            # The kernel drops descriptors that we have no room for; the worker meets a closed
            # socket and leaves.
            for descriptor in descriptors:
                os.close(descriptor)
            self._on_miss("a worker came without its descriptors: this process holds too many")
            return
        connection, pidfd = descriptors
        worker = Worker(
            pid=pid,
            pidfd=pidfd,
            connection=socket.socket(fileno=connection),
            exited=self._loop.create_future(),
        )
        worker.connection.setblocking(False)
        self._workers[pid] = worker
        self._on_worker(worker)

    def _end(self, reason: str) -> None:
        """Close the control socket: the zygote exits, its workers die, and all waiters hear."""
        if self._ended:
            return
        self._ended = True
        self._loop.remove_reader(self._control.fileno())
        self._control.close()
        # A zygote that is stopped or wedged would not notice the closing. The whole group: what
        # stands around it cannot pass its own death on to another user's process. Nobody has
        # reaped the leader yet, so the number is still the group's.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        if not self._loaded.done():
            self._loaded.set_exception(ZygoteFailed(f"The zygote failed: {reason}."))
            # Whoever waits hears it; nobody waiting is no error.
            self._loaded.exception()
        for worker in self._workers.values():
            if not worker.exited.done():
                worker.exited.set_result(None)
        self._workers.clear()
        self._on_end(reason)


async def launch(
    *,
    limits: Limits,
    send_weights: SendWeights,
    on_worker: Callable[[Worker], None],
    on_miss: Callable[[str], object],
    on_end: Callable[[str], None],
    entry: Sequence[str] = ENTRY,
    outer: Outer,
) -> Zygote:
    """Start a zygote and send it its weights.

    outer: what stands around it, in force from its first instruction.

    on_worker: takes each new worker. on_miss: hears why one that was asked for does not come.
    on_end: hears why the zygote is gone.

    Raises:
        SandboxError: It did not come up.
    """
    control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours, weights = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with theirs, weights:
        process = subprocess.Popen(  # noqa: ASYNC220 - it returns at once; nothing is awaited
            [
                *outer.prefix,
                *(sys.executable, *entry),
                *("--control", str(theirs.fileno())),
                *("--weights", str(weights.fileno())),
                *("--uid", str(namespaces.NOBODY), "--gid", str(namespaces.NOBODY)),
                *("--limits", msgspec.json.encode(limits).decode()),
            ],
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            pass_fds=(theirs.fileno(), weights.fileno()),
            # Ctrl-C reaches the terminal's whole group; answers under way must outlive it.
            start_new_session=True,
        )
    zygote = Zygote(
        process,
        control,
        group=outer.group,
        on_worker=on_worker,
        on_miss=on_miss,
        on_end=on_end,
    )
    try:
        with ours:
            if outer.group is not None:
                outer.group.add(process.pid)
            await asyncio.to_thread(send_weights, ours)
    except BaseException:
        await zygote.stop()
        raise
    return zygote
