"""The connection to one endpoint: its own certificate authority, our certificate, few paths.

No proxy, no redirect, no cookie, no credential of the environment; plain HTTP on loopback alone.
"""

import asyncio
import ipaddress
import ssl
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from gateway.backends.http1 import Answer, Connection, Cut, NoHttp
from gateway.errors import SettingsInvalid, UpstreamFailed

# A connection that nobody used for so long is not trusted to stand: servers close them too.
IDLE_S = 15.0
# Of a page, not of an answer, which has its own limits.
READ_S = 5.0


@dataclass(frozen=True, slots=True)
class Certificates:
    """Files of mutual TLS: who may answer, and who we are."""

    authority: Path
    certificate: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """Load them.

        Raises:
            SettingsInvalid: One of them cannot be.
        """
        try:
            context = ssl.create_default_context(cafile=self.authority)
            context.load_cert_chain(self.certificate, self.key)
        except OSError as error:
            # ssl.SSLError is one; neither names what is in a key.
            raise SettingsInvalid(
                f"The certificates {self.authority}, {self.certificate}, {self.key} do not load: "
                f"{error.strerror or error.__class__.__name__}."
            ) from None
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context


class Transport:
    """Requests to one origin, on an allow-list of paths. Make it inside the event loop.

    token: a bearer credential for servers that want one, beside the certificate. connections: as
    many at once; more requests wait.
    """

    def __init__(
        self,
        origin: str,
        *,
        paths: frozenset[str],
        certificates: Certificates | None = None,
        token: str | None = None,
        connections: int = 64,
        connect_s: float = 2.0,
    ) -> None:
        parts = urlsplit(checked_origin(origin, certificates))
        self._host, self._paths = parts.hostname or "", paths
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._context = certificates.context() if certificates else None
        self.mutual = certificates is not None
        self._connect_s = connect_s
        # What every request has; it is one line a header, so nothing in it may break a line.
        self._common = f"host: {parts.netloc}\r\naccept-encoding: identity\r\n"
        if token:
            self._common += f"authorization: Bearer {_one_line(token)}\r\n"
        self._idle: deque[tuple[float, Connection]] = deque()
        self._running: set[Answer] = set()
        self._room = asyncio.Semaphore(connections)
        self._closed = False

    async def close(self) -> None:
        """End all connections."""
        self._closed = True
        for answer in self._running:
            answer.close()
        for _, connection in self._idle:
            connection.close()
        self._idle.clear()
        await asyncio.sleep(0)

    async def post(self, path: str, body: bytes) -> Answer:
        """Send JSON, and return the answer, whose head is to be waited for.

        Whoever asked hands it to `release` in any case.

        Raises:
            UpstreamFailed: `unreachable`.
        """
        head = self._head("POST", path)
        head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        return await self._asked(head.encode() + body)

    def release(self, answer: Answer) -> None:
        """Let go of an answer. One that is not whole is called off: it must not be generated on."""
        if answer in self._running:
            self._running.discard(answer)
            answer.close()
            self._room.release()

    async def get(self, path: str, *, limit_bytes: int) -> tuple[int, bytes]:
        """Return a page's status and its first bytes.

        Raises:
            UpstreamFailed: `unreachable`, or a page beyond the limit.
        """
        answer = await self._asked((self._head("GET", path) + "\r\n").encode())
        try:
            with failures():
                await answer.head()
                data = b""
                while len(data) <= limit_bytes and (part := await answer.read(READ_S)):
                    data += part
        finally:
            self.release(answer)
        if len(data) > limit_bytes:
            raise UpstreamFailed("garbage", "a page of it is too long")
        return answer.status, data

    async def _asked(self, request: bytes) -> Answer:
        """Send a request on a connection that is free, or on a new one."""
        await self._room.acquire()
        try:
            with failures():
                connection = self._kept() or await self._connected()
                answer = connection.send(request)
        except BaseException:
            self._room.release()
            raise
        self._running.add(answer)
        return answer

    def _kept(self) -> Connection | None:
        """Return the connection that was used last, if one is still open and fresh."""
        now = asyncio.get_running_loop().time()
        while self._idle:
            since, connection = self._idle.pop()
            if connection.open and now - since < IDLE_S:
                return connection
            connection.close()
        return None

    async def _connected(self) -> Connection:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self._connect_s):
            _, connection = await loop.create_connection(
                lambda: Connection(self._released),
                self._host,
                self._port,
                ssl=self._context,
                server_hostname=self._host if self._context else None,
            )
        return connection

    def _released(self, connection: Connection) -> None:
        if self._closed:
            connection.close()
            return
        now = asyncio.get_running_loop().time()
        self._idle.append((now, connection))
        # The oldest stand at the left; each release ends those that nobody needs any more.
        while self._idle and now - self._idle[0][0] >= IDLE_S:
            self._idle.popleft()[1].close()

    def _head(self, method: str, path: str) -> str:
        if path not in self._paths:
            raise UpstreamFailed("forbidden", f"{path} is not on the list of its paths")
        return f"{method} {path} HTTP/1.1\r\n{self._common}"


def checked_origin(origin: str, certificates: Certificates | None) -> str:
    """Return the origin without a trailing slash.

    Raises:
        SettingsInvalid: It carries more than scheme, host and port, or would leave this machine
            without mutual TLS.
    """
    parts = urlsplit(origin)
    bare = not (parts.query or parts.fragment or parts.username or parts.path.strip("/"))
    if parts.scheme not in {"http", "https"} or not parts.hostname or not bare:
        raise SettingsInvalid(f"{origin!r} is not an origin such as https://host:port.")
    if (parts.scheme == "https") != (certificates is not None):
        raise SettingsInvalid(
            f"{origin} needs https and its three certificate files together (ca_file, "
            "certificate_file, key_file)."
        )
    if parts.scheme == "http" and not _loopback(parts.hostname):
        raise SettingsInvalid(f"{origin} is on another machine: mutual TLS is needed there.")
    return f"{parts.scheme}://{parts.netloc}"


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@contextmanager
def failures() -> Iterator[None]:
    """Turn every way a connection fails into one error, without what it would quote.

    Raises:
        UpstreamFailed: `unreachable` or `garbage`.
    """
    try:
        yield
    except TimeoutError:
        raise UpstreamFailed("unreachable", "it did not answer in time") from None
    except NoHttp:
        raise UpstreamFailed("garbage", "its answer is no HTTP") from None
    except (Cut, OSError):
        # ssl.SSLError is one of the latter.
        raise UpstreamFailed("unreachable", "no connection to it stands") from None


def _one_line(token: str) -> str:
    if not token.isascii() or not token.isprintable():
        raise SettingsInvalid("A token of the tiers' file is more than one line of ASCII text.")
    return token
