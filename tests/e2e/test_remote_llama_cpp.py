"""The remote backend against a real llama.cpp server, the one llama-cpp-python ships.

`SEALGATE_LLAMA_PYTHON` names the interpreter that has `llama-cpp-python[server]`; without it, or
without that package, these tests are skipped.
"""

import asyncio
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import aclosing, asynccontextmanager

import pytest

from gateway.backends.base import Ask, Capabilities, Complete, Text
from gateway.backends.profiles import LLAMA_CPP
from gateway.backends.remote import Patience, Remote, RemoteBackend
from gateway.backends.transport import Transport
from tests import ports

PYTHON = os.environ.get("SEALGATE_LLAMA_PYTHON", sys.executable)
# The server as it is, but for its repacked weights: they crash on some processors, and it has no
# option against them.
SERVER = """
import llama_cpp.llama_cpp as library
defaults = library.llama_model_default_params
def plain():
    options = defaults()
    options.use_extra_bufts = False
    return options
library.llama_model_default_params = plain
import runpy
runpy.run_module("llama_cpp.server", run_name="__main__")
"""
NEEDED = [PYTHON, "-c", "import llama_cpp, sse_starlette"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        subprocess.run(NEEDED, check=False, stderr=subprocess.DEVNULL).returncode != 0,
        reason="llama-cpp-python[server] is not installed there",
    ),
]


@pytest.fixture(scope="module")
def server(reference_gguf):
    port = ports.unused()
    command = [PYTHON, "-c", SERVER, "--model", str(reference_gguf), "--n_ctx", "1024"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--model_alias", "smollm2"]
    process = subprocess.Popen(
        [*command, "--n_threads", "1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield up(f"http://127.0.0.1:{port}", process)
    finally:
        process.terminate()
        process.wait(timeout=20)


def up(url, process):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/v1/models", timeout=2):  # noqa: S310 - our own
                return url
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.2)
    pytest.fail("The llama.cpp server did not come up.")


@asynccontextmanager
async def backend_to(url):
    transport = Transport(url, paths=LLAMA_CPP.paths)
    remote = Remote("edge-1", "edge", "smollm2", LLAMA_CPP, Capabilities(1024, 256), Patience())
    backend = RemoteBackend(remote, transport, salt=lambda _: "unused")
    try:
        yield backend
    finally:
        await backend.close()


def ask(text, **changes):
    values = {"request_id": "req_1", "tenant": "clinic", "max_tokens": 12, "temperature": 0.0}
    values |= {"turns": [{"role": "user", "content": text}], "top_p": 1.0, "top_k": 40}
    return Ask(**(values | {"stops": (), "seed": 1} | changes))


async def test_a_real_server_answers(server):
    async with backend_to(server) as backend:
        assert await backend.probe()
        *pieces, end = [item async for item in backend.generate(ask("Say hello."))]
        again = [item async for item in backend.generate(ask("Say hello."))]
    assert len(pieces) > 3
    assert all(isinstance(piece, Text) for piece in pieces)
    assert isinstance(end, Complete)
    assert end.reason in {"stop", "length"}
    assert again[:-1] == pieces
    assert 0 < end.usage.completion_tokens <= 12


async def test_a_stop_string_ends_it(server):
    async with backend_to(server) as backend:
        question = ask("Count: one two three", stops=("e",), max_tokens=40)
        *pieces, end = [item async for item in backend.generate(question)]
    assert "e" not in "".join(piece.text for piece in pieces)
    assert end.reason == "stop"


async def test_calling_off_frees_the_server_for_the_next(server):
    async with backend_to(server) as backend:
        async with aclosing(backend.generate(ask("Tell a story.", max_tokens=200))) as run:
            await anext(run)
        begun = time.monotonic()
        async with asyncio.timeout(20):
            assert [item async for item in backend.generate(ask("Hi.", max_tokens=4))]
        assert time.monotonic() - begun < 20
        assert backend.load.outstanding_tokens == 0
