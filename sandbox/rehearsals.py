"""When idle workers rehearse: while a processor has no answer of their pool to compute.

A rehearsal takes about as long as a short answer. Of a pool that is kept busy it would take half
of what its processors give, and a job would often meet a worker in the middle of one.
"""

import asyncio
import os
from collections.abc import Collection

from sandbox import conversation
from sandbox.launch import Worker

# Between two looks. A worker that is not taken for that long is not waited for.
QUIET_S = 0.05


class Rehearsals:
    """Of one pool's idle workers. For one event loop.

    idle: those that wait for a job now, who goes first in front. processors: how many answers can
    be computed at once. answering: how many are, as the pool says.
    """

    def __init__(self, idle: Collection[Worker], *, processors: int | None = None) -> None:
        self._idle = idle
        self._processors = processors or len(os.sched_getaffinity(0))
        self.answering = 0
        self._next_look: asyncio.TimerHandle | None = None

    def plan(self) -> None:
        """Have the idle workers rehearse one by one, as soon as it is quiet."""
        if self._next_look is None:
            loop = asyncio.get_running_loop()
            self._next_look = loop.call_later(QUIET_S, self._look)

    def _look(self) -> None:
        self._next_look = None
        fresh = [worker for worker in self._idle if not worker.rehearsed]
        if fresh and self.answering < self._processors:
            worker = fresh.pop(0)
            worker.rehearsed = True
            conversation.rehearse(worker)
        if fresh:
            self.plan()
