"""Counts and times for Prometheus: no text, no key, no tenant's name, no unbounded label.

Each gateway has a registry of its own. docs/operations.md lists every metric; a test holds it to.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

if TYPE_CHECKING:
    from gateway.answer import Answer

# What a request counts as that its client did not wait for.
UNANSWERED = 499
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384)
_BYTES = (256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304)


M = TypeVar("M", Counter, Gauge, Histogram)


class Declared(Generic[M]):
    """A metric as it is declared: each `Metrics` has its own of it, under the same name."""

    def __init__(
        self, kind: type[M], name: str, meaning: str, *labels: str, **options: Sequence[float]
    ) -> None:
        self._kind: Callable[..., M] = kind
        self._words = (name, meaning, labels)
        self._options = options
        self._attribute = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._attribute = name

    def __get__(self, instance: object, owner: type) -> M:
        # Never reached: what `make` leaves in the instance is found first.
        raise AttributeError(f"{self._attribute} is made with its {owner.__name__}.")

    def make(self, instance: object, registry: CollectorRegistry) -> None:
        """Make the instance's own, in its registry."""
        made = self._kind(*self._words, registry=registry, **self._options)
        instance.__dict__[self._attribute] = made


class Metrics:
    """Every metric of one gateway."""

    requests = Declared(
        Counter, "sealgate_requests", "Requests by operation and status.", "operation", "status"
    )
    refusals = Declared(
        Counter, "sealgate_refusals", "Refused requests by the error's code.", "operation", "code"
    )
    running = Declared(Gauge, "sealgate_requests_running", "Requests under way.", "operation")
    seconds = Declared(
        Histogram,
        "sealgate_request_seconds",
        "Time from a request's head to its end.",
        "operation",
        buckets=_SECONDS,
    )
    first_text = Declared(
        Histogram,
        "sealgate_first_text_seconds",
        "Time to the answer's first text.",
        "operation",
        buckets=_SECONDS,
    )
    body_bytes = Declared(
        Histogram, "sealgate_request_bytes", "Sizes of request bodies.", "operation", buckets=_BYTES
    )
    prompt_tokens = Declared(
        Histogram, "sealgate_prompt_tokens", "Tokens of a prompt.", "model", buckets=_TOKENS
    )
    completion_tokens = Declared(
        Histogram,
        "sealgate_completion_tokens",
        "Tokens of an answer, over all choices.",
        "model",
        buckets=_TOKENS,
    )
    tokens = Declared(Counter, "sealgate_tokens", "Tokens read and written.", "model", "direction")
    token_rate = Declared(
        Histogram,
        "sealgate_tokens_per_second",
        "Speed of an answer after its first text.",
        "model",
        buckets=(1, 5, 10, 20, 40, 80, 160, 320),
    )
    endings = Declared(Counter, "sealgate_answers", "Answers by how they ended.", "model", "ending")
    marks = Declared(
        Counter, "sealgate_choices", "Choices by how well they are marked.", "model", "mark"
    )
    masked = Declared(
        Counter, "sealgate_constrained_answers", "Answers that a grammar held.", "model"
    )
    rulings = Declared(
        Counter,
        "sealgate_rulings",
        "Requests by data class, and whether it was raised.",
        "data_class",
        "raised",
    )
    log_writable = Declared(Gauge, "sealgate_log_writable", "1 when the log takes entries.")
    log_seconds = Declared(
        Histogram,
        "sealgate_log_acknowledgement_seconds",
        "Time until an entry was durable.",
        buckets=_SECONDS,
    )
    log_failures = Declared(Counter, "sealgate_log_failures", "Entries that were not acknowledged.")
    sandboxes_ready = Declared(
        Gauge, "sealgate_sandbox_ready", "1 when a sandbox waits for the model.", "model"
    )
    sandboxes_waited_for = Declared(
        Gauge, "sealgate_sandbox_waiting", "Choices that wait for a sandbox of the model.", "model"
    )
    connections = Declared(Gauge, "sealgate_connections", "Open connections.")
    policy_reloads = Declared(
        Counter, "sealgate_policy_reloads", "Reloads of the policy by result.", "result"
    )
    started = Declared(
        Gauge, "sealgate_start_time_seconds", "When this gateway was ready, Unix time."
    )

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self._registry = registry
        self._children: dict[tuple[Any, ...], Any] = {}
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        for declared in vars(Metrics).values():
            if isinstance(declared, Declared):
                declared.make(self, registry)
        self.started.set(time.time())

    def render(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self._registry)

    def of(self, metric: Any, *labels: str) -> Any:
        """Return a metric under its labels, found once: the library's own look-up takes 3 us."""
        found = self._children.get((metric, *labels))
        if found is None:
            found = self._children[metric, *labels] = metric.labels(*labels)
        return found

    @contextmanager
    def request(self, operation: str, clock: Callable[[], float]) -> Iterator["RequestTimes"]:
        """Count a request for as long as it runs."""
        times = RequestTimes(self, operation, clock)
        self.of(self.running, operation).inc()
        try:
            yield times
        finally:
            self.of(self.running, operation).dec()
            self.of(self.seconds, operation).observe(clock() - times.began)
            self.of(self.requests, operation, str(times.status)).inc()


