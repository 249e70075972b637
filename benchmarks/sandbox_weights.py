"""The reference model in one sealed memfd, as the key broker hands it to a zygote."""

import fcntl
import itertools
import json
import mmap
import os
import socket
import struct
from typing import Any, Self

import numpy as np

from gateway.models.importing import ImportedModel

ALIGNMENT = 64
SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class Weights:
    """A packed model. header, size (bytes) and descriptor say what and where it is."""

    def __init__(self, model: ImportedModel) -> None:
        tensors = {name: np.ascontiguousarray(t) for name, t in model.tensors.items()}
        pieces = [model.graph, *(t.data.cast("B") for t in tensors.values())]
        padded = [-(-len(piece) // ALIGNMENT) * ALIGNMENT for piece in pieces]
        offsets = list(itertools.accumulate(padded, initial=0))
        self.size = offsets[-1]
        self.header: dict[str, Any] = {
            "config": model.config,
            "graph": {"offset": 0, "length": len(model.graph)},
            "tensors": [
                {"name": name, "dtype": str(t.dtype), "shape": list(t.shape)}
                | {"offset": offset, "length": t.nbytes}
                for (name, t), offset in zip(tensors.items(), offsets[1:], strict=False)
            ],
        }
        self.descriptor = _sealed(pieces, offsets)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)

    def mapped(self) -> tuple[dict[str, Any], memoryview]:
        """Return what an engine loads from."""
        mapped = mmap.mmap(self.descriptor, 0, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)
        return self.header, memoryview(mapped)

    def send(self, connection: socket.socket) -> None:
        """Send the one message that a zygote waits for."""
        header = json.dumps(self.header).encode()
        socket.send_fds(connection, [struct.pack(">I", len(header))], [self.descriptor])
        connection.sendall(header)

    def cache_bytes(self, length: int) -> int:
        """Return the size of the keys and values of `length` tokens."""
        config = self.header["config"]
        a_token = config["layers"] * 2 * config["kv_heads"] * config["head_dim"] * 4
        return int(a_token * length)


def _sealed(pieces: list[Any], offsets: list[int]) -> int:
    descriptor = os.memfd_create("weights", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, offsets[-1])
    for piece, offset in zip(pieces, offsets, strict=False):
        view, place = memoryview(piece), offset
        while view:
            written = os.pwrite(descriptor, view, place)
            view, place = view[written:], place + written
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, SEALS)
    return descriptor
