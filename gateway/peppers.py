"""The peppers of API keys: what the database's HMACs are made under, from the keyring."""

from collections.abc import Callable, Sequence
from typing import Protocol

# What the keyring derives the pepper from.
PEPPER = ("credential", b"api-key")


class Peppered(Protocol):
    """What peppers come from: an unlocked keyring, or a client of the key broker."""

    def epochs(self, purpose: str) -> list[int]:
        """Return the epochs that can be derived from, the active one first."""
        ...

    def derive(self, purpose: str, *context: bytes, epoch: int | None = None) -> bytes:
        """Derive a 32-byte key."""
        ...


def peppers(keys: Peppered) -> Callable[[], Sequence[bytes]]:
    """Return what gives the peppers of a keyring or key broker, each derived once."""
    known: dict[int, bytes] = {}

    def current() -> Sequence[bytes]:
        purpose, context = PEPPER
        epochs = keys.epochs(purpose)
        for epoch in epochs:
            if epoch not in known:
                known[epoch] = keys.derive(purpose, context, epoch=epoch)
        return [known[epoch] for epoch in epochs]

    return current
