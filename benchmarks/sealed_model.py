"""A model sealed and opened for a benchmark, the way a gateway does it."""

import mmap
import os
from pathlib import Path

from gateway.models.importing import ImportedModel
from privacy import sealed
from privacy.custodians.keyfile import KeyFile
from privacy.keyring import Keyring
from sandbox.engines.onnx import OnnxEngine


def seal(model: ImportedModel, *, scratch: Path) -> tuple[Path, Keyring]:
    """Seal a model under a keyring of its own, both inside `scratch`."""
    keyring = Keyring.create(scratch / "keyring", KeyFile.create(scratch / "key"))
    path = scratch / "model.sealed"
    sealed.seal(
        path,
        keyring=keyring,
        model_id=model.model_id,
        config=model.config,
        graph=model.graph,
        tensors=model.tensors,
        assets=model.assets,
    )
    return path, keyring


def load(path: Path, keyring: Keyring) -> OnnxEngine:
    """Open a sealed model and load it as a zygote does."""
    with sealed.opened(path, keyring=keyring) as reader:
        manifest, descriptor = reader.manifest, reader.load()
    try:
        memory = mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)
    finally:
        os.close(descriptor)
    return OnnxEngine.load(manifest, memoryview(memory))
