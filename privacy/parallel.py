"""Messages decrypted by several threads at once, each in buffers of its own."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from privacy.manifest import Message
from privacy.messages import Room

MOST_THREADS = 4
Part = tuple[int, Message]
# Decrypts one message to its place: its index, the message, a thread's buffers.
Put = Callable[[int, Message, Room], None]


def decrypt_all(parts: Iterable[Part], put: Put, *, threads: int | None) -> None:
    """Decrypt every message. threads: by default as many as this process may run, up to 4.

    What `put` raises is raised once every thread has stopped; the rest is left undone.
    """
    # Each thread takes from the end. The largest come first, so that no thread is left with one
    # while the others are done.
    waiting = sorted(parts, key=lambda part: part[1].length)
    count = min(threads or _threads(), len(waiting))
    if count <= 1:
        _work(waiting, put)
        return
    # The library lets go of the interpreter while it decrypts.
    with ThreadPoolExecutor(count) as pool:
        for future in [pool.submit(_work, waiting, put) for _ in range(count)]:
            future.result()


def _work(waiting: list[Part], put: Put) -> None:
    """Decrypt what waits until nothing does."""
    room = Room()
    try:
        while True:
            try:
                index, message = waiting.pop()
            except IndexError:
                return
            put(index, message, room)
    except BaseException:
        # Nobody begins another message of a model that will not be used.
        waiting.clear()
        raise
    finally:
        room.wipe()


def _threads() -> int:
    return min(len(os.sched_getaffinity(0)), MOST_THREADS)
