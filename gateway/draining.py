"""What takes no new requests for now: endpoints, whole tiers, or this replica.

An operator's order, in a file of the home that a serving gateway heeds as soon as it is written.
What is being answered goes on; a drained replica answers whoever still asks, but says at /readyz
that it is not to be asked.
"""

import logging
import os
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from gateway.errors import SettingsInvalid
from gateway.router import Candidate
from gateway.turns import Turn

FILE = "draining.json"
_log = logging.getLogger("sealgate")


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file. names: endpoints and tiers. replica: this gateway as a whole."""

    names: tuple[str, ...] = ()
    replica: bool = False

    def covers(self, place: Candidate) -> bool:
        """Whether an endpoint gets no new requests."""
        return place.name in self.names or place.tier in self.names


def read(home: Path) -> Order:
    """Return a home's order, an empty one where there is none.

    Raises:
        SettingsInvalid: The file cannot be read, or is none.
    """
    path = home / FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Order)
    except FileNotFoundError:
        return Order()
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SettingsInvalid(f"{path}: {error}. Correct or remove it.") from None


def write(home: Path, order: Order) -> None:
    """Replace a home's order whole: a gateway that reads meanwhile sees one or the other."""
    path = home / FILE
    scratch = path.with_suffix(".new")
    with scratch.open("wb") as file:
        file.write(msgspec.json.encode(order))
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)


@dataclass(slots=True)
class Standing:
    """The order that holds now, read again whenever its file was replaced."""

    home: Path
    _seen: tuple[int, int] | None = None
    _order: Order = field(default_factory=Order)
    _turn: Turn = field(default_factory=Turn)

    @property
    def order(self) -> Order:
        """Return it. A file that makes no sense changes nothing, and is a warning once."""
        return self._turn.once(FILE, self._current)

    def _current(self) -> Order:
        seen = self._stamp()
        if seen != self._seen:
            self._seen = seen
            try:
                self._order = read(self.home)
            except SettingsInvalid as error:
                _log.warning("What drains stays as it was: %s", error)
        return self._order

    def _stamp(self) -> tuple[int, int] | None:
        try:
            status = os.stat(f"{self.home}/{FILE}")  # noqa: PTH116 - a string takes less than a path.
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns
