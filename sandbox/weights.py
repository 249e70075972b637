"""Weights on their way into the zygote: a header and a sealed memfd (docs/formats/sealed-v1.md).

Plain data from the key broker. The seals are checked here: nobody can change what was verified.
"""

import fcntl
import json
import mmap
import os
import socket
import struct
from typing import Any

from sandbox.descriptors import receive as take
from sandbox.engines import embedding
from sandbox.engines.embedding import EmbeddingEngine
from sandbox.engines.onnx import OnnxEngine
from sandbox.errors import ZygoteFailed

_HEADER_LIMIT_BYTES = 16 << 20
_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
_length = struct.Struct(">I")


def receive(connection: socket.socket) -> OnnxEngine | EmbeddingEngine:
    """Take one message of weights and load the engine that its settings ask for.

    Raises:
        ZygoteFailed: The message is not one, or its memory could still be written.
    """
    header, memory = _message(connection)
    try:
        if fcntl.fcntl(memory, fcntl.F_GET_SEALS) & _SEALS != _SEALS:
            raise ZygoteFailed("The weights' memory is not sealed against writes.")
        mapped = mmap.mmap(memory, 0, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)
    finally:
        os.close(memory)
    mapped.madvise(mmap.MADV_DONTDUMP)
    if header["config"].get("format") == embedding.FORMAT:
        return EmbeddingEngine.load(header, memoryview(mapped))
    return OnnxEngine.load(header, memoryview(mapped))


def _message(connection: socket.socket) -> tuple[dict[str, Any], int]:
    first, descriptors = take(connection, _length.size, most=1)
    if len(descriptors) != 1 or len(first) != _length.size:
        raise ZygoteFailed("No weights came: the key broker gave up.")
    (length,) = _length.unpack(first)
    if length > _HEADER_LIMIT_BYTES:
        raise ZygoteFailed(f"The weights' header says it has {length} bytes.")
    data = bytearray()
    while len(data) < length:
        part = connection.recv(length - len(data))
        if not part:
            raise ZygoteFailed("The weights' header was cut short.")
        data += part
    header: dict[str, Any] = json.loads(data)
    return header, descriptors[0]
