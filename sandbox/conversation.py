"""One job's conversation with its worker, from the gateway's side, and what its end means."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from sandbox import seccomp, wire
from sandbox.descriptors import receive
from sandbox.errors import (
    CallRefused,
    DeadlinePassed,
    GrammarRefused,
    SandboxError,
    WorkerDied,
)
from sandbox.launch import Worker

_RECEIVE_BYTES = 1 << 16
# A worker that has answered exits at once; one that does not is killed.
EXIT_LIMIT_S = 1.0
# A killed worker is reaped within milliseconds; past this its end is recorded as unknown.
REAP_LIMIT_S = 5.0
# How a worker says that a grammar was the trouble.
_GRAMMAR = f"failed: {GrammarRefused.__name__}: "


async def converse(worker: Worker, job: bytes) -> AsyncGenerator[tuple[bytes, bytes], None]:
    """Send the job's frame and yield the worker's frames until it closes its socket.

    Raises:
        FrameInvalid: The worker does not speak the protocol.
    """
    loop = asyncio.get_running_loop()
    try:
        await loop.sock_sendall(worker.connection, job)
        buffer = bytearray()
        while data := await loop.sock_recv(worker.connection, _RECEIVE_BYTES):
            buffer += data
            while (body := _next_body(buffer)) is not None:
                yield wire.split_body(body)
    except ConnectionError:
        # It died with our bytes unread; its exit status says of what.
        return


async def welcome(worker: Worker) -> None:
    """Wait until a worker says that it is locked down, and watch for calls it is refused.

    Raises:
        WorkerDied: It ended, or said what failed, instead.
        FrameInvalid: It does not speak the protocol.
    """
    buffer = bytearray()
    expected = [wire.NOTICES, wire.READY]
    while expected:
        await _readable(worker.connection)
        try:
            data, descriptors = receive(worker.connection, _RECEIVE_BYTES, most=1)
        except ConnectionError:
            data, descriptors = b"", []
        if not data:
            raise WorkerDied("A worker ended while it locked itself down.")
        if descriptors:
            worker.watch(descriptors[0])
        buffer += data
        while (body := _next_body(buffer)) is not None:
            kind, payload = wire.split_body(body)
            if not expected or kind != expected.pop(0):
                raise WorkerDied(f"A worker {told(kind, payload)}.")
    if worker.listener < 0:
        raise WorkerDied("A worker came without the notices of its filter.")


def rehearse(worker: Worker) -> None:
    """Have a worker that nobody waits for make its memory its own; one that died says so itself."""
    with contextlib.suppress(OSError):
        worker.connection.send(wire.frame(wire.REHEARSE))


async def _readable(connection: socket.socket) -> None:
    """Wait until something can be received."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(connection.fileno(), ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(connection.fileno())


async def bury(worker: Worker, *, whole: bool) -> Mapping[str, Any]:
    """See a worker to its end and return its attestation, completed by how it ended.

    whole: whether its answer is, so that it exits by itself.
    """
    try:
        if whole:
            await asyncio.wait([worker.exited], timeout=EXIT_LIMIT_S)
        worker.kill()
        await asyncio.wait([worker.exited], timeout=REAP_LIMIT_S)
        exited = worker.exited.result() if worker.exited.done() else None
    finally:
        worker.discard()
    return {**worker.attestation, "end": ending(exited, worker.refused)}


def ending(exited: wire.Exited | None, refused: str | None) -> Mapping[str, Any]:
    """Say how a worker ended.

    exited: None if nobody was left to reap it. refused: the call it was refused, if it was.
    """
    if exited is None:
        return {"how": "unknown"}
    measured = {"peak_kib": exited.peak_kib, "cpu_ms": exited.cpu_ms}
    if refused is None and exited.signal == signal.SIGSYS:
        refused = " or ".join(call.name for call in seccomp.PASSING)
    if refused is not None:
        return {"how": "refused call", "call": refused, **measured}
    if exited.signal:
        return {"how": "signal", "signal": signal.Signals(exited.signal).name, **measured}
    return {"how": "exit", "code": exited.code, **measured}


def death(
    told: str, attestation: Mapping[str, Any], *, late: bool, deadline_s: float
) -> SandboxError:
    """Return the error for an answer that is not whole."""
    end = attestation["end"]
    if "call" in end:
        return CallRefused(
            f"The worker tried a system call outside its list ({end['call']}) and was killed.",
            attestation=attestation,
        )
    if late:
        return DeadlinePassed(
            f"The worker was killed at its deadline of {deadline_s:g} s.", attestation=attestation
        )
    if told.startswith(_GRAMMAR):
        return GrammarRefused(told.removeprefix(_GRAMMAR), attestation=attestation)
    return WorkerDied(f"The worker {told}.", attestation=attestation)


def told(kind: bytes, payload: bytes) -> str:
    """Turn a frame that was not due into words."""
    if kind == wire.FAILED:
        return f"failed: {payload.decode(errors='replace')}"
    return f"sent a frame of kind {kind!r}"


def _next_body(buffer: bytearray) -> bytes | None:
    """Take one whole frame's body off the buffer, if it is there."""
    if len(buffer) < wire.HEADER_BYTES:
        return None
    end = wire.HEADER_BYTES + wire.body_length(bytes(buffer[: wire.HEADER_BYTES]))
    if len(buffer) < end:
        return None
    body = bytes(buffer[wire.HEADER_BYTES : end])
    del buffer[:end]
    return body
