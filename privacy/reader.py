"""Reading a sealed container: the manifest first, then single messages or the whole image.

Nothing decrypted leaves a method before its tags verified.
"""

import hashlib
import mmap
import os
from collections.abc import Callable, Iterator
from io import FileIO
from typing import Any, Self

from cryptography.cobblestone import Cobblestone256Decryptor
from cryptography.exceptions import InvalidTag

from privacy import manifest as manifests
from privacy.container import (
    HEADER_BYTES,
    SIGNATURE_BYTES,
    Header,
    broken,
    manifest_context,
    message_context,
    signed_message,
)
from privacy.digests import PlaintextDigests
from privacy.errors import AssetUnknown, KeyDestroyed, KeyUnknown, SignatureInvalid
from privacy.keyring import DataKey
from privacy.manifest import ASSET_PREFIX, Manifest, Message
from privacy.memory import huge_memory, sealed_memory, wipe
from privacy.messages import (
    STEP_BYTES,
    Ciphertext,
    Room,
    decrypt_into,
    decrypt_to,
    exactly,
    pieces,
)
from privacy.parallel import Part, decrypt_all


class SealedReader:
    """An open sealed file whose manifest was authenticated. Safe to share between threads."""

    def __init__(self, file: FileIO, *, manifest: Manifest, key: DataKey) -> None:
        self._file = file
        self._manifest = manifest
        self._key = key

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. Descriptors that `load` returned stay open."""
        self._file.close()

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest as plain values, docs/formats/sealed-v1.md."""
        return self._manifest.builtins()

    @property
    def described(self) -> Manifest:
        """The manifest as it was decoded."""
        return self._manifest

    @property
    def model_id(self) -> str:
        """The model, as its key names it."""
        return self._key.model_id

    @property
    def generation(self) -> int:
        """The generation, as its key names it."""
        return self._key.generation

    def asset(self, name: str) -> bytes:
        """Return an asset.

        Raises:
            AssetUnknown: The model has none of that name.
            SealBroken: It is not what was sealed.
        """
        for index, message in enumerate(self._manifest.messages):
            if message.name == ASSET_PREFIX + name:
                content = bytearray(message.length)
                with memoryview(content) as view:
                    decrypt_into(view, self._ciphertext(index, message), room=Room())
                return bytes(content)
        raise AssetUnknown("The sealed model has no asset of that name. Import the model again.")

    def load(self, *, threads: int | None = None) -> int:
        """Decrypt the image into sealed anonymous memory and return its descriptor.

        threads: how many decrypt at once; by default as many as this process may run, up to 4.
        The caller closes the descriptor.

        Raises:
            SealBroken: A message is not what was sealed; what was decrypted is wiped.
        """
        length = self._manifest.image_length
        return sealed_memory(length, lambda target: self._write(target, threads))

    def image(self, *, threads: int | None = None) -> mmap.mmap:
        """Decrypt the image into private memory of this process, in huge pages.

        threads: as for `load`.

        Raises:
            SealBroken: A message is not what was sealed; what was decrypted is wiped.
        """
        return huge_memory(self._manifest.image_length, lambda view: self._fill(view, threads))

    def message(self, index: int, out: memoryview, *, room: Room) -> None:
        """Decrypt one message into exactly `out`.

        Raises:
            SealBroken: It is not what was sealed; `out` is all zeros.
        """
        decrypt_into(out, self._ciphertext(index, self._manifest.messages[index]), room=room)

    def check(self) -> None:
        """Read everything and compare every digest, of ciphertext and of plaintext.

        Raises:
            SealBroken: Something is not what was sealed.
        """
        for message, _ in self.messages():
            self._require_ciphertext(message)

    def messages(self) -> Iterator[tuple[Message, memoryview]]:
        """Yield every message and its plaintext, one at a time in one buffer of at most 64 MiB.

        The plaintext is overwritten by the next message's. At the end every digest was compared.

        Raises:
            SealBroken: Something is not what was sealed; what came before may be used no more.
        """
        digests = PlaintextDigests(self._manifest)
        lengths = (message.length for message in self._manifest.messages)
        room = Room()
        with memoryview(bytearray(max(lengths, default=0))) as buffer:
            try:
                for index, message in enumerate(self._manifest.messages):
                    with buffer[: message.length] as view:
                        self.message(index, view, room=room)
                        digests.take(message, view)
                        yield message, view
            finally:
                wipe(buffer)
        digests.require()

    def _in_image(self) -> list[Part]:
        messages = enumerate(self._manifest.messages)
        return [(index, message) for index, message in messages if message.offset is not None]

    def _fill(self, image: memoryview, threads: int | None) -> None:
        def put(index: int, message: Message, room: Room) -> None:
            start = message.offset or 0
            with image[start : start + message.length] as view:
                decrypt_into(view, self._ciphertext(index, message), room=room)

        decrypt_all(self._in_image(), put, threads=threads)

    def _write(self, target: int, threads: int | None) -> None:
        def put(index: int, message: Message, room: Room) -> None:
            at, length = message.offset or 0, message.length
            decrypt_to(target, self._ciphertext(index, message), at=at, length=length, room=room)

        decrypt_all(self._in_image(), put, threads=threads)

    def _ciphertext(self, index: int, message: Message) -> Ciphertext:
        file_id = bytes.fromhex(self._manifest.file_id)
        return Ciphertext(
            descriptor=self._file.fileno(),
            position=message.position,
            size=message.size,
            key=self._key.key,
            context=message_context(file_id, self._key.generation, index, message.name),
        )

    def _require_ciphertext(self, message: Message) -> None:
        digest, buffer = hashlib.sha256(), memoryview(bytearray(STEP_BYTES))
        file, place = self._file.fileno(), {"position": message.position, "size": message.size}
        for piece in pieces(file, **place, buffer=buffer):
            digest.update(piece)
        if digest.hexdigest() != message.sha256:
            raise broken("a message's digest is not the manifest's")


