"""What a credential can be confined to: routes by their operations' first word, and models.

Scopes confine only what they speak of: `chat` alone allows every model, `model:x` every route.
"""

import re

from gateway.errors import CredentialInvalid

ROUTES = frozenset({"chat", "completions", "embeddings", "models", "responses"})
_MODEL = "model:"
_MODEL_PATTERN = re.compile(r"model:[A-Za-z0-9._-]{1,80}")

# None where nothing is confined.
Scopes = frozenset[str] | None


def require_scopes(scopes: Scopes) -> None:
    """Raise unless every scope can be stored.

    Raises:
        CredentialInvalid: One of them means nothing.
    """
    for scope in scopes or ():
        if scope not in ROUTES and not _MODEL_PATTERN.fullmatch(scope):
            known = ", ".join(sorted(ROUTES))
            raise CredentialInvalid(f"A scope is one of {known}, or model:ID; not {scope!r}.")


def covers_operation(scopes: Scopes, operation: str) -> bool:
    """Tell whether an operation is within the scopes."""
    routes = {scope for scope in scopes or () if not scope.startswith(_MODEL)}
    return not routes or operation.partition(".")[0] in routes


def covers_model(scopes: Scopes, model_id: str) -> bool:
    """Tell whether a model is within the scopes."""
    models = {scope for scope in scopes or () if scope.startswith(_MODEL)}
    return not models or f"{_MODEL}{model_id}" in models
