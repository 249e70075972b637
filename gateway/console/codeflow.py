"""Sign-in at an OpenID Connect issuer: authorization code with PKCE (RFC 7636), for the console.

What the browser carries to the issuer and back lies in one cookie of its own: `state` binds the
answer to this browser, `nonce` the token to this sign-in, the verifier the code to this client.
"""

import base64
import hashlib
import hmac
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import BoundedSemaphore
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from gateway.errors import RequestRefused, SettingsInvalid
from gateway.settings import Settings
from gateway.tokens import FETCH_S, KEYS_FRESH_S, Issuer, SignedIn, Tokens, document

CALLBACK = "/console/sign-in/issuer/back"
# Who waits for the issuer keeps a thread: strangers may begin a sign-in, and a slow issuer must not
# cost the gateway all of them.
WAITING_LIMIT = 3
# Secrets of a sign-in that has begun: state, nonce, verifier.
_PARTS = 3


@dataclass(frozen=True, slots=True)
class Client:
    """This console as the issuer knows it. secret: None for a public client."""

    issuer: Issuer
    client_id: str
    secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Leaving:
    """A sign-in that has begun. url: where the browser goes. kept: for its cookie."""

    url: str
    kept: str = field(repr=False)


def client(settings: Settings) -> Client | None:
    """Return the client that the settings describe, or None if there is none.

    Raises:
        SettingsInvalid: Something that belongs to it is missing or cannot be read.
    """
    if settings.console_oidc_client is None:
        return None
    if settings.oidc_issuer is None:
        raise SettingsInvalid("'console_oidc_client' needs 'oidc_issuer'. Set it too.")
    issuer = Issuer(
        settings.oidc_issuer,
        settings.console_oidc_client,
        settings.oidc_tenant_claim,
        settings.oidc_role_claim,
    )
    file, secret = settings.console_oidc_secret_file, None
    if file is not None:
        try:
            secret = file.expanduser().read_text(encoding="utf-8").partition("\n")[0].strip()
        except (OSError, UnicodeDecodeError):
            raise SettingsInvalid(f"The secret file {file} cannot be read.") from None
    return Client(issuer, settings.console_oidc_client, secret)


class CodeFlow:
    """Signs people in. Its calls wait for the issuer: run them beside the event loop."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._tokens = Tokens(client.issuer)
        self._room = BoundedSemaphore(WAITING_LIMIT)
        self._document: tuple[float, Mapping[str, Any]] | None = None

    def begin(self, *, origin: str) -> Leaving:
        """Return where to send a browser. origin: this console's own scheme and host.

        Raises:
            RequestRefused: 503 `issuer_unavailable`.
        """
        with self._waiting():
            endpoint = self._endpoint("authorization_endpoint")
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(_PARTS))
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest())
        asked = urlencode(
            {
                "response_type": "code",
                "client_id": self._client.client_id,
                "redirect_uri": f"{origin}{CALLBACK}",
                "scope": "openid profile",
                "state": state,
                "nonce": nonce,
                "code_challenge": challenge.decode().rstrip("="),
                "code_challenge_method": "S256",
            }
        )
        joint = "&" if urlsplit(endpoint).query else "?"
        return Leaving(f"{endpoint}{joint}{asked}", f"{state}.{nonce}.{verifier}")

    def finish(self, given: Mapping[str, str], *, kept: str | None, origin: str) -> SignedIn:
        """Return whom the issuer sent back. given: the query it sent. kept: the cookie.

        Raises:
            RequestRefused: 401 `sign_in_refused`; 503 `issuer_unavailable`.
        """
        parts = (kept or "").split(".")
        if len(parts) != _PARTS:
            raise _refused("it began in another browser, or too long ago")
        state, nonce, verifier = parts
        if not hmac.compare_digest(given.get("state", "").encode(), state.encode()):
            raise _refused("it began in another browser, or too long ago")
        # RFC 9207: an answer of another issuer is none, where the issuer says who it is.
        if given.get("iss", self._client.issuer.url) != self._client.issuer.url:
            raise _refused("another issuer answered")
        if "code" not in given:
            raise _refused("the issuer gave no code")
        with self._waiting():
            token = self._token(given["code"], verifier, origin=origin)
            signed_in = self._tokens.signed_in(token, nonce=nonce)
        if signed_in is None:
            raise _refused("its token names no tenant and role of this gateway")
        return signed_in

    def _token(self, code: str, verifier: str, *, origin: str) -> str:
        """Exchange a code for an ID token."""
        fields = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": f"{origin}{CALLBACK}",
            "client_id": self._client.client_id,
            "code_verifier": verifier,
        }
        request = urllib.request.Request(  # noqa: S310 - `_endpoint` takes http and https alone.
            self._endpoint("token_endpoint"), urlencode(fields).encode(), method="POST"
        )
        request.add_header("accept", "application/json")
        if self._client.secret is not None:
            # RFC 6749, 2.3.1: both are encoded as form fields before they are joined.
            pair = f"{quote(self._client.client_id, safe='')}:{quote(self._client.secret, safe='')}"
            encoded = base64.b64encode(pair.encode()).decode()
            request.add_header("authorization", f"Basic {encoded}")
        try:
            answer: Any = document(request, timeout_s=FETCH_S)
        except urllib.error.HTTPError:
            raise _refused("the issuer did not take the code") from None
        except (OSError, ValueError):
            raise _unavailable() from None
        token = answer.get("id_token") if isinstance(answer, dict) else None
        if not isinstance(token, str):
            raise _refused("the issuer gave no ID token")
        return token

    def _endpoint(self, name: str) -> str:
        try:
            found = self._discovered()[name]
            Issuer(str(found), "").require_safe()
        except (OSError, ValueError, TypeError, KeyError, SettingsInvalid):
            raise _unavailable() from None
        return str(found)

    def _discovered(self) -> Mapping[str, Any]:
        """Return the issuer's own document, asked for again when it is old."""
        now, known = time.monotonic(), self._document
        if known is None or now - known[0] >= KEYS_FRESH_S:
            known = self._document = (now, self._tokens.discovered())
        return known[1]

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        """Wait for the issuer, as one of few."""
        if not self._room.acquire(blocking=False):
            raise _unavailable()
        try:
            yield
        finally:
            self._room.release()


def _refused(why: str) -> RequestRefused:
    return RequestRefused(
        f"The sign-in was not completed: {why}. Begin it again.",
        status=401,
        code="sign_in_refused",
    )


def _unavailable() -> RequestRefused:
    return RequestRefused(
        "The issuer that signs people in does not answer. Try again, or use a credential.",
        status=503,
        kind="server_error",
        code="issuer_unavailable",
    )
