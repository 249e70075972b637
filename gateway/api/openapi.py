"""The OpenAPI 3.1 document of the routes that clients call: made from the types that read them."""

from typing import Any

import msgspec
from fastapi import APIRouter

from gateway.api.completions import CompletionRequest
from gateway.api.embeddings import EmbeddingRequest
from gateway.api.responses import ResponseRequest
from gateway.api.schema import ChatRequest

_ROUTES: dict[str, tuple[type, str]] = {
    "/v1/chat/completions": (ChatRequest, "Answer a conversation."),
    "/v1/completions": (CompletionRequest, "Continue a text."),
    "/v1/responses": (ResponseRequest, "Answer in the words of the newer API."),
    "/v1/embeddings": (EmbeddingRequest, "Turn texts into vectors."),
}
_REFUSALS = ("400", "401", "403", "404", "408", "413", "429", "500", "503")
_ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}


router = APIRouter()


@router.get("/openapi.json")
async def openapi() -> dict[str, Any]:
    """Return the document; it says nothing of this deployment."""
    return document()


def document() -> dict[str, Any]:
    """Return the document."""
    types = [kind for kind, _ in _ROUTES.values()]
    schemas, components = msgspec.json.schema_components(
        types, ref_template="#/components/schemas/{name}"
    )
    paths: dict[str, Any] = {
        path: {"post": _operation(summary, schema)}
        for (path, (_, summary)), schema in zip(_ROUTES.items(), schemas, strict=True)
    }
    paths["/v1/models"] = {"get": _reading("List the models.")}
    paths["/v1/models/{model_id}"] = {
        "get": _reading("Describe a model.")
        | {
            "parameters": [
                {
                    "name": "model_id",
                    "in": "path",
                    "required": True,
                    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,80}$"},
                }
            ]
        }
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Sealgate", "version": "1"},
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "schemas": dict(components) | {"Error": _ERROR},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(summary: str, schema: dict[str, Any]) -> dict[str, Any]:
    content = {"application/json": {"schema": schema}}
    answer = {
        "description": "The answer, whole or as events.",
        "content": {"application/json": {"schema": {"type": "object"}}, "text/event-stream": {}},
    }
    return {
        "summary": summary,
        "requestBody": {"required": True, "content": content},
        "responses": {"200": answer, **_refusals()},
    }


def _reading(summary: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"type": "object"}}}
    answer = {"description": "What was asked for.", "content": content}
    return {"summary": summary, "responses": {"200": answer, **_refusals()}}


def _refusals() -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {status: {"description": "Refused.", "content": content} for status in _REFUSALS}
