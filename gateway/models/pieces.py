"""A SentencePiece vocabulary with scores (Llama, Mistral): pieces and bytes, joined by score.

The `tokenizers` library has no scored pairs, but joins pairs in a given order; ordered by the score
of what they make, the result is the same (as Hugging Face's converter has it, and llama.cpp). What
is joined here is pieces of text alone: no text, however it is spelt, becomes a control token or a
byte's own token by being joined.
"""

from collections.abc import Mapping
from typing import Any

from gateway.models.errors import ModelError, ModelUnsupported

# Token types of the GGUF specification.
NORMAL, UNKNOWN, BYTE = 1, 2, 6
SPACE = "\u2581"
BYTES = tuple(f"<0x{value:02X}>" for value in range(256))


def parts(
    metadata: Mapping[str, Any], tokens: list[str], types: list[int]
) -> dict[str, dict[str, Any] | None]:
    """Return the members of a tokeniser's JSON that are this kind's own.

    tokens, types: of the whole vocabulary, by id.

    Raises:
        ModelUnsupported: Characters are rewritten before they are cut, or bytes have no tokens.
        ModelError: Scores are missing, or contradict the tokens.
    """
    for key in ("precompiled_charsmap", "remove_extra_whitespaces"):
        if metadata.get(f"tokenizer.ggml.{key}"):
            raise ModelUnsupported(f"tokenizer.ggml.{key} is not supported.")
    unknown = [t for t, kind in zip(tokens, types, strict=True) if kind == UNKNOWN]
    found = {t for t, kind in zip(tokens, types, strict=True) if kind == BYTE}
    if not found.issuperset(BYTES) or not unknown:
        raise ModelUnsupported("a SentencePiece vocabulary without a token for each byte.")
    return {
        "normalizer": _normalizer(prefixed=bool(metadata.get(_PREFIX, True))),
        "pre_tokenizer": None,
        "decoder": {"type": "ByteFallback"},
        "model": {
            "type": "BPE",
            "vocab": {token: index for index, token in enumerate(tokens)},
            "merges": _merges(tokens, types, _scores(metadata, len(tokens))),
            "unk_token": unknown[0],
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
        },
    }


_PREFIX = "tokenizer.ggml.add_space_prefix"


def _normalizer(*, prefixed: bool) -> dict[str, Any]:
    spaces = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    first = [{"type": "Prepend", "prepend": SPACE}] if prefixed else []
    return {"type": "Sequence", "normalizers": [*first, spaces]}


def _scores(metadata: Mapping[str, Any], size: int) -> list[float]:
    scores = metadata.get("tokenizer.ggml.scores")
    if scores is None or isinstance(scores, str | int | float) or len(scores) != size:
        raise ModelError(f"tokenizer.ggml.scores does not list {size} scores.")
    return [float(score) for score in scores]


def _merges(tokens: list[str], types: list[int], scores: list[float]) -> list[list[str]]:
    """List every pair of pieces that makes a piece, the highest score of what it makes first.

    Pairs that make the same piece stand in the order of their own ids.
    """
    pieces = {
        token: index
        for index, (token, kind) in enumerate(zip(tokens, types, strict=True))
        if kind == NORMAL
    }
    pairs = [
        (-scores[index], index, pieces[token[:cut]], pieces[token[cut:]], cut)
        for token, index in pieces.items()
        for cut in range(1, len(token))
        if token[:cut] in pieces and token[cut:] in pieces
    ]
    return [[tokens[whole][:cut], tokens[whole][cut:]] for _, whole, _, _, cut in sorted(pairs)]
