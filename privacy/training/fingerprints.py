"""Who is in a dataset: a keyed fingerprint of each record, blind to order, names and layout.

Only who holds the key can test whether a record was used. Two records that differ in content are
two records: a changed byte is beyond what fingerprints recognise, changed case, white space,
column order or number format is not.
"""

import hashlib
import hmac
import struct
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from privacy.derivation import bind, number
from privacy.training.errors import ConfigInvalid

FINGERPRINT_BYTES = 16
_LABEL = b"sealgate/ledger-v1/record"
# The largest whole numbers that float64 tells apart.
_EXACT = 1 << 53


@dataclass(frozen=True, slots=True)
class Membership:
    """A dataset as the ledger knows it. fingerprints: distinct, ascending.

    records: how many, repeats counted.
    """

    fingerprints: tuple[bytes, ...] = field(repr=False)
    records: int

    @property
    def root(self) -> str:
        """The dataset's name by content: `sha256:` and 64 hex digits, whatever the order."""
        return root(self.fingerprints, records=self.records)


def membership(dataset: Iterable[Any], *, key: bytes) -> Membership:
    """Fingerprint every record of a dataset.

    Raises:
        ConfigInvalid: A record is of a kind that has no canonical form.
    """
    prints = [fingerprint(record, key=key) for record in dataset]
    return Membership(tuple(sorted(set(prints))), len(prints))


def fingerprint(record: Any, *, key: bytes) -> bytes:
    """Return a record's 16 bytes: HMAC-SHA256 of its canonical form, cut."""
    return hmac.digest(key, bind(_LABEL, canonical(record)), "sha256")[:FINGERPRINT_BYTES]


def root(fingerprints: Sequence[bytes], *, records: int) -> str:
    """Return the digest over ascending fingerprints and the number of records."""
    digest = hashlib.sha256(bind(b"sealgate/ledger-v1/dataset", number(records)))
    for item in fingerprints:
        digest.update(item)
    return "sha256:" + digest.hexdigest()


def canonical(record: Any) -> bytes:
    """Return bytes that are equal for records of equal content.

    Raises:
        ConfigInvalid: The record's kind has none.
    """
    if isinstance(record, Mapping):
        # Columns in whatever order, under the names they have.
        parts = sorted(bind(canonical(k), canonical(v)) for k, v in record.items())
        return b"m" + bind(b"", *parts)
    if isinstance(record, list | tuple):
        return b"l" + bind(b"", *(canonical(item) for item in record))
    return _leaf(record)


def _leaf(record: Any) -> bytes:
    if record is None:
        return b"n"
    if isinstance(record, str):
        folded = unicodedata.normalize("NFKC", record).casefold()
        return b"s" + " ".join(folded.split()).encode()
    if isinstance(record, bytes | bytearray):
        return b"b" + bytes(record)
    if isinstance(record, int) and abs(record) > _EXACT:
        return b"i" + str(record).encode()
    if isinstance(record, bool | int | float | np.number) or hasattr(record, "__array__"):
        return b"a" + _numbers(np.asarray(record))
    raise ConfigInvalid(
        f"A record of type {type(record).__name__} has no fingerprint. Give the dataset records "
        "of text, numbers, arrays, or lists and mappings of them."
    )


def _numbers(array: np.ndarray[Any, Any]) -> bytes:
    """Return shape and values, whatever the width they were stored in."""
    if array.dtype.kind not in "biuf":
        raise ConfigInvalid(
            f"An array of type {array.dtype} has no fingerprint. Give numbers instead."
        )
    shape = struct.pack(f">{array.ndim}Q", *array.shape)
    if array.dtype.kind in "iu" and array.size and int(abs(array).max()) > _EXACT:
        return bind(b"", shape, array.astype(">i8").tobytes())
    # Adding zero turns -0.0 into 0.0.
    return bind(b"", shape, (array.astype("<f8") + 0.0).tobytes())
