"""OpenTelemetry spans of requests, by its conventions for generative AI: numbers and names of ours.

Off unless a receiver is named. A span holds no text, no tenant, no credential, and nothing that a
client wrote but the id of its own trace (W3C Trace Context): models are named as this gateway does.
"""

import asyncio
import ipaddress
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from gateway.answer import Answer
from gateway.api.asgi import REQUEST_ID, Scope, header
from gateway.catalogue import EmbeddingModel, RemoteModel
from gateway.errors import ExtraMissing, SettingsInvalid
from gateway.metrics import RequestTimes
from gateway.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider

# A receiver that is slow or gone costs spans, never memory or time of an answer.
QUEUE_SPANS = 2048
SEND_EVERY_S = 2.0
SEND_LIMIT_S = 5.0
_NANO = 1_000_000_000
_SERVER_ERROR = 500
# By the conventions' well-known values.
_OPERATIONS = {
    "chat.completions.create": "chat",
    "responses.create": "chat",
    "completions.create": "text_completion",
    "embeddings.create": "embeddings",
}


class Spans:
    """Tells spans of requests that have ended."""

    def __init__(self, provider: "TracerProvider") -> None:
        from opentelemetry import trace  # noqa: PLC0415 - an extra
        from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415 - likewise
            TraceContextTextMapPropagator,
        )

        self._trace = trace
        self._tracer = provider.get_tracer("sealgate", metadata.version("sealgate"))
        self._propagator = TraceContextTextMapPropagator()

    def tell(self, scope: Scope, operation: str, times: RequestTimes) -> None:
        """Tell one request's spans: what was served, and within it what a model did."""
        ended = time.time_ns()
        began = ended - round(times.elapsed_s * _NANO)
        server = self._tracer.start_span(
            f"POST {scope['path']}",
            context=self._parent(scope),
            kind=self._trace.SpanKind.SERVER,
            start_time=began,
            attributes={
                "http.request.method": "POST",
                "http.route": scope["path"],
                "http.response.status_code": times.status,
                "sealgate.request.id": scope[REQUEST_ID],
                **({} if times.code is None else {"error.type": times.code}),
            },
        )
        if times.answer is not None:
            within = self._trace.set_span_in_context(server)
            self._tell_model(times.answer, operation, times, within, ended)
        if times.status >= _SERVER_ERROR:
            server.set_status(self._trace.StatusCode.ERROR)
        server.end(ended)

    def _tell_model(
        self,
        answer: Answer,
        operation: str,
        times: RequestTimes,
        within: "Context",
        ended: int,
    ) -> None:
        served = answer.question.model if answer.served is None else answer.served.model
        named = _OPERATIONS.get(operation, operation)
        kinds = self._trace.SpanKind
        span = self._tracer.start_span(
            f"{named} {served.model_id}",
            context=within,
            kind=kinds.CLIENT if isinstance(served, RemoteModel) else kinds.INTERNAL,
            start_time=ended - round((times.elapsed_s - times.asked_s) * _NANO),
            attributes={"gen_ai.operation.name": named, **_model(answer), **_numbers(times)},
        )
        if times.code is not None:
            span.set_attribute("error.type", times.code)
            span.set_status(self._trace.StatusCode.ERROR)
        span.end(ended)

    def _parent(self, scope: Scope) -> "Context":
        """Return the client's own trace, if its header names one.

        Baggage and `tracestate` are not looked at: both hold what a client likes to write.
        """
        told = header(scope, b"traceparent")
        return self._propagator.extract({} if told is None else {"traceparent": told})


@asynccontextmanager
async def spans(settings: Settings) -> AsyncIterator[Spans | None]:
    """Send spans to the receiver that the settings name while entered; None where they name none.

    Raises:
        SettingsInvalid: The receiver cannot be used.
        ExtraMissing: OpenTelemetry is not installed.
    """
    if settings.otlp_endpoint is None:
        yield None
        return
    provider = _provider(_checked(settings.otlp_endpoint), _headers(settings.otlp_headers_file))
    try:
        yield Spans(provider)
    finally:
        # It sends what is left, and waits for a receiver no longer than for any batch.
        await asyncio.to_thread(provider.shutdown)


