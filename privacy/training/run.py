"""A private run while it lasts: its loader, what it has spent, its checkpoints and its end."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from privacy import sealed
from privacy.durability import replace_file
from privacy.training import accountant, certificate, certifying, checkpoints, snapshot, weights
from privacy.training.canaries import Canaries
from privacy.training.checkpoints import Checkpoint
from privacy.training.entries import Head
from privacy.training.estimating import estimated_epsilon
from privacy.training.exchange import Exchange
from privacy.training.fingerprints import Membership
from privacy.training.leasing import Leases
from privacy.training.loading import PoissonLoader
from privacy.training.mechanism import Plan
from privacy.training.stepping import Stepper
from privacy.training.vault import CERTIFICATE_FILE, CHECKPOINT_FILE, WEIGHTS_FILE, Vault


@dataclass(frozen=True, slots=True)
class Terms:
    """What was settled before step 0. batch: records that join a step on average."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    vault: Vault = field(repr=False)
    dataset: str
    members: Membership
    plan: Plan
    delta: float
    clip: float
    batch: int
    checkpoint_steps: int | None
    ranks: Exchange


@dataclass(frozen=True, slots=True)
class Finished:
    """A finished run. certificate: the file's bytes. weights: the sealed file."""

    run_id: str
    epsilon: float
    delta: float
    certificate: bytes
    certificate_path: Path
    weights_path: Path


class PrivateRun:
    """Made by `private`. loader: yields the batches; nothing else may be trained on."""

    def __init__(
        self,
        terms: Terms,
        stepper: Stepper,
        leases: Leases,
        loader: PoissonLoader,
        *,
        made_before: int,
        canaries: Canaries | None,
    ) -> None:
        self._terms = terms
        self._stepper = stepper
        self._leases = leases
        self._canaries = canaries
        self._made_before = made_before
        self._extra: Mapping[str, Any] = {}
        self.loader = loader
        stepper.after = self._after_step

    @property
    def id(self) -> str:
        """The run's name in the ledger."""
        return self._leases.reservation.run_id

    @property
    def steps(self) -> int:
        """How many steps were made, in earlier processes too."""
        return self._made_before + self._stepper.made

    @property
    def steps_left(self) -> int:
        """How many more can be made."""
        return self._leases.left

    @property
    def charged(self) -> int:
        """How many steps were charged, made or not."""
        return self._leases.reservation.leased

    @property
    def plan(self) -> Plan:
        """The mechanism, with the steps that were planned."""
        return self._terms.plan

    def epsilon(self) -> float:
        """Estimate what the steps charged so far may have leaked, fast."""
        return estimated_epsilon(self._terms.plan.of(self.charged), self._terms.delta)

    def spent(self) -> accountant.Spent:
        """Return an upper bound on what the steps charged so far may have leaked; takes seconds."""
        return accountant.spent(self._terms.plan.of(self.charged), self._terms.delta)

    def remember(self, extra: Mapping[str, Any]) -> None:
        """Keep plain JSON of the loop's own, such as a scheduler's state, in checkpoints."""
        self._extra = dict(extra)

    @property
    def remembered(self) -> Mapping[str, Any]:
        """What the checkpoint that was resumed had been given to remember."""
        return self._extra

    def checkpoint(self) -> None:
        """Write a sealed checkpoint in place of the last one."""
        terms = self._terms
        if terms.ranks.rank != 0:
            return
        state, tensors = snapshot.taken(terms.model, terms.optimizer)
        content = Checkpoint(
            run_id=self.id,
            step=self.steps,
            dataset=terms.members.root,
            ledger=terms.vault.ledger.head(),
            state={**state, "extra": dict(self._extra)},
            tensors=tensors,
        )
        path = terms.vault.run_file(self.id, CHECKPOINT_FILE)
        checkpoints.write(path, content, keyring=terms.vault.keyring)

    def finish(
        self,
        *,
        audit: Mapping[str, Any] | None = None,
        description: Mapping[str, Any] | None = None,
    ) -> Finished | None:
        """Settle the run, seal the weights and issue the certificate; None on ranks but the first.

        audit: of a rehearsal, made beside this run; the run's own canaries' if absent.
        description: plain JSON that says what the weights are; it is sealed with them.

        Raises:
            SealUnwritable, LedgerUnavailable: Something cannot be written; nothing was issued.
        """
        if self._terms.ranks.rank != 0:
            return None
        head = self._terms.vault.ledger.settle(self._leases.reservation)
        tensors = {n: t.numpy() for n, t in snapshot.trainable(self._terms.model).items()}
        raw = certificate.sign(
            self._content(head, weights.digest(tensors), audit),
            sealer=self._terms.vault.keyring,
        )
        return self._sealed(raw, tensors, description or {})

    def _content(self, head: Head, digest: str, audit: Mapping[str, Any] | None) -> dict[str, Any]:
        terms = self._terms
        return certifying.content(
            certifying.Facts(
                run_id=self.id,
                issued_s=int(time.time()),
                plan=terms.plan,
                clip=terms.clip,
                batch=terms.batch,
                delta=terms.delta,
                charged=self.charged,
                made=self.steps,
                dataset=terms.dataset,
                members=terms.members,
                ranks=terms.ranks.ranks,
                weights=digest,
                ledger=head,
                seal_key=terms.vault.keyring.public_key("seal"),
            ),
            audit=audit or certifying.own_audit(self._canaries, terms.plan, terms.delta),
        )

    def _sealed(
        self, raw: bytes, tensors: Mapping[str, Any], description: Mapping[str, Any]
    ) -> Finished:
        vault, run_id = self._terms.vault, self.id
        verified = certificate.verify(raw, verify_seal=vault.keyring.verify_seal)
        weights_path = vault.run_file(run_id, WEIGHTS_FILE)
        sealed.seal(
            weights_path,
            keyring=vault.keyring,
            model_id=run_id,
            config={
                "format": "trained-parameters-v1",
                "certificate": verified.digest,
                "description": dict(description),
            },
            # A seal has a graph; these parameters belong to a model that others describe.
            graph=b"parameters",
            tensors=tensors,
            assets={CERTIFICATE_FILE: raw},
        )
        path = vault.run_file(run_id, CERTIFICATE_FILE)
        replace_file(path, raw)
        vault.ledger.note("certificate", {"run": run_id, "certificate": verified.digest})
        delta = self._terms.delta
        return Finished(run_id, verified.epsilon, delta, raw, path, weights_path)

    def _after_step(self) -> None:
        every = self._terms.checkpoint_steps
        if every and self._stepper.made % every == 0:
            self.checkpoint()
