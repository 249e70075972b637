"""Single messages of a container: Cobblestone-256 from a file into a buffer, wiped on failure."""

import os
from collections.abc import Iterator

from cryptography.cobblestone import Cobblestone256Decryptor
from cryptography.exceptions import InvalidTag

from privacy.container import broken
from privacy.memory import wipe

_STEP_BYTES = 1 << 20


def decrypt_into(
    out: memoryview, descriptor: int, *, position: int, size: int, key: bytes, context: bytes
) -> None:
    """Decrypt the `size` bytes at `position` of a file into exactly `out`.

    Raises:
        SealBroken: They are not the message of this key and context; `out` is all zeros.
    """
    decryptor = Cobblestone256Decryptor(key, context)
    written = 0
    try:
        for piece in pieces(descriptor, position=position, size=size):
            with out[written:] as rest:
                written += decryptor.update_into(piece, rest)
        last = decryptor.finalize()
        out[written:] = last
    except BaseException as error:
        # On a bad tag the library leaves unverified bytes in the buffer.
        wipe(out)
        # A ValueError says that the plaintext is longer or shorter than the buffer.
        if isinstance(error, InvalidTag | ValueError):
            raise broken("a message does not decrypt") from None
        raise


def pieces(descriptor: int, *, position: int, size: int) -> Iterator[memoryview]:
    """Yield a range of a file in steps; each is overwritten by the next.

    Raises:
        SealBroken: The file ends before the range does, or cannot be read.
    """
    # Read, not mapped: a mapping could change between the check of a tag and its use, and a
    # truncated one kills the process.
    buffer = bytearray(min(size, _STEP_BYTES))
    with memoryview(buffer) as view:
        end = position + size
        while position < end:
            with view[: end - position] as wanted:
                read = _read(descriptor, wanted, position)
            with view[:read] as piece:
                yield piece
            position += read


def exactly(descriptor: int, *, position: int, size: int) -> bytes:
    """Return a range of a file.

    Raises:
        SealBroken: The file ends before the range does, or cannot be read.
    """
    return b"".join(bytes(piece) for piece in pieces(descriptor, position=position, size=size))


def _read(descriptor: int, wanted: memoryview, position: int) -> int:
    try:
        read = os.preadv(descriptor, [wanted], position)
    except OSError as error:
        raise broken(f"the file cannot be read ({error.strerror})") from None
    if read == 0:
        raise broken("the file ends too early")
    return read
