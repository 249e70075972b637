"""A small sentence-transformers model of random weights, and its vectors by NumPy alone."""

import json
import math
import struct

import numpy as np

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "heart", "lung", "##s", "a", "b", "c", "."]
SIZES = {"hidden": 16, "layers": 2, "heads": 4, "inner": 32, "positions": 24}


def write(directory, *, kind="<f4", drop=(), **changes):
    """Write the model's files. drop: tensors left out. changes: fields of config.json."""
    (directory / "1_Pooling").mkdir(parents=True)
    config = {
        "model_type": "bert",
        "hidden_size": SIZES["hidden"],
        "num_hidden_layers": SIZES["layers"],
        "num_attention_heads": SIZES["heads"],
        "intermediate_size": SIZES["inner"],
        "max_position_embeddings": SIZES["positions"],
        "vocab_size": len(WORDS),
        "layer_norm_eps": 1e-12,
        "hidden_act": "gelu",
    }
    files = {
        "config.json": config | changes,
        "sentence_bert_config.json": {"max_seq_length": 20},
        "1_Pooling/config.json": {"pooling_mode_mean_tokens": True},
        "tokenizer.json": tokenizer(),
    }
    for name, content in files.items():
        (directory / name).write_text(json.dumps(content))
    kept = {name: value for name, value in tensors().items() if name not in drop}
    (directory / "model.safetensors").write_bytes(packed(kept, kind=kind))
    (directory / "README.md").write_text("---\nlicense: mit\n---\n")
    return directory


def tensors():
    """The weights by name, as PyTorch lays them out: [out, in]."""
    random = np.random.default_rng(3)
    hidden, inner = SIZES["hidden"], SIZES["inner"]
    shapes = {
        "embeddings.word_embeddings.weight": (len(WORDS), hidden),
        "embeddings.position_embeddings.weight": (SIZES["positions"], hidden),
        "embeddings.token_type_embeddings.weight": (2, hidden),
        "embeddings.LayerNorm.weight": (hidden,),
        "embeddings.LayerNorm.bias": (hidden,),
    }
    for layer in range(SIZES["layers"]):
        there = f"encoder.layer.{layer}"
        for name, (rows, columns) in {
            "attention.self.query": (hidden, hidden),
            "attention.self.key": (hidden, hidden),
            "attention.self.value": (hidden, hidden),
            "attention.output.dense": (hidden, hidden),
            "intermediate.dense": (inner, hidden),
            "output.dense": (hidden, inner),
        }.items():
            shapes[f"{there}.{name}.weight"] = (rows, columns)
            shapes[f"{there}.{name}.bias"] = (rows,)
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes[f"{there}.{name}.weight"] = (hidden,)
            shapes[f"{there}.{name}.bias"] = (hidden,)
    return {n: random.standard_normal(s).astype(np.float32) for n, s in shapes.items()}


def packed(values, *, kind="<f4"):
    """Lay tensors out as a safetensors file."""
    header, body = {"__metadata__": {"format": "pt"}}, b""
    for name, value in values.items():
        data = value.astype(kind).tobytes()
        header[name] = {
            "dtype": {"<f4": "F32", "<f2": "F16", "<f8": "F64"}[kind],
            "shape": list(value.shape),
            "data_offsets": [len(body), len(body) + len(data)],
        }
        body += data
    told = json.dumps(header).encode()
    return struct.pack("<Q", len(told)) + told + body


def tokenizer():
    """A WordPiece tokeniser that pads and cuts, as published ones do."""
    special = [
        {"id": i, "special": True, "content": WORDS[i], "single_word": False, "lstrip": False}
        | {"rstrip": False, "normalized": False}
        for i in range(5)
    ]
    frame = [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}]
    frame += [{"Sequence": {"id": "A", "type_id": 0}}]
    frame += [{"SpecialToken": {"id": "[SEP]", "type_id": 0}}]
    return {
        "version": "1.0",
        "truncation": {"max_length": 4, "strategy": "LongestFirst", "stride": 0},
        "padding": {"strategy": {"Fixed": 4}, "direction": "Right", "pad_to_multiple_of": None}
        | {"pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"},
        "added_tokens": special,
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True}
        | {"strip_accents": None, "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": frame,
            "pair": [*frame, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {
                name: {"id": name, "ids": [WORDS.index(name)], "tokens": [name]}
                for name in ("[CLS]", "[SEP]")
            },
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": {word: i for i, word in enumerate(WORDS)},
        },
    }


def vector(ids):
    """Return the vector of framed tokens: float64, by the formulas of the paper."""
    weights = {name: value.astype(np.float64) for name, value in tensors().items()}
    rows = weights["embeddings.word_embeddings.weight"][ids]
    rows = rows + weights["embeddings.position_embeddings.weight"][: len(ids)]
    rows = rows + weights["embeddings.token_type_embeddings.weight"][0]
    stream = _normed(rows, weights, "embeddings.LayerNorm")
    for layer in range(SIZES["layers"]):
        there = f"encoder.layer.{layer}"
        heads = _attended(stream, weights, f"{there}.attention.self")
        change = _linear(heads, weights, f"{there}.attention.output.dense")
        stream = _normed(stream + change, weights, f"{there}.attention.output.LayerNorm")
        up = _linear(stream, weights, f"{there}.intermediate.dense")
        curved = up * 0.5 * (1 + np.vectorize(math.erf)(up / math.sqrt(2)))
        change = _linear(curved, weights, f"{there}.output.dense")
        stream = _normed(stream + change, weights, f"{there}.output.LayerNorm")
    mean = stream.mean(axis=0)
    return mean / np.linalg.norm(mean)


def _linear(x, weights, name):
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def _normed(x, weights, name):
    spread = np.sqrt(x.var(axis=-1, keepdims=True) + 1e-12)
    centred = (x - x.mean(axis=-1, keepdims=True)) / spread
    return centred * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def _attended(x, weights, name):
    size = SIZES["hidden"] // SIZES["heads"]
    parts = []
    for head in range(SIZES["heads"]):
        columns = slice(head * size, (head + 1) * size)
        q, k, v = (
            _linear(x, weights, f"{name}.{p}")[:, columns] for p in ("query", "key", "value")
        )
        scores = q @ k.T / math.sqrt(size)
        shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
        parts.append(shares / shares.sum(axis=-1, keepdims=True) @ v)
    return np.concatenate(parts, axis=-1)
