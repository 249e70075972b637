import json
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from privacy.training import checkpoints
from privacy.training.errors import CheckpointBroken, DatasetChanged, LeaseFenced, PlanInvalid
from privacy.training.vault import CHECKPOINT_FILE
from tests.unit.privacy.training.toy import stepped


@pytest.fixture
def stopped(begin, train):
    """A run that crashed at step 11, five steps after its checkpoint."""
    with begin(lease_steps=4, checkpoint_steps=6) as run:
        train(run, steps=11)
        return run.id


def test_a_resumed_run_goes_on_from_the_checkpoint_and_charges_what_was_leased(
    begin, train, stopped
):
    with begin(resume=stopped, lease_steps=4) as run:
        # 11 steps were made under leases of 4, so 12 were charged and 18 are left.
        assert (run.id, run.steps, run.steps_left) == (stopped, 6, 18)
        train(run)
        finished = run.finish()
    mechanism = json.loads(finished.certificate)["certificate"]["mechanism"]
    assert (mechanism["steps_made"], mechanism["steps_charged"]) == (24, 30)


def test_a_checkpoint_restored_again_and_again_refunds_nothing(begin, train, stopped, vault):
    path = vault.directory / stopped / CHECKPOINT_FILE
    old, left = path.read_bytes(), []
    for _ in range(3):
        path.write_bytes(old)
        with begin(resume=stopped, lease_steps=4) as run:
            left.append(run.steps_left)
            train(run, steps=1)
    assert left == [18, 14, 10]


def test_a_resumed_run_gives_model_and_optimizer_what_they_had(begin):
    def fresh():
        torch.manual_seed(9)
        model = nn.Linear(12, 2)
        return model, torch.optim.AdamW(model.parameters(), lr=0.1)

    model, optimizer = fresh()
    with begin(model=model, optimizer=optimizer) as run:
        for number, (x, y) in enumerate(run.loader):
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
            if number == 3:
                break
        run.remember({"pass": 1})
        run.checkpoint()
        kept = [p.detach().clone() for p in model.parameters()]
        moments = optimizer.state_dict()["state"]
    other, stepper = fresh()
    with begin(model=other, optimizer=stepper, resume=run.id) as resumed:
        assert resumed.remembered == {"pass": 1}
        assert all(torch.equal(a, b) for a, b in zip(kept, other.parameters(), strict=True))
        for index, state in stepper.state_dict()["state"].items():
            assert torch.equal(state["exp_avg_sq"], moments[index]["exp_avg_sq"])


def test_the_process_that_lost_the_run_makes_no_step(begin, train, model):
    with begin(lease_steps=1, checkpoint_steps=1) as first:
        train(first, steps=2)
        with begin(
            model=(other := nn.Linear(12, 2)),
            optimizer=torch.optim.SGD(other.parameters(), lr=0.5),
            resume=first.id,
        ):
            pass
        before = model.weight.detach().clone()
        with pytest.raises(LeaseFenced):
            train(first)
        assert torch.equal(before, model.weight)


def test_a_changed_dataset_is_refused(begin, stopped, records):
    inputs, labels = records.tensors
    changed = TensorDataset(inputs.index_fill(0, torch.tensor([5]), 0.5), labels)
    with (
        pytest.raises(DatasetChanged),
        begin(resume=stopped, loader=DataLoader(changed, batch_size=40)),
    ):
        pass


def test_shuffled_records_are_not_a_changed_dataset(begin, stopped, records):
    inputs, labels = records.tensors
    shuffled = TensorDataset(inputs.flip(0), labels.flip(0))
    with begin(resume=stopped, loader=DataLoader(shuffled, batch_size=40)) as run:
        assert run.steps == 6


def test_other_privacy_parameters_are_refused(begin, stopped):
    with (
        pytest.raises(PlanInvalid, match="other parameters"),
        begin(resume=stopped, noise_multiplier=0.1),
    ):
        pass


def test_a_checkpoint_of_another_run_is_refused(begin, train, stopped, vault):
    with begin(checkpoint_steps=1) as other:
        train(other, steps=1)
    path = vault.directory / stopped / CHECKPOINT_FILE
    path.write_bytes((vault.directory / other.id / CHECKPOINT_FILE).read_bytes())
    with pytest.raises(CheckpointBroken, match="another run's"), begin(resume=stopped):
        pass


def test_a_checkpoint_of_another_model_is_refused(begin, stopped):
    model = nn.Sequential(nn.Linear(12, 3), nn.Linear(3, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    with (
        pytest.raises(CheckpointBroken, match="another model"),
        begin(resume=stopped, model=model, optimizer=optimizer),
    ):
        pass


def test_a_checkpoint_that_names_other_records_than_the_ledger_is_refused(
    begin, stopped, records, vault, tmp_path
):
    # As if whoever holds the keyring had written it for records whose budget is used up.
    inputs, labels = records.tensors
    other = DataLoader(TensorDataset(inputs + 1, labels), batch_size=40)
    with begin(loader=other, dataset="others", checkpoint_steps=1) as run:
        run.checkpoint()
    named = checkpoints.read(
        vault.directory / run.id / CHECKPOINT_FILE, run_id=run.id, keyring=vault.keyring
    ).dataset
    path = vault.directory / stopped / CHECKPOINT_FILE
    found = checkpoints.read(path, run_id=stopped, keyring=vault.keyring)
    checkpoints.write(path, replace(found, dataset=named), keyring=vault.keyring)
    with (
        pytest.raises(DatasetChanged, match="The ledger has another dataset"),
        begin(resume=stopped, loader=other),
    ):
        pass


def test_an_optimizers_plain_numbers_come_back_with_its_tensors(begin):
    class Counting(torch.optim.SGD):
        """Counts its steps in a plain number, as optimizers of torch once did."""

        def step(self, closure=None):
            super().step(closure)
            for parameter in self.param_groups[0]["params"]:
                state = self.state[parameter]
                state["count"] = state.get("count", 0) + 1

    model = nn.Linear(12, 2)
    optimizer = Counting(model.parameters(), lr=0.1)
    with begin(model=model, optimizer=optimizer) as run:
        for number, batch in enumerate(run.loader):
            stepped(model, optimizer, batch)
            if number == 3:
                break
        run.checkpoint()
    other = nn.Linear(12, 2)
    again = Counting(other.parameters(), lr=0.1)
    with begin(model=other, optimizer=again, resume=run.id):
        assert [again.state[p]["count"] for p in other.parameters()] == [4, 4]
