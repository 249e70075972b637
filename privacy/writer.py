"""Writing a sealed container: ciphertext only, streamed in file order, the header last."""

import hashlib
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from cryptography.cobblestone import Cobblestone256Encryptor
from msgspec.structs import replace

from privacy import image
from privacy.container import (
    HEADER_BYTES,
    ID_BYTES,
    Header,
    manifest_context,
    message_context,
    signed_message,
)
from privacy.keyring import DataKey, Keyring
from privacy.manifest import (
    ASSET_PREFIX,
    FORMAT,
    GRAPH,
    Asset,
    Graph,
    Manifest,
    Message,
    Tensor,
    model_digest,
)
from privacy.reader import SealedReader
from privacy.tensors import Tensor as TensorSource

_STEP_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Model:
    """What is sealed, in plain values. Nothing of it is printed."""

    config: Mapping[str, Any] = field(repr=False)
    graph: bytes = field(repr=False)
    tensors: Mapping[str, TensorSource] = field(repr=False)
    assets: Mapping[str, bytes] = field(repr=False)


def write(file: BinaryIO, model: Model, *, key: DataKey, keyring: Keyring, created_s: int) -> None:
    """Write a whole container into an empty file. It is not synced."""
    writer = _Writer(file, key=key, file_id=secrets.token_bytes(ID_BYTES))
    file.write(bytes(HEADER_BYTES))
    _finish(writer, writer.manifest(model, created_s=created_s), keyring)


def rewrite(
    file: BinaryIO, reader: SealedReader, *, key: DataKey, keyring: Keyring, created_s: int
) -> None:
    """Write what `reader` reads under another key, message by message; as `write` does.

    Raises:
        SealBroken: Something that was read is not what was sealed.
    """
    writer = _Writer(file, key=key, file_id=secrets.token_bytes(ID_BYTES))
    file.write(bytes(HEADER_BYTES))
    _finish(writer, writer.rewritten(reader, created_s=created_s), keyring)


def _finish(writer: "_Writer", manifest: Manifest, keyring: Keyring) -> None:
    """Write manifest, signature and header."""
    file, key = writer.file, writer.key
    encryptor = Cobblestone256Encryptor(key.key, manifest_context(writer.file_id, key.generation))
    encrypted = encryptor.update(manifest.encode()) + encryptor.finalize()
    header = Header(writer.file_id, bytes.fromhex(key.id), file.tell(), len(encrypted)).encode()
    file.write(encrypted)
    file.write(keyring.sign_seal(signed_message(header, encrypted)))
    file.seek(0)
    file.write(header)


class _Writer:
    """Writes messages one after the other and remembers them."""

    def __init__(self, file: BinaryIO, *, key: DataKey, file_id: bytes) -> None:
        self.file = file
        self.key = key
        self.file_id = file_id
        self._messages: list[Message] = []

    def manifest(self, model: Model, *, created_s: int) -> Manifest:
        """Write every message of a model and return the manifest that lists them."""
        graph = Graph(0, len(model.graph), hashlib.sha256(model.graph).hexdigest())
        placed = image.places(len(model.graph), model.tensors)
        digests = {place.name: hashlib.sha256() for place in placed}
        self._write(GRAPH, [model.graph], offset=0, length=len(model.graph))
        for number, cut in enumerate(image.cuts(placed)):
            pieces = _digested(image.content(cut, placed, model.tensors), digests)
            self._write(f"tensors/{number}", pieces, offset=cut.offset, length=cut.length)
        for name, asset in model.assets.items():
            self._write(ASSET_PREFIX + name, [asset], offset=None, length=len(asset))
        tensors = [_tensor(place, digests[place.name].hexdigest()) for place in placed]
        assets = [
            Asset(name, len(asset), hashlib.sha256(asset).hexdigest())
            for name, asset in model.assets.items()
        ]
        return Manifest(
            format=FORMAT,
            file_id=self.file_id.hex(),
            key_id=self.key.id,
            model_id=self.key.model_id,
            generation=self.key.generation,
            created_s=created_s,
            model_digest=model_digest(model.config, graph, tensors, assets),
            config=dict(model.config),
            image_length=max([graph.length, *(place.end for place in placed)]),
            graph=graph,
            tensors=tensors,
            assets=assets,
            messages=self._messages,
        )

    def rewritten(self, reader: SealedReader, *, created_s: int) -> Manifest:
        """Write every message of a container anew and return the manifest that lists them."""
        for message, content in reader.messages():
            self._write(message.name, [content], offset=message.offset, length=message.length)
        return replace(
            reader.described,
            file_id=self.file_id.hex(),
            key_id=self.key.id,
            generation=self.key.generation,
            created_s=created_s,
            messages=self._messages,
        )

    def _write(self, name: str, pieces: Iterable[Any], *, offset: int | None, length: int) -> None:
        index, position = len(self._messages), self.file.tell()
        context = message_context(self.file_id, self.key.generation, index, name)
        encryptor = Cobblestone256Encryptor(self.key.key, context)
        digest = hashlib.sha256()
        for piece in pieces:
            for start in range(0, len(piece), _STEP_BYTES):
                ciphertext = encryptor.update(piece[start : start + _STEP_BYTES])
                digest.update(ciphertext)
                self.file.write(ciphertext)
        last = encryptor.finalize()
        digest.update(last)
        self.file.write(last)
        size = self.file.tell() - position
        self._messages.append(Message(name, position, size, digest.hexdigest(), offset, length))


def _digested(
    content: Iterable[tuple[str | None, Any]], digests: Mapping[str, Any]
) -> Iterator[Any]:
    """Yield the pieces of a cut, each added to the digest of its tensor on the way."""
    for name, piece in content:
        if name is not None:
            digests[name].update(piece)
        yield piece


def _tensor(place: image.Place, sha256: str) -> Tensor:
    return Tensor(
        name=place.name,
        dtype=place.dtype,
        shape=list(place.shape),
        offset=place.offset,
        length=place.length,
        sha256=sha256,
    )
