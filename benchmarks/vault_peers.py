"""The peers of `vault.py`: tensorizer and cryptotensors, both with their encryption on."""

import base64
import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

PEERS = ("tensorizer", "cryptotensors")
KEY = bytes(range(32))


def absent_peers() -> list[str]:
    """Name the peers that cannot be measured here."""
    return [name for name in PEERS if not _present(name)]


def tensorizer_loader(
    tensors: Mapping[str, np.ndarray], place: Path
) -> Callable[[], object] | None:
    """Write the tensors with tensorizer, encrypted, and return what loads all of them."""
    if not _present("tensorizer"):
        return None
    import torch  # noqa: PLC0415 - Only where the peer is installed.
    from tensorizer import (  # noqa: PLC0415
        DecryptionParams,
        EncryptionParams,
        TensorDeserializer,
        TensorSerializer,
    )

    path = str(place / "m.tensors")
    serializer = TensorSerializer(path, encryption=EncryptionParams(key=KEY))
    serializer.write_state_dict({name: torch.from_numpy(each) for name, each in tensors.items()})
    serializer.close()

    def load() -> object:
        found = TensorDeserializer(
            path, device="cpu", encryption=DecryptionParams.from_key(KEY), num_readers=1
        )
        try:
            return dict(found.items())
        finally:
            found.close()

    return load


def cryptotensors_loader(
    tensors: Mapping[str, np.ndarray], place: Path
) -> Callable[[], object] | None:
    """Write the tensors with cryptotensors, encrypted, and return what loads all of them."""
    if not _present("cryptotensors"):
        return None
    import torch  # noqa: PLC0415 - Only where the peer is installed.
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415
        Ed25519PrivateKey,
    )
    from cryptotensors import register_direct_key_provider  # noqa: PLC0415
    from cryptotensors.torch import load_file, save_file  # noqa: PLC0415

    signer = Ed25519PrivateKey.generate()

    def text(data: bytes) -> str:
        return base64.b64encode(data).decode()

    encryption = {"kty": "oct", "alg": "aes256gcm", "k": text(KEY), "kid": "enc"}
    signing = {
        "kty": "okp",
        "alg": "ed25519",
        "d": text(signer.private_bytes_raw()),
        "x": text(signer.public_key().public_bytes_raw()),
        "kid": "sign",
    }
    path = str(place / "m.safetensors")
    save_file(
        {name: torch.from_numpy(each) for name, each in tensors.items()},
        path,
        config={"enc_key": encryption, "sign_key": signing},
    )
    register_direct_key_provider(keys=[encryption, signing])

    def load() -> object:
        found = load_file(path)
        # It decrypts lazily: each tensor is touched once.
        return {name: each.view(torch.uint8).view(-1)[::4096].sum() for name, each in found.items()}

    return load


def _present(name: str) -> bool:
    return all(importlib.util.find_spec(each) is not None for each in (name, "torch"))
