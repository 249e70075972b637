"""The peppers of API keys: what the database's HMACs are made under, from the keyring."""

from collections.abc import Callable, Hashable, Sequence
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


class Peppers:
    """Gives the peppers of a keyring or key broker, each derived once.

    stamp: identifies the keyring's state; where it is given, nothing is asked again before that is
    another one.
    """

    def __init__(self, keys: Peppered, *, stamp: Callable[[], Hashable] | None = None) -> None:
        self._keys = keys
        self._stamp = stamp
        self._derived: dict[int, bytes] = {}
        self._current: tuple[Hashable, Sequence[bytes]] | None = None

    def __call__(self) -> Sequence[bytes]:
        """Return the peppers now, the active one first."""
        stamp = self._stamp() if self._stamp else None
        current = self._current
        if current is not None and self._stamp is not None and current[0] == stamp:
            return current[1]
        purpose, context = PEPPER
        epochs = self._keys.epochs(purpose)
        for epoch in epochs:
            if epoch not in self._derived:
                self._derived[epoch] = self._keys.derive(purpose, context, epoch=epoch)
        found = [self._derived[epoch] for epoch in epochs]
        self._current = stamp, found
        return found

    def at_hand(self) -> bool:
        """Return whether they are known without asking for them."""
        current = self._current
        return current is not None and self._stamp is not None and current[0] == self._stamp()
