"""The engine's library reports home by default. In a zygote it writes, and starts, nothing."""

import fcntl
import json
import os
import socket
import struct
import subprocess
import sys

import pytest

from gateway.models.importing import import_gguf
from sandbox import launch, outer
from sandbox.limits import Limits
from sandbox.outer import Outer
from sandbox.pool import Pool
from tests.security.hostile import answered, job
from tests.waiting import until

SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW


def sender(header, memory):
    """Return what sends a packed model, as the key broker would."""

    def send(connection):
        descriptor = os.memfd_create("weights", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        with os.fdopen(descriptor, "wb") as file:
            file.write(memory)
            file.flush()
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, SEALS)
            told = json.dumps(header).encode()
            socket.send_fds(connection, [struct.pack(">I", len(told))], [descriptor])
            connection.sendall(told)

    return send


@pytest.fixture
def home(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    return home


def written(home):
    return sorted(str(path.relative_to(home)) for path in home.rglob("*"))


def test_library_alone_would_write_a_device_id(home):
    with subprocess.Popen(
        [sys.executable, "-I", "-c", "import onnxruntime, sys; sys.stdin.read()"],
        env={"HOME": str(home)},
        stdin=subprocess.PIPE,
    ):
        # A thread of the library's writes it, some time after the import.
        until(lambda: any("deviceid" in name for name in written(home)))


async def test_real_engine_in_a_pool_writes_no_file(home, tiny_gguf, pack_model, monkeypatch):
    # Nothing is inherited, CI's variable least of all, which would switch telemetry off too.
    monkeypatch.delenv("CI", raising=False)
    assert "CI" not in launch.ENVIRONMENT
    monkeypatch.setattr(launch, "ENVIRONMENT", launch.ENVIRONMENT | {"HOME": str(home)})
    # bubblewrap would make that directory read-only, and prove nothing about the library.
    monkeypatch.setattr(outer, "find", Outer)
    header, memory = pack_model(import_gguf(tiny_gguf()))
    pool = Pool(size=1, limits=Limits(), send_weights=sender(header, memory))
    try:
        await pool.start()
        tokens, finished = await answered(pool, job(5, 6, 7, max_tokens=8))
    finally:
        await pool.stop()
    assert len(tokens) == 8
    assert finished.attestation["end"]["code"] == 0
    assert written(home) == []
