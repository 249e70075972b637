"""The loop of `sealgate train run`, without its command line."""

import json

import pytest
import torch
from torch.utils.data import DataLoader

from privacy.training import recipes, running
from privacy.training.config import load
from privacy.training.filtering import Budget
from privacy.training.recipes import Recipe

CONFIG = """
name = "letters"
[data]
path = "letters.jsonl"
[model]
kind = "linear"
features = 32
[privacy]
epsilon = 8.0
delta = 1e-3
clip = 1.0
budget_epsilon = 20.0
[training]
steps = 12
batch = 40
learning_rate = 0.25
optimizer = "adamw"
[audit]
canaries = 200
"""


@pytest.fixture
def config(tmp_path):
    letters = [{"text": f"{w} letter {n}", "label": w} for n in range(60) for w in ("one", "two")]
    (tmp_path / "letters.jsonl").write_text("\n".join(map(json.dumps, letters)))
    (tmp_path / "train.toml").write_text(CONFIG)
    return load(tmp_path / "train.toml")


class Counted:
    """Shows every step to nobody."""

    def __init__(self):
        self.steps = []

    def step(self, run):
        self.steps.append(run.steps)


def test_a_pass_over_records_that_are_mappings_makes_and_shows_every_step(
    begin, model, optimizer, records
):
    named = [{"x": x, "y": y} for x, y in records]

    def loss(trained, batch):
        return torch.nn.functional.cross_entropy(trained(batch["x"]), batch["y"])

    before = model.weight.detach().clone()
    loader = DataLoader(named, batch_size=40)
    recipe = Recipe(model, optimizer, loader, loss, named, {})
    counted = Counted()
    with begin(loader=loader) as run:
        running.train_once(recipe, run, counted)
    assert counted.steps == list(range(1, 11))
    assert not torch.equal(before, model.weight)


def test_a_configured_run_is_audited_first_and_charged_to_the_budget_it_names(config, vault):
    begun = []
    finished = running.run(config, vault, begun=lambda: begun.append(vault.ledger.runs()))
    # Charged, and no step made.
    assert [run.leased for (run,) in begun] == [0]
    assert vault.ledger.account("letters").budget == Budget(20.0, 1e-3)
    certified = json.loads(finished.certificate)["certificate"]
    assert {finding["canaries"] for finding in certified["audit"]["findings"]} == {200}
    assert certified["mechanism"]["steps_made"] == 12
    assert finished.epsilon <= 8.0


def test_the_configured_optimizer_is_the_one_that_steps(config):
    made = recipes.prepare(config).optimizer
    assert isinstance(made, torch.optim.AdamW)
    assert made.param_groups[0]["lr"] == 0.25
