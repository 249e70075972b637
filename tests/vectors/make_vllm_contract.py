"""Write vllm-0.33-http.json: the requests vLLM's server takes and the pieces it streams.

From vLLM's own classes, so run it where vLLM 0.33 is importable: `python make_vllm_contract.py`.
"""

import json
from importlib import metadata
from pathlib import Path

from vllm.entrypoints.generate.base.protocol import DeltaMessage
from vllm.entrypoints.openai.chat_completion.protocol import (
    ChatCompletionRequest,
    ChatCompletionResponseStreamChoice,
    ChatCompletionStreamResponse,
)
from vllm.entrypoints.serve.engine.protocol import UsageInfo

MODEL = "upstream-model"
METRICS = (
    "vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc",
)  # fmt: skip


def main() -> None:
    """Write the schema of a request, a stream as the server frames it, and the metrics' names."""
    deltas = [("Hel", None, [9906]), ("lo", None, [385]), ("!", "stop", [0])]
    pieces = [_piece(*delta) for delta in deltas]
    usage = ChatCompletionStreamResponse(
        id="chatcmpl-1", created=1, model=MODEL, choices=[],
        usage=UsageInfo(prompt_tokens=7, completion_tokens=3, total_tokens=10),
    )  # fmt: skip
    stream = [*pieces, usage]
    record = {
        "vllm": metadata.version("vllm"),
        "request": ChatCompletionRequest.model_json_schema(),
        "stream": [f"data: {each.model_dump_json(exclude_unset=True)}\n\n" for each in stream]
        + ["data: [DONE]\n\n"],
        "metrics": _metrics(),
    }
    target = Path(__file__).with_name("vllm-0.33-http.json")
    target.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _piece(text: str, reason: str | None, token_ids: list[int]) -> ChatCompletionStreamResponse:
    choice = ChatCompletionResponseStreamChoice(
        index=0, delta=DeltaMessage(content=text), finish_reason=reason, token_ids=token_ids
    )
    return ChatCompletionStreamResponse(id="chatcmpl-1", created=1, model=MODEL, choices=[choice])


def _metrics() -> list[str]:
    """Keep the names that this version's source really has."""
    root = Path(metadata.distribution("vllm").locate_file("vllm/v1/metrics"))
    source = "".join(path.read_text() for path in root.glob("*.py"))
    return [name for name in METRICS if f'"{name}"' in source]


if __name__ == "__main__":
    main()
