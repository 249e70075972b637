"""Per-sample gradients, clipped and summed: Opacus' hooks, our clipping.

Adds no noise: a sum that leaves here is not private yet, and goes nowhere but to the mechanism.
"""

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from opacus.grad_sample import GradSampleHooks
from opacus.layers import DPGRU, DPLSTM, DPRNN
from torch import nn

from privacy.training.errors import BatchMixed, ModelDiverged, ModuleUnsupported

_RAW = "grad_sample"
# Their cells are Linear layers, which have samplers.
_RECURRENT = (DPRNN, DPLSTM, DPGRU)
# Norms and sums are float32; this much below the bound, their rounding cannot exceed it.
_ROUNDING = 1 - 2**-18


class NonFiniteGradients(UserWarning):
    """Some records had gradients that are not finite; they counted as zero."""


class ClippedSums:
    """Sums over records of clipped gradients, gathered over a step's micro-batches.

    clip: the largest L2 norm of one record's gradient over all parameters.
    """

    def __init__(self, model: nn.Module, *, clip: float) -> None:
        self._model = model
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self._clip = clip
        self._hooks = GradSampleHooks(model, loss_reduction="mean")
        self._guards = [
            module.register_forward_pre_hook(_require_one_input, with_kwargs=True)
            for module in self._hooks.iterate_submodules(model)
            if type(module) not in (*GradSampleHooks.GRAD_SAMPLERS, *_RECURRENT)
        ]
        self._sums: list[torch.Tensor] | None = None

    @property
    def size(self) -> int:
        """How many numbers a sum has."""
        return sum(p.numel() for p in self._parameters)

    def take(self, records: int) -> None:
        """Clip the gradients of the backward passes since the last call, and add them.

        records: how many records were drawn; each must have one gradient.

        Raises:
            BatchMixed: There are more or fewer, or none because nothing was recorded.
        """
        passes = list(self._passes())
        if sum(len(samples[0]) for _, samples in passes) != records:
            counts = [len(samples[0]) for _, samples in passes]
            raise BatchMixed(
                f"The loop computed gradients of {counts or 'no'} records, the sampler drew "
                f"{records}. Run each batch once, whole, through the model in training mode, with "
                "the records along the first dimension, and call backward before step."
            )
        for parameters, samples in passes:
            self._add(parameters, samples)
        self.forget_raw()

    def add(self, contribution: torch.Tensor) -> None:
        """Add a sum of other records' clipped gradients, float [size]."""
        sums = self._totals()
        at = 0
        for total in sums:
            total.add_(contribution[at : at + total.numel()].view_as(total).to(total))
            at += total.numel()

    def release(self) -> torch.Tensor:
        """Return the sum so far, float64 [size], and begin a new one."""
        flat = torch.cat([total.flatten() for total in self._totals()]).to(torch.float64)
        self._sums = None
        return flat

    def assign(self, flat: torch.Tensor) -> None:
        """Make a private vector, [size], the parameters' gradient."""
        at = 0
        for parameter in self._parameters:
            piece = flat[at : at + parameter.numel()]
            parameter.grad = piece.view_as(parameter).to(parameter)
            at += parameter.numel()

    def require_training(self) -> None:
        """Raise BatchMixed unless the model is in training mode, in which alone hooks record."""
        if not self._model.training:
            raise BatchMixed("The model is in evaluation mode. Call model.train() first.")

    def require_finite(self) -> None:
        """Raise ModelDiverged if a parameter is not finite.

        Parameters are private already: looking at them tells nothing of this step's records.
        """
        # One question to the device rather than one for each parameter.
        whole = torch.stack([torch.isfinite(p.detach()).all() for p in self._parameters])
        if not bool(whole.all()):
            raise ModelDiverged(
                "A parameter of the model is not finite. Lower the learning rate, and resume "
                "from a checkpoint."
            )

    def forget_raw(self) -> None:
        """Drop what autograd and the hooks left on the parameters."""
        for parameter in self._parameters:
            # An attribute of Opacus', which torch does not know.
            setattr(parameter, _RAW, None)
            parameter.grad = None

    def close(self) -> None:
        """Take the hooks off the model."""
        self.forget_raw()
        for guard in self._guards:
            guard.remove()
        self._hooks.cleanup()

    def _totals(self) -> list[torch.Tensor]:
        if self._sums is None:
            self._sums = [torch.zeros_like(p, dtype=torch.float32) for p in self._parameters]
        return self._sums

    def _passes(self) -> Iterator[tuple[list[int], list[torch.Tensor]]]:
        """Yield, for each backward pass, the parameters it reached and their gradients.

        A gradient is [records, *parameter shape].
        """
        recorded = [_as_list(getattr(p, _RAW, None)) for p in self._parameters]
        for number in range(max(map(len, recorded), default=0)):
            reached = [i for i, samples in enumerate(recorded) if len(samples) > number]
            samples = [recorded[i][number] for i in reached]
            if len({len(sample) for sample in samples}) != 1:
                raise BatchMixed(
                    "Layers disagree on how many records a batch has. Keep the records along the "
                    "first dimension of every layer's input."
                )
            yield reached, samples

    def _add(self, parameters: list[int], samples: list[torch.Tensor]) -> None:
        if len(samples[0]) == 0:
            return
        flat = [sample.flatten(1).float() for sample in samples]
        norms = torch.stack([torch.linalg.vector_norm(g, dim=1) for g in flat])
        norm = torch.linalg.vector_norm(norms, dim=0)
        factor = clip_factors(norm, self._clip)
        finite = torch.isfinite(norm)
        if not bool(finite.all()):
            # Zero is a contribution within the bound; NaN times zero would not be zero.
            warnings.warn(
                "Records whose loss or gradient is not finite count as zero. Check data and loss.",
                NonFiniteGradients,
                stacklevel=2,
            )
            factor = torch.where(finite, factor, 0.0)
            flat = [torch.where(finite[:, None], g, 0.0) for g in flat]
        sums = self._totals()
        for index, gradient in zip(parameters, flat, strict=True):
            sums[index] += (factor @ gradient).view_as(sums[index])


def clip_factors(norms: torch.Tensor, clip: float) -> torch.Tensor:
    """Return what each gradient is multiplied by, so that none is longer than `clip`."""
    return (clip * _ROUNDING / norms.clamp_min(1e-30)).clamp_max(1.0)


def _require_one_input(
    module: nn.Module, inputs: tuple[Any, ...], named: Mapping[str, Any]
) -> None:
    """Raise ModuleUnsupported if a layer without a sampler of its own is given several inputs.

    Such a layer is evaluated again, for each record, on its first input alone.
    """
    if len(inputs) != 1 or any(value is not None for value in named.values()):
        raise ModuleUnsupported(
            f"A {type(module).__name__} with weights of its own is called with several inputs. "
            "Give it one, or put its weights into layers such as torch.nn.Linear."
        )


def _as_list(samples: torch.Tensor | list[torch.Tensor] | None) -> list[torch.Tensor]:
    if samples is None:
        return []
    return samples if isinstance(samples, list) else [samples]