class RequestTimes:
    """One request's times. status: what it was answered with; 499 until it was.

    code: of its refusal, None without one. answer: what was begun for it. asked_s: when that was.
    """

    def __init__(self, metrics: Metrics, operation: str, clock: Callable[[], float]) -> None:
        self._metrics = metrics
        self._operation = operation
        self._clock = clock
        self._first: float | None = None
        self.began = clock()
        self.status = UNANSWERED
        self.code: str | None = None
        self.answer: Answer | None = None
        self.asked_s = 0.0

    @property
    def elapsed_s(self) -> float:
        """Seconds since the request began."""
        return self._clock() - self.began

    @property
    def first_text_s(self) -> float | None:
        """Seconds to the first text, None before it."""
        return None if self._first is None else self._first - self.began

    def opened(self, answer: "Answer") -> None:
        """Take note that an answer was begun."""
        self.answer, self.asked_s = answer, self.elapsed_s

    def body(self, length: int) -> None:
        """Take note of a body's size."""
        self._metrics.of(self._metrics.body_bytes, self._operation).observe(length)

    def text(self) -> None:
        """Take note of the first text."""
        if self._first is None:
            self._first = self._clock()
            self._metrics.of(self._metrics.first_text, self._operation).observe(
                self._first - self.began
            )

    def refused(self, status: int, code: str | None) -> None:
        """Take note of a refusal."""
        self.status, self.code = status, code or "invalid_request"
        self._metrics.of(self._metrics.refusals, self._operation, code or "invalid_request").inc()

    def ended(self, *, model: str, ending: str, marks: Iterable[str]) -> None:
        """Take note of how an answer ended, and how well each of its choices is marked."""
        self._metrics.of(self._metrics.endings, model, ending).inc()
        for mark in marks:
            self._metrics.of(self._metrics.marks, model, mark).inc()

    def answered(self, *, model: str, prompt: int, completion: int, constrained: bool) -> None:
        """Take note of an answer's tokens, whole or not."""
        metrics = self._metrics
        metrics.of(metrics.prompt_tokens, model).observe(prompt)
        metrics.of(metrics.completion_tokens, model).observe(completion)
        metrics.of(metrics.tokens, model, "in").inc(prompt)
        metrics.of(metrics.tokens, model, "out").inc(completion)
        if constrained:
            metrics.of(metrics.masked, model).inc()
        if self._first is not None and completion > 1 and self._clock() > self._first:
            rate = (completion - 1) / (self._clock() - self._first)
            metrics.of(metrics.token_rate, model).observe(rate)
