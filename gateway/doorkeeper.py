"""The door: a credential becomes a principal with the right role, and every refusal an entry."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from audit.errors import LogUnavailable
from gateway import logbook
from gateway.api.asgi import (
    ADMISSION,
    CERTIFICATE,
    REQUEST_ID,
    RULING,
    Scope,
    header,
    source_ip,
)
from gateway.api.errors import LOG_UNAVAILABLE
from gateway.errors import RequestRefused
from gateway.identity import Credentials, Principal, Role
from gateway.recorder import Recorder
from gateway.scopes import covers_model, covers_operation
from gateway.throttle import Throttle

if TYPE_CHECKING:
    from gateway.tokens import Tokens

POLICY_DENIED = "policy_denied"


@dataclass(frozen=True, slots=True)
class Admission:
    """Who came in, and for what."""

    principal: Principal
    operation: str


@dataclass(frozen=True, slots=True)
class Doorkeeper:
    """Authenticates and authorises; records who was turned away."""

    credentials: Credentials
    recorder: Recorder
    throttle: Throttle
    tokens: "Tokens | None" = None

    async def admit(self, scope: Scope, *, operation: str, role: Role) -> Principal:
        """Return the caller.

        Raises:
            RequestRefused: 401 `invalid_api_key`, 403 `insufficient_role`.
        """
        return await self.admit_any(scope, operation=operation, roles=frozenset({role}))

    async def admit_any(self, scope: Scope, *, operation: str, roles: frozenset[Role]) -> Principal:
        """Return the caller if one of `roles` is theirs; raises as `admit`."""
        principal = await self.known(
            scope, self._caller, operation=operation, at_once=self._at_once(scope)
        )
        await self.allow(scope, principal, operation=operation, roles=roles)
        return principal

    async def known(
        self,
        scope: Scope,
        look: Callable[[Scope], Principal | None],
        *,
        operation: str,
        at_once: bool = False,
    ) -> Principal:
        """Return who is found in a request. look: finds them; in a thread, unless `at_once`.

        Raises:
            RequestRefused: 401 `invalid_api_key`, 429 `too_many_attempts`.
        """
        try:
            self.throttle.require_calm(source_ip(scope))
        except RequestRefused as early:
            await self._denied(scope, None, operation, early)
            raise
        # A look-up may ask a disk, the key broker or an issuer; the loop serves others meanwhile.
        principal = look(scope) if at_once else await asyncio.to_thread(look, scope)
        if principal is None:
            self.throttle.wrong(source_ip(scope))
            unknown = _unknown()
            await self._denied(scope, None, operation, unknown)
            raise unknown
        return principal

    async def allow(
        self, scope: Scope, principal: Principal, *, operation: str, roles: frozenset[Role]
    ) -> None:
        """Let a caller who is known go on.

        Raises:
            RequestRefused: 403 `insufficient_role`, `insufficient_scope`.
        """
        refused = _forbidden(principal, operation, roles)
        if refused is not None:
            await self._denied(scope, principal, operation, refused)
            raise refused
        scope[ADMISSION] = Admission(principal, operation)

    @staticmethod
    def require_model(principal: Principal, model_id: str) -> None:
        """Raise unless the caller may ask this model; whoever serves the request records that.

        Raises:
            RequestRefused: 403 `insufficient_scope`.
        """
        if not covers_model(principal.scopes, model_id):
            raise _beyond(f"the model {model_id}")

    async def refused(self, scope: Scope, refused: RequestRefused) -> None:
        """Record that a caller who was admitted got no answer, unless nobody was.

        A log that failed is not asked to say so: the entry it missed may be on its way yet.
        """
        admission: Admission | None = scope.get(ADMISSION)
        if admission is not None and refused.code != LOG_UNAVAILABLE:
            await self._denied(scope, admission.principal, admission.operation, refused)

    async def turned_away(self, scope: Scope, *, operation: str, refused: RequestRefused) -> None:
        """Record a refusal of somebody who is not known."""
        await self._denied(scope, None, operation, refused)

    def _at_once(self, scope: Scope) -> bool:
        """Whether the caller is found without waiting for anything: no token is checked so."""
        return self.credentials.quick and "." not in (header(scope, b"authorization") or "")

    def _caller(self, scope: Scope) -> Principal | None:
        given = header(scope, b"authorization")
        certificate: bytes | None = scope.get(CERTIFICATE)
        if given is None and certificate is not None:
            return self.credentials.certified(certificate, now=datetime.now(UTC))
        scheme, _, key = (given or "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        key = key.strip()
        # A JSON Web Token has two dots, and a key of ours none.
        if self.tokens is not None and "." in key:
            return self.tokens.principal(key)
        return self.credentials.principal(key, now=datetime.now(UTC))

    async def _denied(
        self,
        scope: Scope,
        principal: Principal | None,
        operation: str,
        refused: RequestRefused,
    ) -> None:
        """Record a refusal. A log that cannot take it changes nothing: the refusal stands."""
        event = logbook.denied(
            request_id=scope[REQUEST_ID],
            principal=principal,
            operation=operation,
            status=refused.status,
            reason=refused.code or "invalid_request",
            source_ip=source_ip(scope),
            now=datetime.now(UTC),
        )
        grounds = refused.grounds
        if grounds is None and refused.code == POLICY_DENIED and RULING in scope:
            grounds = scope[RULING].grounds()
        if grounds is not None:
            event["sealgate"]["policy"] = dict(grounds)
        try:
            await asyncio.shield(self.recorder.record(event))
        except LogUnavailable:
            return


def _forbidden(
    principal: Principal, operation: str, roles: frozenset[Role]
) -> RequestRefused | None:
    """Return why a known caller may not do this, if they may not."""
    if principal.role not in roles:
        needed = " or ".join(sorted(roles))
        return RequestRefused(
            f"This credential's role is {principal.role}; the route needs {needed}.",
            status=403,
            kind="permission_error",
            code="insufficient_role",
        )
    if not covers_operation(principal.scopes, operation):
        return _beyond(operation)
    return None


def _beyond(what: str) -> RequestRefused:
    return RequestRefused(
        f"This credential's scopes do not cover {what}.",
        status=403,
        kind="permission_error",
        code="insufficient_scope",
    )


def _unknown() -> RequestRefused:
    return RequestRefused(
        "Incorrect API key provided. Ask your administrator for one of this gateway "
        "(`sealgate clients add`).",
        status=401,
        code="invalid_api_key",
    )
