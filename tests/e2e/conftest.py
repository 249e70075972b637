"""A real gateway for the end-to-end tests: real command line, model, sandboxes, log and client."""

import signal
import socket
from pathlib import Path

import pytest

from gateway.models.fetch import fetch
from tests.e2e.deployment import MODEL, Gateway, add_keys, make_home, sealgate, serve

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def reference_gguf():
    return fetch(MODEL, into=REPOSITORY / ".sealgate" / "downloads")


@pytest.fixture(scope="session")
def gateway(tmp_path_factory, reference_gguf):
    """One gateway for the whole run. Its log has time: this machine may be busy."""
    home = make_home(tmp_path_factory.mktemp("gateway"), reference_gguf)
    keys = add_keys(home)
    with serve(
        home, acknowledgement_s=30, workers=2, concurrency=4, console_key_changes="true"
    ) as (
        process,
        url,
    ):
        yield Gateway(home, url, process.pid, keys)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=90) == 0


@pytest.fixture(scope="session")
def idle_home(tmp_path_factory, reference_gguf):
    """A second home with the same model and other keys. Tests may serve it, one at a time."""
    home = make_home(tmp_path_factory.mktemp("idle"), reference_gguf)
    return home, add_keys(home)


@pytest.fixture
def connect(gateway):
    """Open a raw connection to the gateway."""
    host, port = gateway.url.removeprefix("http://").split(":")
    opened = []

    def make():
        opened.append(socket.create_connection((host, int(port)), timeout=60))
        return opened[-1]

    yield make
    for connection in opened:
        connection.close()


@pytest.fixture
def run_sealgate(gateway):
    """Run commands at the serving gateway's home."""

    def run(*arguments, **options):
        return sealgate(*arguments, home=gateway.home, **options)

    return run
