"""The key broker's process: `python -m gateway.keybroker`, exec'd fresh with an empty environment.

It alone unlocks the keyring while the gateway serves. Before it does, it cuts itself off from
the network and makes its memory undumpable; it ends when the gateway's end of its socket closes.
The custodian's secret arrives on an inherited pipe: not as an argument, not in the environment.
A custodian that is a service is asked by another process, `gateway.unlocker`.
"""

import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway import keyprocess, unlocker
from gateway.custody import Secret, custodian
from gateway.errors import GatewayNotStarted
from gateway.home import Home
from privacy import errors
from privacy.broker import BrokerClient, serve
from privacy.changes import forbidden, permitted
from privacy.errors import PrivacyError
from privacy.keyring import Keyring
from privacy.memory import lock_memory
from sandbox.confinement import forbid_dumps, leave_network

READY = b"\x01"
CHANGES = "--changes"
START_LIMIT_S = 30.0
STOP_LIMIT_S = 5.0


@contextmanager
def running(home: Home, secret: Secret, *options: str) -> Iterator[BrokerClient]:
    """Start a broker over the home's keyring and stop it on leaving.

    options: `CHANGES` lets it change keys for the gateway.

    Raises:
        PrivacyError: The keyring does not open; the broker's own error.
        GatewayNotStarted: The process did not come up.
    """
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            process = keyprocess.start(
                "gateway.keybroker", secret, theirs, "--home", str(home.path), *options
            )
        try:
            _await_ready(ours)
            yield BrokerClient(ours)
        finally:
            # Its end of the pair reads EOF, and it leaves; a broker that hangs is killed.
            ours.close()
            _reap(process)


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
    parser = keyprocess.parser()
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument(CHANGES, action="store_true")
    arguments = parser.parse_args()
    home = Home(arguments.home)
    with socket.socket(fileno=arguments.connection) as connection:
        forbid_dumps()
        lock_memory()
        secret = keyprocess.read_secret(arguments.secret)
        # What has the network is started before this process leaves it, and holds no keys.
        keeper = unlocker.started(secret) if secret.networked else custodian(secret)
        leave_network()
        try:
            keyring = Keyring.unlock(home.keyring, keeper)
        except PrivacyError as error:
            told = {"error": type(error).__name__, "message": str(error)}
            connection.sendall(json.dumps(told).encode())
            return
        connection.sendall(READY)
        changes = permitted(keyring) if arguments.changes else forbidden
        serve(connection, keyring=keyring, models=home.models, changes=changes)


if __name__ == "__main__":
    main()
