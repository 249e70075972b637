"""What of a request leaves this machine for a remote tier, and what its answer gets back.

Made before an intent is recorded and anything is sent: text that cannot be put under pseudonyms
makes its request a refused one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.errors import RequestRefused
from privacy.deidentify import Pseudonyms, PseudonymsFailed, Restorer

# What `detections` of an intent says counted; a new set of recognisers is a new name.
DETECTOR = "rules-1"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """turns: as they are sent. pseudonyms: those in them, None where the policy wants none."""

    turns: Sequence[Mapping[str, str]] = field(repr=False)
    pseudonyms: Pseudonyms | None = field(default=None, repr=False)

    def stops(self, stops: tuple[str, ...]) -> tuple[str, ...]:
        """Return the stop strings that are sent.

        Under pseudonyms none is: one may hold an identifier, or cut a pseudonym in two. The
        gateway cuts the restored text itself.
        """
        return stops if self.pseudonyms is None else ()

    def restorer(self) -> Restorer | None:
        """Return what gives one choice's text its values back, None where nothing was hidden."""
        return None if self.pseudonyms is None else self.pseudonyms.restorer()

    def detections(self) -> dict[str, Any]:
        """Return what was hidden, for the intent: counts by kind, and no measured recall."""
        if self.pseudonyms is None:
            return {}
        counts = self.pseudonyms.counts
        return {"detections": {"detector": DETECTOR, "recall_milli": None, "counts": counts}}


def outgoing(turns: Sequence[Mapping[str, str]], *, redaction: str) -> Outgoing:
    """Return what a remote tier gets of a conversation. redaction: `pseudonyms`, or `none`.

    Raises:
        RequestRefused: 500 `redaction_failed`; nothing may be sent.
    """
    if redaction == "none":
        return Outgoing(turns)
    pseudonyms = Pseudonyms()
    try:
        hidden = pseudonyms.hide_all([turn["content"] for turn in turns])
    except PseudonymsFailed:
        raise RequestRefused(
            "The text could not be put under pseudonyms, so it was not sent to a remote tier. "
            "Name a model of this gateway's own.",
            status=500,
            kind="server_error",
            code="redaction_failed",
        ) from None
    named = zip(turns, hidden, strict=True)
    return Outgoing([{"role": turn["role"], "content": text} for turn, text in named], pseudonyms)
