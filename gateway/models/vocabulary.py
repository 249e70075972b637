"""A tokeniser's vocabulary: from GGUF metadata to the JSON that the `tokenizers` library loads."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.models import pieces
from gateway.models.errors import ModelError, ModelUnsupported

# Byte pairs, and SentencePiece by scores, as the GGUF specification names them.
KINDS = ("gpt2", "llama")
# Token types of the GGUF specification.
CONTROL = 3
# Found whole in any text before it is split; control tokens only in a template's.
USER_DEFINED = 4

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# How text is cut before byte pairs are merged, by `tokenizer.ggml.pre`: patterns in order, each
# applied to what the one before left whole.
SPLITS: Mapping[str, tuple[str, ...]] = {
    "gpt-2": (GPT2,),
    "smollm": (r"\p{N}", GPT2),
    "llama-bpe": (LLAMA3,),
    "qwen2": (QWEN2,),
    "tekken": (TEKKEN,),
}
# Where a piece that is a token stays whole, whatever the merges would make of it.
WHOLE_FIRST = ("llama-bpe", "tekken")

# What ends an answer beside the declared end: turn and text ends that fine-tunes of these families
# emit while their metadata names only one of them.
ENDS = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>", "<|eom_id|>")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """tokenizer_json: for `Tokenizer`. eos: ids that end an answer, the declared one first."""

    tokenizer_json: bytes
    eos: tuple[int, ...]
    bos: int | None


def read(metadata: Mapping[str, Any], *, size: int) -> Vocabulary:
    """Read a vocabulary of `size` tokens.

    Raises:
        ModelUnsupported: Another kind of tokeniser, or an unknown way to cut text.
        ModelError: Tokens, types, merges or scores are missing or contradict one another.
    """
    kind = metadata.get("tokenizer.ggml.model")
    if kind not in KINDS:
        raise ModelUnsupported(
            f"tokeniser {kind!r} is not supported; supported: {', '.join(KINDS)}."
        )
    tokens = _tokens(metadata, size)
    types = _types(metadata, size)
    own = _byte_level(metadata, tokens) if kind == "gpt2" else pieces.parts(metadata, tokens, types)
    document = {
        "version": "1.0",
        "added_tokens": _added(tokens, types),
        "post_processor": _named_tokens(metadata, tokens),
        **own,
    }
    return Vocabulary(
        json.dumps(document, ensure_ascii=False).encode(),
        _eos(metadata, tokens),
        _token_id(metadata, "bos", size),
    )


def _byte_level(metadata: Mapping[str, Any], tokens: list[str]) -> dict[str, Any]:
    """Return the members of the JSON that are byte-level BPE's own."""
    split = metadata.get("tokenizer.ggml.pre")
    if not isinstance(split, str) or split not in SPLITS:
        raise ModelUnsupported(
            f"pre-tokeniser {split!r} is not supported; supported: {', '.join(SPLITS)}."
        )
    return {
        "normalizer": None,
        "pre_tokenizer": _pre_tokenizer(SPLITS[split]),
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False,
                    "use_regex": False},
        "model": {
            "type": "BPE",
            "vocab": {token: index for index, token in enumerate(tokens)},
            "merges": _merges(metadata, frozenset(tokens)),
            "ignore_merges": split in WHOLE_FIRST,
        },
    }  # fmt: skip


def _tokens(metadata: Mapping[str, Any], size: int) -> list[str]:
    tokens = metadata.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, list) or len(tokens) != size:
        raise ModelError(f"tokenizer.ggml.tokens does not list {size} tokens.")
    if len(set(tokens)) != size:
        raise ModelError("tokenizer.ggml.tokens lists a token twice.")
    return tokens


def _types(metadata: Mapping[str, Any], size: int) -> list[int]:
    types = metadata.get("tokenizer.ggml.token_type")
    if types is None or isinstance(types, str | int | float) or len(types) != size:
        raise ModelError(f"tokenizer.ggml.token_type does not list {size} types.")
    return [int(kind) for kind in types]


def _added(tokens: list[str], types: list[int]) -> list[dict[str, Any]]:
    """List the tokens that are matched whole; merges make the others."""
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return [
        {"id": index, "content": token, "special": kind != USER_DEFINED, **flags}
        for index, (token, kind) in enumerate(zip(tokens, types, strict=True))
        if kind in (CONTROL, USER_DEFINED, pieces.UNKNOWN) and token
    ]


def _named_tokens(metadata: Mapping[str, Any], tokens: list[str]) -> dict[str, Any]:
    """Record which tokens templates call `bos_token` and `eos_token`; nothing is added to texts."""
    named = {name: _token_id(metadata, name, len(tokens)) for name in ("bos", "eos")}
    return {
        "type": "TemplateProcessing",
        "single": [{"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {
            name: {"id": name, "ids": [index], "tokens": [tokens[index]]}
            for name, index in named.items()
            if index is not None
        },
    }


def _pre_tokenizer(patterns: tuple[str, ...]) -> dict[str, Any]:
    splits: list[dict[str, Any]] = [
        {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
        for pattern in patterns
    ]
    to_bytes = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": False,
        "use_regex": False,
    }
    return {"type": "Sequence", "pretokenizers": [*splits, to_bytes]}


def _merges(metadata: Mapping[str, Any], tokens: frozenset[str]) -> list[list[str]]:
    merges = metadata.get("tokenizer.ggml.merges")
    if not isinstance(merges, list):
        raise ModelError("tokenizer.ggml.merges is missing.")
    pairs = []
    for merge in merges:
        left, _, right = merge.partition(" ")
        if left not in tokens or right not in tokens or left + right not in tokens:
            raise ModelError("tokenizer.ggml.merges joins what is not in the vocabulary.")
        pairs.append([left, right])
    return pairs


def _eos(metadata: Mapping[str, Any], tokens: list[str]) -> tuple[int, ...]:
    declared = [_token_id(metadata, key, len(tokens)) for key in ("eos", "eot", "eom")]
    index = {token: i for i, token in enumerate(tokens)}
    ends = [token for token in declared if token is not None]
    ends += [index[end] for end in ENDS if end in index]
    if not ends:
        raise ModelError("it names no token that ends an answer (tokenizer.ggml.eos_token_id).")
    return tuple(dict.fromkeys(ends))


def _token_id(metadata: Mapping[str, Any], name: str, size: int) -> int | None:
    value = metadata.get(f"tokenizer.ggml.{name}_token_id")
    if value is None:
        return None
    if not isinstance(value, int) or not 0 <= value < size:
        raise ModelError(f"tokenizer.ggml.{name}_token_id is no token of the vocabulary.")
    return value
