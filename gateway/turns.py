"""What is looked up once in a turn of the event loop, for every request that the turn serves.

A file's state or a database's row, looked at for each request, lets go of the interpreter's lock,
and another thread takes it meanwhile: waiting for it again was most of what such a look cost. A
turn runs what was due when it began, so that whatever it serves had arrived before it looked: a
change that was made before a request was sent is seen by that request. Nothing is kept beyond the
turn, and nothing at all outside of a loop.
"""

import asyncio
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")


class Turn:
    """Remembers what was found until the turn ends. For one loop; other threads look themselves."""

    def __init__(self) -> None:
        self._found: dict[Hashable, Any] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def once(self, key: Hashable, look: Callable[[], T]) -> T:
        """Return what `look` finds; what it raises is not remembered.

        key: what is looked for.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return look()
        if self._loop is not loop:
            # A loop that ended within its turn has forgotten nothing.
            self._found.clear()
            self._loop = loop
            loop.call_soon(self._end)
        if key not in self._found:
            self._found[key] = look()
        found: T = self._found[key]
        return found

    def _end(self) -> None:
        self._found.clear()
        self._loop = None


def once_a_turn(look: Callable[[], T]) -> Callable[[], T]:
    """Return `look`, asked once a turn."""
    turn = Turn()
    return lambda: turn.once(None, look)
