"""The text that a model is calibrated and distilled with: tokens in rows, and some held out."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gateway.models.errors import CompressionImpossible, ModelUnreadable
from gateway.models.tokenizer import Tokenizer

# Of every text, its end: what is measured is never trained on.
HELD_OUT = 0.05
HELD_OUT_LIMIT_TOKENS = 4096
# Read in pieces, so that a long text is not one string of tokens to search through.
PIECE_CHARACTERS = 1 << 16


@dataclass(frozen=True, slots=True)
class Text:
    """rows: int64 [N, length], to learn from. held_out: int64 [M], to measure by."""

    rows: NDArray[np.int64]
    held_out: NDArray[np.int64]
    sha256: str


def read(paths: Sequence[Path], tokenizer: Tokenizer, *, length: int) -> Text:
    """Read text files. length: tokens of a row.

    Raises:
        ModelUnreadable: One cannot be read, or is no UTF-8.
        CompressionImpossible: There is too little text for a single row and something to hold out.
    """
    digest, learnt, held = hashlib.sha256(), [], []
    for path in paths:
        content = _content(path)
        digest.update(hashlib.sha256(content.encode()).digest())
        ids = _encoded(content, tokenizer)
        kept = min(HELD_OUT_LIMIT_TOKENS // len(paths), round(HELD_OUT * len(ids)))
        learnt.append(ids[: len(ids) - kept])
        held.append(ids[len(ids) - kept :])
    tokens, held_out = np.concatenate(learnt), np.concatenate(held)
    count = len(tokens) // length
    if not count or len(held_out) < 2:  # noqa: PLR2004 - a prediction and what came
        raise CompressionImpossible(
            f"{len(tokens)} tokens of text are too few for a row of {length}. Name more text."
        )
    return Text(tokens[: count * length].reshape(count, length), held_out, digest.hexdigest())


def _content(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ModelUnreadable(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise ModelUnreadable(f"{path} is no UTF-8 text.") from None


def _encoded(content: str, tokenizer: Tokenizer) -> NDArray[np.int64]:
    pieces = range(0, len(content), PIECE_CHARACTERS)
    ids = [tokenizer.encode(content[at : at + PIECE_CHARACTERS]) for at in pieces]
    return np.array([token for piece in ids for token in piece], np.int64)
