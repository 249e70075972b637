"""What an anchor is: another place, under another hand, that keeps this log's checkpoints."""

from collections.abc import Callable, Iterator
from typing import Protocol

# From a log's earlier size to the consistency proof from there to the checkpoint (RFC 6962, 2.1.2).
ProofFrom = Callable[[int], list[bytes]]


class Anchor(Protocol):
    """One such place. kind and place name it in the log's own records."""

    @property
    def kind(self) -> str:
        """What sort of place: `file`, `s3`, `timestamp` or `witness`."""

    @property
    def place(self) -> str:
        """Which one."""

    @property
    def gives_back(self) -> bool:
        """Whether `kept` yields what was handed over."""

    def keep(self, note: str, *, since: int, proof_from: ProofFrom, now_ms: int) -> bytes:
        """Hand over a checkpoint and return the receipt.

        since: the size that was handed over last, 0 for none.

        Raises:
            AnchorFailed: It was not taken.
        """

    def kept(self) -> Iterator[str]:
        """Yield the checkpoints that the place gives back, oldest first; none if it cannot.

        Raises:
            AnchorFailed: The place cannot be read, or holds something else.
        """

    def check(self, note: str, receipt: bytes) -> None:
        """Check a receipt on its own.

        Raises:
            AnchorFailed: It is not a receipt for `note` from this place.
        """
