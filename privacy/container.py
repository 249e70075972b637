"""The sealed container's bytes: header, contexts, sizes, signature, docs/formats/sealed-v1.md."""

import struct
from dataclasses import dataclass

from privacy.derivation import bind, number
from privacy.errors import SealBroken
from privacy.signatures import HYBRID_BYTES

MAGIC = b"sealgate/sealed\x00"
VERSION = 1
ID_BYTES = 16
MESSAGE_LIMIT_BYTES = 64 << 20
_HEADER = struct.Struct(">16sB7s16s16sQQ")
HEADER_BYTES = _HEADER.size
SIGNATURE_BYTES = HYBRID_BYTES

# Cobblestone-256 (C2SP chunked encryption): a salt and a key commitment before the first chunk,
# a tag after each, and always a last chunk that is not full.
CHUNK_BYTES = 16384
COMMITMENT_BYTES = 56
TAG_BYTES = 16


@dataclass(frozen=True, slots=True)
class Header:
    """The clear part of a file. file_id, key_id: 16 bytes. Positions and sizes in bytes."""

    file_id: bytes
    key_id: bytes
    manifest_position: int
    manifest_size: int

    @property
    def file_size(self) -> int:
        """How long the whole file must be."""
        return self.manifest_position + self.manifest_size + SIGNATURE_BYTES

    def encode(self) -> bytes:
        """Return its 72 bytes."""
        return _HEADER.pack(
            MAGIC,
            VERSION,
            bytes(7),
            self.file_id,
            self.key_id,
            self.manifest_position,
            self.manifest_size,
        )

    @staticmethod
    def decode(data: bytes, *, file_size: int) -> "Header":
        """Decode the first bytes of a file of `file_size` bytes.

        Raises:
            SealBroken: They are no header of this version, or the file's length is another.
        """
        if len(data) != HEADER_BYTES:
            raise broken("the file is too short to be a sealed model")
        magic, version, zeros, file_id, key_id, position, size = _HEADER.unpack(data)
        if magic != MAGIC or any(zeros):
            raise broken("the file does not begin as a sealed model")
        if version != VERSION:
            raise broken(f"the file is of version {version}, not {VERSION}")
        header = Header(file_id, key_id, position, size)
        if position < HEADER_BYTES or size < sealed_size(0) or header.file_size != file_size:
            raise broken("the file is longer or shorter than it says")
        return header


def message_context(file_id: bytes, generation: int, index: int, name: str) -> bytes:
    """Return what binds a message to its file, generation, place and name."""
    parts = (file_id, number(generation), number(index), name.encode())
    return bind(b"sealgate/sealed-v1/message", *parts)


def manifest_context(file_id: bytes, generation: int) -> bytes:
    """Return what binds a manifest to its file and generation."""
    return bind(b"sealgate/sealed-v1/manifest", file_id, number(generation))


def signed_message(header: bytes, manifest: bytes) -> bytes:
    """Return what the seal's signature covers. manifest: as encrypted."""
    return bind(b"sealgate/sealed-v1/signature", header, manifest)


def sealed_size(length: int) -> int:
    """Return how many bytes the message of `length` plaintext bytes takes."""
    return length + COMMITMENT_BYTES + TAG_BYTES * (length // CHUNK_BYTES + 1)


def broken(reason: str) -> SealBroken:
    """Return the error that names why a seal does not hold."""
    return SealBroken(
        f"The seal is broken: {reason}. Restore the file from its backup or import the model again."
    )
