"""Kinds of requests: a map by t-SNE and groups by HDBSCAN, over features without content."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.insight.fleet import percentile
from gateway.insight.history import Served, features

# Fewer say nothing; more would take minutes, and a sample looks the same.
LEAST, MOST = 20, 2000
NOISE = -1


@dataclass(frozen=True, slots=True)
class Cluster:
    """One kind. label: -1 for what belongs to none. tiers: requests by tier."""

    label: int
    requests: int
    prompt_tokens_p50: float
    completion_tokens_p50: float
    latency_p50_ms: float
    latency_p95_ms: float
    failures: int
    tiers: dict[str, int]


@dataclass(frozen=True, slots=True)
class Map:
    """places: float64 [N, 2]. labels: int [N]. clusters: largest first."""

    places: NDArray[np.float64]
    labels: NDArray[np.int64]
    clusters: tuple[Cluster, ...]


def clustered(history: Sequence[Served], *, seed: int = 0) -> Map:
    """Map and group requests; a sample of them where there are many.

    Raises:
        ValueError: There are fewer than `LEAST`.
    """
    if len(history) < LEAST:
        raise ValueError(f"{len(history)} requests are too few to group; {LEAST} are needed.")
    # An extra, and slow to import.
    grouping, mapping = import_module("sklearn.cluster"), import_module("sklearn.manifold")
    chosen = sampled(history, seed=seed)
    points = np.array([features(each) for each in chosen])
    # The deviation of equal numbers is a rounding error, which must not be blown up.
    varied = np.ptp(points, axis=0) > 0
    points = (points - points.mean(axis=0)) / np.where(varied, points.std(axis=0), 1.0)
    size = max(5, len(chosen) // 50)
    labels = grouping.HDBSCAN(min_cluster_size=size, copy=True).fit_predict(points)
    perplexity = min(30.0, (len(chosen) - 1) / 3)
    # Requests that are all alike, a probe's for instance, have no principal components.
    init = "pca" if varied.any() else "random"
    mapper = mapping.TSNE(perplexity=perplexity, random_state=seed, init=init)
    places = mapper.fit_transform(points)
    return Map(np.asarray(places, np.float64), labels, _clusters(chosen, labels))


def sampled(history: Sequence[Served], *, seed: int) -> list[Served]:
    """Return all requests, or `MOST` of them drawn without replacement, in order."""
    if len(history) <= MOST:
        return list(history)
    drawn = np.random.default_rng(seed).choice(len(history), MOST, replace=False)
    return [history[index] for index in sorted(drawn)]


def _clusters(history: Sequence[Served], labels: NDArray[Any]) -> tuple[Cluster, ...]:
    groups: dict[int, list[Served]] = {}
    for each, label in zip(history, labels, strict=True):
        groups.setdefault(int(label), []).append(each)
    found = [_cluster(label, group) for label, group in groups.items()]
    return tuple(sorted(found, key=lambda c: (c.label == NOISE, -c.requests)))


def _cluster(label: int, group: list[Served]) -> Cluster:
    latencies = [float(each.latency_ms) for each in group]
    tiers: dict[str, int] = {}
    for each in group:
        tiers[each.tier] = tiers.get(each.tier, 0) + 1
    return Cluster(
        label=label,
        requests=len(group),
        prompt_tokens_p50=percentile([float(e.prompt_tokens) for e in group], 0.5),
        completion_tokens_p50=percentile([float(e.completion_tokens) for e in group], 0.5),
        latency_p50_ms=percentile(latencies, 0.5),
        latency_p95_ms=percentile(latencies, 0.95),
        failures=sum(each.ending == "failed" for each in group),
        tiers=dict(sorted(tiers.items())),
    )
