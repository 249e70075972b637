"""The one composition root of the HTTP side: what answers directly, and what is loaded late."""

from collections.abc import Mapping

from gateway.api import health
from gateway.api.asgi import App, Direct, Late, RequestIds, Way
from gateway.api.asking import Asking
from gateway.api.chat import ChatDialect
from gateway.api.completions import CompletionDialect
from gateway.api.embeddings import EmbeddingDialect
from gateway.api.generating import Dialect, Generating
from gateway.api.responses import ResponseDialect
from gateway.parts import Gateway
from privacy import presidio
from privacy.identifiers import find


def create_app(gateway: Gateway) -> App:
    """Return the ASGI application over parts that are already running."""
    direct = {**_generating(gateway), **health.ways(gateway)}

    def late() -> App:
        from gateway.office import office  # noqa: PLC0415 - its framework takes 20 MB.

        return office(gateway, direct)

    return RequestIds(Direct(direct, Late(late)))


def _generating(gateway: Gateway) -> Mapping[Way, App]:
    asking = Asking(
        gateway.settings,
        gateway.catalogue,
        gateway.routes,
        presidio.finder() if gateway.settings.presidio else find,
    )

    def route(dialect: Dialect) -> App:
        return Generating(
            dialect=dialect,
            doorkeeper=gateway.doorkeeper,
            answers=gateway.answers,
            limits=gateway.limits,
            policy=gateway.policy,
            metrics=gateway.metrics,
            receipt=gateway.receipt,
            body_limit_bytes=gateway.settings.body_limit_bytes,
            spans=gateway.spans,
        )

    return {
        ("POST", "/v1/chat/completions"): route(ChatDialect(asking)),
        ("POST", "/v1/completions"): route(CompletionDialect(asking)),
        ("POST", "/v1/responses"): route(ResponseDialect(asking)),
        ("POST", "/v1/embeddings"): route(EmbeddingDialect(asking)),
    }
