"""A SentencePiece vocabulary for tests: bytes, characters, pieces with scores, and traps."""

from pathlib import Path
from typing import Any

import gguf

SPACE = "\u2581"
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6
WORDS = (
    "the", "he", "th", "in", "er", "an", "re", "on", "at", "hello", "hell", "ell", "lo", "llo",
    "patient", "pat", "ient", "tie", "nt", "ti", "ent", "en", "dose", "do", "se", "os", "##", "==",
    "aa", "aaaa", "aaa", "ab", "aba", "ba", "bab", "日本", "本語", "naïve", "na", "ïve", "ve",
)  # fmt: skip
# Joined, these would spell a control token and a byte's own token.
TRAPS = ("</", "s>", "<0x", "41>", "</s", "<0x4", "1>", "<s", "<0", "0x", "x4")
CHARACTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,;:!?<>/[]#=ï日本語"


def metadata(*, prefixed: bool = True) -> dict[str, Any]:
    """Return what a GGUF file says of the vocabulary."""
    control = ["<unk>", "<s>", "</s>"]
    kinds = [UNKNOWN, CONTROL, CONTROL]
    octets = [f"<0x{value:02X}>" for value in range(256)]
    words = [*WORDS, *(SPACE + w for w in WORDS), *TRAPS, SPACE * 2, SPACE * 4, SPACE * 3]
    # Each piece must be reachable by pairs: prefixes of words are pieces too.
    words += [SPACE + w[:cut] for w in WORDS for cut in range(1, len(w))]
    words += [w[:cut] for w in WORDS for cut in range(2, len(w))]
    pieces = list(dict.fromkeys([*words, *CHARACTERS, SPACE]))
    tokens = [*control, *octets, "[INST]", *pieces]
    kinds += [BYTE] * 256 + [USER_DEFINED] + [NORMAL] * len(pieces)
    padding = -len(tokens) % 32
    tokens += [f"[PAD{index}]" for index in range(padding)]
    kinds += [CONTROL] * padding
    scores = [0.0] * (len(tokens) - len(pieces) - padding)
    scores += [-float(rank) for rank in range(len(pieces))] + [0.0] * padding
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": scores,
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.add_space_prefix": prefixed,
    }


def write(path: Path, *, prefixed: bool = True) -> None:
    """Write a GGUF file that has the vocabulary and no weights, as llama.cpp takes it."""
    writer = gguf.GGUFWriter(path, "llama")
    numbers = {"context_length": 64, "embedding_length": 32, "block_count": 1}
    numbers |= {"feed_forward_length": 32, "attention.head_count": 2}
    for name, value in numbers.items():
        writer.add_uint32(f"llama.{name}", value)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    adders = {str: writer.add_string, int: writer.add_uint32, list: writer.add_array}
    adders |= {bool: writer.add_bool}
    for key, value in metadata(prefixed=prefixed).items():
        adders[type(value)](key, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
