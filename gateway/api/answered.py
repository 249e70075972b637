"""What chats and completions tell alike of an answer: who gave it, what it used, how it ends."""

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.answer import Answer
from gateway.api import sse
from gateway.api.sampling import Sampling
from gateway.catalogue import EmbeddingModel, RemoteModel, ServedModel


def model(answer: Answer) -> ServedModel | RemoteModel | EmbeddingModel:
    """Return the model that answers: the one that was meant until one has begun."""
    return answer.question.model if answer.served is None else answer.served.model


def head(answer: Answer, kind: str, *, prefix: str) -> dict[str, Any]:
    """Return what an answer and each chunk of it begin with. kind: `object`. prefix: of the id."""
    served = model(answer)
    return {
        "id": f"{prefix}-{answer.question.request_id.removeprefix('req_')}",
        "object": kind,
        "created": answer.created_s,
        "model": served.model_id,
        # The model's very parameters, by the beginning of their digest.
        "system_fingerprint": f"fp_{served.digest.removeprefix('sha256:')[:12]}",
    }


def usage(answer: Answer) -> dict[str, int]:
    """Return what an answer used, in tokens."""
    prompt, completion = answer.question.prompt_tokens, answer.completion_tokens
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def ending(
    head: Mapping[str, Any], answer: Answer, request: Sampling, extra: Mapping[str, Any]
) -> bytes:
    """Return a stream's last events: usage where asked for, what else comes with it, the end."""
    tail = b""
    if request.with_usage:
        tail = _event({**head, "choices": [], "usage": usage(answer)})
    if extra:
        tail += _event({**head, "choices": [], **extra})
    return tail + sse.DONE


def _event(body: Mapping[str, Any]) -> bytes:
    return sse.event(msgspec.json.encode(body))
