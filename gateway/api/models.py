"""`GET /v1/models` and `GET /v1/models/{id}`."""

from typing import Any

from fastapi import APIRouter, Request

from gateway.catalogue import ServedModel
from gateway.identity import Role

ROLES = frozenset(Role)
router = APIRouter()


@router.get("/v1/models")
async def models(request: Request) -> dict[str, Any]:
    """List the models a credential may name."""
    state = request.app.state.gateway
    await state.doorkeeper.admit_any(request.scope, operation="models.list", roles=ROLES)
    return {"object": "list", "data": [_model(m) for m in state.catalogue.models.values()]}


@router.get("/v1/models/{model_id}")
async def model(model_id: str, request: Request) -> dict[str, Any]:
    """Describe one model."""
    state = request.app.state.gateway
    await state.doorkeeper.admit_any(request.scope, operation="models.retrieve", roles=ROLES)
    return _model(state.catalogue.model(model_id))


def _model(served: ServedModel) -> dict[str, Any]:
    return {
        "id": served.model_id,
        "object": "model",
        "created": served.created_s,
        "owned_by": "sealgate",
    }
