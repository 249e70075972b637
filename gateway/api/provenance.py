"""`POST /v1/provenance/verify`: whose text is this? For officers and auditors; itself recorded.

An answer here helps a forger to learn what is detected, so it is rate-limited for each credential
and tells no score of any token.
"""

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Request

from gateway import logbook
from gateway.api.asgi import REQUEST_ID, read_body, source_ip
from gateway.api.decoding import decode
from gateway.identity import Role
from gateway.provenance import Trace

OPERATION = "provenance.verify"
ROLES = frozenset({Role.OFFICER, Role.AUDITOR})
TEXT_LIMIT = 1_000_000


class VerifyRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """text: what to look for a mark in, at most 1,000,000 characters."""

    text: Annotated[str, msgspec.Meta(min_length=1, max_length=TEXT_LIMIT)]


router = APIRouter()
_decoder = msgspec.json.Decoder(VerifyRequest)


@router.post("/v1/provenance/verify")
async def verify(request: Request) -> dict[str, Any]:
    """Trace a text to its requests, with p-values. The query is an entry of the log."""
    state = request.app.state.gateway
    # The body is read by hand: a framework would parse it before it knows who sends it.
    principal = await state.doorkeeper.admit_any(request.scope, operation=OPERATION, roles=ROLES)
    request.app.state.pace.take(principal.credential_id)
    raw = await read_body(request.receive, limit_bytes=state.settings.body_limit_bytes)
    body = decode(_decoder, raw)
    result: Trace = await state.trace(body.text)
    await state.recorder.record(
        logbook.verification(
            request_id=request.scope[REQUEST_ID],
            principal=principal,
            verdict=result.verdict,
            traced_request=result.request_id,
            p_value=result.p_value,
            source_ip=source_ip(request.scope),
            now=datetime.now(UTC),
        )
    )
    return result.shown()
