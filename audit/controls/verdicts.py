"""What an examination may conclude, and the figures that it rests on.

A verdict says what this system's own records show. It is never a statement that an organisation
complies with a law: what the records cannot show is PARTIAL or NOT_EVIDENCED.
"""

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import rfc8785


class Verdict(StrEnum):
    """The five conclusions, from the strongest to the weakest."""

    PASS = "PASS"  # noqa: S105 - a verdict, not a password
    PARTIAL = "PARTIAL"
    FAIL = "FAIL"
    NO_DATA = "NO_DATA"
    NOT_EVIDENCED = "NOT_EVIDENCED"


MEANINGS: dict[Verdict, str] = {
    Verdict.PASS: "The records of the period evidence the whole requirement.",
    Verdict.PARTIAL: "The system's share is evidenced; the rest is left to the organisation.",
    Verdict.FAIL: "The records of the period, or the system's state, contradict the requirement.",
    Verdict.NO_DATA: "The period holds no trustworthy record of the kind that could evidence it.",
    Verdict.NOT_EVIDENCED: "Organisational: no record of this system can evidence it.",
}


@dataclass(frozen=True, slots=True)
class Figure:
    """One named result, with the query that a stranger can run again on the exported log.

    `data` is JSON of integers, strings, arrays and objects: no floats, so that its canonical
    form (RFC 8785) does not depend on how a machine prints them.
    """

    name: str
    query: str
    data: Any

    @property
    def sha256(self) -> str:
        """Return the hex SHA-256 of the canonical data."""
        return hashlib.sha256(rfc8785.dumps(self.data)).hexdigest()


@dataclass(frozen=True, slots=True)
class Finding:
    """What one query found: a verdict, one or two sentences, and the figures it looked at."""

    verdict: Verdict
    sentence: str
    figures: tuple[str, ...] = ()
