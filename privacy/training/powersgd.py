"""PowerSGD between ranks: low-rank factors instead of whole gradients (Vogels et al., 2019).

It sees only sums that already carry their rank's noise, so compressing is post-processing. What a
step leaves out is added to the next one's (error feedback), on the rank that left it out.
"""

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn

from privacy.training.exchange import Ranks


@dataclass(slots=True)
class _Kept:
    """What a rank keeps of one parameter between steps. start: of the next power iteration."""

    left_out: torch.Tensor
    start: torch.Tensor


class PowerSgd(Ranks):
    """Ranks that exchange factors. rank: of the factors; more is closer and larger."""

    def __init__(self, model: nn.Module, *, factors: int = 4) -> None:
        super().__init__()
        self._shapes = [p.shape for p in model.parameters() if p.requires_grad]
        self._factors = factors
        self._kept: list[_Kept] = []

    def total(self, noised: torch.Tensor) -> torch.Tensor:
        """Return about the sum over ranks, the same on every rank."""
        vector = noised.to(self.device, torch.float32)
        pieces = torch.split(vector, [shape.numel() for shape in self._shapes])
        matrices = [
            _matrix(piece, shape) for piece, shape in zip(pieces, self._shapes, strict=True)
        ]
        if not self._kept:
            self._kept = [_Kept(torch.zeros_like(m), self._start(m)) for m in matrices]
        totals = [self._exchanged(*each) for each in zip(matrices, self._kept, strict=True)]
        return torch.cat([total.flatten() for total in totals]).to(noised)

    def _exchanged(self, matrix: torch.Tensor, kept: _Kept) -> torch.Tensor:
        if not self._smaller(matrix):
            self._all_reduce(matrix)
            return matrix
        # The steps of the paper's algorithm 1, with sums for means.
        own = matrix + kept.left_out
        left = own @ kept.start
        self._all_reduce(left)
        left = torch.linalg.qr(left).Q
        right = own.T @ left
        # In place of the paper's mean: each rank keeps what its own part of the sum lost.
        kept.left_out = own - left @ right.T
        self._all_reduce(right)
        kept.start = right / right.norm().clamp_min(1e-30)
        total: torch.Tensor = left @ right.T
        return total

    def _smaller(self, matrix: torch.Tensor) -> bool:
        rows, columns = matrix.shape
        return bool(self._factors * (rows + columns) < rows * columns)

    def _start(self, matrix: torch.Tensor) -> torch.Tensor:
        # The same on all ranks; it only begins a power iteration and hides nothing.
        generator = torch.Generator().manual_seed(matrix.shape[1])
        return torch.randn(matrix.shape[1], self._factors, generator=generator).to(matrix)

    def _all_reduce(self, tensor: torch.Tensor) -> None:
        dist.all_reduce(tensor)
        self.sent_bytes += tensor.numel() * tensor.element_size()


def _matrix(piece: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    rows = shape[0] if len(shape) > 1 else 1
    return piece.view(rows, -1)
