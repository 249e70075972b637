"""`private`: a context around a user's own training loop that makes it differentially private.

    with private(model, optimizer, loader, vault=vault, dataset="notes", target_epsilon=3.0,
                 delta=1e-6, clip=1.0, steps=500) as run:
        for batch in run.loader:
            loss(model(batch)).backward()
            optimizer.step()
            optimizer.zero_grad()
        run.finish()

It makes the optimizer's steps private, not what the loop itself prints, keeps or decides on.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from privacy.training import accountant, checkpoints, exchange, snapshot
from privacy.training.canaries import Canaries
from privacy.training.checkpoints import Checkpoint
from privacy.training.devicestream import DeviceKeystream
from privacy.training.errors import DatasetChanged, PlanInvalid
from privacy.training.exchange import Exchange
from privacy.training.filtering import Budget
from privacy.training.fingerprints import membership
from privacy.training.gradients import ClippedSums
from privacy.training.keystream import Keystream
from privacy.training.leasing import Leases
from privacy.training.ledger import Reservation
from privacy.training.loading import PoissonLoader, require_loader, size_of
from privacy.training.mechanism import Plan
from privacy.training.noise import GaussianSource
from privacy.training.run import PrivateRun, Terms
from privacy.training.sampling import PoissonSampler
from privacy.training.stepping import Stepper
from privacy.training.validation import require_model, require_optimizer
from privacy.training.vault import CHECKPOINT_FILE, Vault

LEASE_STEPS = 16


@dataclass(frozen=True, slots=True)
class Options:
    """How a run works, apart from what it promises."""

    microbatch: int
    lease_steps: int
    canaries: int
    budget: Budget | None
    resume: str | None


@contextmanager
def private(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loader: DataLoader[Any],
    *,
    vault: Vault,
    dataset: str,
    records: Sequence[Any] | None = None,
    delta: float,
    clip: float,
    target_epsilon: float | None = None,
    noise_multiplier: float | None = None,
    steps: int | None = None,
    epochs: int | None = None,
    budget: Budget | None = None,
    microbatch: int | None = None,
    lease_steps: int = LEASE_STEPS,
    checkpoint_steps: int | None = None,
    canaries: int = 0,
    resume: str | None = None,
    ranks: Exchange | None = None,
) -> Iterator[PrivateRun]:
    """Make the optimizer's steps private while the context lasts.

    dataset: name of the budget for records that have none yet. budget: theirs; as large as this
    run's cost if absent. records: what the budget knows them by, if the loader's dataset holds
    something derived from them. clip: largest L2 norm of one record's gradient. Either
    target_epsilon or noise_multiplier, either steps or epochs. microbatch: records that go
    through the model at once. lease_steps: steps charged at once, the most a crash loses.
    canaries: fake gradients to audit with. resume: id of a run to go on with. ranks: how
    processes add up, if not plainly.

    Raises:
        ModuleUnsupported, OptimizerUnsupported, LoaderNotPoisson: It cannot be made private.
        PlanInvalid: The parameters make no sense, such as a delta not below 1/records.
        BudgetExhausted: The records' budget does not cover the run.
        DatasetChanged, CheckpointBroken, LedgerRolledBack: The run cannot be resumed like this.
    """
    # Whatever can be refused is refused before the first private step.
    require_model(model)
    require_optimizer(optimizer, model)
    count, batch = require_loader(loader)
    plan = _plan(
        count,
        batch,
        delta=delta,
        clip=clip,
        target_epsilon=target_epsilon,
        noise_multiplier=noise_multiplier,
        steps=steps if steps is not None else (epochs or 0) * math.ceil(count / batch),
    )
    members = membership(_records(loader, records), key=vault.record_key())
    terms = Terms(
        model,
        optimizer,
        vault,
        dataset,
        members,
        plan,
        delta,
        clip,
        batch,
        checkpoint_steps,
        ranks or exchange.found(),
    )
    options = Options(
        2 * batch if microbatch is None else microbatch, lease_steps, canaries, budget, resume
    )
    _require_options(options, model)
    reservation, begun = _reserved(terms, options)
    sums = ClippedSums(model, clip=clip)
    try:
        run, stepper = _assembled(terms, options, sums, reservation, begun, loader)
        with stepper.attached():
            yield run
    finally:
        sums.close()


def _require_options(options: Options, model: nn.Module) -> None:
    if options.microbatch < 1 or options.lease_steps < 1:
        raise PlanInvalid("A micro-batch and a lease are of one at least.")
    size = sum(p.numel() for p in model.parameters() if p.requires_grad)
    if not 0 <= options.canaries <= size:
        raise PlanInvalid(f"A gradient of {size} numbers has room for at most {size} canaries.")


def _plan(
    records: int,
    batch: int,
    *,
    delta: float,
    clip: float,
    target_epsilon: float | None,
    noise_multiplier: float | None,
    steps: int,
) -> Plan:
    """Return the mechanism, having refused what makes no sense."""
    if not (clip > 0 and math.isfinite(clip)):
        raise PlanInvalid("The clipping norm must be a positive number.")
    if not delta > 0:
        raise PlanInvalid("Delta must be above 0.")
    if delta >= 1 / records:
        raise PlanInvalid(
            f"Delta {delta:g} is not below 1/{records}: such a run may publish whole records. "
            "Choose a smaller delta."
        )
    if (target_epsilon is None) == (noise_multiplier is None):
        raise PlanInvalid("Give either a target epsilon or a noise multiplier.")
    if steps < 1:
        raise PlanInvalid("Give the number of steps or of epochs.")
    rate = batch / records
    if target_epsilon is None:
        return Plan(noise_multiplier or 0.0, rate, steps)
    return accountant.calibrated(
        epsilon=target_epsilon, delta=delta, sampling_rate=rate, steps=steps
    )


def _records(loader: DataLoader[Any], given: Sequence[Any] | None) -> Iterator[Any]:
    """Yield what the budget knows the records by."""
    if given is not None:
        if len(given) != size_of(loader):
            raise PlanInvalid("There are more or fewer records than the loader's dataset has.")
        yield from given
        return
    for index in range(size_of(loader)):
        yield loader.dataset[index]


def _reserved(terms: Terms, options: Options) -> tuple[Reservation, Checkpoint | None]:
    """Reserve a new run, or take one over from its checkpoint. Rank 0 asks the ledger for all."""
    begun = None
    if options.resume is not None:
        begun = _checkpoint(terms, options.resume)
    run_id, token, leased = terms.ranks.led(lambda: _asked(terms, options, begun))
    reservation = Reservation(run_id, token, terms.plan, leased, terms.members.root)
    return reservation, begun


def _asked(terms: Terms, options: Options, begun: Checkpoint | None) -> list[Any]:
    ledger, plan = terms.vault.ledger, terms.plan
    if begun is None:
        epsilon = accountant.certified_epsilon(plan, terms.delta)
        made = ledger.reserve(
            plan,
            members=terms.members,
            name=terms.dataset,
            budget=options.budget or Budget(epsilon, terms.delta),
            epsilon=epsilon,
            delta=terms.delta,
        )
    else:
        made = ledger.resume(begun.run_id, since=begun.ledger)
        if made.dataset != terms.members.root:
            raise DatasetChanged("The ledger has another dataset for this run. Start a new one.")
        if made.plan != plan:
            raise PlanInvalid("The run was planned with other parameters. Resume it with those.")
    return [made.run_id, made.token, made.leased]


def _checkpoint(terms: Terms, run_id: str) -> Checkpoint:
    path = terms.vault.directory / run_id / CHECKPOINT_FILE
    found = checkpoints.read(path, run_id=run_id, keyring=terms.vault.keyring)
    if found.dataset != terms.members.root:
        raise DatasetChanged(
            "The dataset is not the one that the run began with. Resume with the same records, or "
            "start a new run."
        )
    return found


def _assembled(
    terms: Terms,
    options: Options,
    sums: ClippedSums,
    reservation: Reservation,
    begun: Checkpoint | None,
    loader: DataLoader[Any],
) -> tuple[PrivateRun, Stepper]:
    """Put the run together, its randomness fresh."""
    plan, ranks, keystream = terms.plan, terms.ranks, Keystream.fresh()
    if begun is not None:
        snapshot.restore(terms.model, terms.optimizer, state=begun.state, tensors=begun.tensors)
    ranks.align(terms.model)
    leases = Leases(terms.vault.ledger, reservation, at_once=options.lease_steps, ranks=ranks)
    canaries = _canaries(terms, options, size=sums.size)
    stepper = Stepper(
        terms.optimizer,
        sums,
        deviation=plan.noise_multiplier * terms.clip,
        expected_batch=terms.batch,
        noise=GaussianSource(_noise_stream(terms.model)),
        leases=leases,
        ranks=ranks,
        observer=canaries,
    )
    own = range(ranks.rank, terms.members.records, ranks.ranks)
    batches = PoissonLoader(
        loader,
        own=own,
        sampler=PoissonSampler(keystream, records=len(own), rate=plan.sampling_rate),
        steps_per_pass=math.ceil(terms.members.records / terms.batch),
        microbatch=options.microbatch,
        stepper=stepper,
    )
    made_before = begun.step if begun else 0
    run = PrivateRun(terms, stepper, leases, batches, made_before=made_before, canaries=canaries)
    if begun is not None:
        run.remember(begun.state["extra"])
    return run, stepper


def _noise_stream(model: nn.Module) -> Keystream | DeviceKeystream:
    """Return a fresh stream where the gradients are."""
    device = next(p.device for p in model.parameters() if p.requires_grad)
    return Keystream.fresh() if device.type == "cpu" else DeviceKeystream.fresh(device)


def _canaries(terms: Terms, options: Options, *, size: int) -> Canaries | None:
    if not options.canaries:
        return None
    # A stream of their own: the auditor's coins are not the run's secret.
    stream = Keystream.fresh()
    return Canaries(options.canaries, size=size, clip=terms.clip, plan=terms.plan, keystream=stream)
