"""The reference model in batches, where torch is installed: bfloat16, some twenty times faster.

On a GPU where torch knows one. Only to make texts for the watermark's benchmark. The tests hold it
to the float32 reference.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import gguf
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional


class BatchModel:
    """A Llama whose prompts are padded on the left, with one cache for all rows."""

    def __init__(self, path: Path) -> None:
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        reader = gguf.GGUFReader(path)
        self._fields = {
            key.removeprefix("llama."): field.contents()
            for key, field in reader.fields.items()
            if key.startswith("llama.")
        }
        self._weights = {
            tensor.name.removesuffix(".weight"): torch.tensor(
                gguf.dequantize(tensor.data.view(np.ndarray), tensor.tensor_type),
                dtype=torch.bfloat16,
                device=self._device,
            )
            for tensor in reader.tensors
        }
        self._layers = int(self._fields["block_count"])
        self._groups = int(self._fields["attention.head_count_kv"])
        self._size = int(self._fields["rope.dimension_count"])
        self._cache: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._mask = torch.zeros(0, device=self._device)
        self._filled = 0

    def start(self, prompts: Sequence[Sequence[int]], *, answer_tokens: int) -> NDArray[np.float32]:
        """Begin a batch and return the logits after each prompt: float32 [rows, vocabulary]."""
        width = max(map(len, prompts))
        total = width + answer_tokens
        rows = len(prompts)
        shape = (rows, self._groups, total, self._size)
        kind = {"dtype": torch.bfloat16, "device": self._device}
        self._cache = [
            (torch.zeros(shape, **kind), torch.zeros(shape, **kind)) for _ in range(self._layers)
        ]
        self._mask = torch.zeros((rows, total), dtype=torch.bool, device=self._device)
        tokens = np.zeros((rows, width), np.int64)
        for row, prompt in enumerate(prompts):
            tokens[row, width - len(prompt) :] = prompt
            self._mask[row, width - len(prompt) :] = True
        self._filled = 0
        return self.feed(tokens)

    @torch.inference_mode()
    def feed(self, columns: NDArray[np.int64]) -> NDArray[np.float32]:
        """Append a column or more of tokens and return the next ones' logits."""
        tokens = torch.from_numpy(columns).to(self._device)
        begin, end = self._filled, self._filled + tokens.shape[1]
        self._filled = end
        turn = self._turn(begin, end)
        mask = self._visible(begin, end)
        h = self._weights["token_embd"][tokens]
        for layer in range(self._layers):
            parts = self._parts(layer)
            x = self._norm(h, parts["attn_norm"])
            h = h + self._attention(x, parts, self._cache[layer], (begin, end), turn, mask)
            x = self._norm(h, parts["ffn_norm"])
            gated = functional.silu(x @ parts["ffn_gate"].T) * (x @ parts["ffn_up"].T)
            h = h + gated @ parts["ffn_down"].T
        h = self._norm(h[:, -1], self._weights["output_norm"])
        head = self._weights.get("output", self._weights["token_embd"])
        return (h @ head.T).float().cpu().numpy()

    def _parts(self, layer: int) -> Mapping[str, torch.Tensor]:
        prefix = f"blk.{layer}."
        names = ("attn_norm", "attn_q", "attn_k", "attn_v", "attn_output")
        names += ("ffn_norm", "ffn_gate", "ffn_up", "ffn_down")
        return {name: self._weights[prefix + name] for name in names}

    def _norm(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        epsilon = self._fields["attention.layer_norm_rms_epsilon"]
        return functional.rms_norm(x, (x.shape[-1],), weight, epsilon)

    def _turn(self, begin: int, end: int) -> torch.Tensor:
        """Rotations of each row's own positions: complex [rows, 1, columns, size / 2]."""
        positions = (self._mask.long().cumsum(-1) - 1).clamp(min=0)[:, begin:end]
        exponents = -torch.arange(0, self._size, 2, device=self._device) / self._size
        angles = positions[:, None, :, None] * self._fields["rope.freq_base"] ** exponents
        return torch.polar(torch.ones_like(angles), angles)

    def _visible(self, begin: int, end: int) -> torch.Tensor:
        self._mask[:, begin:end] |= end - begin == 1
        seen = torch.arange(end, device=self._device)[None, :]
        places = torch.arange(begin, end, device=self._device)[:, None]
        causal = seen <= places
        # A padded place looks at itself, or its softmax would be empty.
        own = seen == places
        return (self._mask[:, None, None, :end] & causal) | own

    def _attention(
        self,
        x: torch.Tensor,
        parts: Mapping[str, torch.Tensor],
        cache: tuple[torch.Tensor, torch.Tensor],
        place: tuple[int, int],
        turn: torch.Tensor,
        mask: torch.Tensor,
    ) -> torch.Tensor:
        def heads(name: str) -> torch.Tensor:
            return (x @ parts[name].T).unflatten(-1, (-1, self._size)).transpose(1, 2)

        begin, end = place
        keys, values = cache
        keys[:, :, begin:end] = _rotated(heads("attn_k"), turn)
        values[:, :, begin:end] = heads("attn_v")
        mixed = functional.scaled_dot_product_attention(
            _rotated(heads("attn_q"), turn),
            keys[:, :, :end],
            values[:, :, :end],
            attn_mask=mask,
            enable_gqa=True,
        )
        return mixed.transpose(1, 2).flatten(2) @ parts["attn_output"].T


def _rotated(values: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
    pairs = torch.view_as_complex(values.float().unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * turn).flatten(-2).to(torch.bfloat16)
