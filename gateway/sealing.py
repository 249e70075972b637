"""Sealing a model again: from its container through memory into the next generation's."""

import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privacy import sealed
from privacy.keyring import Keyring
from privacy.reader import SealedReader
from privacy.sealed import SealedModel


def reseal(path: Path, *, keyring: Keyring) -> SealedModel:
    """Seal the model at `path` again under a fresh data key, in place of the earlier file.

    Raises:
        SealMissing, SealBroken: It cannot be read, or is not what was sealed.
        SealUnwritable, KeyringUnusable: Nothing was changed.
    """
    with sealed.opened(path, keyring=keyring) as reader:
        reader.check()
        descriptor = reader.load()
        try:
            with mmap.mmap(descriptor, 0, prot=mmap.PROT_READ) as image:
                return _seal(path, reader, image, keyring)
        finally:
            os.close(descriptor)


def _seal(path: Path, reader: SealedReader, image: mmap.mmap, keyring: Keyring) -> SealedModel:
    manifest = reader.manifest
    graph = manifest["graph"]
    tensors = {tensor["name"]: _tensor(image, tensor) for tensor in manifest["tensors"]}
    try:
        return sealed.seal(
            path,
            keyring=keyring,
            model_id=manifest["model_id"],
            config=manifest["config"],
            graph=image[graph["offset"] : graph["offset"] + graph["length"]],
            tensors=tensors,
            assets={each["name"]: reader.asset(each["name"]) for each in manifest["assets"]},
        )
    finally:
        # The views hold the mapping, which cannot close before them.
        tensors.clear()


def _tensor(image: mmap.mmap, described: dict[str, Any]) -> NDArray[Any]:
    dtype = np.dtype(described["dtype"])
    count = described["length"] // dtype.itemsize
    flat = np.frombuffer(image, dtype, count=count, offset=described["offset"])
    return flat.reshape(described["shape"])
