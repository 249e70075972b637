"""Write tests/vectors/shape-logits.json: transformers' logits for the models of tiny_shapes.py.

Run where `torch` and `transformers` are installed, from the repository's root:

    python -m tests.vectors.make_shape_vectors
"""

import json
from pathlib import Path
from typing import Any

import torch
import transformers

from tests import tiny_shapes

OUT = Path(__file__).with_name("shape-logits.json")
CLASSES = {"llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3"}


def main() -> None:
    """Compute every shape's logits in float64 and write those that are compared."""
    logits = {shape: _logits(shape) for shape in tiny_shapes.SHAPES}
    document = {"transformers": transformers.__version__, "logits": logits}
    OUT.write_text(json.dumps(document) + "\n")


def _logits(shape: str) -> list[list[float]]:
    model = _model(shape)
    own = {name: torch.from_numpy(value) for name, value in tiny_shapes.weights(shape).items()}
    missing, unexpected = model.load_state_dict(own, strict=False)
    assert not unexpected, unexpected
    assert set(missing) <= {"lm_head.weight"}, missing
    model.double().eval()
    with torch.no_grad():
        out = model(torch.tensor([tiny_shapes.IDS])).logits[0]
    return [[round(v, 5) for v in out[n - 1].tolist()] for n in tiny_shapes.LENGTHS]


def _model(shape: str) -> Any:
    own, name = tiny_shapes.SHAPES[shape], CLASSES[tiny_shapes.family(shape)]
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": own["rope_base"]}
    if "stretch" in own:
        rope = {"rope_type": "linear", "rope_theta": own["rope_base"], "factor": own["stretch"]}
    config = getattr(transformers, f"{name}Config")(
        vocab_size=tiny_shapes.VOCABULARY,
        hidden_size=tiny_shapes.HIDDEN,
        intermediate_size=tiny_shapes.INNER,
        num_hidden_layers=tiny_shapes.LAYERS,
        num_attention_heads=own["heads"],
        num_key_value_heads=own["kv_heads"],
        head_dim=own["head_dim"],
        max_position_embeddings=tiny_shapes.CONTEXT,
        rms_norm_eps=tiny_shapes.EPSILON,
        rope_parameters=rope,
        tie_word_embeddings=shape in tiny_shapes.TIED,
        attn_implementation="eager",
        **({"sliding_window": own.get("window")} if name == "Mistral" else {}),
    )
    return getattr(transformers, f"{name}ForCausalLM")(config)


if __name__ == "__main__":
    main()
