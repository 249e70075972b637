"""The key broker: a keyring and sealed models behind one socket, and the client of it.

The broker's process is the only one that holds an unlocked keyring while a gateway serves. It
answers one call at a time, signs no seals, and ends when its peer closes.
"""

import json
import os
import socket
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

from privacy import calls, errors
from privacy.calls import Answer, AnyCall
from privacy.changes import Changes, forbidden
from privacy.derivation import KEY_BYTES, Contexts
from privacy.errors import BrokerGone, FrameInvalid, PrivacyError
from privacy.frames import (
    ANSWER_TAIL_LIMIT_BYTES,
    CALL_TAIL_LIMIT_BYTES,
    HEAD_LIMIT_BYTES,
    Frame,
    receive_frame,
    send_frame,
)
from privacy.keyring import DocumentKey, Keyring
from privacy.responder import Responder


def serve(
    connection: socket.socket, *, keyring: Keyring, models: Path, changes: Changes = forbidden
) -> None:
    """Answer calls until the peer closes. models: where `MODEL_ID.sealed` files lie.

    changes: makes changes of keys, or refuses them.

    Raises:
        FrameInvalid: The peer does not speak this protocol.
    """
    with ExitStack() as stack:
        responder = Responder(keyring, models, changes, stack)
        while (frame := _next(connection)) is not None:
            try:
                answer, tail = responder.answer(frame)
            finally:
                if frame.descriptor is not None:
                    os.close(frame.descriptor)
            try:
                send_frame(connection, msgspec.json.encode(answer), tail=tail)
            except (BrokenPipeError, ConnectionResetError):
                return


class BrokerClient:
    """The keyring and the sealed models of the broker at the other end. Safe between threads."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def derive(self, purpose: str, *context: bytes, epoch: int | None = None) -> bytes:
        """Derive a 32-byte key, as Keyring.derive.

        Raises:
            KeyUnknown: No such purpose or epoch.
            BrokerGone: The broker does not answer, here and below.
        """
        return self.derive_each(purpose, [context], epoch)[0]

    def derive_each(self, purpose: str, contexts: Contexts, epoch: int | None) -> list[bytes]:
        """Derive a key for each of many contexts in one call, as Keyring.derive_each."""
        return _each_key(self.ask(calls.Derive(purpose, contexts, epoch))[1])

    def active_epoch(self, purpose: str) -> int:
        """Return the epoch that new keys of `purpose` belong to."""
        value = self.ask(calls.ActiveEpoch(purpose))[0].value
        if value is None:
            raise FrameInvalid("The key broker answered without a number. Start the gateway again.")
        return value

    def epochs(self, purpose: str) -> list[int]:
        """Return the epochs that can be derived from, the active one first."""
        values = self.ask(calls.Epochs(purpose))[0].values
        if not values:
            raise FrameInvalid("The key broker answered without epochs. Start the gateway again.")
        return values

    def public_key(self, name: str) -> bytes:
        """Return a raw Ed25519 public key, 32 bytes."""
        return self.ask(calls.PublicKey(name))[1]

    def public_keys(self, name: str) -> list[bytes]:
        """Return the Ed25519 public keys that are trusted as `name`, the active one first."""
        return _each_key(self.ask(calls.PublicKeys(name))[1])

    def history(self, name: str) -> list[bytes]:
        """Return every Ed25519 public key that ever signed as `name`, as Keyring.history."""
        return _each_key(self.ask(calls.History(name))[1])

    def list_keys(self) -> list[dict[str, Any]]:
        """Return `name`, `created_s`, `epoch` and `state` of every key; no key."""
        found: list[dict[str, Any]] = json.loads(self.ask(calls.ListKeys())[1])
        return found

    def document_key(self, name: str = "report") -> DocumentKey:
        """Return the public half of the key that signs reports, as Keyring.document_key."""
        answer, public = self.ask(calls.DocumentKey(name))
        return DocumentKey(public, answer.value or 0)

    def sign_document(self, message: bytes, name: str = "report") -> bytes:
        """Sign a report's attributes with ECDSA over P-256 and SHA-256, in DER."""
        return self.ask(calls.SignDocument(name), tail=message)[1]

    def sign(self, name: str, message: bytes) -> bytes:
        """Sign as `checkpoint` or `report` with Ed25519, 64 bytes.

        Raises:
            KeyUnknown: Another name, `seal` among them: the broker seals nothing.
        """
        return self.ask(calls.Sign(name), tail=message)[1]

    def manifest(self, model_id: str) -> dict[str, Any]:
        """Open a sealed model anew, its signatures verified, and return its manifest.

        Raises:
            SealMissing, SealBroken: The file is not there, or not what was sealed.
        """
        return dict(json.loads(self.ask(calls.ShowManifest(model_id))[1]))

    def asset(self, model_id: str, name: str) -> bytes:
        """Return an asset of the sealed model that `manifest` opened last.

        Raises:
            AssetUnknown: It has none of that name.
            SealMissing, SealBroken: The file is not there, or not what was sealed.
        """
        return self.ask(calls.ReadAsset(model_id, name))[1]

    def send_weights(self, model_id: str, destination: socket.socket) -> None:
        """Have the broker send the image of the model that `manifest` opened last.

        destination: a connected stream socket; it stays open here.

        Raises:
            SealMissing, SealBroken: The file is not there, or not what was sealed.
            WeightsUndelivered: The receiver left or did not read in time.
        """
        self.ask(calls.SendWeights(model_id), descriptors=[destination.fileno()])

    def ask(
        self, call: AnyCall, *, tail: bytes = b"", descriptors: Sequence[int] = ()
    ) -> tuple[Answer, bytes]:
        """Make one call, and return its answer and tail."""
        head = msgspec.json.encode(call)
        if len(head) > HEAD_LIMIT_BYTES or len(tail) > CALL_TAIL_LIMIT_BYTES:
            raise FrameInvalid("The call is longer than 1 MiB. Sign or derive from a digest.")
        with self._lock:
            frame = self._exchange(head, tail, descriptors)
        answer = msgspec.json.decode(frame.head, type=Answer)
        if answer.error is not None:
            raise _told(answer)
        return answer, frame.tail

    def _exchange(self, head: bytes, tail: bytes, descriptors: Sequence[int]) -> Frame:
        try:
            send_frame(self._connection, head, tail=tail, descriptors=descriptors)
            frame = receive_frame(self._connection, tail_limit_bytes=ANSWER_TAIL_LIMIT_BYTES)
        except (OSError, FrameInvalid):
            frame = None
        except BaseException:
            # Half an exchange is under way: no later call may take its rest for an answer.
            self._connection.close()
            raise
        if frame is None:
            self._connection.close()
            raise BrokerGone("The key broker does not answer. Start the gateway again.")
        return frame


def _next(connection: socket.socket) -> Frame | None:
    try:
        return receive_frame(connection, tail_limit_bytes=CALL_TAIL_LIMIT_BYTES)
    except ConnectionResetError:
        return None


def _each_key(joined: bytes) -> list[bytes]:
    return [joined[at : at + KEY_BYTES] for at in range(0, len(joined), KEY_BYTES)]


def _told(answer: Answer) -> PrivacyError:
    kind = getattr(errors, str(answer.error), None)
    if isinstance(kind, type) and issubclass(kind, PrivacyError):
        return kind(answer.message)
    return PrivacyError(answer.message)
