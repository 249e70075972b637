"""Single messages of a container: Cobblestone-256 from a file into memory, wiped on failure."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from cryptography.cobblestone import Cobblestone256Decryptor
from cryptography.exceptions import InvalidTag

from privacy.container import CHUNK_BYTES, COMMITMENT_BYTES, TAG_BYTES, broken
from privacy.errors import SealBroken
from privacy.memory import wipe

# What is read at once: whole chunks, about 1 MiB. It stays in a core's own cache until it is
# decrypted.
STEP_BYTES = 64 * (CHUNK_BYTES + TAG_BYTES)
# What is decrypted at once where it is written on: both sides of it stay in that cache.
PLAIN_STEP_BYTES = 16 * (CHUNK_BYTES + TAG_BYTES)


@dataclass(frozen=True, slots=True)
class Ciphertext:
    """A message where it lies: `size` bytes at `position` of an open file. key: 32 bytes."""

    descriptor: int
    position: int
    size: int
    key: bytes = field(repr=False)
    context: bytes = field(repr=False)


class Room:
    """Buffers that one thread decrypts in, message after message."""

    __slots__ = ("encrypted", "plain")

    def __init__(self) -> None:
        self.encrypted = memoryview(bytearray(COMMITMENT_BYTES + STEP_BYTES))
        # A short read may leave a chunk for the next step to complete.
        self.plain = memoryview(bytearray(PLAIN_STEP_BYTES + CHUNK_BYTES))

    def wipe(self) -> None:
        """Overwrite what was decrypted here."""
        wipe(self.plain)


def decrypt_into(out: memoryview, ciphertext: Ciphertext, *, room: Room) -> None:
    """Decrypt a message into exactly `out`.

    Raises:
        SealBroken: The bytes are not the message of this key and context; `out` is all zeros.
    """
    decryptor = Cobblestone256Decryptor(ciphertext.key, ciphertext.context)
    written = 0
    try:
        for piece in _encrypted(ciphertext, room, STEP_BYTES):
            with out[written:] as rest:
                written += decryptor.update_into(piece, rest)
        last = decryptor.finalize()
        out[written:] = last
    except BaseException as error:
        # On a bad tag the library leaves unverified bytes in the buffer.
        wipe(out)
        # A ValueError says that the plaintext is longer or shorter than the buffer.
        if isinstance(error, InvalidTag | ValueError):
            raise _undecryptable() from None
        raise


def decrypt_to(target: int, ciphertext: Ciphertext, *, at: int, length: int, room: Room) -> None:
    """Decrypt a message of `length` bytes into a file in memory, from `at` on.

    Only what verified is written, chunk by chunk. Writing is cheaper than faulting pages in.

    Raises:
        SealBroken: The bytes are not the message of this key and context; the file holds a part.
    """
    decryptor = Cobblestone256Decryptor(ciphertext.key, ciphertext.context)
    written = 0
    try:
        for piece in _encrypted(ciphertext, room, PLAIN_STEP_BYTES):
            ready = decryptor.update_into(piece, room.plain)
            written += _write(target, room.plain[:ready], at + written)
        last = decryptor.finalize()
    except (InvalidTag, ValueError):
        raise _undecryptable() from None
    written += _write(target, memoryview(last), at + written)
    if written != length:
        raise _undecryptable()


def pieces(
    descriptor: int, *, position: int, size: int, buffer: memoryview
) -> Iterator[memoryview]:
    """Yield a range of a file in steps of a buffer; each is overwritten by the next.

    Raises:
        SealBroken: The file ends before the range does, or cannot be read.
    """
    # Read, not mapped: a mapping could change between the check of a tag and its use, and a
    # truncated one kills the process.
    end = position + size
    while position < end:
        with buffer[: end - position] as wanted:
            read = _read(descriptor, wanted, position)
        with buffer[:read] as piece:
            yield piece
        position += read


def exactly(descriptor: int, *, position: int, size: int) -> bytes:
    """Return a range of a file.

    Raises:
        SealBroken: The file ends before the range does, or cannot be read.
    """
    buffer = memoryview(bytearray(min(size, STEP_BYTES)))
    steps = pieces(descriptor, position=position, size=size, buffer=buffer)
    return b"".join(bytes(piece) for piece in steps)


def _encrypted(ciphertext: Ciphertext, room: Room, step_bytes: int) -> Iterator[memoryview]:
    """Yield a message's ciphertext; each step ends with a chunk."""
    descriptor, position, size = ciphertext.descriptor, ciphertext.position, ciphertext.size
    lead = min(size, COMMITMENT_BYTES + step_bytes)
    yield from pieces(descriptor, position=position, size=lead, buffer=room.encrypted[:lead])
    yield from pieces(
        descriptor,
        position=position + lead,
        size=size - lead,
        buffer=room.encrypted[:step_bytes],
    )


def _read(descriptor: int, wanted: memoryview, position: int) -> int:
    try:
        read = os.preadv(descriptor, [wanted], position)
    except OSError as error:
        raise broken(f"the file cannot be read ({error.strerror})") from None
    if read == 0:
        raise broken("the file ends too early")
    return read


def _write(target: int, data: memoryview, at: int) -> int:
    written = 0
    while written < len(data):
        with data[written:] as rest:
            written += os.pwrite(target, rest, at + written)
    return written


def _undecryptable() -> SealBroken:
    return broken("a message does not decrypt")
