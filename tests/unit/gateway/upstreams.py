"""Upstreams for tests: a real HTTP server on loopback that behaves, or misbehaves, as told."""

import asyncio
import json
from contextlib import asynccontextmanager

from aiohttp import web

MODEL = "upstream-model"


def event(text="", *, reason=None, usage=None, model=MODEL, **more):
    """One chunk of a streamed chat completion."""
    choices = [] if usage else [{"index": 0, "delta": {"content": text}, "finish_reason": reason}]
    body = {"object": "chat.completion.chunk", "model": model, "choices": choices, **more}
    return f"data: {json.dumps(body | ({'usage': usage} if usage else {}))}\n\n".encode()


DONE = b"data: [DONE]\n\n"
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
GOOD = (event("Hel"), event("lo"), event("!", reason="stop"), event(usage=USAGE), DONE)


class Upstream:
    """What a test's server was asked, and what it answers."""

    def __init__(self):
        self.script = list(GOOD)
        self.bodies, self.asked, self.paths, self.headers = [], [], [], []
        self.gone = asyncio.Event()
        self.status, self.content_type = 200, "text/event-stream"
        self.page = ""
        self.healthy = True
        self.url = ""

    async def chat(self, request):
        self.asked.append(request.path)
        self.bodies.append(await request.json())
        self.headers.append(dict(request.headers))
        if self.status != 200:
            headers = {"location": "/invocations"} if self.status == 307 else {}
            return web.Response(status=self.status, text="secret prompt", headers=headers)
        response = web.StreamResponse(headers={"content-type": self.content_type})
        try:
            await response.prepare(request)
            for step in self.script:
                if isinstance(step, float):
                    await asyncio.sleep(step)
                elif step == "drop":
                    request.transport.abort()
                else:
                    await response.write(step)
        except (ConnectionError, asyncio.CancelledError):
            self.gone.set()
            raise
        return response

    async def other(self, request):
        self.paths.append(request.path)
        if request.path == "/metrics":
            return web.Response(text=self.page)
        return web.Response(status=200 if self.healthy else 503)


@asynccontextmanager
async def serving(ssl_context=None):
    """Serve one upstream on a free port of loopback."""
    upstream = Upstream()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", upstream.chat)
    app.router.add_post("/v1/completions", upstream.chat)
    app.router.add_route("*", "/{path:.*}", upstream.other)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=ssl_context)
    await site.start()
    port = runner.addresses[0][1]
    upstream.url = f"{'https' if ssl_context else 'http'}://127.0.0.1:{port}"
    try:
        yield upstream
    finally:
        await runner.cleanup()
