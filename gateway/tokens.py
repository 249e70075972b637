"""Bearer tokens of an OpenID Connect issuer (RFC 7519, RFC 7517): who they name, with which role.

Issuer, audience and algorithms are pinned by the settings; a token chooses none of them. The keys
are fetched from where the issuer's own document says, kept for a while, and fetched again when a
token names one that is not known, at most once in ten seconds.
"""

import hmac
import ipaddress
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from gateway.errors import SettingsInvalid
from gateway.identity import TENANT_PATTERN, Principal, Role

ALGORITHMS = ["RS256", "PS256", "ES256", "EdDSA"]
KEYS_FRESH_S = 600.0
REFETCH_S = 10.0
LEEWAY_S = 30
FETCH_S = 5.0
DOCUMENT_LIMIT_BYTES = 1 << 20
TOKEN_LIMIT_CHARACTERS = 16_384


@dataclass(frozen=True, slots=True)
class Issuer:
    """Whose tokens are taken. url: its identifier, exactly as tokens carry it in `iss`.

    tenant_claim, role_claim: where a token says for whom and as what its holder acts.
    """

    url: str
    audience: str
    tenant_claim: str = "sealgate_tenant"
    role_claim: str = "sealgate_role"

    def require_safe(self) -> None:
        """Raise unless the issuer is reached over TLS, or on this very machine.

        Raises:
            SettingsInvalid: Its keys could be replaced on the way.
        """
        parts = urlsplit(self.url)
        if parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname)):
            return
        raise SettingsInvalid(f"The issuer {self.url!r} must be an https:// address.")


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Who signed in at the issuer. until_s: when the token ends, Unix seconds."""

    principal: Principal
    until_s: int


class Tokens:
    """Checks tokens. Safe to use from several threads.

    fetch: returns a JSON document at a URL. clock: seconds that never go back.
    """

    def __init__(
        self,
        issuer: Issuer,
        *,
        fetch: Callable[[str], Any] | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        issuer.require_safe()
        self._issuer = issuer
        self._fetch = fetch or _fetched
        self._clock = clock
        self._now = now
        self._lock = threading.Lock()
        self._keys: KeySet | None = None
        self._fetched_at = float("-inf")

    def principal(self, token: str) -> Principal | None:
        """Return whom the token names, or None if it is not to be believed."""
        claims = self._claims(token)
        return None if claims is None else self._named(claims)

    def signed_in(self, token: str, *, nonce: str) -> SignedIn | None:
        """Return whom an ID token names that was asked for with `nonce` (OIDC Core, 3.1.3.7)."""
        claims = self._claims(token)
        if claims is None or not hmac.compare_digest(
            str(claims.get("nonce")).encode(), nonce.encode()
        ):
            return None
        # With several audiences the token says which of them it was issued to.
        if claims.get("azp", self._issuer.audience) != self._issuer.audience:
            return None
        principal = self._named(claims)
        return None if principal is None else SignedIn(principal, int(claims["exp"]))

    def discovered(self) -> Mapping[str, Any]:
        """Return the issuer's own document (OIDC Discovery, 4).

        Raises:
            OSError, ValueError: It cannot be had, or is another issuer's.
        """
        found = self._fetch(f"{self._issuer.url.rstrip('/')}/.well-known/openid-configuration")
        if not isinstance(found, dict) or found.get("issuer") != self._issuer.url:
            raise ValueError("another issuer's document")
        return found

    def _claims(self, token: str) -> Mapping[str, Any] | None:
        """Return a token's claims, or None if it is not to be believed."""
        if not token.isascii() or len(token) > TOKEN_LIMIT_CHARACTERS:
            return None
        for keys in self._key_sets():
            try:
                decoded = jwt.decode(token, keys, algorithms=ALGORITHMS)
                self._registry().validate(decoded.claims)
            except (JoseError, ValueError, TypeError, KeyError):
                continue
            return decoded.claims
        return None

    def _key_sets(self) -> "Any":
        """Yield the known keys, and then fresh ones: the issuer may have rotated."""
        known = self._known(older_than_s=KEYS_FRESH_S)
        if known is not None:
            yield known
        fresh = self._known(older_than_s=REFETCH_S)
        if fresh is not None and fresh is not known:
            yield fresh

    def _known(self, *, older_than_s: float) -> KeySet | None:
        """Return the issuer's keys, fetched anew if they are older; None if it gave none yet."""
        with self._lock:
            if self._clock() - self._fetched_at < older_than_s:
                return self._keys
            self._fetched_at = self._clock()
            try:
                self._keys = _signing_keys(self._fetch(self._keys_url(self.discovered())))
            except (OSError, ValueError, TypeError, KeyError, JoseError, AttributeError):
                # An issuer that cannot be reached leaves the keys that are known.
                return self._keys
            return self._keys

    def _keys_url(self, document: Mapping[str, Any]) -> str:
        url = str(document["jwks_uri"])
        Issuer(url, "").require_safe()
        return url

    def _registry(self) -> jwt.JWTClaimsRegistry:
        return jwt.JWTClaimsRegistry(
            now=int(self._now()),
            leeway=LEEWAY_S,
            iss={"essential": True, "value": self._issuer.url},
            aud={"essential": True, "value": self._issuer.audience},
            exp={"essential": True},
            sub={"essential": True},
        )

    def _named(self, claims: Mapping[str, Any]) -> Principal | None:
        """Return the principal, if the token says a tenant and a role that exist."""
        subject, tenant = claims.get("sub"), claims.get(self._issuer.tenant_claim)
        role = claims.get(self._issuer.role_claim)
        if not isinstance(subject, str) or not 1 <= len(subject) <= 255:  # noqa: PLR2004 - OIDC 2
            return None
        if not isinstance(tenant, str) or not TENANT_PATTERN.fullmatch(tenant):
            return None
        if not isinstance(role, str) or role not in set(Role):
            return None
        name = claims.get("name")
        shown = name if isinstance(name, str) and name.isprintable() and name else subject
        return Principal(
            credential_id=f"oidc:{subject}",
            tenant=tenant,
            name=shown[:128],
            role=Role(role),
            method="oidc",
        )


def _signing_keys(document: Any) -> KeySet:
    """Return the keys that may sign: never a symmetric one, which a client could know."""
    keys = [k for k in document["keys"] if k.get("kty") != "oct" and k.get("use", "sig") == "sig"]
    return KeySet.import_key_set({"keys": keys})


def document(request: str | urllib.request.Request, *, timeout_s: float) -> Any:
    """Return the JSON that the issuer answers, past no proxy and no redirection.

    Raises:
        OSError, ValueError: There is none.
    """
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect())
    with opener.open(request, timeout=timeout_s) as response:
        return json.loads(response.read(DOCUMENT_LIMIT_BYTES))


def _fetched(url: str) -> Any:
    return document(url, timeout_s=FETCH_S)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """An issuer's documents lie where it says, or nowhere."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _is_loopback(host: str | None) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False
