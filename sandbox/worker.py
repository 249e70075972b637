"""A worker: locks itself down, answers one job or batch, ends. It never returns to its caller."""

import os
from typing import NoReturn

from sandbox import lockdown, wire
from sandbox.errors import words
from sandbox.lockdown import SOCKET, Walls
from sandbox.services import Service

DONE, FAILED = 0, 70


def serve_once(service: Service, walls: Walls, *, socket: int) -> NoReturn:
    """Lock down, say READY, answer one job and exit. `os._exit`: nothing of the zygote's runs."""
    code = FAILED
    try:
        lockdown.lock_worker(walls, connection=socket)
        _write(wire.frame(wire.READY))
        _answer(service)
        code = DONE
    except BaseException as error:  # noqa: BLE001 - the process's edge: whatever it was, it ends
        _report(error)
    os._exit(code)


def _answer(service: Service) -> None:
    kind, payload = _read()
    if kind == wire.REHEARSE:
        service.rehearse()
        kind, payload = _read()
    _write(wire.frame(wire.END, wire.encode(service.serve(kind, payload, _write))))


def _report(error: BaseException) -> None:
    """Tell what failed."""
    try:
        _write(wire.frame(wire.FAILED, words(error)))
    except OSError:
        return


def _read() -> tuple[bytes, bytes]:
    length = wire.body_length(_read_exactly(wire.HEADER_BYTES))
    return wire.split_body(_read_exactly(length))


def _read_exactly(count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        part = os.read(SOCKET, count - len(parts))
        if not part:
            # The gateway let go of this worker; there is nobody to tell.
            os._exit(DONE)
        parts += part
    return bytes(parts)


def _write(data: bytes) -> None:
    """Write to the socket, which stands in its place from the lock-down's first step on."""
    view = memoryview(data)
    while view:
        view = view[os.write(SOCKET, view) :]
