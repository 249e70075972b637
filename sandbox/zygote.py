"""The zygote: holds one model's weights, makes workers, and never sees a request.

`python -m sandbox.zygote`, exec'd with an empty environment. It takes the weights from one
socket, locks itself down, and from then on only answers "spawn" on its control socket and reaps.
"""

import argparse
import gc
import os
import platform
import select
import signal
import socket
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from sandbox import (
    landlock,
    limits,
    lockdown,
    namespaces,
    pages,
    seccomp,
    vocabulary,
    weights,
    wire,
)
from sandbox.confinement import forbid_dumps
from sandbox.descriptors import keep_only
from sandbox.engines.embedding import EmbeddingEngine
from sandbox.errors import SandboxError
from sandbox.generate import Engine
from sandbox.grammar import Grammars
from sandbox.limits import Limits
from sandbox.lockdown import Walls
from sandbox.namespaces import Child
from sandbox.services import Embedding, Service, Speaking
from sandbox.worker import serve_once


def main(
    load: Callable[[socket.socket], Engine | EmbeddingEngine] = weights.receive,
) -> None:
    """Load, lock down, serve until the gateway lets go of the control socket.

    load: makes the engine from what arrives on the weights' socket.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--control", type=int, required=True)
    parser.add_argument("--weights", type=int, required=True)
    parser.add_argument("--uid", type=int, required=True)
    parser.add_argument("--gid", type=int, required=True)
    parser.add_argument("--limits", type=msgspec.json.Decoder(Limits).decode, required=True)
    arguments = parser.parse_args()
    control = socket.socket(fileno=arguments.control)
    # A service manager tells every process of ours to stop; answers under way end first, and the
    # control socket's closing is what ends us.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        service = pages.apart(lambda: _loaded(arguments.weights, load))
        _warm(service)
        walls, lifeline = _prepare_walls(arguments.limits, control)
        lockdown.lock_zygote(uid=arguments.uid, gid=arguments.gid)
        control.send(wire.LOADED + wire.encode(_attestation(walls, arguments.limits)))
    except (SandboxError, OSError) as error:
        control.send(wire.FAILED + f"{error}".encode()[:1000])
        return
    _Nursery(service, walls, control, lifeline).run()


def _loaded(descriptor: int, load: Callable[[socket.socket], Engine | EmbeddingEngine]) -> Service:
    forbid_dumps()
    with socket.socket(fileno=descriptor) as connection:
        engine, words = load(connection), vocabulary.receive(connection)
    if isinstance(engine, EmbeddingEngine):
        return Embedding(engine)
    return Speaking(engine, Grammars(words) if words else None)


def _warm(service: Service) -> None:
    """Run once everything that a request will run, and share what that left."""
    service.warm()
    gc.collect()
    # Nothing that lives now is ever looked at again by a worker's collector: its pages stay shared.
    gc.freeze()
    gc.disable()
    pages.gather()


def _prepare_walls(bounds: Limits, control: socket.socket) -> tuple[Walls, int]:
    """Make what workers lock themselves down with; return it and the lifeline's writing end."""
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    reading, writing = os.pipe()
    walls = Walls(
        limits=bounds,
        filters=seccomp.build(),
        ruleset=landlock.create_ruleset(),
        lifeline=reading,
        address_space_bytes=limits.address_space_bytes(),
    )
    keep_only({0, 1, 2, control.fileno(), walls.ruleset, reading, writing})
    return walls, writing


def _attestation(walls: Walls, bounds: Limits) -> Mapping[str, Any]:
    """Say what confines this zygote's workers; the pool completes it for each of them."""
    return {
        "kernel": platform.release(),
        "uid": os.getuid(),
        "namespaces": list(namespaces.NAMES),
        "landlock_abi": landlock.abi(),
        "seccomp": f"sha256:{walls.filters.digest}",
        "cpu_limit_s": bounds.cpu_s,
        "memory_limit_mib": bounds.memory_bytes >> 20,
    }


class _Nursery:
    """Makes workers on command and reports each one's end."""

    def __init__(
        self,
        service: Service,
        walls: Walls,
        control: socket.socket,
        lifeline: int,
    ) -> None:
        self._service = service
        self._walls = walls
        self._control = control
        # Held open, never written: its closing, by our death, is what workers look for.
        self._lifeline = lifeline
        self._children: dict[int, Child] = {}
        self._poll = select.poll()

    def run(self) -> None:
        """Serve until the control socket closes; the workers then die with this process."""
        self._poll.register(self._control, select.POLLIN)
        while True:
            for descriptor, _ in self._poll.poll():
                if descriptor != self._control.fileno():
                    self._reap(self._children.pop(descriptor))
                elif not self._obey():
                    return

    def _obey(self) -> bool:
        command = self._control.recv(1)
        if command == wire.SPAWN:
            self._spawn()
        return bool(command)

    def _spawn(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            child = namespaces.clone_worker()
        except OSError as error:
            self._control.send(wire.FAILED + f"{error}".encode()[:1000])
            return
        if child is None:
            serve_once(self._service, self._walls, socket=theirs.detach())
        self._children[child.pidfd] = child
        self._poll.register(child.pidfd, select.POLLIN)
        message = wire.WORKER + wire.encode(wire.Spawned(child.pid))
        socket.send_fds(self._control, [message], [ours.fileno(), child.pidfd])
        ours.close()
        theirs.close()

    def _reap(self, child: Child) -> None:
        self._poll.unregister(child.pidfd)
        os.close(child.pidfd)
        _, status, usage = os.wait4(child.pid, 0)
        exited = wire.Exited(
            pid=child.pid,
            signal=os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0,
            code=os.WEXITSTATUS(status) if os.WIFEXITED(status) else 0,
            peak_kib=usage.ru_maxrss,
            cpu_ms=round((usage.ru_utime + usage.ru_stime) * 1000),
        )
        self._control.send(wire.EXITED + wire.encode(exited))


if __name__ == "__main__":
    main()
