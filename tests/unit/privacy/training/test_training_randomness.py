import math

import numpy as np
import pytest
import torch
from scipy import stats

from privacy.training import devicestream, noise
from privacy.training.devicestream import DeviceKeystream
from privacy.training.errors import MechanismBroken
from privacy.training.keystream import Keystream
from privacy.training.noise import GaussianSource
from privacy.training.sampling import PoissonSampler

COUNT = 200_000
# Every test on a distribution here rejects a right implementation once in a million runs, and
# runs on fixed keys, so that it either always passes or always fails.
LEVEL = 1e-6
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def source(key=b"a"):
    return GaussianSource(Keystream(key * 32))


def test_keystream_is_the_chacha20_of_rfc_8439():
    # Appendix A.1, test vector 1: key, nonce and counter zero.
    expected = bytes.fromhex("76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7")
    assert Keystream(bytes(32)).words(4).tobytes() == expected


@pytest.mark.parametrize("device", DEVICES)
def test_a_device_computes_the_same_keystream(device):
    key = bytes(range(32))
    plain, computed = Keystream(key), DeviceKeystream(key, torch.device(device))
    # Lengths that end within a block, at its end and after it; each call has a nonce of its own.
    for count in (1, 7, 8, 9, 0, 1000, 20_001):
        assert torch.equal(plain.bits(count), computed.bits(count).cpu())


@pytest.mark.parametrize("device", DEVICES)
def test_noise_made_on_a_device_is_that_of_its_keystream(device):
    key = b"d" * 32
    plain = GaussianSource(Keystream(key)).draw(1000, deviation=2.0)
    made = GaussianSource(DeviceKeystream(key, torch.device(device))).draw(1000, deviation=2.0)
    assert torch.allclose(plain, made.cpu(), rtol=1e-12)


def test_noise_made_in_parts_is_gaussian_and_uncorrelated(monkeypatch):
    monkeypatch.setattr(noise, "_AT_ONCE", 1001)
    drawn = source(b"q").draw(COUNT, deviation=1.0).numpy()
    assert stats.kstest(drawn, "norm").pvalue > LEVEL
    product = drawn[:-1001] * drawn[1001:]
    assert abs(product.mean()) * math.sqrt(len(product)) < stats.norm.isf(LEVEL / 2)


def test_a_device_that_computes_something_else_is_refused(monkeypatch):
    monkeypatch.setattr(devicestream, "_rotated", lambda words, by: words << by)
    with pytest.raises(MechanismBroken, match="another keystream"):
        DeviceKeystream.fresh(torch.device("cpu"))


def test_keystream_never_gives_a_word_twice():
    stream = Keystream.fresh()
    drawn = np.concatenate([stream.words(1000) for _ in range(50)])
    assert len(np.unique(drawn)) == len(drawn)


def test_fresh_streams_differ_whatever_the_seeds_say():
    drawn = []
    for _ in range(2):
        torch.manual_seed(1)
        np.random.seed(1)  # noqa: NPY002 - The global seed is what must have no effect.
        drawn.append(GaussianSource(Keystream.fresh()).draw(8, deviation=1.0))
    assert not torch.equal(*drawn)


def test_noise_is_gaussian_of_the_asked_deviation():
    drawn = source().draw(COUNT, deviation=2.5).numpy()
    assert drawn.dtype == np.float64
    assert stats.kstest(drawn / 2.5, "norm").pvalue > LEVEL


@pytest.mark.parametrize("moment", [1, 2, 3, 4, 5, 6])
def test_moments_of_the_noise_are_the_normal_ones(moment):
    drawn = source(b"m").draw(COUNT, deviation=1.0).numpy()
    expected = 0 if moment % 2 else math.prod(range(moment - 1, 0, -2))
    spread = math.sqrt((math.prod(range(2 * moment - 1, 0, -2)) - expected**2) / COUNT)
    assert abs((drawn**moment).mean() - expected) < stats.norm.isf(LEVEL / 2) * spread


def test_tails_of_the_noise_are_as_heavy_as_the_normal_ones():
    drawn = np.abs(source(b"t").draw(1_000_000, deviation=1.0).numpy())
    beyond = int((drawn > 4).sum())
    low, high = stats.poisson.interval(1 - LEVEL, 1_000_000 * 2 * stats.norm.sf(4))
    assert low <= beyond <= high


def test_noise_under_two_keys_is_uncorrelated():
    first = source(b"a").draw(COUNT, deviation=1.0).numpy()
    second = source(b"b").draw(COUNT, deviation=1.0).numpy()
    assert abs((first * second).mean()) * math.sqrt(COUNT) < stats.norm.isf(LEVEL / 2)


def test_successive_draws_are_uncorrelated():
    stream = source(b"s")
    first, second = (stream.draw(COUNT, deviation=1.0).numpy() for _ in range(2))
    assert abs((first * second).mean()) * math.sqrt(COUNT) < stats.norm.isf(LEVEL / 2)


def test_the_two_halves_of_a_box_muller_pair_are_uncorrelated():
    drawn = source(b"p").draw(COUNT, deviation=1.0).numpy()
    product = drawn[: COUNT // 2] * drawn[COUNT // 2 :]
    assert abs(product.mean()) * math.sqrt(COUNT // 2) < stats.norm.isf(LEVEL / 2)


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_any_number_of_samples_can_be_drawn(count):
    assert source().draw(count, deviation=1.0).shape == (count,)


def test_each_record_joins_a_step_at_the_given_rate():
    sampler = PoissonSampler(Keystream(b"r" * 32), records=50, rate=0.1)
    joined = np.zeros(50)
    for _ in range(4000):
        joined[sampler.draw()] += 1
    low, high = stats.binom.interval(1 - LEVEL / 50, 4000, 0.1)
    assert ((joined >= low) & (joined <= high)).all()


def test_batch_sizes_vary_as_a_binomial_does():
    sampler = PoissonSampler(Keystream(b"v" * 32), records=1000, rate=0.05)
    sizes = np.array([len(sampler.draw()) for _ in range(4000)])
    low, high = stats.chi2.interval(1 - LEVEL, 3999)
    assert low < 3999 * sizes.var(ddof=1) / (1000 * 0.05 * 0.95) < high


def test_joining_one_step_says_nothing_of_the_next():
    sampler = PoissonSampler(Keystream(b"n" * 32), records=20_000, rate=0.5)
    first, second = np.zeros(20_000), np.zeros(20_000)
    first[sampler.draw()] = 1
    second[sampler.draw()] = 1
    both = int((first * second).sum())
    low, high = stats.binom.interval(1 - LEVEL, 20_000, 0.25)
    assert low <= both <= high


def test_at_rate_one_everybody_joins():
    sampler = PoissonSampler(Keystream.fresh(), records=9, rate=1.0)
    assert sampler.draw().tolist() == list(range(9))


def test_a_device_that_computes_chacha20_gets_a_key_of_its_own():
    one, other = (DeviceKeystream.fresh(torch.device("cpu")) for _ in range(2))
    assert not torch.equal(one.bits(8), other.bits(8))


@pytest.mark.parametrize("count", [-1, 2**35])
def test_a_draw_in_which_the_block_counter_would_wrap_is_refused(count):
    with pytest.raises(ValueError, match="at most"):
        Keystream(b"w" * 32).words(count)
