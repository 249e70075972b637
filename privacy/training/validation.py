"""Which models and optimizers can be trained privately; what cannot is named, with a way out.

A layer that mixes the records of a batch, or keeps statistics of them, has no per-sample gradient
whose clipping bounds what one record does.
"""

from collections.abc import Callable, Iterator

import torch
from torch import nn

from privacy.training.errors import ModuleUnsupported, OptimizerUnsupported

_INSTEAD: tuple[tuple[type[nn.Module], str], ...] = (
    (
        nn.modules.batchnorm._BatchNorm,  # noqa: SLF001 - The one base of every batch norm.
        "it mixes the records of a batch. Use torch.nn.GroupNorm",
    ),
    (nn.LSTM, "its weights have no per-sample gradient. Use opacus.layers.DPLSTM"),
    (nn.GRU, "its weights have no per-sample gradient. Use opacus.layers.DPGRU"),
    (nn.RNN, "its weights have no per-sample gradient. Use opacus.layers.DPRNN"),
    (
        nn.MultiheadAttention,
        "its weights have no per-sample gradient. Use opacus.layers.DPMultiheadAttention",
    ),
    (nn.EmbeddingBag, "its bags may span records. Use torch.nn.Embedding and add up"),
)
_REAL = (torch.float32, torch.float64)


def require_model(model: nn.Module) -> None:
    """Raise ModuleUnsupported, naming every layer that cannot be trained privately."""
    found = [
        f"{name or 'the model'} ({type(module).__name__}): {reason}"
        for name, module in model.named_modules()
        for reason in _problems(module)
    ]
    if found:
        raise ModuleUnsupported("; ".join(found) + ".")
    if not any(p.requires_grad for p in model.parameters()):
        raise ModuleUnsupported("The model has no trainable parameter. Set requires_grad on some.")


def require_optimizer(optimizer: torch.optim.Optimizer, model: nn.Module) -> None:
    """Raise OptimizerUnsupported unless it steps exactly the model's trainable parameters."""
    if isinstance(optimizer, torch.optim.LBFGS | torch.optim.SparseAdam):
        raise OptimizerUnsupported(
            f"{type(optimizer).__name__} evaluates gradients in its own way. Use SGD or AdamW."
        )
    stepped = {id(p) for group in optimizer.param_groups for p in group["params"]}
    trainable = {id(p): name for name, p in model.named_parameters() if p.requires_grad}
    if stepped - trainable.keys():
        raise OptimizerUnsupported(
            "The optimizer steps parameters that are not trainable ones of the model: their "
            "gradients would not be clipped. Give it the model's trainable parameters."
        )
    missing = [name for key, name in trainable.items() if key not in stepped]
    if missing:
        raise OptimizerUnsupported(
            f"The optimizer does not step {missing[0]}. Add it, or set its requires_grad to False."
        )


def _problems(module: nn.Module) -> Iterator[str]:
    own = [p for p in module.parameters(recurse=False) if p.requires_grad]
    for kind, instead in _INSTEAD:
        # A frozen batch norm still reads the batch while it is in training mode.
        mixes = kind is _INSTEAD[0][0] and module.training
        if isinstance(module, kind) and (
            mixes or any(p.requires_grad for p in module.parameters())
        ):
            yield instead
            return
    for problem, instead in _TESTS:
        if problem(module, own):
            yield instead
            return


def _keeps_statistics(module: nn.Module, own: list[nn.Parameter]) -> bool:
    instance_norm = nn.modules.instancenorm._InstanceNorm  # noqa: SLF001 - As above.
    kept = isinstance(module, instance_norm) and module.track_running_stats
    return bool(kept and (module.training or own))


def _has_buffers(module: nn.Module, own: list[nn.Parameter]) -> bool:
    return bool(own) and any(True for _ in module.buffers(recurse=False))


def _is_parametrized(module: nn.Module, own: list[nn.Parameter]) -> bool:
    del own
    return torch.nn.utils.parametrize.is_parametrized(module) and any(
        p.requires_grad for p in module.parameters()
    )


def _is_narrow(module: nn.Module, own: list[nn.Parameter]) -> bool:
    del module
    return any(p.dtype not in _REAL for p in own)


_TESTS: tuple[tuple[Callable[[nn.Module, list[nn.Parameter]], bool], str], ...] = (
    (_keeps_statistics, "it keeps statistics of records. Set track_running_stats to False"),
    (_has_buffers, "it has buffers beside trainable weights. Keep them in a module of their own"),
    (_is_parametrized, "its weight is computed from others. Remove the parametrization"),
    (
        _is_narrow,
        "its trainable weights are not float32. Keep them so and use torch.autocast(bfloat16)",
    ),
)
