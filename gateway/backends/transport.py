"""The connection to one endpoint: its own certificate authority, our certificate, few paths.

No proxy, no redirect, no cookie, no credential of the environment; plain HTTP on loopback alone.
"""

import ipaddress
import ssl
from collections.abc import AsyncGenerator, Awaitable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from gateway.errors import SettingsInvalid, UpstreamFailed

BUFFER_BYTES = 1 << 16
HEADER_LIMIT_BYTES = 8190


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

    token: a bearer credential for servers that want one, beside the certificate.
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
        self._origin = checked_origin(origin, certificates)
        self._paths = paths
        self.mutual = certificates is not None
        self._headers = {"authorization": f"Bearer {token}"} if token else {}
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=connections,
                ssl=certificates.context() if certificates else False,
                enable_cleanup_closed=False,
            ),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            read_bufsize=BUFFER_BYTES,
            max_line_size=HEADER_LIMIT_BYTES,
            max_field_size=HEADER_LIMIT_BYTES,
            auto_decompress=False,
        )

    async def close(self) -> None:
        """End all connections."""
        await self._session.close()

    @asynccontextmanager
    async def post(
        self, path: str, body: Mapping[str, Any]
    ) -> AsyncGenerator[Awaitable[aiohttp.ClientResponse], None]:
        """Send JSON; yield what waits for the response's head. Leaving closes the connection.

        Raises:
            UpstreamFailed: `unreachable`.
        """
        held: list[aiohttp.ClientResponse] = []

        async def send() -> aiohttp.ClientResponse:
            with _failures():
                held.append(
                    await self._session.post(
                        self._url(path), json=body, headers=self._headers, allow_redirects=False
                    )
                )
            return held[0]

        try:
            yield send()
        finally:
            for response in held:
                # Closing, not releasing: an answer that is called off must stop being generated.
                response.close()

    async def get(self, path: str, *, limit_bytes: int) -> tuple[int, bytes]:
        """Return a page's status and its first bytes.

        Raises:
            UpstreamFailed: `unreachable`, or a page beyond the limit.
        """
        with _failures():
            async with self._session.get(
                self._url(path), headers=self._headers, allow_redirects=False
            ) as response:
                data = b""
                while len(data) <= limit_bytes and (part := await response.content.readany()):
                    data += part
        if len(data) > limit_bytes:
            raise UpstreamFailed("garbage", "a page of it is too long")
        return response.status, data

    def _url(self, path: str) -> str:
        if path not in self._paths:
            raise UpstreamFailed("forbidden", f"{path} is not on the list of its paths")
        return self._origin + path


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


class _failures:  # noqa: N801 - reads as the statement it is used in
    """Turn every way a connection fails into one error, without what it would quote."""

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, TimeoutError):
            raise UpstreamFailed("unreachable", "it did not answer in time") from None
        if isinstance(error, aiohttp.ClientResponseError):
            raise UpstreamFailed("garbage", "its answer is no HTTP") from None
        if isinstance(error, aiohttp.ClientError | OSError):
            raise UpstreamFailed("unreachable", "no connection to it stands") from None
