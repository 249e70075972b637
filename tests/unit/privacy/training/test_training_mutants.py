"""Bugs put into the mechanism one by one; what must notice each, named beside it.

Every test named here passes without its bug: it is one of the suite's own.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from privacy.training.errors import MechanismBroken, TrainingError
from tests.unit.privacy.training import mutants
from tests.unit.privacy.training import test_training_auditing as of_audits
from tests.unit.privacy.training import test_training_gradients as of_gradients
from tests.unit.privacy.training import test_training_ledger as of_ledgers
from tests.unit.privacy.training import test_training_randomness as of_randomness
from tests.unit.privacy.training import test_training_refusals as of_refusals
from tests.unit.privacy.training import test_training_resuming as of_resuming
from tests.unit.privacy.training import test_training_session as of_sessions

pytestmark = [
    pytest.mark.filterwarnings("ignore:Full backward hook is firing"),
    pytest.mark.filterwarnings("ignore:Records whose loss or gradient is not finite"),
]
# The fixtures that tests of other modules ask for.
stopped = of_resuming.stopped


@dataclass(frozen=True)
class Mutant:
    """A bug. inject: puts it in, by monkeypatch. noticed_by: a test, given values and fixtures.

    says: what the refusal must say, where it is the product itself that notices.
    """

    inject: Callable[[Any], None]
    noticed_by: Callable[..., None]
    given: Mapping[str, Any] = field(default_factory=dict)
    silent: bool = False
    says: str = ""


LOOP = of_gradients.test_clipped_sum_is_that_of_an_explicit_loop
OUTLIER = of_sessions.test_an_outlier_moves_the_model_no_more_than_the_bound
GAUSSIAN = of_randomness.test_noise_is_gaussian_of_the_asked_deviation
NOT_FINITE = of_gradients.test_a_record_without_finite_gradient_counts_as_zero_and_is_warned_of
FENCED = of_ledgers.test_who_takes_a_run_over_fences_the_other_out_and_refunds_nothing
REFUNDED = of_ledgers.test_steps_never_leased_are_refunded_when_a_run_settles
ROLLED_BACK = (
    of_ledgers.test_a_ledger_put_back_to_an_older_state_is_noticed_by_what_was_written_with_it
)
# Bugs that the product's own rehearsal names before a run's first step.
REHEARSED = (
    Mutant(mutants.no_clipping, of_audits.rehearse, says="contributes"),
    Mutant(mutants.half_the_noise, of_audits.rehearse, says=r"variance is 0\.2[456]"),
    Mutant(mutants.no_noise, of_audits.rehearse, says=r"variance is 0\.00"),
    Mutant(mutants.noise_of_a_reused_seed, of_audits.rehearse, says="repeats"),
    Mutant(
        mutants.the_same_batch_in_every_step,
        of_audits.rehearse,
        says="batches depend on each other",
    ),
    Mutant(mutants.epochs_that_are_shuffled_and_cut, of_audits.rehearse, says="joined too evenly"),
    Mutant(mutants.batches_of_one_size, of_audits.rehearse, says="sizes of batches"),
    Mutant(mutants.records_that_join_twice_as_often, of_audits.rehearse, says="contributes"),
)
TESTED = (
    Mutant(mutants.no_clipping, LOOP, {"kind": "Linear", "share": 0.3}),
    Mutant(mutants.no_clipping, OUTLIER, silent=True),
    Mutant(mutants.each_parameter_clipped_alone, LOOP, {"kind": "Conv2d", "share": 0.3}),
    Mutant(mutants.the_sum_clipped_and_not_its_records, LOOP, {"kind": "Linear", "share": 1.0}),
    Mutant(
        mutants.a_micro_batch_forgotten,
        of_gradients.test_micro_batches_add_up_to_the_whole,
        {"parts": [4, 2]},
    ),
    Mutant(mutants.a_raw_gradient_left_to_the_optimizer, OUTLIER, silent=True),
    Mutant(mutants.infinite_gradients_summed, NOT_FINITE, {"poison": float("nan")}),
    Mutant(mutants.half_the_noise, GAUSSIAN),
    Mutant(mutants.uniform_noise, GAUSSIAN),
    Mutant(mutants.noise_of_a_reused_seed, of_randomness.test_successive_draws_are_uncorrelated),
    Mutant(
        mutants.noise_of_torch_s_own_generator, of_sessions.test_equal_seeds_do_not_make_equal_noise
    ),
    Mutant(
        mutants.one_key_for_every_process,
        of_randomness.test_fresh_streams_differ_whatever_the_seeds_say,
    ),
    Mutant(mutants.one_nonce_for_every_call, of_randomness.test_keystream_never_gives_a_word_twice),
    Mutant(
        mutants.epochs_that_are_shuffled_and_cut,
        of_randomness.test_batch_sizes_vary_as_a_binomial_does,
    ),
    Mutant(
        mutants.steps_that_draw_nobody_left_out,
        of_sessions.test_a_step_that_draws_nobody_is_a_step_of_noise,
    ),
    Mutant(
        mutants.division_by_how_many_were_drawn,
        of_sessions.test_a_step_is_divided_by_the_size_of_a_batch_on_average,
        silent=True,
    ),
    Mutant(
        mutants.a_step_made_before_it_is_charged,
        of_refusals.test_a_step_that_cannot_be_charged_is_not_made,
    ),
    Mutant(
        mutants.steps_that_are_never_charged,
        of_sessions.test_what_was_spent_grows_with_the_steps_that_were_leased,
    ),
    Mutant(mutants.a_lease_that_is_not_written_down, REFUNDED),
    Mutant(mutants.a_leased_step_that_is_refunded, REFUNDED),
    Mutant(
        mutants.a_resumed_run_that_is_refunded,
        of_resuming.test_a_checkpoint_restored_again_and_again_refunds_nothing,
    ),
    Mutant(mutants.a_token_that_is_not_looked_at, FENCED),
    Mutant(
        mutants.a_budget_that_is_always_fresh,
        of_ledgers.test_a_larger_budget_for_known_records_is_not_taken,
    ),
    Mutant(
        mutants.records_known_by_their_file_s_name,
        of_ledgers.test_shuffled_and_renamed_records_have_the_budget_they_had,
    ),
    Mutant(mutants.a_ledger_that_may_be_older_than_its_checkpoint, ROLLED_BACK),
    Mutant(
        mutants.a_ledger_that_is_not_verified,
        of_ledgers.test_a_change_from_outside_is_found_before_the_next_run,
        {"change": "UPDATE ledger_account SET rdp = 0"},
    ),
    Mutant(
        mutants.canaries_that_are_never_included,
        of_audits.test_a_run_s_own_canaries_are_told_apart_by_what_is_released,
    ),
)


def named(mutant):
    return f"{mutant.inject.__name__}-{mutant.noticed_by.__name__}"


@pytest.mark.parametrize("mutant", REHEARSED, ids=named)
def test_a_rehearsal_names_the_bug(mutant, monkeypatch):
    mutant.inject(monkeypatch)
    with pytest.raises(MechanismBroken, match=mutant.says):
        mutant.noticed_by()


@pytest.mark.parametrize("mutant", TESTED, ids=named)
def test_the_suite_notices_the_bug(mutant, monkeypatch, request):
    if mutant.silent:
        request.getfixturevalue("silent")
    wanted = inspect.signature(mutant.noticed_by).parameters.keys() - mutant.given.keys()
    fixtures = {name: request.getfixturevalue(name) for name in sorted(wanted)}
    mutant.inject(monkeypatch)
    # What a test's failure raises: a check of its own, or a refusal that it did not expect.
    with pytest.raises((AssertionError, TrainingError, pytest.fail.Exception)):
        mutant.noticed_by(**mutant.given, **fixtures)
