"""The simulation counts what it says it counts, and repeats by its seed."""

import pytest

pytest.importorskip("simpy")

from gateway.insight.fleet import Arrival, Server, Speed, percentile, poisson, servers
from gateway.insight.simulator import capacity, fixed, routed, simulate
from gateway.router import Thresholds

ONE = (Server("only", "cloud", 1, Speed(0.5, 0.1)),)


def test_one_request_takes_its_time():
    outcome = simulate([Arrival(1.0, 5, 80)], ONE, policy=fixed)
    assert outcome.ttft_s == [0.5]
    assert outcome.response_s == pytest.approx([1.0])
    assert outcome.by_tier == {"cloud": 1}
    assert outcome.utilisation["all"] == pytest.approx(0.5)


def test_the_second_waits_for_the_first():
    outcome = simulate([Arrival(0.0, 5, 80), Arrival(0.25, 5, 80)], ONE, policy=fixed)
    assert outcome.ttft_s == pytest.approx([0.5, 0.75 + 0.5])


def test_who_waits_ten_seconds_gives_up():
    crowd = [Arrival(0.0, 100, 80), Arrival(0.1, 5, 80), Arrival(0.2, 5, 80)]
    outcome = simulate(crowd, ONE, policy=fixed)
    assert (outcome.timeouts, outcome.requests) == (2, 3)
    assert outcome.timeout_share == pytest.approx(2 / 3)
    assert not outcome.holds


def test_static_takes_the_lowest_tier_that_is_good_enough():
    fleet = servers(cloud=(4,), edge=(4,), mobile=(4,))
    arrivals = [Arrival(0.0, 5, score) for score in (10, 40, 80)]
    outcome = simulate(arrivals, fleet, policy=fixed)
    assert outcome.by_tier == {"mobile": 1, "edge": 1, "cloud": 1}


def test_load_aware_spills_over_where_static_waits():
    fleet = servers(cloud=(8,), edge=(8,), mobile=(1,))
    crowd = [Arrival(0.01 * i, 50, 10) for i in range(12)]
    waited = simulate(crowd, fleet, policy=fixed)
    spilled = simulate(crowd, fleet, policy=routed(Thresholds(), seed=1))
    assert percentile(spilled.ttft_s, 0.95) < percentile(waited.ttft_s, 0.95) / 2
    assert set(spilled.by_tier) > {"mobile"}


def test_a_run_repeats_by_its_seed():
    def run(seed):
        arrivals = poisson(rate=5, count=300, easy=0.7, seed=seed)
        return simulate(
            arrivals, servers(cloud=(8,), edge=(8,)), policy=routed(Thresholds(), seed=seed)
        )

    assert run(3) == run(3)
    assert run(3).ttft_s != run(4).ttft_s


def test_capacity_is_where_the_promise_stops_holding():
    def arrivals(rate, seed):
        return poisson(rate=rate, count=400, easy=0.7, seed=seed)

    fleet = servers(cloud=(4,))
    rate = capacity(fleet, policy=lambda _: fixed, arrivals=arrivals, seed=1, steps=7)
    assert simulate(arrivals(rate, 1), fleet, policy=fixed).holds
    assert not simulate(arrivals(rate * 1.3, 1), fleet, policy=fixed).holds
    more = capacity(servers(cloud=(8,)), policy=lambda _: fixed, arrivals=arrivals, seed=1, steps=7)
    assert 1.7 * rate < more


def test_arrivals_are_as_easy_as_asked():
    drawn = poisson(rate=1, count=5000, easy=0.7, seed=1)
    shares = [sum(a.score == score for a in drawn) / 5000 for score in (10, 40, 80)]
    assert shares == pytest.approx([0.28, 0.42, 0.30], abs=0.03)
    assert all(8 <= a.tokens <= 600 for a in drawn)
    assert drawn == sorted(drawn, key=lambda a: a.at_s)
