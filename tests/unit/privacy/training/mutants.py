"""Bugs to put into the mechanism, each by pytest's monkeypatch. Test_training_mutants uses them."""

from dataclasses import replace

import numpy as np
import torch

from privacy.training import belonging, entries, filtering, gradients, ledger, replay, sampling
from privacy.training.canaries import Canaries
from privacy.training.gradients import ClippedSums
from privacy.training.keystream import Keystream
from privacy.training.leasing import Leases
from privacy.training.ledger import Ledger
from privacy.training.loading import PoissonLoader
from privacy.training.noise import GaussianSource
from privacy.training.sampling import PoissonSampler
from privacy.training.stepping import Stepper


def no_clipping(patch):
    patch.setattr(gradients, "clip_factors", lambda norms, _: torch.ones_like(norms))


def each_parameter_clipped_alone(patch):
    add = ClippedSums._add

    def alone(self, parameters, samples):
        for index, sample in zip(parameters, samples, strict=True):
            add(self, [index], [sample])

    patch.setattr(ClippedSums, "_add", alone)


def the_sum_clipped_and_not_its_records(patch):
    def whole(self, parameters, samples):
        total = [sample.sum(dim=0) for sample in samples]
        norm = torch.cat([part.flatten() for part in total]).norm()
        for index, part in zip(parameters, total, strict=True):
            self._totals()[index] += part * min(1.0, self._clip * len(samples[0]) / float(norm))

    patch.setattr(ClippedSums, "_add", whole)


def a_micro_batch_forgotten(patch):
    take = ClippedSums.take

    def forgetful(self, records):
        self._sums = None
        take(self, records)

    patch.setattr(ClippedSums, "take", forgetful)


def a_raw_gradient_left_to_the_optimizer(patch):
    patch.setattr(ClippedSums, "assign", lambda *_: None)
    patch.setattr(ClippedSums, "forget_raw", _forget_samples)


def _forget_samples(sums):
    for parameter in sums._parameters:
        parameter.grad_sample = None


def infinite_gradients_summed(patch):
    patch.setattr(gradients.torch, "isfinite", lambda t: torch.ones_like(t, dtype=torch.bool))


def half_the_noise(patch):
    draw = GaussianSource.draw
    patch.setattr(
        GaussianSource, "draw", lambda self, n, *, deviation: draw(self, n, deviation=deviation / 2)
    )


def no_noise(patch):
    patch.setattr(
        GaussianSource,
        "draw",
        lambda _, n, *, deviation: torch.zeros(n, dtype=torch.float64) * deviation,
    )


def uniform_noise(patch):
    def uniform(_, n, *, deviation):
        flat = np.random.default_rng(1).uniform(-1, 1, n) * 3**0.5
        return torch.from_numpy(flat) * deviation

    patch.setattr(GaussianSource, "draw", uniform)


def noise_of_a_reused_seed(patch):
    def seeded(_, n, *, deviation):
        generator = torch.Generator().manual_seed(1)
        return torch.randn(n, generator=generator, dtype=torch.float64) * deviation

    patch.setattr(GaussianSource, "draw", seeded)


def noise_of_torch_s_own_generator(patch):
    patch.setattr(
        GaussianSource,
        "draw",
        lambda _, n, *, deviation: torch.randn(n, dtype=torch.float64) * deviation,
    )


def one_key_for_every_process(patch):
    patch.setattr(Keystream, "fresh", staticmethod(lambda: Keystream(b"k" * 32)))


def one_nonce_for_every_call(patch):
    words = Keystream.words

    def repeated(self, count):
        self._calls = 0
        return words(self, count)

    patch.setattr(Keystream, "words", repeated)


def the_same_batch_in_every_step(patch):
    draw, kept = PoissonSampler.draw, {}
    patch.setattr(PoissonSampler, "draw", lambda self: kept.setdefault(id(self), draw(self)))


def epochs_that_are_shuffled_and_cut(patch):
    def cut(self):
        size = max(1, round(self._records * self._threshold / sampling._WORD_RANGE))
        ahead = getattr(self, "ahead", [])
        if len(ahead) < size:
            ahead = np.random.default_rng().permutation(self._records).tolist()
        self.ahead = ahead[size:]
        return np.sort(np.array(ahead[:size], dtype=np.int64))

    patch.setattr(PoissonSampler, "draw", cut)


def batches_of_one_size(patch):
    def drawn(self):
        size = round(self._records * self._threshold / sampling._WORD_RANGE)
        order = np.argsort(self._keystream.words(self._records))
        return np.sort(order[:size]).astype(np.int64)

    patch.setattr(PoissonSampler, "draw", drawn)


def records_that_join_twice_as_often(patch):
    make = PoissonSampler.__init__
    patch.setattr(
        PoissonSampler,
        "__init__",
        lambda self, stream, *, records, rate: make(self, stream, records=records, rate=2 * rate),
    )


def steps_that_draw_nobody_left_out(patch):
    def skipped(self):
        while self._ahead and self._ahead[0].records == 0:
            self._ahead.popleft()

    patch.setattr(PoissonLoader, "_skip_empty", skipped)


def division_by_how_many_were_drawn(patch):
    step = Stepper.step

    def divided(self, closure=None):
        self._expected_batch = self._pending.records
        step(self, closure)

    patch.setattr(Stepper, "step", divided)


def a_step_made_before_it_is_charged(patch):
    finish = Stepper._finish_step

    class Later:
        def take(self):
            pass

    def late(self):
        leases, self._leases = self._leases, Later()
        finish(self)
        self._leases = leases
        leases.take()

    patch.setattr(Stepper, "_finish_step", late)


def steps_that_are_never_charged(patch):
    patch.setattr(Leases, "take", lambda _: None)


def a_lease_that_is_not_written_down(patch):
    patch.setattr(Ledger, "lease", lambda _, run, steps: replace(run, leased=run.leased + steps))


def a_resumed_run_that_is_refunded(patch):
    resume = Ledger.resume
    patch.setattr(
        Ledger,
        "resume",
        lambda self, run_id, *, since=None: replace(resume(self, run_id, since=since), leased=0),
    )


def a_token_that_is_not_looked_at(patch):
    patch.setattr(
        ledger, "_held_run", lambda connection, run: ledger._open_run(connection, run.run_id)
    )


def a_budget_that_is_always_fresh(patch):
    admit = filtering.admit

    def fresh(plan, *, budget, standing, epsilon, delta):
        empty = replace(standing, rdp=0.0, closed=False)
        return admit(plan, budget=budget, standing=empty, epsilon=epsilon, delta=delta)

    patch.setattr(ledger, "admit", fresh)


def records_known_by_their_file_s_name(patch):
    patch.setattr(belonging, "_known", lambda *_: {})


def a_leased_step_that_is_refunded(patch):
    patch.setattr(
        ledger,
        "_unleased",
        lambda run, account: run.plan.steps * ledger.rdp_per_step(run.plan, account.standing.order),
    )


def a_ledger_that_may_be_older_than_its_checkpoint(patch):
    patch.setattr(entries, "hash_at", lambda *_: bytes(32))


def a_ledger_that_is_not_verified(patch):
    patch.setattr(replay, "verified", lambda *_, **__: None)


def canaries_that_are_never_included(patch):
    patch.setattr(
        Canaries, "contribution", lambda self: torch.zeros(self._size, dtype=torch.float64)
    )
