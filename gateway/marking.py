"""What a request's choices are marked with: one trace id and one random stream each.

Without a `seed` both are fresh randomness, and only the log knows whose id it is. With one they
follow from it under a key of the tenant and epoch: the same request with the same seed answers
alike there, carries the same mark, and still reveals nothing to who lacks the key.
"""

import hashlib
import hmac
import os
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.question import Question
from watermark.argument import Mark

SCHEME = "pcg-v1"
PURPOSE = "watermark"
# The sampler's word for an answer that a search of a million issued ids would find.
TRACEABLE = "traceable"
_ENDPOINT_LABEL = b"sealgate/mark-v1/endpoint\x00"


@dataclass(frozen=True, slots=True)
class ChoiceMark:
    """trace_id: 32-bit unsigned. seed: 32 bytes for the ordinary draws."""

    trace_id: int
    seed: bytes = field(repr=False)


def fresh_marks(choices: int, take: Callable[[int], bytes] = os.urandom) -> list[ChoiceMark]:
    """Draw a random mark for each choice. take: returns so many random bytes."""
    return [ChoiceMark(int.from_bytes(take(4), "big"), take(32)) for _ in range(choices)]


def seeded_marks(
    choices: int, *, key: bytes, seed: int, prompt: Sequence[int], sampling: Sequence[float]
) -> list[ChoiceMark]:
    """Derive a mark for each choice from the client's seed and everything that shapes the answer.

    key: 32 bytes of the tenant and epoch. prompt: token ids. sampling: `sampling_numbers`.
    """
    # The count keeps numbers and tokens apart, as both lists have any length.
    body = struct.pack(f"<qI{len(sampling)}d", seed, len(sampling), *sampling)
    body += struct.pack(f"<{len(prompt)}I", *prompt)
    digests = [
        hmac.digest(key, struct.pack("<I", choice) + body, hashlib.sha512)
        for choice in range(choices)
    ]
    return [ChoiceMark(int.from_bytes(d[:4], "big"), d[4:36]) for d in digests]


def sampling_numbers(question: Question) -> tuple[float, ...]:
    """Return every number that shapes the answer's draws, in a fixed order.

    Two requests that differ in any of them and share a seed must not share their marks' ids.
    """
    shaping = question.shaping
    biases = sorted(shaping.logit_bias.items())
    return (
        question.temperature,
        question.top_p,
        question.top_k,
        shaping.min_p,
        shaping.repetition_penalty,
        shaping.frequency_penalty,
        shaping.presence_penalty,
        *(number for bias in biases for number in bias),
    )


def measured(mark: ChoiceMark, *, key: bytes, tokens: Sequence[int]) -> Mapping[str, Any]:
    """Measure a mark whose sampler did not tell: the answer was cut off, or drawn elsewhere.

    The status means what the sampler's does: `traceable` if a search of a million issued ids
    would find it. The log evidence itself is the sampler's to give, and stays None. The detector
    is loaded for the first that is measured; call it in a thread.
    """
    import numpy as np  # noqa: PLC0415 - most gateways never measure a mark.

    from watermark.bounds import ISSUED_REFERENCE, THRESHOLD, WEAK_THRESHOLD  # noqa: PLC0415
    from watermark.detector import detect  # noqa: PLC0415

    own = {"own": np.array([mark.trace_id], np.uint32)}
    p_value = detect(tokens, {"own": key}, issued=own).p_value
    if p_value * ISSUED_REFERENCE <= THRESHOLD:
        return {"status": TRACEABLE, "log_evidence": None}
    return {
        "status": "weak" if p_value <= WEAK_THRESHOLD else "unmarked",
        "log_evidence": None,
    }


def endpoint_key(mark_key: bytes, endpoint: str) -> bytes:
    """Derive the mark key of a remote tier's endpoint: it can mark in no other name than its own.

    mark_key: 32 bytes of the tenant and epoch, which do not follow from what is returned.
    """
    return hmac.digest(mark_key, _ENDPOINT_LABEL + endpoint.encode(), hashlib.sha256)


def endpoint_mark(mark_key: bytes, endpoint: str, trace_id: int) -> Mark:
    """Return what an endpoint marks one choice with."""
    return Mark(endpoint_key(mark_key, endpoint), trace_id)


def key_context(tenant: str, epoch: int) -> tuple[bytes, bytes]:
    """Name a tenant's mark key of one epoch, as docs/formats/mark-v1.md encodes it."""
    return tenant.encode(), epoch.to_bytes(4, "big")


def seed_context(tenant: str, epoch: int) -> tuple[bytes, bytes, bytes]:
    """Name the key that turns seeds into marks; three parts, so it never equals a mark key."""
    return (b"seed", *key_context(tenant, epoch))
