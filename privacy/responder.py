"""What the key broker answers to each call, from its keyring and its sealed models.

It reads no socket but the one that a call hands over for weights; the broker does.
"""

import json
import os
import socket
from contextlib import ExitStack
from pathlib import Path

import msgspec

from privacy import calls, reporting
from privacy.calls import Answer, AnyCall, ChangeCall, KeyCall, ReportCall, SealCall
from privacy.changes import Changes
from privacy.delivery import deliver
from privacy.errors import FrameInvalid, KeyUnknown, PrivacyError
from privacy.frames import Frame
from privacy.keyring import Keyring
from privacy.reader import SealedReader

SIGNERS = ("checkpoint", "receipt", "report")


class Responder:
    """Answers calls. Sealed files that they open stay open between them, until the stack closes."""

    def __init__(self, keyring: Keyring, models: Path, changes: Changes, stack: ExitStack) -> None:
        self._keyring = keyring
        self._changes = changes
        self._models = models
        self._readers: dict[str, SealedReader] = {}
        stack.callback(self._close)

    def answer(self, frame: Frame) -> tuple[Answer, bytes]:
        """Do one call. What fails becomes an answer; only a broken protocol is raised."""
        try:
            call = msgspec.json.decode(frame.head, type=AnyCall)
        except msgspec.MsgspecError:
            raise FrameInvalid("A call breaks its format. Start the gateway again.") from None
        try:
            return self._do(call, frame)
        except PrivacyError as error:
            return Answer(error=type(error).__name__, message=str(error)), b""
        except (OSError, MemoryError) as error:
            # The class is all that leaves: a message of the system may quote anything.
            kind = type(error).__name__
            told = f"The key broker failed ({kind}). Look at the machine's memory and disk."
            return Answer(error=PrivacyError.__name__, message=told), b""

    def _do(self, call: AnyCall, frame: Frame) -> tuple[Answer, bytes]:
        if isinstance(call, SealCall):
            return Answer(), self._from_seal(call, frame)
        if isinstance(call, ReportCall):
            return reporting.answered(self._keyring, call, message=frame.tail)
        if isinstance(call, ChangeCall):
            return Answer(), self._changes(call)
        return self._from_keyring(call, frame)

    def _from_keyring(self, call: KeyCall, frame: Frame) -> tuple[Answer, bytes]:
        match call:
            case calls.Derive(purpose, contexts, epoch):
                return Answer(), b"".join(self._keyring.derive_each(purpose, contexts, epoch))
            case calls.ActiveEpoch(purpose):
                return Answer(value=self._keyring.active_epoch(purpose)), b""
            case calls.Epochs(purpose):
                return Answer(values=self._keyring.epochs(purpose)), b""
            case calls.PublicKey(name):
                return Answer(), self._keyring.public_key(name)
            case calls.PublicKeys(name):
                return Answer(), b"".join(self._keyring.public_keys(name))
            case calls.Sign(name):
                return Answer(), self._sign(name, frame.tail)

    def _from_seal(self, call: SealCall, frame: Frame) -> bytes:
        match call:
            case calls.ShowManifest(model_id):
                return json.dumps(self._reopened(model_id).manifest).encode()
            case calls.ReadAsset(model_id, name):
                return self._reader(model_id).asset(name)
            case calls.SendWeights(model_id):
                self._send_weights(model_id, frame)
                return b""

    def _sign(self, name: str, message: bytes) -> bytes:
        if name not in SIGNERS:
            raise KeyUnknown(f"The key broker signs nothing as that. Name {' or '.join(SIGNERS)}.")
        return self._keyring.sign(name, message)

    def _send_weights(self, model_id: str, frame: Frame) -> None:
        if frame.descriptor is None:
            raise FrameInvalid("The call came without its socket. Start the gateway again.")
        reader = self._reader(model_id)
        image = reader.load()
        try:
            destination = socket.socket(fileno=frame.descriptor)
            try:
                deliver(destination, manifest=reader.manifest, descriptor=image)
            finally:
                # Whoever received the frame closes its descriptor.
                destination.detach()
        finally:
            os.close(image)

    def _reader(self, model_id: str) -> SealedReader:
        return self._readers.get(model_id) or self._reopened(model_id)

    def _reopened(self, model_id: str) -> SealedReader:
        # A gateway has only the client, and is spared what models are made with.
        from privacy import sealed  # noqa: PLC0415

        path = sealed.container(self._models, model_id)
        reader = sealed.opened(path, keyring=self._keyring, model_id=model_id)
        earlier = self._readers.get(model_id)
        self._readers[model_id] = reader
        if earlier is not None:
            earlier.close()
        return reader

    def _close(self) -> None:
        for reader in self._readers.values():
            reader.close()
