"""Random bytes for ids and marks, drawn from the system a page at a time.

A system call a number would let go of the interpreter's lock each time, and whoever waits for it
takes it. A process that forks must not share what is left: a child begins with none.
"""

import os

PAGE_BYTES = 4096


class Chance:
    """A page of the system's random bytes; each is given out once. For one thread."""

    def __init__(self) -> None:
        self._page = b""
        self._at = 0
        os.register_at_fork(after_in_child=self._forget)

    def take(self, count: int) -> bytes:
        """Return so many bytes, at most a page."""
        if self._at + count > len(self._page):
            self._page, self._at = os.urandom(PAGE_BYTES), 0
        start, self._at = self._at, self._at + count
        return self._page[start : self._at]

    def _forget(self) -> None:
        self._page, self._at = b"", 0
