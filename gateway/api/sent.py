"""The response of one request so far: a status is still possible until the first byte."""

from gateway.api.asgi import Send, reply, reply_refusal
from gateway.api.errors import envelope
from gateway.api.sse import event
from gateway.errors import RequestRefused
from gateway.metrics import UNANSWERED, RequestTimes


class Sent:
    """What has left. begun: an intent is in the log, so that the end is its outcome's to record."""

    def __init__(self, send: Send, *, times: RequestTimes) -> None:
        self._send = send
        self._times = times
        self.headers: list[tuple[bytes, bytes]] = []
        self.begun = False
        self.started = False
        self.ended = False

    async def json(self, body: bytes) -> None:
        """Send a whole answer."""
        self.started = self.ended = True
        self._times.text()
        self._times.status = 200
        await reply(self._send, body, headers=self.headers)

    async def refusal(self, refused: RequestRefused) -> None:
        """Send an error as a status, or as the last event of a stream that has begun."""
        if not self.ended:
            self._times.refused(refused.status, refused.code)
        if not self.started:
            self.started = self.ended = True
            await reply_refusal(self._send, refused)
        elif not self.ended:
            await self.body(event(envelope(refused)), last=True)

    async def body(self, data: bytes, *, last: bool = False) -> None:
        """Send some of a stream, its head first."""
        if not self.started:
            self.started = True
            self._times.text()
            headers = [
                (b"content-type", b"text/event-stream; charset=utf-8"),
                (b"cache-control", b"no-cache"),
                *self.headers,
            ]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        self.ended = last
        if last and self._times.status == UNANSWERED:
            self._times.status = 200
        await self._send({"type": "http.response.body", "body": data, "more_body": not last})
