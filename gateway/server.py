"""The listening server: bind first, then start every part, say so, and stop in reverse order.

A port that is taken is known before a key is touched. Signals end the server by flag, not by
dying: the answers that still run get their outcome, and the log its last entry.
"""

import asyncio
import contextlib
import ctypes
import errno
import gc
import logging
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
import uvloop

from gateway.api.asgi import App
from gateway.app import create_app
from gateway.connections import BoundedProtocol
from gateway.custody import Secret
from gateway.errors import AddressTaken, GatewayError, GatewayNotStarted, SettingsInvalid
from gateway.lifecycle import running
from gateway.parts import Gateway
from gateway.settings import Settings
from gateway.tls import TlsFiles, reload, server_context, tls_files

# Answers that have not ended this long after the signal are cut off and recorded as `shutdown`.
GRACE_S = 10
# Longer than clients keep an idle connection, so that they close it and never meet a closed one.
KEEP_ALIVE_S = 75

_log = logging.getLogger("sealgate")


def serve(settings: Settings, secret: Secret, *, ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT. ready: called once with the URL, when requests are answered.

    SIGHUP loads the policy and the TLS files again.

    Raises:
        AddressTaken: Another process listens there.
        GatewayNotStarted: The address cannot be used.
        Exception: Whatever `lifecycle.running` raises.
    """
    with (
        _listening(settings.host, settings.port) as listener,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(_serve(settings, secret, listener, ready))


async def _serve(
    settings: Settings, secret: Secret, listener: socket.socket, ready: Callable[[str], None]
) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    files = tls_files(settings)
    context = server_context(files) if files else None
    async with running(settings, secret) as gateway:
        loop.add_signal_handler(signal.SIGHUP, _reload, gateway, context, files)
        _settle_memory()
        if not stopping.is_set():
            server = _Server(create_app(gateway), context)
            gateway.metrics.connections.set_function(lambda: len(server.server_state.connections))
            await server.run_until(stopping, listener, lambda: ready(_url(listener, context)))


def _settle_memory() -> None:
    """Leave what a start has made out of every later collection of garbage.

    It lives until the end. Looked through again and again, it was most of what a request cost.
    """
    gc.collect()
    gc.freeze()
    # What a start has used and freed goes back to the system: glibc would keep it for later.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _reload(gateway: Gateway, context: ssl.SSLContext | None, files: TlsFiles | None) -> None:
    """Let policy and TLS files hold as they now are; what is broken stays as it was."""
    result = "good"
    try:
        gateway.policy.reload()
        if context is not None and files is not None:
            reload(context, files)
    except SettingsInvalid as error:
        result = "failed"
        _log.error("%s", error)
    gateway.metrics.policy_reloads.labels(result).inc()


class _Server(uvicorn.Server):
    """uvicorn without its own signal handling, which would end the process with answers open."""

    def __init__(self, app: App, context: ssl.SSLContext | None) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=BoundedProtocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                # A forwarded-for header is a claim; the log holds the peer that the kernel saw.
                proxy_headers=False,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=GRACE_S,
                ssl_context_factory=(lambda *_: context) if context else None,
            )
        )

    async def run_until(
        self, stopping: asyncio.Event, listener: socket.socket, ready: Callable[[], None]
    ) -> None:
        """Serve until `stopping` is set and every answer has its outcome."""
        self.config.load()
        self.lifespan = self.config.lifespan_class(self.config)
        await self.startup(sockets=[listener])
        ready()
        main = asyncio.ensure_future(self.main_loop())
        await stopping.wait()
        self.should_exit = True
        await main
        await self.shutdown(sockets=[listener])
        # Requests that were cut off at the end of the grace still record how they ended.
        await asyncio.gather(*self.server_state.tasks, return_exceptions=True)


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """Bind and listen, so that a second gateway on the port fails now, not after its start."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise GatewayNotStarted(f"The host {host!r} cannot be used: {error.strerror}.") from None
    with listener:
        # A restart must not wait for the last connections of the one before.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            listener.listen(socket.SOMAXCONN)
        except OSError as error:
            raise _unusable(error, host, port) from None
        yield listener


def _unusable(error: OSError, host: str, port: int) -> GatewayError:
    if error.errno == errno.EADDRINUSE:
        return AddressTaken(
            f"Another process listens on {host} port {port}. Stop it, or choose another --port."
        )
    return GatewayNotStarted(
        f"{host} port {port} cannot be listened on: {error.strerror}. Choose another --host or "
        "--port."
    )


def _url(listener: socket.socket, context: ssl.SSLContext | None) -> str:
    host, port = listener.getsockname()[:2]
    scheme = "https" if context else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
