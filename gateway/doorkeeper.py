"""The door: a credential becomes a principal with the right role, and every refusal an entry."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime

from audit.errors import LogUnavailable
from gateway import logbook
from gateway.api.asgi import ADMISSION, REQUEST_ID, Scope, header, source_ip
from gateway.api.errors import LOG_UNAVAILABLE
from gateway.errors import RequestRefused
from gateway.identity import Credentials, Principal, Role
from gateway.recorder import Recorder


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

    async def admit(self, scope: Scope, *, operation: str, role: Role) -> Principal:
        """Return the caller.

        Raises:
            RequestRefused: 401 `invalid_api_key`, 403 `insufficient_role`.
        """
        return await self.admit_any(scope, operation=operation, roles=frozenset({role}))

    async def admit_any(self, scope: Scope, *, operation: str, roles: frozenset[Role]) -> Principal:
        """Return the caller if one of `roles` is theirs; raises as `admit`."""
        # The look-up asks the disk and the key broker; the event loop serves others meanwhile.
        principal = await asyncio.to_thread(self._caller, scope)
        if principal is None:
            refused = RequestRefused(
                "Incorrect API key provided. Ask your administrator for one of this gateway "
                "(`sealgate clients add`).",
                status=401,
                code="invalid_api_key",
            )
            await self._denied(scope, None, operation, refused)
            raise refused
        if principal.role not in roles:
            needed = " or ".join(sorted(roles))
            refused = RequestRefused(
                f"This credential's role is {principal.role}; the route needs {needed}.",
                status=403,
                kind="permission_error",
                code="insufficient_role",
            )
            await self._denied(scope, principal, operation, refused)
            raise refused
        scope[ADMISSION] = Admission(principal, operation)
        return principal

    async def refused(self, scope: Scope, refused: RequestRefused) -> None:
        """Record that a caller who was admitted got no answer, unless nobody was.

        A log that failed is not asked to say so: the entry it missed may be on its way yet.
        """
        admission: Admission | None = scope.get(ADMISSION)
        if admission is not None and refused.code != LOG_UNAVAILABLE:
            await self._denied(scope, admission.principal, admission.operation, refused)

    def _caller(self, scope: Scope) -> Principal | None:
        scheme, _, key = (header(scope, b"authorization") or "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        return self.credentials.principal(key.strip(), now=datetime.now(UTC))

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
        try:
            await asyncio.shield(self.recorder.record(event))
        except LogUnavailable:
            return
