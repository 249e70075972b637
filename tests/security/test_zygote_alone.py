"""A zygote with nobody but its control socket: what it obeys, and how it ends by itself."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from sandbox import wire
from sandbox.descriptors import receive
from sandbox.launch import ENVIRONMENT
from sandbox.limits import Limits
from tests.security.hostile import HERE, send_weights

LIMIT_S = 60


@pytest.fixture
def zygote():
    """Start one; give its process and the control socket."""
    control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours, weights = socket.socketpair()
    command = [sys.executable, "-I", str(Path(HERE, "hostile_zygote.py"))]
    command += ["--control", str(theirs.fileno()), "--weights", str(weights.fileno())]
    command += ["--uid", "65534", "--gid", "65534", "--limits", json.dumps(asdict(Limits()))]
    descriptors = (theirs.fileno(), weights.fileno())
    process = subprocess.Popen(command, env=ENVIRONMENT, pass_fds=descriptors)
    theirs.close()
    weights.close()
    try:
        with ours:
            send_weights(ours)
        control.settimeout(LIMIT_S)
        assert control.recv(4096)[:1] == wire.LOADED
        yield process, control
    finally:
        control.close()
        process.kill()
        process.wait()


def spawned(control):
    """Ask for a worker; return its pid, socket and pidfd."""
    control.send(wire.SPAWN)
    data, (connection, pidfd) = receive(control, 4096, most=2)
    assert data[:1] == wire.WORKER
    return wire.decode_spawned(data[1:]).pid, socket.socket(fileno=connection), pidfd


def test_zygote_obeys_one_command_and_no_other(zygote):
    _, control = zygote
    for rubbish in (b"?", wire.WORKER, b"rm -rf"):
        control.send(rubbish)
    pid, connection, pidfd = spawned(control)
    # The first answer is the worker that was asked for last: nothing was said to the rest.
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    data, descriptors = receive(control, 4096, most=2)
    assert (data[:1], descriptors) == (wire.EXITED, [])
    exited = wire.decode_exited(data[1:])
    assert (exited.pid, exited.signal) == (pid, signal.SIGKILL)
    connection.close()
    os.close(pidfd)


def test_zygote_whose_gateway_lets_go_leaves_by_itself_and_takes_its_workers(zygote):
    process, control = zygote
    _, connection, pidfd = spawned(control)
    control.shutdown(socket.SHUT_RDWR)
    assert process.wait(LIMIT_S) == 0
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    assert poll.poll(LIMIT_S * 1000)
    connection.close()
    os.close(pidfd)
