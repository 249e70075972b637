import json
import warnings

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from privacy import sealed
from privacy.training import certificate, private
from privacy.training.errors import (
    BudgetExhausted,
    PlanInvalid,
)
from privacy.training.vault import CERTIFICATE_FILE
from tests.unit.privacy.training.toy import DELTA, stepped


def accuracy(model, records):
    inputs, labels = records.tensors
    return float((model(inputs).argmax(dim=1) == labels).float().mean())


def test_a_run_learns_settles_seals_and_certifies(begin, train, model, records, vault, keyring):
    before = accuracy(model, records)
    with begin(noise_multiplier=None, target_epsilon=8.0, budget=None) as run:
        train(run)
        finished = run.finish()
    assert accuracy(model, records) > max(before, 0.8)
    verified = certificate.verify(finished.certificate, verify_seal=keyring.verify_seal)
    assert verified.recomputed
    assert 7.9 < verified.epsilon <= 8.0
    assert verified.content["mechanism"]["steps_made"] == 30
    assert vault.ledger.account("toy").left == 0
    sealed.verify(finished.weights_path, keyring=keyring)
    with sealed.opened(finished.weights_path, keyring=keyring) as reader:
        assert reader.asset(CERTIFICATE_FILE) == finished.certificate
        assert {t["name"] for t in reader.manifest["tensors"]} == {"weight", "bias"}


@pytest.mark.usefixtures("silent")
def test_a_run_without_noise_makes_plain_steps(vault, model, records):
    """At rate one, with a wide bound and no noise, DP-SGD is gradient descent."""
    plain = nn.Linear(12, 2)
    plain.load_state_dict(model.state_dict())
    steps = torch.optim.SGD(plain.parameters(), lr=0.1)
    inputs, labels = records.tensors
    for _ in range(5):
        nn.functional.cross_entropy(plain(inputs), labels).backward()
        steps.step()
        steps.zero_grad()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loader = DataLoader(records, batch_size=len(records))
    options = {"vault": vault, "dataset": "toy", "delta": DELTA, "clip": 50.0, "steps": 5}
    options |= {"noise_multiplier": 5.0, "microbatch": 150}
    with private(model, optimizer, loader, **options) as run:
        for _ in range(5):
            for batch in run.loader:
                stepped(model, optimizer, batch)
        assert run.steps == 5
    assert torch.allclose(model.weight, plain.weight, atol=1e-4)


def test_the_optimizer_is_the_users_own_again_afterwards(begin, train, model, optimizer):
    with begin() as run:
        train(run, steps=2)
    assert "step" not in vars(optimizer)
    assert not any(hasattr(p, "grad_sample") for p in model.parameters())


def test_a_learning_rate_scheduler_works_as_usual(begin, train, optimizer):
    with begin() as run:
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
        train(run, steps=1)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            schedule.step()
    assert optimizer.param_groups[0]["lr"] == 0.25


def test_equal_seeds_do_not_make_equal_noise(begin, train, model):
    start = {name: value.clone() for name, value in model.state_dict().items()}
    found = []
    for _ in range(2):
        model.load_state_dict(start)
        torch.manual_seed(11)
        with begin(clip=1e-6, noise_multiplier=1e6) as run:
            train(run, steps=1)
        found.append(model.weight.detach().clone())
    # What the records add is a millionth of the noise.
    assert not torch.allclose(*found, atol=1e-3)


def test_records_in_another_form_have_the_budget_they_had(begin, vault, records):
    names = [f"person {n}" for n in range(len(records))]
    with begin(records=names, noise_multiplier=None, target_epsilon=1.0, budget=None):
        pass
    halved = TensorDataset(records.tensors[0] / 2, records.tensors[1])
    loader = DataLoader(halved, batch_size=40)
    with (
        pytest.raises(BudgetExhausted),
        begin(loader=loader, records=names[::-1], dataset="halved"),
    ):
        pass
    with pytest.raises(PlanInvalid, match="more or fewer"), begin(records=names[1:]):
        pass


