"""How the servers of remote tiers differ, as data: vLLM, SGLang, llama.cpp, Ollama, Sealgate.

All speak OpenAI's chat completions. What a profile does not list is not asked of the server, and
what a client sent beside the fields of `Ask` never reaches one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.backends.base import Feature

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
MODELS = "/v1/models"

_TEXT: frozenset[Feature] = frozenset({"json_object", "json_schema", "penalties", "completions"})
# Tools need a parser that is started with the model, so nobody has them unless the file says so.
_SAMPLING: frozenset[Feature] = _TEXT | {"logprobs", "min_p", "repetition_penalty"}


@dataclass(frozen=True, slots=True)
class Gauges:
    """What a server's Prometheus page calls its load; None where it does not tell."""

    running: str
    waiting: str
    kv_fraction: str | None


@dataclass(frozen=True, slots=True)
class Profile:
    """One kind of server.

    health: path that answers 200 while it serves. metrics: path of its Prometheus page, or None.
    salted: whether it keeps cached prefixes apart by `cache_salt`. unshared: fields that keep one
    tenant's prefixes from another's timing where there is no salt.
    top_k: whether it takes `top_k`. isolates_itself: whether it shares no prefix to begin with.
    marks: whether our processor can run in it (`watermark.vllm`).
    features: what it does as it comes, where the tiers' file does not say. paths: all that is ever
    requested.
    """

    name: str
    health: str
    metrics: str | None = None
    gauges: Gauges | None = None
    salted: bool = False
    unshared: Mapping[str, Any] = field(default_factory=dict)
    top_k: bool = True
    isolates_itself: bool = False
    marks: bool = False
    features: frozenset[Feature] = _TEXT

    @property
    def isolates(self) -> bool:
        """Whether one tenant's prompts cannot speed up, and so betray themselves to, another's."""
        return self.salted or bool(self.unshared) or self.isolates_itself

    @property
    def paths(self) -> frozenset[str]:
        """The paths that may be requested of such a server; nothing else is, ever."""
        return frozenset(
            {CHAT, COMPLETIONS, self.health, *([self.metrics] if self.metrics else [])}
        )


VLLM = Profile(
    "vllm",
    health="/health",
    metrics="/metrics",
    gauges=Gauges("vllm:num_requests_running", "vllm:num_requests_waiting",
                  "vllm:kv_cache_usage_perc"),
    salted=True,
    marks=True,
    features=_SAMPLING,
)  # fmt: skip
SGLANG = Profile(
    "sglang",
    health="/health",
    metrics="/metrics",
    gauges=Gauges("sglang:num_running_reqs", "sglang:num_queue_reqs", "sglang:token_usage"),
    salted=True,
    features=_SAMPLING,
)
# Its cache of prompts has no salt, so no prompt is left in it.
LLAMA_CPP = Profile(
    "llama.cpp",
    health=MODELS,
    metrics="/metrics",
    gauges=Gauges("llamacpp:requests_processing", "llamacpp:requests_deferred", None),
    unshared={"cache_prompt": False},
    features=_TEXT | {"tools", "logprobs", "min_p"},
)
# It takes neither a salt nor a way to do without its cache: one tenant per endpoint.
OLLAMA = Profile("ollama", health="/api/version", top_k=False, features=_TEXT | {"tools"})
# Each of its answers has a process and a cache of its own.
SEALGATE = Profile(
    "sealgate", health="/readyz", isolates_itself=True, features=_SAMPLING | {"tools"}
)

PROFILES: Mapping[str, Profile] = {
    profile.name: profile for profile in (VLLM, SGLANG, LLAMA_CPP, OLLAMA, SEALGATE)
}
