"""How a vocabulary spells bytes: what a token stands for in a text, and what has no token."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from gateway.models.pieces import BYTES, SPACE


class Spelling(Protocol):
    """A vocabulary's way to write text."""

    @property
    def prefixed(self) -> bool:
        """Whether a space is put before each stretch of text."""

    def octets(self, content: str) -> bytes:
        """Return the bytes that a token stands for."""

    def knows(self, octet: int) -> bool:
        """Whether a byte of a text is written at all."""


def of(document: Mapping[str, Any]) -> Spelling:
    """Return the spelling of a tokeniser's JSON, as `vocabulary.py` writes it."""
    model = document["model"]
    if not model.get("byte_fallback"):
        stand_ins = _byte_of_character()
        known = {octet for character, octet in stand_ins.items() if character in model["vocab"]}
        return StandIns(stand_ins, frozenset(known))
    steps = document["normalizer"]["normalizers"]
    return Pieces(prefixed=any(step["type"] == "Prepend" for step in steps))


@dataclass(frozen=True, slots=True)
class StandIns:
    """Byte-level BPE: each byte has a visible character. known: bytes that have a token."""

    stand_ins: Mapping[str, int]
    known: frozenset[int]
    prefixed: bool = False

    def octets(self, content: str) -> bytes:
        """Turn stand-ins back into bytes; other characters stand for none."""
        return bytes(self.stand_ins[c] for c in content if c in self.stand_ins)

    def knows(self, octet: int) -> bool:
        """Whether a byte has a token; one without is left out, as llama.cpp does."""
        return octet in self.known


@dataclass(frozen=True, slots=True)
class Pieces:
    """SentencePiece: text as it is, a sign for spaces, and tokens that name single bytes."""

    prefixed: bool

    def octets(self, content: str) -> bytes:
        """Turn the sign for spaces and the names of bytes back."""
        if content in _NAMED:
            return bytes([_NAMED[content]])
        return content.replace(SPACE, " ").encode()

    def knows(self, octet: int) -> bool:
        """Every byte has a token of its own."""
        return 0 <= octet < len(BYTES)


_NAMED = {name: octet for octet, name in enumerate(BYTES)}


def _byte_of_character() -> dict[str, int]:
    """Map byte-level BPE's visible stand-ins back to bytes (GPT-2, `bytes_to_unicode`).

    Printable bytes stand for themselves, the others for the characters from U+0100 on, in order.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    stand_ins = {chr(byte): byte for byte in printable}
    return stand_ins | {chr(0x100 + order): byte for order, byte in enumerate(others)}
