"""A key in k of n shares: Shamir's scheme over GF(2^128) of the library pycryptodome.

Each half of the 32-byte key is shared by itself. Fewer than k shares say nothing of the key. A
share's text carries a checksum against slips of the pen, and nothing that names the deployment.
See docs/formats/backup-v1.md.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from privacy.derivation import KEY_BYTES
from privacy.errors import BackupUnusable
from privacy.extras import library

MOST_SHARES = 255
_HALF = 16
_PREFIX = "sealgate-share-v1"
_TEXT = re.compile(
    rf"{_PREFIX}-([0-9a-f]{{8}})-([0-9]{{1,3}})-([0-9]{{1,3}})-([0-9a-f]{{64}})-([0-9a-f]{{8}})"
)


@dataclass(frozen=True, slots=True)
class Share:
    """One share. backup: the first 8 hex digits of the backup's id. index: from 1."""

    backup: str
    threshold: int
    index: int
    value: bytes = field(repr=False)

    def text(self) -> str:
        """Return it as its keeper writes it down."""
        body = f"{_PREFIX}-{self.backup}-{self.threshold}-{self.index}-{self.value.hex()}"
        return f"{body}-{_checksum(body)}"

    @staticmethod
    def parse(text: str) -> "Share":
        """Read what `text` made.

        Raises:
            BackupUnusable: It is no share, or was copied wrongly.
        """
        found = _TEXT.fullmatch(text.strip().lower())
        if not found or _checksum(text.strip().lower().rpartition("-")[0]) != found[5]:
            raise BackupUnusable("That is no share, or it was copied wrongly. Compare it again.")
        backup, threshold, index, value, _ = found.groups()
        return Share(backup, int(threshold), int(index), bytes.fromhex(value))


def split(key: bytes, *, threshold: int, shares: int, backup: str) -> list[Share]:
    """Split a 32-byte key into `shares`, any `threshold` of which give it back.

    Raises:
        BackupUnusable: The numbers make no sense.
        LibraryMissing: pycryptodome is not installed.
    """
    if not 2 <= threshold <= shares <= MOST_SHARES:  # noqa: PLR2004 - One of n is a copy.
        raise BackupUnusable("Choose at least 2 shares to restore, of as many or more, up to 255.")
    shamir = _shamir()
    halves = [shamir.split(threshold, shares, key[at : at + _HALF]) for at in (0, _HALF)]
    return [
        Share(backup, threshold, index, first + second)
        for (index, first), (_, second) in zip(*halves, strict=True)
    ]


def combine(shares: Sequence[Share]) -> bytes:
    """Return the key of enough shares of one backup. Whether it is the key, its use will show.

    Raises:
        BackupUnusable: They are too few, or of different backups.
        LibraryMissing: pycryptodome is not installed.
    """
    if len({(share.backup, share.threshold) for share in shares}) != 1:
        raise BackupUnusable("The shares are none, or of different backups. Give those of one.")
    distinct = {share.index: share.value for share in shares}
    threshold = shares[0].threshold
    if len(distinct) < threshold:
        raise BackupUnusable(f"{len(distinct)} shares are too few: it takes {threshold}.")
    chosen = list(distinct.items())[:threshold]
    shamir = _shamir()
    halves = [
        shamir.combine([(index, value[at : at + _HALF]) for index, value in chosen])
        for at in (0, _HALF)
    ]
    return b"".join(halves)[:KEY_BYTES]


def _shamir() -> Any:
    return library("Crypto.Protocol.SecretSharing", extra="backup").Shamir


def _checksum(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()[:8]
