"""`GET /v1/models` and `GET /v1/models/{id}`."""

from typing import Any

from fastapi import APIRouter, Request

from gateway.catalogue import EmbeddingModel, ServedModel
from gateway.identity import Role

ROLES = frozenset(Role)
router = APIRouter()


@router.get("/v1/models")
async def models(request: Request) -> dict[str, Any]:
    """List the models a credential may name."""
    state = request.app.state.gateway
    await state.doorkeeper.admit_any(request.scope, operation="models.list", roles=ROLES)
    data = [_model(m) for m in state.catalogue.all.values()]
    if state.routes is not None and state.settings.tiers_file is not None:
        data += [_routed(name) for name in state.routes.names]
    return {"object": "list", "data": data}


@router.get("/v1/models/{model_id}")
async def model(model_id: str, request: Request) -> dict[str, Any]:
    """Describe one model."""
    state = request.app.state.gateway
    await state.doorkeeper.admit_any(request.scope, operation="models.retrieve", roles=ROLES)
    return _model(state.catalogue.any(model_id))


def _routed(name: str) -> dict[str, Any]:
    """Describe what is routed: a remote tier's model, a tier, or `auto`."""
    return {"id": name, "object": "model", "created": 0, "owned_by": "sealgate"}


def _model(served: ServedModel | EmbeddingModel) -> dict[str, Any]:
    return {
        "id": served.model_id,
        "object": "model",
        "created": served.created_s,
        "owned_by": "sealgate",
    }
