"""From a text back to its requests: each mark's id, then the log entry that was issued with it."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from audit import evidence
from gateway.fingerprints import Fingerprints, Similar
from gateway.marking import PURPOSE, endpoint_key, key_context
from gateway.models.tokenizer import Encoded
from watermark.detector import Detection, survey
from watermark.errors import TokenOutOfRange
from watermark.readings import Reading, readings

# A byte of text may be a token; it costs time and memory once for each key, tokeniser and reading:
# some 20 s at most.
WORK_LIMIT = 2_000_000
LEAST_BYTES = 10_000

TOO_SHORT = "The text is too short: no mark could be found in so few different tokens."
NO_MARK = "No mark of any key of this deployment reaches the threshold of 1e-6."
NOT_ISSUED = "A mark was found, but the log holds no request with its id."
NO_MODEL = "No served model's tokeniser can read the text."
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Passage:
    """One marked passage and the requests that were issued its id.

    request_ids: more than one only when a seed repeated an answer. start, end: characters of the
    text that carry the mark.
    """

    p_value: float
    mode: str
    confidence: float
    trace_id: int
    request_ids: tuple[str, ...]
    tenant: str
    epoch: int
    model_id: str
    start: int
    end: int

    def shown(self) -> dict[str, Any]:
        """Return what whoever asked is told of it, as JSON."""
        return {
            "p_value": self.p_value,
            "mode": self.mode,
            "confidence": self.confidence,
            "trace_id": self.trace_id,
            "request_id": self.request_ids[0],
            "request_ids": list(self.request_ids),
            "tenant": self.tenant,
            "epoch": self.epoch,
            "model": self.model_id,
            "span": [self.start, self.end],
        }


@dataclass(frozen=True, slots=True)
class Trace:
    """What a text's marks say.

    verdict: `traced`, `no_trace` or `too_short`. p_value: the bound on meeting the strongest mark
    in an unmarked text. reason: why there is no trace, or how much of the text was read; None if
    nothing needs saying. passages: the strongest first; empty unless traced. similar: requests
    whose answers share wording with the text, looked for only where no mark was found.
    """

    verdict: str
    p_value: float
    mode: str
    confidence: float
    reason: str | None = None
    passages: tuple[Passage, ...] = ()
    similar: tuple[Similar, ...] = ()

    @property
    def request_id(self) -> str | None:
        """The request of the strongest mark, or the earliest of several alike."""
        return self.passages[0].request_ids[0] if self.passages else None

    def shown(self) -> dict[str, Any]:
        """Return what whoever asked is told, as JSON: the strongest passage, then each."""
        nothing = dict.fromkeys(
            ("trace_id", "request_id", "tenant", "epoch", "model", "span"), None
        )
        first = self.passages[0].shown() if self.passages else nothing | {"request_ids": []}
        return {
            "object": "provenance.verification",
            "verdict": self.verdict,
            "reason": self.reason,
            **first,
            "p_value": self.p_value,
            "mode": self.mode,
            "confidence": self.confidence,
            "passages": [passage.shown() for passage in self.passages],
            "similar": [each.shown() for each in self.similar],
        }


class Tokenizer(Protocol):
    """What a text is cut into tokens with."""

    def encode_with_offsets(self, text: str) -> Encoded:
        """Encode a text, and say which characters each token came from."""


@dataclass(frozen=True, slots=True)
class Reader:
    """One way to cut a text into tokens, and whose marks these may carry.

    endpoint: of a remote tier, which marks under keys of its own; None for this machine.
    """

    model_id: str
    tokenizer: Tokenizer
    endpoint: str | None = None


@dataclass(frozen=True, slots=True)
class _Owner:
    tenant: str
    epoch: int


@dataclass(frozen=True, slots=True)
class _Trial:
    """One way to turn the text into tokens."""

    reader: Reader
    reading: Reading
    encoded: Encoded


@dataclass(frozen=True, slots=True)
class _Search:
    """Everything a text is held against."""

    log: sa.Engine
    owners: Mapping[str, _Owner]
    keys: Mapping[str, bytes]
    issued: Mapping[str, NDArray[np.uint32]]

    def keys_of(self, endpoint: str | None) -> Mapping[str, bytes]:
        """Return the keys, by owner, that one place marks under."""
        if endpoint is None:
            return self.keys
        return {owner: endpoint_key(key, endpoint) for owner, key in self.keys.items()}


def trace(
    text: str,
    *,
    log: sa.Engine,
    readers: Sequence[Reader],
    derive: Callable[..., bytes],
    epochs: Sequence[int],
    tenants: Sequence[str],
    fingerprints: Fingerprints | None = None,
) -> Trace:
    """Look in `text` for the marks of any tenant and epoch, under each model's tokeniser.

    The text is also read without what may disguise it (`watermark.readings`). Each reader and
    reading is one more chance to be wrong, and the bound pays for it before the verdict.
    """
    owners = {f"{tenant}/{epoch}": _Owner(tenant, epoch) for tenant in tenants for epoch in epochs}
    search = _Search(log, owners, _keys(owners, derive), _issued(owners, log))
    read = _beginning(_SURROGATE.sub("\ufffd", text), _room(len(owners), len(readers)))
    cut = None
    if len(read) < len(text):
        cut = f"Only the first {len(read)} of {len(text)} characters were read."
    shapes = readings(read)
    found = [
        # A list of tokens is kept only where it found something.
        (None if detection.trace_id is None else trial, detection)
        for trial in _trials(shapes, readers)
        for detection in _survey(trial, search, trials=len(shapes) * len(readers))
    ]
    told = _summary(found, search, cut)
    if told.passages or fingerprints is None:
        return told
    return replace(told, similar=tuple(fingerprints.search(read, tenants=tenants)))


def _room(keys: int, readers: int) -> int:
    """Return how many bytes of a text can be read in bounded time."""
    return max(LEAST_BYTES, WORK_LIMIT // max(1, keys * readers))


def _beginning(text: str, limit_bytes: int) -> str:
    """Return as much of a text as so many bytes of UTF-8 hold."""
    return text[:limit_bytes].encode()[:limit_bytes].decode(errors="ignore")


def _keys(owners: Mapping[str, _Owner], derive: Callable[..., bytes]) -> dict[str, bytes]:
    return {
        label: derive(PURPOSE, *key_context(who.tenant, who.epoch), epoch=who.epoch)
        for label, who in owners.items()
    }


def _issued(owners: Mapping[str, _Owner], log: sa.Engine) -> dict[str, NDArray[np.uint32]]:
    return {
        label: np.array(
            [i for i, _ in evidence.issued(log, tenant=who.tenant, epoch=who.epoch)], np.uint32
        )
        for label, who in owners.items()
    }


def _trials(shapes: Sequence[Reading], readers: Sequence[Reader]) -> Iterator[_Trial]:
    for reading in shapes:
        for reader in readers:
            yield _Trial(reader, reading, reader.tokenizer.encode_with_offsets(reading.text))


def _survey(trial: _Trial, search: _Search, *, trials: int) -> list[Detection]:
    try:
        keys = search.keys_of(trial.reader.endpoint)
        return survey(trial.encoded.ids, keys, issued=search.issued, trials=trials)
    except TokenOutOfRange:
        # A vocabulary that this version of the mark cannot carry has marked nothing either.
        return []


def _summary(
    found: list[tuple[_Trial | None, Detection]], search: _Search, cut: str | None
) -> Trace:
    if not found:
        return Trace("no_trace", 1.0, "blind", 0.0, cut or NO_MODEL)
    found.sort(key=lambda each: each[1].p_value)
    best = found[0][1]
    passages = _passages(found, search)
    if passages:
        strongest = passages[0]
        return Trace(
            "traced", strongest.p_value, strongest.mode, strongest.confidence, cut, passages
        )
    if all(detection.verdict == "too_short" for _, detection in found):
        return Trace("too_short", 1.0, "blind", 0.0, _with(TOO_SHORT, cut))
    reason = NOT_ISSUED if best.verdict == "traced" else NO_MARK
    return Trace("no_trace", best.p_value, best.mode, 0.0, _with(reason, cut))


def _with(reason: str, cut: str | None) -> str:
    return f"{reason} {cut}" if cut else reason


def _passages(found: list[tuple[_Trial | None, Detection]], search: _Search) -> tuple[Passage, ...]:
    """Return each id that the log knows once, as the trial that found it best saw it."""
    passages: dict[tuple[str, int], Passage] = {}
    for trial, detection in found:
        if trial is None or detection.key_label is None or detection.trace_id is None:
            continue
        known = (detection.key_label, detection.trace_id)
        if known in passages:
            continue
        passage = _passage(trial, detection, search.owners[detection.key_label], search.log)
        if passage is not None:
            passages[known] = passage
    return tuple(passages.values())


def _passage(trial: _Trial, found: Detection, who: _Owner, log: sa.Engine) -> Passage | None:
    trace_id = found.trace_id or 0
    requests = evidence.find_trace(log, trace_id=trace_id, tenant=who.tenant, epoch=who.epoch)
    if not requests:
        return None
    offsets = trial.encoded.offsets
    start, end = trial.reading.span(offsets[found.start][0], offsets[found.end - 1][1])
    return Passage(
        p_value=found.p_value,
        mode=found.mode,
        confidence=found.confidence,
        trace_id=trace_id,
        request_ids=tuple(requests),
        tenant=who.tenant,
        epoch=who.epoch,
        model_id=trial.reader.model_id,
        start=start,
        end=end,
    )
