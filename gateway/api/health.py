"""`/healthz`: the process lives. `/readyz`: it can answer: log writable, sandboxes at work."""

from collections.abc import Mapping

import msgspec

from gateway.api.asgi import App, Receive, Scope, Send, Way, reply
from gateway.parts import Gateway


def ways(gateway: Gateway) -> Mapping[Way, App]:
    """Return both, as they are asked for every few seconds: without a framework."""

    async def healthz(_scope: Scope, _receive: Receive, send: Send) -> None:
        """Say that the process serves HTTP."""
        await reply(send, msgspec.json.encode({"status": "ok"}))

    async def readyz(_scope: Scope, _receive: Receive, send: Send) -> None:
        """Say what is missing to answer a request, if anything."""
        checks = gateway.checks()
        ready = all(checks.values())
        body = {"status": "ready" if ready else "not_ready", "checks": checks}
        await reply(send, msgspec.json.encode(body), status=200 if ready else 503)

    return {("GET", "/healthz"): healthz, ("GET", "/readyz"): readyz}
