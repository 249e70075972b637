"""The objects of the Responses API: a response, and the items of its output. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.answer import Answer
from gateway.api import answered


def response_object(answer: Answer, echoed: Mapping[str, Any]) -> dict[str, Any]:
    """Return a response that has begun. echoed: what the request asked for."""
    question = answer.question
    return {
        "id": f"resp_{question.request_id.removeprefix('req_')}",
        "object": "response",
        "created_at": answer.created_s,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "model": answered.model(answer).model_id,
        "output": [],
        "parallel_tool_calls": False,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "store": False,
        "truncation": "disabled",
        "usage": None,
        **echoed,
    }


def finished(
    response: Mapping[str, Any],
    answer: Answer,
    items: Sequence[Mapping[str, Any]],
    *,
    complete: bool,
) -> dict[str, Any]:
    """Return the response at its end. complete: the model ended it, not a limit."""
    prompt, completion = answer.question.prompt_tokens, answer.completion_tokens
    return {
        **response,
        "model": answered.model(answer).model_id,
        "status": "completed" if complete else "incomplete",
        "incomplete_details": None if complete else {"reason": "max_output_tokens"},
        "output": list(items),
        "usage": {
            "input_tokens": prompt,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": completion,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": prompt + completion,
        },
    }


def message(identity: str, text: str | None, *, status: str) -> dict[str, Any]:
    """Return a message of the assistant. text: None before it has any content."""
    return {
        "id": f"msg_{identity}",
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": [] if text is None else [content(text)],
    }


def content(text: str) -> dict[str, Any]:
    """Return the one part of a message."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def call(identity: str, name: str, arguments: str, *, status: str) -> dict[str, Any]:
    """Return a function's call. arguments: JSON text."""
    return {
        "id": f"fc_{identity}",
        "type": "function_call",
        "call_id": f"call_{identity}",
        "name": name,
        "arguments": arguments,
        "status": status,
    }
