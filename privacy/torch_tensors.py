"""Tensors of a sealed file as torch tensors, for training scripts. Needs sealgate[train]."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from privacy.extras import library
from privacy.lazy import LazyTensors
from privacy.reader import SealedReader


class LazyTorchTensors(Mapping[str, Any]):
    """The tensors of an open reader by name, each decrypted when it is asked for."""

    def __init__(self, reader: SealedReader) -> None:
        self._lazy = LazyTensors(reader)

    def __len__(self) -> int:
        return len(self._lazy)

    def __iter__(self) -> Iterator[str]:
        return iter(self._lazy)

    def __getitem__(self, name: str) -> Any:
        tensor = self._lazy.described(name)
        return _tensor(self._lazy.octets(name), tensor.dtype, tensor.shape)


def all_torch_tensors(reader: SealedReader, *, threads: int | None = None) -> dict[str, Any]:
    """Decrypt every tensor at once into one stretch of huge pages that the tensors share.

    threads: as for SealedReader.load.

    Raises:
        SealBroken: Something is not what was sealed.
    """
    image = reader.image(threads=threads)
    return {
        tensor.name: _tensor(
            memoryview(image)[tensor.offset : tensor.end], tensor.dtype, tensor.shape
        )
        for tensor in reader.described.tensors
    }


def _tensor(octets: Any, dtype: str, shape: list[int]) -> Any:
    torch = library("torch", extra="train")
    count = math.prod(shape)
    # torch names its types as NumPy and ml_dtypes do.
    kind = getattr(torch, dtype)
    if count == 0:
        return torch.empty(shape, dtype=kind)
    return torch.frombuffer(octets, dtype=kind, count=count).reshape(shape)
