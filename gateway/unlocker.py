"""The unlocker: the process that asks a custodian's service for the KEK, `-m gateway.unlocker`.

The key broker leaves the network before it opens the keyring, and never comes back. Where the
custodian is a service (Transit, KMS, a token that may be an appliance), this process stands beside
it: it has the network, and neither keyring nor models. So a broker follows when the KEK is replaced
while its gateway serves. A KEK passes through here for the length of an answer, and is not kept.

See docs/formats/broker-v1.md, "Unlocker".
"""

import json
import socket
import time
from collections.abc import Callable, Mapping

from gateway import keyprocess
from gateway.custody import Secret, custodian
from privacy import errors
from privacy.derivation import KEY_BYTES
from privacy.errors import CustodianUnusable, FrameInvalid, PrivacyError
from privacy.frames import receive_frame, send_frame
from privacy.keyring import Custodian
from privacy.memory import lock_memory
from sandbox.confinement import forbid_dumps

# Longer than any custodian takes to give up.
ANSWER_LIMIT_S = 60.0


class Unlocker:
    """A custodian that another process asks. It opens a keyring and keeps no new one."""

    def __init__(
        self, connection: socket.socket, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._connection = connection
        self._clock = clock
        self._failure = ""
        self._paused_until_s = 0.0
        connection.settimeout(ANSWER_LIMIT_S)

    def wrap(self, kek: bytes) -> dict[str, str | int]:
        """Raise CustodianUnusable: a KEK is made where a person is, not here."""
        del kek
        raise CustodianUnusable("The key broker makes no KEK. Run `sealgate keys rotate kek`.")

    def unwrap(self, record: Mapping[str, str | int]) -> bytes:
        """Return the KEK of a custodian record.

        A service that took long to fail is left alone for as long again: whoever asks meanwhile
        is told at once, and requests do not wait for each other's failures.

        Raises:
            KeyringLocked: The service does not open it.
            CustodianUnusable: The service, or the process that asks it, does not answer.
        """
        began_s = self._clock()
        if began_s < self._paused_until_s:
            raise CustodianUnusable(self._failure)
        try:
            return self._asked(record)
        except CustodianUnusable as error:
            ended_s = self._clock()
            self._failure, self._paused_until_s = str(error), ended_s + (ended_s - began_s)
            raise

    def _asked(self, record: Mapping[str, str | int]) -> bytes:
        try:
            send_frame(self._connection, json.dumps(dict(record)).encode())
            frame = receive_frame(self._connection, tail_limit_bytes=KEY_BYTES)
        except (OSError, FrameInvalid):
            frame = None
        if frame is None:
            # Half an exchange may be under way: no later record may take its rest for an answer.
            self._connection.close()
            raise CustodianUnusable(
                "The process that asks the custodian does not answer. Start the gateway again."
            )
        if frame.head != b"{}":
            raise _told(json.loads(frame.head))
        return frame.tail


def started(secret: Secret) -> Unlocker:
    """Start the process; it ends with this one."""
    ours, theirs = socket.socketpair()
    with theirs:
        keyprocess.start("gateway.unlocker", secret, theirs)
    return Unlocker(ours)


def serve(connection: socket.socket, keeper: Custodian) -> None:
    """Answer until the peer closes.

    Raises:
        FrameInvalid: The peer does not speak this protocol.
    """
    while (frame := receive_frame(connection, tail_limit_bytes=0)) is not None:
        try:
            kek = keeper.unwrap(json.loads(frame.head))
        except PrivacyError as error:
            told = {"error": type(error).__name__, "message": str(error)}
            send_frame(connection, json.dumps(told).encode())
            continue
        send_frame(connection, b"{}", tail=kek)


def main() -> None:
    """Ask the custodian that the secret names, for whoever holds the other end of the socket."""
    arguments = keyprocess.parser().parse_args()
    with socket.socket(fileno=arguments.connection) as connection:
        forbid_dumps()
        lock_memory()
        serve(connection, custodian(keyprocess.read_secret(arguments.secret)))


def _told(failure: dict[str, str]) -> PrivacyError:
    kind = getattr(errors, failure["error"], PrivacyError)
    error: PrivacyError = kind(failure["message"])
    return error


if __name__ == "__main__":
    main()
