"""“Whose text is this?”: what `POST /v1/provenance/verify` does, on a page, with the mark shown."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from starlette.responses import Response

from gateway import logbook
from gateway.api.asgi import source_ip
from gateway.api.provenance import OPERATION, TEXT_LIMIT
from gateway.console.visit import Visit
from gateway.errors import RequestRefused
from gateway.provenance import Passage, Trace

__all__ = ["OPERATION", "show", "trace"]

# What is shown of the text on either side of a mark.
_AROUND = 600
# The threshold of a verdict, as the detector has it.
_LEAST_EXPONENT = 6


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of the text. passage: which mark it carries, from 1; 0 for none."""

    text: str
    passage: int


async def show(visit: Visit) -> Response:
    """Show the form."""
    return _page(visit, text="")


async def trace(visit: Visit) -> Response:
    """Trace a text that was pasted or uploaded; the query is an entry, the text is in none."""
    text = _given(visit)
    if not text.strip():
        return _page(visit, text=text, problem="empty", status=400)
    if len(text) > TEXT_LIMIT:
        return _page(visit, text="", problem="long", status=413)
    visit.console.pace.take(visit.principal.credential_id)
    found = await visit.gateway.trace(text)
    await visit.gateway.recorder.record(
        logbook.verification(
            request_id=visit.request_id,
            principal=visit.principal,
            verdict=found.verdict,
            traced_request=found.request_id,
            p_value=found.p_value,
            source_ip=source_ip(visit.request.scope),
            now=datetime.now(UTC),
        )
    )
    return _page(visit, text=text, found=found)


def odds(p_value: float) -> int:
    """Return the exponent of ten such that a chance find is at most one in ten to that."""
    return math.floor(-math.log10(p_value)) if 0 < p_value < 1 else 0


def pieces(text: str, passages: Sequence[Passage]) -> list[Piece]:
    """Cut a text where its marks begin and end; long stretches without one are shortened."""
    cut: list[Piece] = []
    at = 0
    ordered = sorted(enumerate(passages, 1), key=lambda each: each[1].start)
    for number, passage in ordered:
        start, end = max(passage.start, at), min(passage.end, len(text))
        if start >= end:
            continue
        cut += [Piece(_shortened(text[at:start], first=not cut), 0), Piece(text[start:end], number)]
        at = end
    cut.append(Piece(_shortened(text[at:], first=False, last=True), 0))
    return [piece for piece in cut if piece.text]


def _shortened(text: str, *, first: bool, last: bool = False) -> str:
    if len(text) <= 2 * _AROUND:
        return text
    if first:
        return f"…{text[-_AROUND:]}"
    if last:
        return f"{text[:_AROUND]}…"
    return f"{text[:_AROUND]} … {text[-_AROUND:]}"


def _given(visit: Visit) -> str:
    upload = visit.form.files.get("file", b"")
    if upload:
        try:
            return upload.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise RequestRefused(
                "The file is no plain text in UTF-8. Copy its text and paste it.",
                code="not_text",
            ) from None
    return visit.form.fields.get("text", "").replace("\r\n", "\n")


def _page(
    visit: Visit,
    *,
    text: str,
    found: Trace | None = None,
    problem: str | None = None,
    status: int = 200,
) -> Response:
    return visit.page(
        "text_found.html" if visit.partial else "text.html",
        status=status,
        text=text,
        problem=problem,
        found=found,
        exponent=odds(found.p_value) if found else 0,
        least=_LEAST_EXPONENT,
        pieces=pieces(text, found.passages) if found else [],
    )
