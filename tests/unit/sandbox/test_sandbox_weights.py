import fcntl
import json
import mmap
import os
import socket
import struct

import pytest

from sandbox import weights
from sandbox.errors import ZygoteFailed

SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
HEADER = json.dumps({"config": {}, "graph": {}, "tensors": []}).encode()
CONTENT = b"weights " * 1024


@pytest.fixture
def memory():
    descriptor = os.memfd_create("weights", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(descriptor, CONTENT)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def received(monkeypatch):
    """Receive what was sent; return what the engine was handed."""
    handed = []
    monkeypatch.setattr(weights.OnnxEngine, "load", lambda *arguments: handed.append(arguments))

    def receive(*, first, descriptors, rest=b""):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            socket.send_fds(ours, [first], descriptors)
            ours.sendall(rest)
            ours.close()
            weights.receive(theirs)
        return handed[0]

    return receive


def length(header):
    return struct.pack(">I", len(header))


def test_sealed_memory_reaches_the_engine_with_its_header(memory, received):
    fcntl.fcntl(memory, fcntl.F_ADD_SEALS, SEALS)
    header, mapped = received(first=length(HEADER), descriptors=[memory], rest=HEADER)
    assert header == json.loads(HEADER)
    assert bytes(mapped) == CONTENT


@pytest.mark.parametrize(
    "seals",
    [0, *(SEALS & ~s for s in (fcntl.F_SEAL_WRITE, fcntl.F_SEAL_SHRINK, fcntl.F_SEAL_GROW))],
)
def test_memory_that_could_still_change_is_refused(memory, received, seals):
    fcntl.fcntl(memory, fcntl.F_ADD_SEALS, seals)
    with pytest.raises(ZygoteFailed, match="not sealed"):
        received(first=length(HEADER), descriptors=[memory], rest=HEADER)


def test_received_weights_can_be_written_by_no_remapping(memory, received):
    fcntl.fcntl(memory, fcntl.F_ADD_SEALS, SEALS)
    _, mapped = received(first=length(HEADER), descriptors=[memory], rest=HEADER)
    assert mapped.readonly
    with pytest.raises(PermissionError):
        mmap.mmap(memory, 0, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    with pytest.raises(PermissionError):
        os.ftruncate(memory, 0)


@pytest.mark.parametrize(
    ("first", "rest", "why"),
    [
        (length(HEADER), HEADER[:-1], "cut short"),
        (struct.pack(">I", (16 << 20) + 1), b"", "says it has"),
        (b"\x00\x00", b"", "gave up"),
    ],
)
def test_message_that_is_not_one_is_refused(memory, received, first, rest, why):
    fcntl.fcntl(memory, fcntl.F_ADD_SEALS, SEALS)
    with pytest.raises(ZygoteFailed, match=why):
        received(first=first, descriptors=[memory], rest=rest)


def test_message_without_memory_is_refused(received):
    with pytest.raises(ZygoteFailed, match="No weights came"):
        received(first=length(HEADER), descriptors=[], rest=HEADER)
