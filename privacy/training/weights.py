"""A model's trained parameters as named arrays, and the digest that names them."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privacy.derivation import bind


def digest(tensors: Mapping[str, NDArray[Any]]) -> str:
    """Return `sha256:` and the hex digest over names, types, shapes and values, in name order."""
    total = hashlib.sha256(b"sealgate/certificate-v1/weights")
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        shape = ",".join(map(str, array.shape)).encode()
        content = hashlib.sha256(little.tobytes()).digest()
        total.update(bind(b"", name.encode(), array.dtype.name.encode(), shape, content))
    return "sha256:" + total.hexdigest()