def test_no_more_steps_than_planned_are_made(begin, train, model, optimizer, records):
    with begin(steps=3) as run:
        train(run)
        assert (run.steps, run.steps_left, len(run.loader)) == (3, 0, 0)
        assert list(run.loader) == []


def test_a_step_that_draws_nobody_is_a_step_of_noise(begin, model, optimizer, records):
    lonely = DataLoader(records, batch_size=1)
    start = model.weight.detach().clone()
    # However many a step draws, it is one batch: what is counted are the steps that drew somebody.
    with begin(loader=lonely, noise_multiplier=5.0, steps=40, microbatch=32) as run:
        seen = 0
        for batch in run.loader:
            seen += 1
            stepped(model, optimizer, batch)
        # About 15 of 40 steps draw nobody; that none does has a chance of 1e-8.
        assert run.steps == 40 > seen
    assert not torch.equal(start, model.weight)


@pytest.mark.parametrize("microbatch", [1, 7, 40, 400])
def test_micro_batches_of_a_step_are_about_equal_and_no_larger_than_asked(
    begin, model, optimizer, microbatch
):
    sizes, steps = [], []
    with begin(microbatch=microbatch, steps=4) as run:
        for batch in run.loader:
            sizes.append(len(batch[0]))
            stepped(model, optimizer, batch)
            steps.append(run.steps)
    for made in range(4):
        # A step's micro-batches come before the count of steps goes up; its last one with it.
        parts = [s for s, n in zip(sizes, [0, *steps], strict=False) if n == made]
        assert max(parts) <= microbatch
        assert max(parts) - min(parts) <= 1
        assert len(parts) == -(-sum(parts) // microbatch)


def test_what_was_spent_grows_with_the_steps_that_were_leased(begin, train):
    with begin(lease_steps=5) as run:
        assert run.epsilon() == run.spent().certified == 0
        train(run, steps=2)
        first = run.spent()
        assert run.epsilon() == pytest.approx(first.certified, rel=0.05)
        train(run, steps=10)
        assert run.spent().certified > first.certified


def test_a_run_with_canaries_carries_their_finding(begin, train):
    with begin(canaries=20) as run:
        train(run)
        finished = run.finish()
    (finding,) = json.loads(finished.certificate)["certificate"]["audit"]["findings"]
    assert finding["access"] == "white-box"
    assert 0 <= finding["epsilon"] <= finding["cap"]
    assert finding["epsilon"] <= finished.epsilon


@pytest.mark.usefixtures("silent")
def test_a_step_is_divided_by_the_size_of_a_batch_on_average(begin, model, optimizer, records):
    """Dividing by how many were drawn would publish that number, and weaken the noise."""
    records.tensors[0][:] = records.tensors[0][:1]
    records.tensors[1][:] = 0
    start = torch.cat([p.detach().flatten() for p in model.parameters()])
    with begin(clip=1e-3, steps=1) as run:
        drawn = 0
        for batch in run.loader:
            drawn += len(batch[0])
            stepped(model, optimizer, batch)
    moved = torch.cat([p.detach().flatten() for p in model.parameters()]) - start
    # All gradients are alike and clipped; the learning rate is 0.5, and 40 records join on average.
    assert float(moved.norm()) == pytest.approx(0.5 * 1e-3 * drawn / 40, rel=1e-3)


def test_nan_losses_of_some_records_leave_the_model_finite(begin, train, model, records):
    records.tensors[0][:40] = float("nan")
    with begin() as run, pytest.warns(UserWarning, match="count as zero"):
        train(run)
    assert bool(torch.isfinite(model.weight).all())


@pytest.mark.usefixtures("silent")
def test_an_outlier_moves_the_model_no_more_than_the_bound(begin, model, optimizer, records):
    records.tensors[0][:] *= 1e6
    start = torch.cat([p.detach().flatten() for p in model.parameters()])
    whole = DataLoader(records, batch_size=len(records))
    with begin(loader=whole, steps=1) as run:
        for batch in run.loader:
            stepped(model, optimizer, batch)
    moved = torch.cat([p.detach().flatten() for p in model.parameters()]) - start
    # The learning rate, 0.5, times a mean of gradients of norm at most 1.
    assert float(moved.norm()) <= 0.5