def read(
    file: FileIO,
    *,
    find_key: Callable[[str], DataKey],
    verify_seal: Callable[[bytes, bytes], None],
    smallest_generation: Callable[[str], int],
    model_id: str | None = None,
) -> SealedReader:
    """Authenticate an open file's manifest and return its reader, which then owns the file.

    model_id: the model it must be, or None for any.

    Raises:
        SealBroken: It is not what was sealed, or an older generation than is accepted.
    """
    # The steps of docs/formats/sealed-v1.md, "Opening".
    # 1. The header, and the file's length.
    descriptor = file.fileno()
    file_size = os.fstat(descriptor).st_size
    raw_header = exactly(descriptor, position=0, size=min(HEADER_BYTES, file_size))
    header = Header.decode(raw_header, file_size=file_size)
    # 2. The key, which names model and generation.
    key = _key(header, find_key)
    if model_id is not None and key.model_id != model_id:
        raise broken("the file holds another model than its name says")
    if key.generation < smallest_generation(key.model_id):
        raise broken("the file is an older generation than was sealed last")
    # 3. Both signatures.
    end = header.manifest_position + header.manifest_size
    encrypted = exactly(descriptor, position=header.manifest_position, size=header.manifest_size)
    signature = exactly(descriptor, position=end, size=SIGNATURE_BYTES)
    try:
        verify_seal(signed_message(raw_header, encrypted), signature)
    except SignatureInvalid:
        raise broken("the manifest's signature does not verify") from None
    # 4. The manifest. Step 5 is each message's, when it is read.
    return SealedReader(file, manifest=_manifest(encrypted, header, key), key=key)


def _key(header: Header, find_key: Callable[[str], DataKey]) -> DataKey:
    try:
        return find_key(header.key_id.hex())
    except KeyDestroyed:
        raise broken("its key was destroyed, and the model with it") from None
    except KeyUnknown:
        raise broken("no key of this keyring opens the file") from None


def _manifest(encrypted: bytes, header: Header, key: DataKey) -> Manifest:
    decryptor = Cobblestone256Decryptor(key.key, manifest_context(header.file_id, key.generation))
    try:
        plain = decryptor.update(encrypted) + decryptor.finalize()
    except InvalidTag:
        raise broken("the manifest does not decrypt") from None
    return manifests.decode(plain, header=header, model_id=key.model_id, generation=key.generation)
