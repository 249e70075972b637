"""An append-only file in another directory: another mount, another owner, or `chattr +a`.

One line of JSON a checkpoint (docs/formats/anchor-v1.md). Nothing of it is ever rewritten.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audit.anchors.kinds import ProofFrom
from audit.errors import AnchorFailed

FORMAT = "sealgate-anchor-v1"


@dataclass(frozen=True, slots=True)
class FileAnchor:
    """The file at `path`; its directory must exist."""

    path: Path
    kind: str = "file"
    gives_back: bool = True

    @property
    def place(self) -> str:
        """The file's path."""
        return str(self.path)

    def keep(self, note: str, *, since: int, proof_from: ProofFrom, now_ms: int) -> bytes:  # noqa: ARG002 - A file asks for no proof.
        """Append the checkpoint and wait for the disk; see `Anchor.keep`."""
        line = json.dumps({"format": FORMAT, "time_ms": now_ms, "checkpoint": note}) + "\n"
        try:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            descriptor = os.open(self.path, flags, 0o644)
            try:
                # One write, so that two gateways' lines never mix.
                if os.write(descriptor, line.encode()) != len(line.encode()):
                    raise AnchorFailed(f"{self.path} took half a line: its disk is full.")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise AnchorFailed(f"{self.path} cannot be written: {error.strerror}.") from None
        return line.encode()

    def kept(self) -> Iterator[str]:
        """Yield the file's checkpoints; see `Anchor.kept`."""
        try:
            with self.path.open(encoding="utf-8") as file:
                for number, line in enumerate(file, 1):
                    yield _checkpoint(line, f"Line {number} of {self.path}")
        except (OSError, UnicodeDecodeError) as error:
            raise AnchorFailed(f"{self.path} cannot be read: {error}.") from None

    def check(self, note: str, receipt: bytes) -> None:
        """Check that the receipt is the line of `note`; see `Anchor.check`."""
        if _checkpoint(receipt.decode(errors="replace"), "The receipt") != note:
            raise AnchorFailed("The receipt is of another checkpoint.")


def _checkpoint(line: str, what: str) -> str:
    try:
        fields: Any = json.loads(line)
    except ValueError:
        fields = None
    if (
        not line.endswith("\n")
        or not isinstance(fields, dict)
        or fields.get("format") != FORMAT
        or not isinstance(fields.get("checkpoint"), str)
    ):
        raise AnchorFailed(f"{what} is no {FORMAT}.")
    checkpoint: str = fields["checkpoint"]
    return checkpoint
