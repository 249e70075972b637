"""Stop strings over streamed text: what may be sent now, and where an answer ends."""


class StopWatcher:
    """Cuts a stream of text at the first stop string, wherever piece boundaries fall.

    Text that could be the beginning of a stop string is held back until that is settled.
    """

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = stops
        self._held = ""
        self.stopped = False

    def feed(self, text: str) -> str:
        """Return what may be sent after `text` arrived; empty once stopped."""
        if not self._stops:
            return text
        if self.stopped:
            return ""
        self._held += text
        cut = min((i for stop in self._stops if (i := self._held.find(stop)) >= 0), default=-1)
        if cut >= 0:
            self.stopped = True
            return self._release(cut)
        return self._release(len(self._held) - self._undecided())

    def finish(self) -> str:
        """Return what was held back when the answer ended without a stop string."""
        return "" if self.stopped else self._release(len(self._held))

    def _release(self, length: int) -> str:
        text, self._held = self._held[:length], self._held[length:]
        return text

    def _undecided(self) -> int:
        """Length of the longest tail that is a proper prefix of a stop string."""
        longest = min(len(self._held), max((len(stop) for stop in self._stops), default=1) - 1)
        for length in range(longest, 0, -1):
            if any(stop.startswith(self._held[-length:]) for stop in self._stops):
                return length
        return 0
