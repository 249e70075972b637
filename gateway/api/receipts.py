"""`GET /v1/receipts/{request_id}`: a signed receipt, for officers and auditors; itself recorded.

Whoever holds a receipt checks it with the public key alone, which is open to everybody.
"""

import asyncio
from typing import Any

from fastapi import APIRouter, Request

from audit.errors import RequestUnknown
from gateway.api.access import admit, record
from gateway.errors import RequestRefused
from gateway.identity import Role

OPERATION = "receipts.get"
ROLES = frozenset({Role.OFFICER, Role.AUDITOR})

router = APIRouter()


@router.get("/v1/receipts/{request_id}")
async def get_receipt(request_id: str, request: Request) -> dict[str, Any]:
    """Sign for the outcome of a request."""
    state = request.app.state.gateway
    principal = await admit(request, OPERATION, roles=ROLES)
    request.app.state.pace.take(principal.credential_id)
    try:
        receipt = await asyncio.to_thread(state.receipt, request_id)
    except RequestUnknown:
        raise RequestRefused(
            "The log holds no request of that id.", status=404, code="request_not_found"
        ) from None
    await record(request, principal, OPERATION, {"request": request_id})
    return {"object": "receipt", "request_id": request_id, "receipt": receipt}
