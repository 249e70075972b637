"""A model's vocabulary as bytes, on its way from the gateway to the zygote.

The zygote holds no tokeniser: it needs the tokens' bytes only to know which ones a grammar allows.
Format: docs/formats/worker-wire-v1.md, "Vocabulary to the zygote".
"""

import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from sandbox.errors import ZygoteFailed

VERSION = 1
LIMIT_BYTES = 16 << 20
_head = struct.Struct(">BII")
_length = struct.Struct(">H")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """tokens: each one's bytes in a text, by id; none for a control token. eos: ids that end."""

    tokens: Sequence[bytes] = field(repr=False)
    eos: Sequence[int]


def pack(vocabulary: Vocabulary) -> bytes:
    """Lay a vocabulary out for `receive`."""
    eos = struct.pack(f">{len(vocabulary.eos)}I", *vocabulary.eos)
    tokens = b"".join(_length.pack(len(token)) + token for token in vocabulary.tokens)
    return _head.pack(VERSION, len(vocabulary.tokens), len(vocabulary.eos)) + eos + tokens


def receive(connection: socket.socket) -> Vocabulary | None:
    """Read what the gateway sends after the weights, up to its end; None if it sends nothing.

    Raises:
        ZygoteFailed: It is not a vocabulary.
    """
    data = bytearray()
    while part := connection.recv(1 << 16):
        data += part
        if len(data) > LIMIT_BYTES:
            raise ZygoteFailed(f"The vocabulary has over {LIMIT_BYTES} bytes.")
    return unpack(bytes(data)) if data else None


def unpack(data: bytes) -> Vocabulary:
    """Read what `pack` laid out.

    Raises:
        ZygoteFailed: It is not a vocabulary.
    """
    try:
        version, tokens, ends = _head.unpack_from(data)
        if version != VERSION:
            raise ZygoteFailed(f"The vocabulary has version {version}.")
        eos = struct.unpack_from(f">{ends}I", data, _head.size)
        pieces, at = [], _head.size + 4 * ends
        for _ in range(tokens):
            (length,) = _length.unpack_from(data, at)
            at += _length.size + length
            pieces.append(data[at - length : at])
    except struct.error:
        raise ZygoteFailed("The vocabulary was cut short.") from None
    if at != len(data):
        raise ZygoteFailed("The vocabulary's lengths do not add up.")
    return Vocabulary(pieces, list(eos))
