"""Answers are tried again, hedged and ended as the budgets, the walls and the client say."""

import asyncio
from contextlib import aclosing

import pytest

from gateway.backends.base import Load
from gateway.balancer import Balancer, Endpoint, Patience, Routed
from gateway.breakers import Breaker, Strain
from gateway.errors import RequestRefused, UpstreamFailed
from gateway.router import AUTO, Candidate, Wanted
from gateway.slots import FairSlots

WANTED = Wanted("clinic", "phi", AUTO, 10, 50, 100)


class Idle:
    load = Load(age_s=0.0, ewma_ttft_s=0.001)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def endpoint(name, *, classes=frozenset({"phi"}), boundary="site", slots=2, clock=None):
    place = Candidate(name, "edge", "m", boundary, classes, None, 4096, 1024, slots)
    breaker = Breaker(clock or Clock(), Strain(failures=3))
    return Endpoint(place, Idle(), breaker, FairSlots(slots, waiting_limit=1000))


def balancer(*endpoints, queue_s=60.0, hedge_s=0.05):
    return Balancer(
        endpoints, draw=lambda _: 0, patience=Patience(queue_s=queue_s, hedge_s=hedge_s)
    )


class Scripts:
    """What each endpoint does: text it yields, errors it raises, seconds it waits."""

    def __init__(self, **scripts):
        self._scripts = scripts
        self.began, self.closed = [], []

    async def __call__(self, at):
        name = at.place.name
        self.began.append(name)
        try:
            for step in self._scripts[name]:
                if isinstance(step, float):
                    await asyncio.sleep(step)
                elif isinstance(step, Exception):
                    raise step
                else:
                    yield step
        finally:
            self.closed.append(name)


def visible(item):
    return not item.startswith("(")


async def answer(balance, scripts, request=WANTED):
    decision = balance.decide(request)
    return [item async for item in balance.run(request, decision, start=scripts, visible=visible)]


CUT = UpstreamFailed("cut", "it ended")


async def test_an_answer_says_first_who_gives_it():
    balance = balancer(endpoint("a"))
    routed, *items = await answer(balance, Scripts(a=["(started)", "x", "y"]))
    assert isinstance(routed, Routed)
    assert (routed.endpoint.place.name, routed.failed, routed.hedged) == ("a", (), False)
    assert items == ["(started)", "x", "y"]


async def test_a_failure_before_the_first_text_goes_to_the_next():
    balance = balancer(endpoint("a"), endpoint("b"))
    routed, *items = await answer(balance, Scripts(a=["(started)", CUT], b=["x"]))
    assert items == ["x"]
    assert routed.endpoint.place.name == "b"
    assert routed.failed == (("a", "cut"),)
    assert routed.decision.entry()["considered"][0] == {
        "endpoint": "a", "tier": "edge", "verdict": "tried",
    }  # fmt: skip


async def test_a_failure_after_the_first_text_is_the_answers_end():
    balance = balancer(endpoint("a"), endpoint("b"))
    scripts = Scripts(a=["x", CUT], b=["y"])
    with pytest.raises(UpstreamFailed, match="cut"):
        await answer(balance, scripts)
    assert scripts.began == ["a"]


async def test_nothing_is_tried_beyond_the_tiers_of_the_class():
    balance = balancer(endpoint("a"), endpoint("abroad", classes=frozenset({"public"})))
    scripts = Scripts(a=[CUT], abroad=["x"])
    with pytest.raises(UpstreamFailed):
        await answer(balance, scripts)
    assert scripts.began == ["a"]


async def test_what_the_request_itself_did_wrong_is_tried_nowhere_else():
    balance = balancer(endpoint("a"), endpoint("b"))
    scripts = Scripts(a=[UpstreamFailed("rejected", "400")], b=["x"])
    for _ in range(5):
        with pytest.raises(UpstreamFailed, match="rejected"):
            await answer(balance, scripts)
    assert set(scripts.began) == {"a"}
    assert not balance.endpoints["a"].breaker.open


