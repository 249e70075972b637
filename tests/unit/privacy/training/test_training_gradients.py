"""Clipped sums against an explicit loop over records, for every kind of layer."""

import pytest
import torch
from opacus.layers import DPGRU, DPLSTM, DPRNN, DPMultiheadAttention
from torch import nn
from transformers.pytorch_utils import Conv1D

from privacy.training.errors import BatchMixed, ModelDiverged, ModuleUnsupported
from privacy.training.gradients import ClippedSums, NonFiniteGradients

RECORDS = 6
pytestmark = pytest.mark.filterwarnings("ignore:Full backward hook is firing")


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = DPMultiheadAttention(8, 2, batch_first=True)
        self.out = nn.Linear(8, 2)

    def forward(self, x):
        return self.out(self.attention(x, x, x, need_weights=False)[0].mean(dim=1))


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.cells = kind(8, 5, batch_first=True)
        self.out = nn.Linear(5, 2)

    def forward(self, x):
        return self.out(self.cells(x)[0].mean(dim=1))


class OwnParameter(nn.Module):
    """A layer that nobody wrote a sampler for."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.randn(8))

    def forward(self, x):
        return torch.sin(x * self.scale)


class Gated(nn.Module):
    """A layer of two inputs that nobody wrote a sampler for."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.randn(8))

    def forward(self, x, gate=None):
        return x * self.scale if gate is None else x * self.scale * gate


class Called(nn.Module):
    def __init__(self, inner, *inputs, **named):
        super().__init__()
        self.inner, self.inputs, self.named = inner, inputs, named

    def forward(self, x):
        return self.inner(x, *self.inputs, **self.named)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(8, 8, bias=False)
        self.second = nn.Linear(8, 8, bias=False)
        self.second.weight = self.first.weight
        self.out = nn.Linear(8, 2)

    def forward(self, x):
        return self.out(self.second(torch.tanh(self.first(x))))


def flat(*layers):
    return nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(2))


def batch(*shape):
    return torch.randn(RECORDS, *shape, generator=torch.Generator().manual_seed(5))


def tokens():
    return torch.randint(0, 11, (RECORDS, 7), generator=torch.Generator().manual_seed(5))


KINDS = {
    "Linear": (lambda: flat(nn.Linear(8, 4), nn.Tanh()), lambda: batch(8)),
    "Linear over a sequence": (lambda: flat(nn.Linear(8, 4), nn.Tanh()), lambda: batch(5, 8)),
    "Conv1d": (lambda: flat(nn.Conv1d(3, 4, 3), nn.Tanh()), lambda: batch(3, 9)),
    "Conv2d": (lambda: flat(nn.Conv2d(3, 4, 3, stride=2), nn.Tanh()), lambda: batch(3, 9, 9)),
    "Conv2d in groups": (lambda: flat(nn.Conv2d(4, 4, 3, groups=2)), lambda: batch(4, 6, 6)),
    "Conv3d": (lambda: flat(nn.Conv3d(2, 3, 2), nn.Tanh()), lambda: batch(2, 4, 4, 4)),
    "Embedding": (lambda: flat(nn.Embedding(11, 4), nn.Tanh()), tokens),
    "LayerNorm": (lambda: flat(nn.Linear(8, 8), nn.LayerNorm(8)), lambda: batch(8)),
    "RMSNorm": (lambda: flat(nn.Linear(8, 8), nn.RMSNorm(8)), lambda: batch(8)),
    "GroupNorm": (lambda: flat(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4)), lambda: batch(3, 6, 6)),
    "InstanceNorm2d": (
        lambda: flat(nn.Conv2d(3, 4, 3), nn.InstanceNorm2d(4, affine=True), nn.Tanh()),
        lambda: batch(3, 6, 6),
    ),
    "DPLSTM": (lambda: Recurrent(DPLSTM), lambda: batch(5, 8)),
    "DPGRU": (lambda: Recurrent(DPGRU), lambda: batch(5, 8)),
    "DPRNN": (lambda: Recurrent(DPRNN), lambda: batch(5, 8)),
    "DPMultiheadAttention": (Attention, lambda: batch(5, 8)),
    "ConvTranspose2d": (
        lambda: flat(nn.ConvTranspose2d(3, 2, 3), nn.Tanh()),
        lambda: batch(3, 5, 5),
    ),
    "PReLU": (lambda: flat(nn.Linear(8, 4), nn.PReLU(4)), lambda: batch(8)),
    "GPT-2's Conv1D": (lambda: flat(Conv1D(4, 8), nn.Tanh()), lambda: batch(5, 8)),
    "a module's own parameter": (lambda: flat(OwnParameter()), lambda: batch(8)),
    "tied weights": (Tied, lambda: batch(8)),
}