def _provider(endpoint: str, headers: Mapping[str, str]) -> "TracerProvider":
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 - an extra
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - likewise
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - likewise
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - likewise
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON  # noqa: PLC0415 - likewise
    except ImportError:
        raise ExtraMissing(
            "otlp_endpoint needs an extra: pip install 'sealgate[otel]'. Or remove the setting."
        ) from None
    resource = Resource(
        {
            "service.name": "sealgate",
            "service.version": metadata.version("sealgate"),
            "service.instance.id": secrets.token_hex(8),
        }
    )
    exporter = OTLPSpanExporter(
        endpoint=f"{endpoint}/v1/traces", headers=dict(headers), timeout=SEND_LIMIT_S
    )
    # A client's wish not to be sampled is not ours to follow.
    provider = TracerProvider(sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(
        BatchSpanProcessor(
            exporter,
            max_queue_size=QUEUE_SPANS,
            schedule_delay_millis=SEND_EVERY_S * 1000,
            export_timeout_millis=SEND_LIMIT_S * 1000,
        )
    )
    return provider


def _model(answer: Answer) -> dict[str, Any]:
    """Return what a model was asked, in the conventions' words."""
    question = answer.question
    served = question.model if answer.served is None else answer.served.model
    # What the router let through is a name of ours: a model's, a tier's, or `auto`.
    asked = question.model.model_id if question.routing is None else question.routing.wanted.pin
    attributes = {
        "gen_ai.provider.name": "sealgate",
        "gen_ai.request.model": asked,
        "gen_ai.response.model": served.model_id,
        "gen_ai.response.id": question.request_id,
        "gen_ai.usage.input_tokens": question.prompt_tokens,
        "sealgate.tier": question.tier if answer.served is None else answer.served.tier,
    }
    if isinstance(served, EmbeddingModel):
        return attributes | {"gen_ai.embeddings.dimension.count": served.dimensions}
    reasons = [reason for _, reason in answer.texts()]
    return attributes | {
        "gen_ai.request.max_tokens": question.max_tokens,
        "gen_ai.request.choice.count": question.choices,
        "gen_ai.request.temperature": question.temperature,
        "gen_ai.request.top_p": question.top_p,
        "gen_ai.request.top_k": question.top_k,
        "gen_ai.usage.output_tokens": answer.completion_tokens,
        "gen_ai.response.finish_reasons": reasons,
    }


def _numbers(times: RequestTimes) -> dict[str, float]:
    first = times.first_text_s
    return {} if first is None else {"gen_ai.response.time_to_first_chunk": first - times.asked_s}


def _checked(endpoint: str) -> str:
    """Return the endpoint without a trailing slash; another machine's must be reached by TLS."""
    parts = urlsplit(endpoint)
    host = parts.hostname or ""
    if parts.scheme not in {"http", "https"} or not host or parts.query or parts.username:
        raise SettingsInvalid(f"otlp_endpoint {endpoint!r} is no address like https://host:4318.")
    if parts.scheme == "http" and not _loopback(host):
        raise SettingsInvalid(f"otlp_endpoint {endpoint!r} is on another machine: use https.")
    return endpoint.rstrip("/")


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _headers(path: Path | None) -> dict[str, str]:
    """Return the headers that a file names, one `name: value` a line."""
    if path is None:
        return {}
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        raise SettingsInvalid(f"{path} holds no headers that can be read.") from None
    pairs = [line.partition(":") for line in lines if line.strip()]
    if any(not colon or not name.strip() for name, colon, _ in pairs):
        raise SettingsInvalid(f"{path} holds a line that is no header: `name: value` is one.")
    return {name.strip().lower(): value.strip() for name, _, value in pairs}