async def test_retries_stay_within_a_tenth():
    clock = Clock()
    sick = endpoint("a", clock=clock)
    balance = balancer(sick, endpoint("b"))
    scripts = Scripts(a=[CUT], b=["x"])
    failed = 0
    for _ in range(200):
        sick.breaker.succeeded()
        try:
            await answer(balance, scripts)
        except UpstreamFailed:
            failed += 1
    assert scripts.began.count("b") <= 200 * 0.1 + 1
    assert failed >= 179


async def test_an_endpoint_that_keeps_failing_is_left_alone_until_one_trial_succeeds():
    clock = Clock()
    balance = balancer(endpoint("a", clock=clock))
    scripts = Scripts(a=[CUT])
    for _ in range(3):
        with pytest.raises(UpstreamFailed):
            await answer(balance, scripts)
    with pytest.raises(RequestRefused, match="free now"):
        balance.decide(WANTED)
    clock.now += 10
    assert (await answer(balance, Scripts(a=["x"])))[1:] == ["x"]
    assert not balance.endpoints["a"].breaker.open


async def test_a_hedge_takes_over_from_one_that_stands_still():
    balance = balancer(endpoint("a"), endpoint("b"))
    for _ in range(50):
        balance._hedges.request()
    scripts = Scripts(a=[30.0, "late"], b=["x", "y"])
    routed, *items = await answer(balance, scripts)
    assert (routed.endpoint.place.name, routed.hedged, items) == ("b", True, ["x", "y"])
    # The one that was overtaken is ended, and its slot is free.
    assert sorted(scripts.closed) == ["a", "b"]
    assert balance.endpoints["a"].slots.busy == 0


async def test_no_hedge_crosses_a_trust_boundary():
    balance = balancer(endpoint("a"), endpoint("b", boundary="provider"))
    for _ in range(500):
        balance._hedges.request()
    scripts = Scripts(a=[0.3, "late"], b=["x"])
    routed, *items = await answer(balance, scripts)
    assert (items, routed.hedged, scripts.began) == (["late"], False, ["a"])


async def test_hedges_stay_within_a_fiftieth():
    balance = balancer(endpoint("a"), endpoint("b"), hedge_s=0.001)
    scripts = Scripts(a=[0.01, "x"], b=[0.02, "y"])
    for _ in range(60):
        await answer(balance, scripts)
    assert scripts.began.count("b") == 1


async def test_a_client_that_leaves_ends_the_answer_and_blames_nobody():
    balance = balancer(endpoint("a", slots=1))
    scripts = Scripts(a=["x", 30.0])
    for _ in range(5):
        decision = balance.decide(WANTED)
        run = balance.run(WANTED, decision, start=scripts, visible=visible)
        async with aclosing(run):
            assert isinstance(await anext(run), Routed)
            assert await anext(run) == "x"
            assert balance.endpoints["a"].slots.busy == 1
        assert balance.endpoints["a"].slots.busy == 0
    assert not balance.endpoints["a"].breaker.open


async def test_a_client_that_leaves_before_the_first_text_leaves_no_slot():
    balance = balancer(endpoint("a", slots=1))
    scripts = Scripts(a=["x", 30.0])
    run = balance.run(WANTED, balance.decide(WANTED), start=scripts, visible=visible)
    async with aclosing(run):
        assert isinstance(await anext(run), Routed)
    assert (balance.endpoints["a"].slots.busy, scripts.closed) == (0, ["a"])


async def test_a_slot_that_does_not_come_free_is_a_refusal():
    balance = balancer(endpoint("a", slots=1), queue_s=0.05)
    async with balance.endpoints["a"].slots.held("other", limit_s=60):
        with pytest.raises(RequestRefused, match="busy"):
            await answer(balance, Scripts(a=["x"]))
    assert balance.endpoints["a"].slots.waiting == 0
