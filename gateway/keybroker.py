"""The key broker's process: `python -m gateway.keybroker`, exec'd fresh with an empty environment.

It alone unlocks the keyring while the gateway serves. Before it does, it cuts itself off from
the network and makes its memory undumpable; it ends when the gateway's end of its socket closes.
The custodian's secret arrives on an inherited pipe: not as an argument, not in the environment.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.custody import Secret, custodian
from gateway.errors import GatewayNotStarted
from gateway.home import Home
from privacy import errors
from privacy.broker import BrokerClient, serve
from privacy.errors import PrivacyError
from privacy.keyring import Keyring
from privacy.memory import lock_memory
from sandbox.confinement import forbid_dumps, leave_network

READY = b"\x01"
START_LIMIT_S = 30.0
STOP_LIMIT_S = 5.0


@contextmanager
def running(home: Home, secret: Secret) -> Iterator[BrokerClient]:
    """Start a broker over the home's keyring and stop it on leaving.

    Raises:
        PrivacyError: The keyring does not open; the broker's own error.
        GatewayNotStarted: The process did not come up.
    """
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            process = _start(home, secret, theirs)
        try:
            _await_ready(ours)
            yield BrokerClient(ours)
        finally:
            # Its end of the pair reads EOF, and it leaves; a broker that hangs is killed.
            ours.close()
            _reap(process)


def _start(home: Home, secret: Secret, connection: socket.socket) -> "subprocess.Popen[bytes]":
    read_end, write_end = os.pipe()
    with os.fdopen(write_end, "wb") as pipe, os.fdopen(read_end, "rb"):
        command = [sys.executable, "-I", "-m", "gateway.keybroker"]
        command += ["--home", str(home.path)]
        command += ["--connection", str(connection.fileno()), "--secret", str(read_end)]
        process = subprocess.Popen(
            command,
            env={},
            stdin=subprocess.DEVNULL,
            pass_fds=(connection.fileno(), read_end),
            # Ctrl-C reaches the terminal's whole group; the broker must outlive the last entry.
            start_new_session=True,
        )
        pipe.write(secret.encode())
    return process


def _reap(process: "subprocess.Popen[bytes]") -> None:
    try:
        process.wait(timeout=STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _await_ready(connection: socket.socket) -> None:
    """Wait until the keyring is open, or say why it is not."""
    connection.settimeout(START_LIMIT_S)
    try:
        first = connection.recv(1)
        if first == READY:
            connection.settimeout(None)
            return
        told = first + b"".join(iter(lambda: connection.recv(4096), b""))
    except TimeoutError:
        raise GatewayNotStarted("The key broker did not come up in time. Try again.") from None
    if not told:
        raise GatewayNotStarted("The key broker ended at its start; its error stands above.")
    raise _told(json.loads(told))


def _told(failure: dict[str, str]) -> Exception:
    kind = getattr(errors, failure["error"], PrivacyError)
    error: Exception = kind(failure["message"])
    return error


def main() -> None:
    """Open the keyring with the secret from the pipe and serve until the gateway leaves."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--connection", type=int, required=True)
    parser.add_argument("--secret", type=int, required=True)
    arguments = parser.parse_args()
    home = Home(arguments.home)
    with socket.socket(fileno=arguments.connection) as connection:
        forbid_dumps()
        lock_memory()
        with os.fdopen(arguments.secret, "rb") as pipe:
            secret = Secret.decode(pipe.read())
        # A service is asked for the KEK once, before anything is served, and never again.
        if not secret.networked:
            leave_network()
        try:
            keyring = Keyring.unlock(home.keyring, custodian(secret))
            if secret.networked:
                leave_network()
        except PrivacyError as error:
            told = {"error": type(error).__name__, "message": str(error)}
            connection.sendall(json.dumps(told).encode())
            return
        connection.sendall(READY)
        serve(connection, keyring=keyring, models=home.models)


if __name__ == "__main__":
    main()
