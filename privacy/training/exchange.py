"""How the ranks of a run add up their sums; a run in one process is the case of one rank.

Every rank adds its share of the noise before anything leaves it, so no rank ever sends a sum of
gradients without noise. A share alone is less noise than the total: ranks must not publish what
they see of each other. See docs/training.md.
"""

import json
from collections.abc import Callable
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import nn

from privacy.training import errors
from privacy.training.errors import TrainingError

_CPU = torch.device("cpu")


class Exchange(Protocol):
    """What a run needs of its ranks."""

    @property
    def rank(self) -> int:
        """This process's number; 0 leads."""
        ...

    @property
    def ranks(self) -> int:
        """How many processes make the run."""
        ...

    def total(self, noised: torch.Tensor) -> torch.Tensor:
        """Return the sum over ranks of their noised vectors, the same on every rank."""
        ...

    def led(self, deed: Callable[[], Any]) -> Any:
        """Do something on rank 0 alone, and return its plain result, or raise its error, on all."""
        ...

    def align(self, model: nn.Module) -> None:
        """Give every rank the parameters and buffers of rank 0."""
        ...


class Solo:
    """One process."""

    rank = 0
    ranks = 1

    def total(self, noised: torch.Tensor) -> torch.Tensor:
        """Return the vector itself."""
        return noised

    def led(self, deed: Callable[[], Any]) -> Any:
        """Do it."""
        return deed()

    def align(self, model: nn.Module) -> None:
        """Leave the model as it is."""


class Ranks:
    """The processes of torch.distributed, over gloo or NCCL.

    With NCCL every process must have chosen its GPU, by torch.cuda.set_device, beforehand.
    sent_bytes: what this rank's vectors amounted to so far.
    """

    def __init__(self) -> None:
        self.rank = dist.get_rank()
        self.ranks = dist.get_world_size()
        self.sent_bytes = 0
        # Where the backend wants its tensors.
        on_gpu = dist.get_backend() == "nccl"
        self.device = torch.device("cuda", torch.cuda.current_device()) if on_gpu else _CPU

    def total(self, noised: torch.Tensor) -> torch.Tensor:
        """Add up in float32, as gradients are usually sent."""
        vector = noised.to(self.device, torch.float32)
        dist.all_reduce(vector)
        self.sent_bytes += vector.numel() * vector.element_size()
        return vector.to(noised.device)

    def led(self, deed: Callable[[], Any]) -> Any:
        """Do something on rank 0 and tell all what came of it, as JSON."""
        told = b""
        if self.rank == 0:
            try:
                told = json.dumps({"result": deed()}).encode()
            except TrainingError as error:
                told = json.dumps({"error": type(error).__name__, "message": str(error)}).encode()
        answer = json.loads(self._broadcast(told))
        if "error" in answer:
            raise getattr(errors, answer["error"])(answer["message"])
        return answer["result"]

    def _broadcast(self, data: bytes) -> bytes:
        size = torch.tensor([len(data)], dtype=torch.int64, device=self.device)
        dist.broadcast(size, src=0)
        content = torch.zeros(int(size), dtype=torch.uint8, device=self.device)
        if self.rank == 0:
            content.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8))
        dist.broadcast(content, src=0)
        return bytes(content.cpu().numpy())

    def align(self, model: nn.Module) -> None:
        """Broadcast rank 0's parameters and buffers."""
        for tensor in (*model.parameters(), *model.buffers()):
            content = tensor.data.to(self.device).contiguous()
            dist.broadcast(content, src=0)
            tensor.data.copy_(content)


def found() -> Exchange:
    """Return the processes that torchrun started, or the one that there is."""
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        return Ranks()
    return Solo()
