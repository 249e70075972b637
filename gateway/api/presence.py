"""Whether the client is still there: work for one that has left ends at once."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from gateway.api.asgi import ClientGone, Receive, gone

# Whether the client has left, asked when its request was cancelled.
Left = Callable[[], bool]


async def while_present(
    receive: Receive, serve: Callable[[Left], Coroutine[Any, Any, None]]
) -> None:
    """Run what `serve` starts to its end, or cancel it as soon as the client has left.

    Raises:
        ClientGone: The client left first.
    """
    leaving = asyncio.ensure_future(gone(receive))
    # A watch that was called off saw nobody leave.
    working = asyncio.ensure_future(serve(lambda: leaving.done() and not leaving.cancelled()))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGone
        await working
    finally:
        leaving.cancel()
        working.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)
