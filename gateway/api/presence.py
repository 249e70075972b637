"""Whether the client is still there: work for one that has left ends at once."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from gateway.api.asgi import ClientGone, Receive, gone

# Whether the client has left, asked when its request was cancelled.
Left = Callable[[], bool]
Serve = Callable[[Left], Coroutine[Any, Any, None]]
# Where our own server puts the connection's `Leaving`.
LEAVING = "sealgate.leaving"


class Leaving:
    """A connection's end, and the request that it would end. For one event loop."""

    def __init__(self) -> None:
        self.happened = False
        self._request: asyncio.Task[Any] | None = None

    def happen(self) -> None:
        """Take note that the connection is gone, and cancel the request on it."""
        self.happened = True
        if self._request is not None:
            self._request.cancel()

    async def ending(self, serve: Serve) -> None:
        """Run `serve` in the caller's own task, and cancel it when the connection goes.

        Raises:
            ClientGone: It went.
        """
        if self.happened:
            raise ClientGone
        request = self._request = asyncio.current_task()
        try:
            await serve(lambda: self.happened)
        except asyncio.CancelledError:
            if not self.happened or request is None:
                raise
            # Ours, unless the server stopped the request as well: that one stands.
            if request.uncancel():
                raise
            raise ClientGone from None
        finally:
            # The next request on the connection may have begun already.
            if self._request is request:
                self._request = None


async def while_present(receive: Receive, serve: Serve, *, leaving: Leaving | None = None) -> None:
    """Run what `serve` starts to its end, or cancel it as soon as the client has left.

    leaving: the connection's, which spares two tasks; without one the client is listened to.

    Raises:
        ClientGone: The client left first.
    """
    if leaving is not None:
        await leaving.ending(serve)
        return
    watching = asyncio.ensure_future(gone(receive))
    # A watch that was called off saw nobody leave.
    working = asyncio.ensure_future(serve(lambda: watching.done() and not watching.cancelled()))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGone
        await working
    finally:
        watching.cancel()
        working.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)
