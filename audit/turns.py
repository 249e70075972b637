"""Writers of one process take turns, in the order they came.

SQLite's own lock is not fair: who waits for it looks again every tenth of a second, and a writer
that begins its next transaction at once, as the log's does under load, is nearly always first.
Between processes there is only that lock, and it alone keeps writers apart: a turn is a courtesy,
so one that is lost costs a wait and nothing else.
"""

import threading
from collections import deque


class Turns:
    """One turn at a time. Holders are numbers, so that none is kept alive by having a turn."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: deque[threading.Event] = deque()
        self._taken = False
        self._holder: int | None = None

    def take(self, holder: int, *, limit_s: float) -> bool:
        """Wait for the turn, and return whether it came in time."""
        called = threading.Event()
        with self._guard:
            if not self._taken:
                self._taken, self._holder = True, holder
                return True
            self._waiting.append(called)
        try:
            called.wait(limit_s)
        finally:
            with self._guard:
                # Only under the guard is it certain: the call may have come as the time was up.
                if called.is_set():
                    self._holder = holder
                else:
                    self._waiting.remove(called)
        return called.is_set()

    def claim(self, holder: int) -> None:
        """Let the turn be the holder's, who has the lock: whoever else was to have it has not."""
        with self._guard:
            self._taken, self._holder = True, holder

    def give_back(self, holder: int) -> None:
        """End the holder's turn and call the next; nothing if it is not the holder's."""
        with self._guard:
            if self._holder != holder:
                return
            self._holder = None
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._taken = False
