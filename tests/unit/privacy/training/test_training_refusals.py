"""What is refused before a private step is taken, each by its name."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, WeightedRandomSampler

from privacy.training.errors import (
    BatchMixed,
    BudgetExhausted,
    CheckpointMissing,
    LedgerUnavailable,
    LoaderNotPoisson,
    ModelDiverged,
    ModuleUnsupported,
    OptimizerUnsupported,
    PlanInvalid,
)
from privacy.training.filtering import Budget
from tests.unit.privacy.training.toy import DELTA, stepped


def test_a_step_that_cannot_be_charged_is_not_made(begin, train, model, vault, monkeypatch):
    def unavailable(*_):
        raise LedgerUnavailable("The disk is full.")

    start = model.weight.detach().clone()
    with begin() as run:
        monkeypatch.setattr(type(vault.ledger), "lease", unavailable)
        with pytest.raises(LedgerUnavailable):
            train(run)
    assert torch.equal(start, model.weight)


def test_more_canaries_than_parameters_are_refused_before_a_run_is_charged(begin, vault):
    with pytest.raises(PlanInvalid, match="26"), begin(canaries=27):
        pass
    assert vault.ledger.accounts() == []


def test_an_exhausted_budget_is_refused_before_any_step(begin, train, model):
    with begin(budget=Budget(1.0, DELTA), noise_multiplier=None, target_epsilon=1.0):
        pass
    start = model.weight.detach().clone()
    with pytest.raises(BudgetExhausted, match="'toy'"), begin(dataset="renamed") as run:
        train(run)
    assert torch.equal(start, model.weight)


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"delta": 1 / 400}, PlanInvalid),
        ({"delta": 0.5}, PlanInvalid),
        ({"delta": 0.0}, PlanInvalid),
        ({"clip": 0.0}, PlanInvalid),
        ({"clip": float("nan")}, PlanInvalid),
        ({"noise_multiplier": 0.0}, PlanInvalid),
        ({"noise_multiplier": None}, PlanInvalid),
        ({"target_epsilon": 1.0}, PlanInvalid),
        ({"noise_multiplier": None, "target_epsilon": -1.0}, PlanInvalid),
        ({"steps": None}, PlanInvalid),
        ({"steps": 0}, PlanInvalid),
        ({"model": nn.Sequential(nn.BatchNorm1d(12), nn.Linear(12, 2))}, ModuleUnsupported),
        ({"model": nn.Linear(12, 2)}, OptimizerUnsupported),
        ({"resume": "run_none"}, CheckpointMissing),
        ({"lease_steps": 0}, PlanInvalid),
        ({"microbatch": 0}, PlanInvalid),
    ],
)
def test_bad_input_is_refused_before_anything_is_charged(begin, vault, wrong, error):
    with pytest.raises(error), begin(**wrong):
        pass
    assert vault.ledger.accounts() == []


class Stream(IterableDataset):
    def __iter__(self):
        yield torch.zeros(12), 0


@pytest.mark.parametrize("kind", ["stream", "weighted", "batches of one's own"])
def test_a_loader_that_cannot_be_poisson_is_refused(begin, records, vault, kind):
    weighted = WeightedRandomSampler([1.0] * len(records), 40)
    loader = {
        "stream": lambda: DataLoader(Stream(), batch_size=4),
        "weighted": lambda: DataLoader(records, batch_size=40, sampler=weighted),
        "batches of one's own": lambda: DataLoader(records, batch_sampler=[[0, 1], [2, 3]]),
    }[kind]()
    with pytest.raises(LoaderNotPoisson), begin(loader=loader):
        pass
    assert vault.ledger.accounts() == []


def test_batches_of_the_plain_loader_are_refused_before_a_step(
    begin, model, optimizer, loader, vault
):
    with begin(), pytest.raises(LoaderNotPoisson, match=r"run\.loader"):
        stepped(model, optimizer, next(iter(loader)))
    assert vault.ledger.runs()[0].leased == 0


def test_other_records_than_were_drawn_are_refused_before_a_step(
    begin, model, optimizer, records, vault
):
    with begin() as run, pytest.raises(BatchMixed, match="drew"):
        stepped(model, optimizer, (next(iter(run.loader)), records.tensors)[1])
    assert vault.ledger.runs()[0].leased == 0


def test_a_skipped_step_is_refused(begin):
    with begin() as run, pytest.raises(LoaderNotPoisson, match="never stepped"):
        list(run.loader)


def test_a_closure_is_refused(begin, optimizer):
    with begin(), pytest.raises(OptimizerUnsupported, match="closure"):
        optimizer.step(lambda: 0.0)


def test_a_model_that_diverged_is_refused_before_a_step(begin, train, model, vault):
    with torch.no_grad():
        model.weight.fill_(float("nan"))
    with (
        begin() as run,
        pytest.warns(UserWarning, match="count as zero"),
        pytest.raises(ModelDiverged),
    ):
        train(run)
    assert vault.ledger.runs()[0].leased == 0
