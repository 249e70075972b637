import pytest
import torch
from torch import nn

from privacy.training.errors import ModuleUnsupported, OptimizerUnsupported
from privacy.training.validation import require_model, require_optimizer


class Buffered(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.register_buffer("seen", torch.zeros(2))


@pytest.mark.parametrize(
    ("layer", "named", "instead"),
    [
        (nn.BatchNorm2d(4), "BatchNorm2d", "GroupNorm"),
        (nn.SyncBatchNorm(4), "SyncBatchNorm", "GroupNorm"),
        (nn.LSTM(4, 4), "LSTM", "DPLSTM"),
        (nn.GRU(4, 4), "GRU", "DPGRU"),
        (nn.RNN(4, 4), "RNN", "DPRNN"),
        (nn.MultiheadAttention(4, 2), "MultiheadAttention", "DPMultiheadAttention"),
        (nn.TransformerEncoderLayer(4, 2), "MultiheadAttention", "DPMultiheadAttention"),
        (nn.EmbeddingBag(4, 4), "EmbeddingBag", "Embedding"),
        (nn.InstanceNorm2d(4, track_running_stats=True), "InstanceNorm2d", "track_running_stats"),
        (Buffered(), "Buffered", "module of their own"),
        (nn.Linear(4, 4).half(), "Linear", "autocast"),
        (nn.Linear(4, 4).bfloat16(), "Linear", "autocast"),
        (nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)), "Linear", "parametrization"),
    ],
)
def test_a_layer_that_cannot_be_private_is_named_with_what_to_use(layer, named, instead):
    model = nn.Sequential(nn.Linear(4, 4), layer)
    with pytest.raises(ModuleUnsupported, match=rf"1(\.\w+)? \(\w*{named}\): .*{instead}"):
        require_model(model)


def test_every_unsupported_layer_is_named():
    with pytest.raises(ModuleUnsupported, match=r"0 \(BatchNorm1d\).*2 \(LSTM\)"):
        require_model(nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 4), nn.LSTM(4, 4)))


def test_frozen_layers_may_be_of_any_kind_once_they_do_not_read_the_batch():
    frozen = nn.Sequential(nn.BatchNorm1d(4), nn.LSTM(4, 4)).requires_grad_(requires_grad=False)
    model = nn.Sequential(frozen, nn.Linear(4, 4))
    with pytest.raises(ModuleUnsupported, match="BatchNorm1d"):
        require_model(model)
    frozen.eval()
    require_model(model)


def test_a_model_without_trainable_parameters_is_refused():
    with pytest.raises(ModuleUnsupported, match="no trainable parameter"):
        require_model(nn.Linear(2, 2).requires_grad_(requires_grad=False))


def test_an_optimizer_of_other_parameters_is_refused():
    model, other = nn.Linear(2, 2), nn.Linear(2, 2)
    with pytest.raises(OptimizerUnsupported, match="not trainable ones of the model"):
        require_optimizer(
            torch.optim.SGD([*model.parameters(), *other.parameters()], lr=1.0), model
        )


def test_an_optimizer_that_leaves_parameters_out_is_refused_by_their_name():
    model = nn.Linear(2, 2)
    with pytest.raises(OptimizerUnsupported, match="bias"):
        require_optimizer(torch.optim.SGD([model.weight], lr=1.0), model)


def test_an_optimizer_that_evaluates_gradients_itself_is_refused():
    model = nn.Linear(2, 2)
    with pytest.raises(OptimizerUnsupported, match="LBFGS"):
        require_optimizer(torch.optim.LBFGS(model.parameters()), model)
