"""Writers of one process take turns, in the order they came.

SQLite's own lock is not fair: who waits for it looks again every tenth of a second, and a writer
that begins its next transaction at once, as the log's does under load, is nearly always first.
Between processes there is only that lock.
"""

import threading
from collections import deque
from typing import Any


class Turns:
    """One turn at a time."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: deque[threading.Event] = deque()
        self._holder: Any = None

    def take(self, holder: object, *, limit_s: float) -> bool:
        """Wait for the turn, and return whether it came in time. holder: whose it then is."""
        called = threading.Event()
        with self._guard:
            if self._holder is None:
                self._holder = holder
                return True
            self._waiting.append(called)
        called.wait(limit_s)
        with self._guard:
            # Only under the guard is it certain: the call may have come as the time was up.
            if called.is_set():
                self._holder = holder
            else:
                self._waiting.remove(called)
        return called.is_set()

    def give_back(self, holder: object) -> None:
        """End the holder's turn and call the next; nothing if it is not the holder's."""
        with self._guard:
            if self._holder is not holder:
                return
            if self._waiting:
                # Taken on behalf of who is called, until they say that it is theirs.
                self._holder = called = self._waiting.popleft()
                called.set()
            else:
                self._holder = None
