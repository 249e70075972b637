"""One job's conversation with its worker, from the gateway's side, and what its end means."""

import asyncio
import signal
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from sandbox import wire
from sandbox.errors import CallRefused, DeadlinePassed, SandboxError, WorkerDied
from sandbox.launch import Worker

_RECEIVE_BYTES = 1 << 16


async def converse(worker: Worker, job: wire.Job) -> AsyncGenerator[tuple[bytes, bytes], None]:
    """Send the job and yield the worker's frames until it closes its socket.

    Raises:
        FrameInvalid: The worker does not speak the protocol.
    """
    loop = asyncio.get_running_loop()
    try:
        await loop.sock_sendall(worker.connection, wire.frame(wire.JOB, wire.encode(job)))
        buffer = bytearray()
        while data := await loop.sock_recv(worker.connection, _RECEIVE_BYTES):
            buffer += data
            while (body := _next_body(buffer)) is not None:
                yield wire.split_body(body)
    except ConnectionError:
        # It died with our bytes unread; its exit status says of what.
        return


async def first_frame(worker: Worker) -> tuple[bytes, bytes]:
    """Return a worker's first frame.

    Raises:
        WorkerDied: It closed its socket instead.
        FrameInvalid: It does not speak the protocol.
    """
    loop = asyncio.get_running_loop()
    buffer = bytearray()
    while (body := _next_body(buffer)) is None:
        try:
            data = await loop.sock_recv(worker.connection, _RECEIVE_BYTES)
        except ConnectionError:
            data = b""
        if not data:
            raise WorkerDied("A worker ended while it locked itself down.")
        buffer += data
    return wire.split_body(body)


def ending(exited: wire.Exited | None) -> Mapping[str, Any]:
    """Say how a worker ended; None means that nobody was left to reap it."""
    if exited is None:
        return {"how": "unknown"}
    measured = {"peak_kib": exited.peak_kib, "cpu_ms": exited.cpu_ms}
    if exited.signal:
        return {"how": "signal", "signal": signal.Signals(exited.signal).name, **measured}
    return {"how": "exit", "code": exited.code, **measured}


def death(
    told: str, attestation: Mapping[str, Any], *, late: bool, deadline_s: float
) -> SandboxError:
    """Return the error for an answer that is not whole."""
    if late:
        return DeadlinePassed(
            f"The worker was killed at its deadline of {deadline_s:g} s.", attestation=attestation
        )
    if attestation["end"].get("signal") == signal.SIGSYS.name:
        return CallRefused(
            "The worker made a system call outside its list and was killed.",
            attestation=attestation,
        )
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
