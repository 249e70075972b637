"""A Llama in PyTorch over GGUF's own names: what is calibrated with, distilled, and measured.

Weights are a plain mapping of tensors, so that the same functions run the model, its pruned copy
and its quantised one. PyTorch is loaded by name: nothing that serves may reach it by an import.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from gateway.models.architecture import Architecture
from gateway.models.errors import CompressionImpossible

torch: Any = import_module("torch")

# Sees, and may replace, the input of a matrix: its name without `.weight`, then the input.
Watch = Callable[[str, Any], Any]


def _unwatched(_: str, x: Any) -> Any:
    return x


@dataclass(frozen=True, slots=True)
class Network:
    """A model on one device. weights: float32 tensors by GGUF's names."""

    architecture: Architecture
    weights: Mapping[str, Any]

    def logits(self, ids: Any, *, watch: Watch = _unwatched) -> Any:
        """Predict: ids int64 [B, S] to float32 [B, S, V]."""
        x = self.embedded(ids)
        for layer in range(self.architecture.layers):
            x = self.layer(layer, x, watch=watch)
        return self.head(x)

    def embedded(self, ids: Any) -> Any:
        """Look tokens up: [B, S, hidden]."""
        return self.weights["token_embd.weight"][ids]

    def layer(self, index: int, x: Any, *, watch: Watch = _unwatched) -> Any:
        """Run one layer over the stream [B, S, hidden]."""
        name = f"blk.{index}"
        x = x + self._attention(name, self._norm(x, f"{name}.attn_norm"), watch)
        y = watch(f"{name}.ffn_gate", self._norm(x, f"{name}.ffn_norm"))
        gated = torch.nn.functional.silu(self._linear(f"{name}.ffn_gate", y))
        inner = watch(f"{name}.ffn_down", gated * self._linear(f"{name}.ffn_up", y))
        return x + self._linear(f"{name}.ffn_down", inner)

    def head(self, x: Any) -> Any:
        """Turn the stream into logits."""
        table = self.weights.get("output.weight")
        table = self.weights["token_embd.weight"] if table is None else table
        return (self._norm(x, "output_norm") @ table.to(x.dtype).T).float()

    def _attention(self, name: str, x: Any, watch: Watch) -> Any:
        a = self.architecture
        x = watch(f"{name}.attn_q", x)
        query = self._heads(f"{name}.attn_q", x, a.heads)
        key = self._heads(f"{name}.attn_k", x, a.kv_heads)
        value = self._heads(f"{name}.attn_v", x, a.kv_heads)
        if a.head_norms:
            query = self._norm(query, f"{name}.attn_q_norm")
            key = self._norm(key, f"{name}.attn_k_norm")
        turns = self._turns(x.shape[1], x.device)
        shared = a.heads // a.kv_heads
        mixed = torch.nn.functional.scaled_dot_product_attention(
            self._rotated(query, *turns),
            self._rotated(key, *turns).repeat_interleave(shared, 1),
            value.repeat_interleave(shared, 1),
            is_causal=True,
        )
        merged = mixed.transpose(1, 2).reshape(*x.shape[:2], -1)
        return self._linear(f"{name}.attn_output", watch(f"{name}.attn_output", merged))

    def _heads(self, name: str, x: Any, count: int) -> Any:
        """Multiply and part into heads: [B, count, S, head size]."""
        rows = self._linear(name, x)
        return rows.view(*rows.shape[:2], count, -1).transpose(1, 2)

    def _linear(self, name: str, x: Any) -> Any:
        bias = self.weights.get(f"{name}.bias")
        return torch.nn.functional.linear(x, self.weights[f"{name}.weight"], bias)

    def _norm(self, x: Any, name: str) -> Any:
        spread = x.float().pow(2).mean(-1, keepdim=True) + self.architecture.epsilon
        return (x.float() * spread.rsqrt()).to(x.dtype) * self.weights[f"{name}.weight"]

    def _turns(self, length: int, device: Any) -> tuple[Any, Any]:
        """Tabulate cosine and sine: [S, head size / 2]."""
        a = self.architecture
        exponents = torch.arange(0, a.head_dim, 2, device=device, dtype=torch.float64) / a.head_dim
        frequencies = a.rope_base**-exponents
        if "rope_freqs.weight" in self.weights:
            frequencies = frequencies / self.weights["rope_freqs.weight"].double()
        positions = torch.arange(length, device=device, dtype=torch.float64) / a.rope_stretch
        angles = positions[:, None] * frequencies
        return angles.cos().float(), angles.sin().float()

    def _rotated(self, x: Any, cosine: Any, sine: Any) -> Any:
        """Rotate the pairs of each head: neighbours, or the halves' partners (Qwen)."""
        wide = x.float()
        if self.architecture.interleaved:
            first, second = wide[..., 0::2], wide[..., 1::2]
        else:
            first, second = wide.chunk(2, -1)
        pair = (first * cosine - second * sine, second * cosine + first * sine)
        if self.architecture.interleaved:
            return torch.stack(pair, -1).flatten(-2).to(x.dtype)
        return torch.cat(pair, -1).to(x.dtype)


def require_device(device: str) -> None:
    """Check that PyTorch can compute there.

    Raises:
        CompressionImpossible: It cannot.
    """
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError):
        raise CompressionImpossible(
            f"PyTorch cannot compute on {device!r} here. Use --device cpu."
        ) from None


def network(architecture: Architecture, weights: Mapping[str, Any], *, device: str) -> Network:
    """Put a model's float32 arrays on a device."""
    tensors = {name: torch.tensor(value, device=device) for name, value in weights.items()}
    return Network(architecture, tensors)
