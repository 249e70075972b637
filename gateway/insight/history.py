"""What the log tells of past requests, without a word of any: sizes, times, tiers, endings."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from audit.store import reading
from gateway.insight.fleet import Arrival, percentile

HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Served:
    """One finished request. began_ms: Unix time. score: its grade, 0 where none was given."""

    began_ms: int
    latency_ms: int
    prompt_tokens: int
    completion_tokens: int
    choices: int
    tier: str
    endpoint: str
    ending: str
    score: int
    task: str
    failed: int
    hedged: bool


@dataclass(frozen=True, slots=True)
class Hour:
    """One hour of one tier. Times in milliseconds."""

    begins_ms: int
    tier: str
    requests: int
    failures: int
    prompt_tokens: int
    completion_tokens: int
    latency_p50_ms: float
    latency_p95_ms: float


def read(engine: sa.Engine) -> list[Served]:
    """Return every request that has an outcome, oldest first.

    Raises:
        LogUnavailable, LogTampered: The log cannot be read.
    """
    with reading(engine) as connection:
        return list(between(connection, 0, None))


def between(connection: sa.Connection, begin_ms: int, end_ms: int | None) -> Iterator[Served]:
    """Yield the requests that ended at `begin_ms` or later, and before `end_ms`, in log order."""
    query = "SELECT body FROM leaf WHERE phase = 'outcome' AND time_ms >= :begin"
    query += " AND time_ms < :end ORDER BY idx" if end_ms is not None else " ORDER BY idx"
    given = {"begin": begin_ms} | ({} if end_ms is None else {"end": end_ms})
    for (body,) in connection.execute(sa.text(query), given):
        yield served(json.loads(body))


def served(event: Mapping[str, Any]) -> Served:
    """Take what is needed from an outcome."""
    own = event["sealgate"]
    route = own.get("route", {})
    return Served(
        began_ms=event["time"] - own["latency_ms"],
        latency_ms=own["latency_ms"],
        prompt_tokens=own["prompt_tokens"],
        completion_tokens=own["completion_tokens"],
        choices=len(own["choices"]),
        tier=own["tier"],
        endpoint=route.get("endpoint", own["tier"]),
        ending=own["ending"],
        score=route.get("grade", 0),
        task=route.get("task", "ungraded"),
        failed=len(route.get("failed", ())),
        hedged=bool(route.get("hedged", False)),
    )


def hours(history: Iterable[Served]) -> list[Hour]:
    """Roll requests up by hour and tier, in that order."""
    groups: dict[tuple[int, str], list[Served]] = {}
    for each in history:
        key = (each.began_ms // HOUR_MS * HOUR_MS, each.tier)
        groups.setdefault(key, []).append(each)
    return [_hour(begins_ms, tier, group) for (begins_ms, tier), group in sorted(groups.items())]


def arrivals(history: Iterable[Served]) -> Iterator[Arrival]:
    """Return the graded requests as a load that can be replayed, from its first second on."""
    graded = sorted((h for h in history if h.task != "ungraded"), key=lambda h: h.began_ms)
    for each in graded:
        at_s = (each.began_ms - graded[0].began_ms) / 1000
        yield Arrival(at_s, max(1, each.completion_tokens), each.score)


def _hour(begins_ms: int, tier: str, group: list[Served]) -> Hour:
    latencies = [float(each.latency_ms) for each in group]
    return Hour(
        begins_ms=begins_ms,
        tier=tier,
        requests=len(group),
        failures=sum(each.ending == "failed" for each in group),
        prompt_tokens=sum(each.prompt_tokens for each in group),
        completion_tokens=sum(each.completion_tokens for each in group),
        latency_p50_ms=percentile(latencies, 0.5),
        latency_p95_ms=percentile(latencies, 0.95),
    )


def features(each: Served) -> tuple[float, ...]:
    """Return what requests are told apart by: lengths, grade, timing; nothing of their content."""
    return (
        math.log1p(each.prompt_tokens),
        math.log1p(each.completion_tokens),
        math.log1p(each.latency_ms),
        each.score / 25,
        float(each.choices),
    )