def loss(model, inputs, labels):
    return nn.functional.cross_entropy(model(inputs), labels)


def built(kind):
    make, inputs = KINDS[kind]
    torch.manual_seed(1)
    model, x = make(), inputs()
    model(x)
    return model, x, torch.arange(RECORDS) % 2


def by_loop(model, x, y, clip):
    """Add up clipped gradients, one record at a time."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    total = torch.zeros(sum(p.numel() for p in parameters), dtype=torch.float64)
    norms = []
    for i in range(len(x)):
        gradients = torch.autograd.grad(loss(model, x[i : i + 1], y[i : i + 1]), parameters)
        gradient = torch.cat([g.flatten() for g in gradients]).double()
        norms.append(float(gradient.norm()))
        total += gradient * min(1.0, clip / norms[-1])
    return total, norms


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.3, 1.0, 10.0], ids=["all clipped", "some", "none"])
def test_clipped_sum_is_that_of_an_explicit_loop(kind, share):
    model, x, y = built(kind)
    _, norms = by_loop(model, x, y, 1.0)
    clip = share * sorted(norms)[RECORDS // 2]
    expected, _ = by_loop(model, x, y, clip)
    sums = ClippedSums(model, clip=clip)
    loss(model, x, y).backward()
    sums.take(RECORDS)
    found = sums.release()
    assert float((found - expected).norm() / expected.norm()) < 1e-4


@pytest.mark.parametrize("parts", [[6], [4, 2], [1, 2, 3]])
def test_micro_batches_add_up_to_the_whole(parts):
    model, x, y = built("Conv2d")
    expected, _ = by_loop(model, x, y, 0.5)
    sums = ClippedSums(model, clip=0.5)
    at = 0
    for part in parts:
        loss(model, x[at : at + part], y[at : at + part]).backward()
        sums.take(part)
        at += part
    assert torch.allclose(sums.release(), expected, rtol=1e-4, atol=1e-5)


def test_autocast_to_bfloat16_stays_close_and_within_the_bound():
    model, x, y = built("Linear")
    expected, _ = by_loop(model, x, y, 0.5)
    sums = ClippedSums(model, clip=0.5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss(model, x, y).backward()
    sums.take(RECORDS)
    found = sums.release()
    assert float((found - expected).norm() / expected.norm()) < 0.05
    assert float(found.norm()) <= 0.5 * RECORDS


@pytest.mark.filterwarnings("ignore:Records whose loss or gradient is not finite")
@pytest.mark.parametrize("size", [1e6, 1e12, 1e30])
def test_an_outlier_counts_no_more_than_the_bound(size):
    model, x, y = built("Linear")
    sums = ClippedSums(model, clip=1.0)
    x[0] *= size
    (loss(model, x[:1], y[:1]) * size).backward()
    sums.take(1)
    assert float(sums.release().norm()) <= 1.0


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_record_without_finite_gradient_counts_as_zero_and_is_warned_of(poison):
    model, x, y = built("Linear")
    expected, _ = by_loop(model, x[1:], y[1:], 0.5)
    sums = ClippedSums(model, clip=0.5)
    x[0] = poison
    loss(model, x, y).backward()
    with pytest.warns(NonFiniteGradients):
        sums.take(RECORDS)
    assert torch.allclose(sums.release(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "model",
    [
        Called(Gated(), torch.ones(8)),
        Called(Gated(), gate=torch.ones(8)),
        Called(nn.Bilinear(8, 8, 8), torch.ones(RECORDS, 8)),
    ],
    ids=["by place", "by name", "Bilinear"],
)
def test_a_layer_of_several_inputs_is_refused_by_name(model):
    sums = ClippedSums(model, clip=1.0)
    with pytest.raises(ModuleUnsupported, match=r"(Gated|Bilinear) .*several inputs"):
        model(batch(8))
    sums.close()
    assert model(batch(8)).shape == (RECORDS, 8)


def test_a_layer_that_could_take_several_inputs_is_given_one():
    model = Called(Gated(), gate=None)
    sums = ClippedSums(model, clip=1.0)
    model(batch(8)).mean(dim=1).mean().backward()
    sums.take(RECORDS)
    assert float(sums.release().norm()) > 0


def test_a_record_seen_twice_is_refused():
    model, x, y = built("Linear")
    sums = ClippedSums(model, clip=1.0)
    for _ in range(2):
        loss(model, x, y).backward()
    with pytest.raises(BatchMixed, match="drew 6"):
        sums.take(RECORDS)


def test_a_model_in_evaluation_mode_is_refused():
    model, _, _ = built("Linear")
    sums = ClippedSums(model, clip=1.0)
    sums.require_training()
    model.eval()
    with pytest.raises(BatchMixed, match="evaluation mode"):
        sums.require_training()


def test_parameters_that_are_not_finite_are_refused():
    model, _, _ = built("Linear")
    sums = ClippedSums(model, clip=1.0)
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    with pytest.raises(ModelDiverged):
        sums.require_finite()


def test_frozen_parameters_get_no_gradient():
    model, x, y = built("Linear")
    model[0].weight.requires_grad_(requires_grad=False)
    sums = ClippedSums(model, clip=1.0)
    loss(model, x, y).backward()
    sums.take(RECORDS)
    assert sums.size == sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert sums.release().shape == (sums.size,)


def test_closing_leaves_the_model_as_it_was():
    model, x, y = built("Linear")
    sums = ClippedSums(model, clip=1.0)
    sums.close()
    loss(model, x, y).backward()
    assert all(not hasattr(p, "grad_sample") for p in model.parameters())


def test_layers_that_disagree_on_what_a_record_is_are_refused():
    class Folding(nn.Module):
        def __init__(self):
            super().__init__()
            self.whole, self.parts = nn.Linear(8, 8), nn.Linear(4, 2)

        def forward(self, x):
            return self.parts(self.whole(x).reshape(-1, 4))

    model = Folding()
    sums = ClippedSums(model, clip=1.0)
    model(batch(8)).mean(dim=1).mean().backward()
    with pytest.raises(BatchMixed, match="Layers disagree"):
        sums.take(RECORDS)


def test_a_layer_that_the_loss_does_not_reach_gets_zero():
    model = nn.ModuleDict({"used": nn.Linear(8, 2), "unused": nn.Linear(8, 2)})
    sums = ClippedSums(model, clip=1.0)
    model["used"](batch(8)).mean(dim=1).mean().backward()
    sums.take(RECORDS)
    used, unused = sums.release().split([18, 18])
    assert float(used.norm()) > 0
    assert not unused.any()


def test_a_batch_that_drew_nobody_adds_nothing():
    model, x, y = built("Linear")
    sums = ClippedSums(model, clip=1.0)
    model(x[:0]).sum().backward()
    sums.take(0)
    assert not sums.release().any()
    loss(model, x, y).backward()
    sums.take(RECORDS)
    assert sums.release().any()
