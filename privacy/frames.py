"""Frames between broker and client, docs/formats/broker-v1.md: a head, a tail, at most one file."""

import os
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from privacy.errors import FrameInvalid

MAGIC = b"SGB\x01"
HEAD_LIMIT_BYTES = 1 << 20
CALL_TAIL_LIMIT_BYTES = 1 << 20
ANSWER_TAIL_LIMIT_BYTES = 64 << 20
_PREFIX = struct.Struct(">4sII")


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame. Whoever receives it closes its descriptor."""

    head: bytes = field(repr=False)
    tail: bytes = field(repr=False)
    descriptor: int | None = None


def send_frame(
    connection: socket.socket, head: bytes, *, tail: bytes = b"", descriptors: Sequence[int] = ()
) -> None:
    """Send one frame, a descriptor with its first byte."""
    data = _PREFIX.pack(MAGIC, len(head), len(tail)) + head
    sent = socket.send_fds(connection, [data], descriptors) if descriptors else 0
    connection.sendall(data[sent:])
    if tail:
        connection.sendall(tail)


def receive_frame(connection: socket.socket, *, tail_limit_bytes: int) -> Frame | None:
    """Return the next frame, or None if the peer closed before one began.

    Raises:
        FrameInvalid: The bytes are no frame, or a part is longer than its limit.
    """
    prefix, descriptors = _first(connection)
    if not prefix:
        return None
    descriptor = descriptors[0] if descriptors else None
    try:
        prefix += _exactly(connection, _PREFIX.size - len(prefix))
        head_length, tail_length = _lengths(prefix, tail_limit_bytes)
        head, tail = _exactly(connection, head_length), _exactly(connection, tail_length)
    except BaseException:
        if descriptor is not None:
            os.close(descriptor)
        raise
    return Frame(head, tail, descriptor)


def _first(connection: socket.socket) -> tuple[bytes, list[int]]:
    # Not socket.recv_fds: it drops its flags, and the descriptor would pass to a child of ours.
    space = socket.CMSG_LEN(struct.calcsize("i"))
    data, ancillary, _, _ = connection.recvmsg(_PREFIX.size, space, socket.MSG_CMSG_CLOEXEC)
    descriptors = [
        struct.unpack("i", content[: struct.calcsize("i")])[0]
        for level, kind, content in ancillary
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
    ]
    return data, descriptors


def _lengths(prefix: bytes, tail_limit_bytes: int) -> tuple[int, int]:
    magic, head_length, tail_length = _PREFIX.unpack(prefix)
    if magic != MAGIC or head_length > HEAD_LIMIT_BYTES or tail_length > tail_limit_bytes:
        raise FrameInvalid("A frame breaks its format. Start the gateway again.")
    return head_length, tail_length


def _exactly(connection: socket.socket, length: int) -> bytes:
    data = bytearray(length)
    with memoryview(data) as view:
        received = 0
        while received < length:
            with view[received:] as rest:
                count = connection.recv_into(rest)
            if count == 0:
                raise FrameInvalid("A frame ends too early. Start the gateway again.")
            received += count
    return bytes(data)
