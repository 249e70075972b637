"""Whoever asks about other people's requests: let in by their role, and written down."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from fastapi import Request

from gateway import logbook
from gateway.api.asgi import REQUEST_ID, source_ip
from gateway.identity import Principal, Role


async def admit(request: Request, operation: str, *, roles: frozenset[Role]) -> Principal:
    """Return who asks.

    Raises:
        RequestRefused: They are unknown, or have none of the roles.
    """
    doorkeeper = request.app.state.gateway.doorkeeper
    principal: Principal = await doorkeeper.admit_any(
        request.scope, operation=operation, roles=roles
    )
    return principal


async def record(
    request: Request, principal: Principal, operation: str, detail: Mapping[str, Any]
) -> None:
    """Make the entry of what they asked durable, before they are told anything."""
    await request.app.state.gateway.recorder.record(
        logbook.access(
            operation,
            request_id=request.scope[REQUEST_ID],
            actor=logbook.user(principal),
            tenant=principal.tenant,
            detail=detail,
            source_ip=source_ip(request.scope),
            now=datetime.now(UTC),
        )
    )
