import socket
import threading
from pathlib import Path

import numpy as np
import pytest

from privacy import sealed
from privacy.broker import BrokerClient, serve
from privacy.custodians.keyfile import KeyFile
from privacy.keyring import Keyring


@pytest.fixture
def key_file(tmp_path):
    return KeyFile.create(tmp_path / "secret" / "key")


@pytest.fixture
def keyring(tmp_path, key_file):
    return Keyring.create(tmp_path / "keyring", key_file)


@pytest.fixture
def model():
    return {
        "config": {"format": "onnx-gqa-v1", "eos": [2], "bos": None, "scale": 0.5},
        "graph": b"a graph of some length",
        "tensors": {
            "weight": np.arange(30000, dtype=np.float32).reshape(100, 300),
            "packed": np.arange(0, 250, dtype=np.uint8),
            "scalar": np.array(7, dtype=np.int64),
        },
        "assets": {"tokenizer.json": b'{"a": 1}', "empty": b""},
    }


@pytest.fixture
def seal(tmp_path, keyring, model):
    """Seal the model, some of it replaced, at models/MODEL_ID.sealed."""

    def _seal(model_id="small", **changes):
        path = tmp_path / "models" / f"{model_id}.sealed"
        return sealed.seal(path, keyring=keyring, model_id=model_id, **(model | changes))

    return _seal


@pytest.fixture
def broker(tmp_path, keyring):
    """A client of a broker in a thread, over a real socket."""
    ours, theirs = socket.socketpair()
    options = {"keyring": keyring, "models": tmp_path / "models"}
    thread = threading.Thread(target=serve, args=(theirs,), kwargs=options)
    thread.start()
    with ours, theirs:
        yield BrokerClient(ours)
        ours.close()
        thread.join(timeout=20)
        assert not thread.is_alive()


@pytest.fixture(scope="session")
def vectors():
    """The directory of the vectors that the library `cryptography` publishes."""
    package = pytest.importorskip("cryptography_vectors", reason="cryptography-vectors")
    return Path(package.__file__).parent
