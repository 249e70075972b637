"""The picture of a deployment's traffic: a map of its requests and tables, as PNG and HTML."""

import base64
import html
import io
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib import import_module

from gateway.insight.clusters import NOISE, Cluster, Map
from gateway.insight.history import Hour

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;"
    "color:#1b1b1b}table{border-collapse:collapse}td,th{padding:.25rem .75rem;text-align:right;"
    "border-bottom:1px solid #ddd}td:first-child,th:first-child{text-align:left}img{max-width:100%}"
)


def picture(found: Map) -> bytes:
    """Draw the map: one colour a cluster, grey for what belongs to none."""
    # An extra. A figure of its own, without pyplot's state, draws on no display.
    figure = import_module("matplotlib.figure").Figure(figsize=(8, 5.5), layout="constrained")
    axes = figure.add_subplot()
    for cluster in found.clusters:
        chosen = found.places[found.labels == cluster.label]
        noise = cluster.label == NOISE
        axes.scatter(
            chosen[:, 0],
            chosen[:, 1],
            s=14,
            color="#bbbbbb" if noise else None,
            label="no group" if noise else f"group {cluster.label}: {cluster.requests}",
        )
    axes.set_title("Requests by length, grade and time (t-SNE, HDBSCAN)")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.legend(loc="best", fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()


def page(found: Map, hours: Sequence[Hour], png: bytes) -> str:
    """Return the report: one file, no script, nothing loaded from anywhere."""
    image = base64.b64encode(png).decode()
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><title>Sealgate insight</title>",
        f"<style>{_STYLE}</style><h1>Traffic</h1>",
        f'<img alt="Map of requests" src="data:image/png;base64,{image}">',
        "<h2>Kinds of requests</h2>",
        _table(
            ("group", "requests", "prompt tokens", "answer tokens", "p50 ms", "p95 ms", "failed",
             "tiers"),
            (_cluster(cluster) for cluster in found.clusters),
        ),
        "<h2>Bottlenecks</h2><ul>",
        *(f"<li>{html.escape(line)}</li>" for line in bottlenecks(found.clusters, hours)),
        "</ul><h2>Hours</h2>",
        _table(
            ("hour", "tier", "requests", "failed", "prompt tokens", "answer tokens", "p50 ms",
             "p95 ms"),
            (_hour(hour) for hour in hours),
        ),
    ]  # fmt: skip
    return "\n".join(parts) + "\n"


def bottlenecks(clusters: Sequence[Cluster], hours: Sequence[Hour]) -> list[str]:
    """Name what stands out: the slowest kind, the slowest hour, and where answers failed."""
    lines = []
    kinds = [cluster for cluster in clusters if cluster.label != NOISE]
    if kinds:
        slowest = max(kinds, key=lambda c: c.latency_p95_ms)
        lines.append(
            f"Group {slowest.label} waits longest: {slowest.latency_p95_ms:.0f} ms at its 95th "
            f"percentile, for {slowest.completion_tokens_p50:.0f} tokens of answer."
        )
    if hours:
        worst = max(hours, key=lambda h: h.latency_p95_ms)
        lines.append(
            f"The slowest hour was {_time(worst.begins_ms)} on {worst.tier}: "
            f"{worst.latency_p95_ms:.0f} ms."
        )
    failing = [hour for hour in hours if hour.failures]
    lines += [
        f"{hour.failures} of {hour.requests} answers failed on {hour.tier} in the hour from "
        f"{_time(hour.begins_ms)}."
        for hour in sorted(failing, key=lambda h: -h.failures)[:3]
    ]
    return lines


def _cluster(cluster: Cluster) -> tuple[str, ...]:
    tiers = ", ".join(f"{tier} {count}" for tier, count in cluster.tiers.items())
    return (
        "none" if cluster.label == NOISE else str(cluster.label),
        str(cluster.requests),
        f"{cluster.prompt_tokens_p50:.0f}",
        f"{cluster.completion_tokens_p50:.0f}",
        f"{cluster.latency_p50_ms:.0f}",
        f"{cluster.latency_p95_ms:.0f}",
        str(cluster.failures),
        tiers,
    )


def _hour(hour: Hour) -> tuple[str, ...]:
    return (
        _time(hour.begins_ms),
        hour.tier,
        str(hour.requests),
        str(hour.failures),
        str(hour.prompt_tokens),
        str(hour.completion_tokens),
        f"{hour.latency_p50_ms:.0f}",
        f"{hour.latency_p95_ms:.0f}",
    )


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:00Z")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    cells = "".join(f"<th>{html.escape(cell)}" for cell in head)
    lines = ["".join(f"<td>{html.escape(cell)}" for cell in row) for row in rows]
    return f"<table><tr>{cells}" + "".join(f"<tr>{line}" for line in lines) + "</table>"
