"""Requests go where they may, are good enough and begin soonest; and it can be told why."""

from dataclasses import replace

import numpy as np
import pytest

from gateway.backends.base import Load
from gateway.breakers import Breaker, Budget, Strain
from gateway.errors import RequestRefused
from gateway.grading import Weights, grade
from gateway.router import AUTO, TIERS, Candidate, Thresholds, Wanted, choose, explained

ALL = frozenset({"public", "internal", "phi"})
FRESH = {"age_s": 0.0}


def place(name, tier="edge", **changes):
    values = {"name": name, "tier": tier, "model": f"model-{tier}", "boundary": "site"}
    values |= {"classes": ALL, "tenants": None, "context_length": 4096, "output_limit": 1024}
    return Candidate(**(values | {"slots": 4, "load": Load(**FRESH)} | changes))


def wanted(**changes):
    values = {"tenant": "clinic", "data_class": "phi", "pin": AUTO, "score": 10}
    return Wanted(**(values | {"prompt_tokens": 50, "max_tokens": 100} | changes))


def decide(request, candidates, *, draw=lambda _: 0, tried=frozenset(), **thresholds):
    return choose(request, candidates, thresholds=Thresholds(**thresholds), draw=draw, tried=tried)


def words(decision):
    return {v.endpoint: v.word for v in decision.verdicts}


def test_the_hard_filter_says_which_wall_stood():
    candidates = [
        place("classless", classes=frozenset({"public"})),
        place("private", tenants=frozenset({"other"})),
        place("short", context_length=100),
        place("terse", output_limit=10),
        place("fits"),
    ]
    decision = decide(wanted(), candidates)
    assert decision.endpoint == "fits"
    assert decision.spares == ()
    assert words(decision) == {
        "classless": "class", "private": "tenant", "short": "context", "terse": "output",
        "fits": "chosen",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("candidates", "changes", "code", "status"),
    [
        ([place("a", classes=frozenset({"public"}))], {}, "no_tier_for_class", 403),
        ([place("a", tenants=frozenset({"other"}))], {}, "no_tier_for_class", 403),
        ([], {}, "no_tier_for_class", 403),
        ([place("a")], {"pin": "gpt-17"}, "model_not_found", 404),
        ([place("a")], {"prompt_tokens": 5000}, "context_length_exceeded", 400),
        ([place("a", open=True)], {}, "no_tier_available", 503),
        ([place("a", draining=True)], {}, "no_tier_available", 503),
    ],
)
def test_where_nothing_is_left_the_refusal_names_the_reason(candidates, changes, code, status):
    with pytest.raises(RequestRefused) as refused:
        decide(wanted(**changes), candidates)
    assert (refused.value.code, refused.value.status) == (code, status)


def test_the_policy_decides_where_any_attempt_may_go():
    here = place("here", "mobile", boundary="local")
    fleet = [here, place("edge"), place("cloud", "cloud")]
    only = {"tiers": frozenset({"local", "cloud"})}
    decision = decide(wanted(**only), fleet)
    assert words(decision)["edge"] == "policy"
    assert {decision.endpoint, *decision.spares} == {"here", "cloud"}
    marked = decide(wanted(marked=True, score=90), fleet)
    assert (marked.endpoint, marked.spares, marked.lowered) == ("here", (), True)
    marking = [*fleet[:1], place("marking", tier="cloud", processor=True)]
    assert decide(wanted(marked=True, score=90), marking).endpoint == "marking"
    with pytest.raises(RequestRefused) as refused:
        decide(wanted(pin="edge", **only), fleet)
    assert refused.value.code == "policy_denied"


def test_no_attempt_reaches_a_remote_that_lacks_the_agreement():
    fleet = [place("here", boundary="local"), place("signed"), place("other")]
    decision = decide(wanted(agreed=frozenset({"signed"})), fleet)
    assert words(decision)["other"] == "agreement"
    assert {decision.endpoint, *decision.spares} == {"here", "signed"}
    for tried in ("here", "signed"):
        again = decide(wanted(agreed=frozenset({"signed"})), fleet, tried=frozenset({tried}))
        assert {again.endpoint, *again.spares} == {"here", "signed"} - {tried}
    with pytest.raises(RequestRefused) as refused:
        decide(wanted(agreed=frozenset()), fleet[1:])
    assert refused.value.code == "no_tier_for_class"


@pytest.mark.parametrize(("score", "floor"), [(0, "mobile"), (25, "edge"), (60, "cloud")])
def test_the_grade_sets_the_floor(score, floor):
    candidates = [place(tier, tier) for tier in TIERS]
    decision = decide(wanted(score=score), candidates)
    assert decision.floor == floor
    below = TIERS[: TIERS.index(floor)]
    assert all(words(decision)[tier] == "quality" for tier in below)
    assert TIERS.index(decision.endpoint) >= TIERS.index(floor)


def test_a_pin_is_not_graded():
    decision = decide(wanted(score=100, pin="mobile"), [place(tier, tier) for tier in TIERS])
    assert decision.endpoint == "mobile"
    assert decide(wanted(score=100, pin="model-edge"), [place("e")]).endpoint == "e"


def test_the_floor_is_lowered_only_where_no_endpoint_may_reach_it():
    cloud = place("cloud", "cloud", classes=frozenset({"public"}))
    decision = decide(wanted(score=90), [place("edge"), cloud])
    assert (decision.endpoint, decision.lowered, decision.floor) == ("edge", True, "cloud")
    # One that may but is busy does not lower it.
    with pytest.raises(RequestRefused, match="free now"):
        decide(wanted(score=90), [place("edge"), place("cloud", "cloud", open=True)])


def test_of_two_drawn_the_sooner_answers():
    idle, busy = place("idle"), place("busy", load=Load(running=9, outstanding_tokens=900, **FRESH))
    spare = place("spare", load=Load(running=3, **FRESH))
    draws = iter([1, 1])
    decision = decide(wanted(), [idle, busy, spare], draw=lambda _: next(draws))
    # Drawn were `busy` and `spare`: the idle one was not among them.
    assert decision.endpoint == "spare"
    assert decision.spares == ("idle", "busy")


def test_a_stale_load_counts_as_unknown():
    fresh = place("fresh", load=Load(running=1, **FRESH))
    stale = place("stale", load=Load(age_s=3.0))
    assert decide(wanted(), [stale, fresh], stale_factor=1.5).endpoint == "fresh"
    assert decide(wanted(), [stale, fresh], stale_factor=1.0).endpoint == "stale"


def test_the_explanation_holds_no_float():
    entry = decide(wanted(), [place("a"), place("b", "cloud")]).entry()
    assert entry["floor"] == "mobile"
    for considered in entry["considered"]:
        assert all(isinstance(value, str | int) for value in considered.values())


def test_explaining_needs_nobody_to_be_up():
    told = explained(
        wanted(score=90), [place("e"), place("c", "cloud", open=True)], thresholds=Thresholds()
    )
    assert [(v.endpoint, v.word) for v in told] == [("e", "quality"), ("c", "spare")]


def test_harder_requests_have_higher_grades():
    def score(text, max_tokens=100, turns=1):
        talk = [{"role": "user", "content": text}] * turns
        return grade(talk, max_tokens=max_tokens, weights=Weights())

    greeting = score("What are your opening hours?")
    assert (greeting.task, score("Prove that it converges.").task) == ("lookup", "proof")
    assert greeting.score < score("Summarise this letter.").score
    assert score("Summarise this letter.").score < score("Prove that it converges.").score
    assert score("x" * 400).score < score("x" * 40_000).score <= 100
    assert score("Hi", turns=2).score < score("Hi", turns=20).score
    assert score("Hi", max_tokens=16).score < score("Hi", max_tokens=2048).score


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_a_breaker_opens_rests_tries_once_and_doubles():
    clock = Clock()
    breaker = Breaker(clock, Strain(failures=2, rest_s=1.0, longest_rest_s=3.0))
    breaker.failed()
    assert not breaker.open
    breaker.failed()
    assert breaker.open
    for rest in (1.0, 2.0, 3.0, 3.0):
        clock.now += rest - 0.01
        assert breaker.open
        clock.now += 0.01
        assert not breaker.open
        breaker.begin()
        # One trial is on its way: nobody else goes through.
        assert breaker.open
        breaker.failed()
    clock.now += 3.0
    breaker.begin()
    breaker.abandoned()
    assert not breaker.open
    breaker.begin()
    breaker.succeeded()
    assert not breaker.open
    breaker.failed()
    assert not breaker.open


@pytest.mark.parametrize("share", [0.10, 0.02])
def test_a_budget_is_a_share_of_requests(share):
    budget = Budget(share, reserve=0.0)
    taken = 0
    for _ in range(1000):
        budget.request()
        taken += budget.take()
    assert taken == round(1000 * share)


SEQUENCES = 100_000


def test_no_fault_sequence_takes_data_beyond_its_tiers():
    """10⁵ random sequences of requests, failures, openings, drains and retries over one fleet.

    Data class and tenant decide alone where a request may go, whatever fails and whatever the
    estimates say; a filter that looked at health first would fail here.
    """
    random = np.random.default_rng(20)
    classes = np.array(["public", "internal", "phi"])
    fleet = [
        place("local", "mobile"),
        place("site-edge", classes=frozenset({"public", "internal"})),
        place("site-large", "cloud", tenants=frozenset({"clinic"})),
        place("abroad", "cloud", classes=frozenset({"public"}), boundary="provider"),
    ]
    may = {c.name: (c.classes, c.tenants) for c in fleet}
    steps = 3
    shape = (SEQUENCES, steps)
    drawn_class = classes[random.integers(0, 3, SEQUENCES)].tolist()
    tenants = np.array(["clinic", "lab"])[random.integers(0, 2, SEQUENCES)].tolist()
    scores = random.integers(0, 101, SEQUENCES).tolist()
    down = random.integers(0, 16, shape).tolist()
    drains = random.integers(0, 16, shape).tolist()
    busy = random.integers(0, 12, (*shape, 4)).tolist()
    thresholds, reached, refused = Thresholds(), dict.fromkeys(may, 0), 0
    loads = [Load(running=n, age_s=5.0 * (n % 2)) for n in range(12)]
    for index in range(SEQUENCES):
        request = wanted(data_class=drawn_class[index], tenant=tenants[index], score=scores[index])
        tried = frozenset()
        for step in range(steps):
            draw = busy[index][step]
            now = [
                replace(c, open=bool(down[index][step] >> i & 1),
                        draining=drains[index][step] >> i & 3 == 3, load=loads[draw[i]])
                for i, c in enumerate(fleet)
            ]  # fmt: skip
            try:
                decision = choose(
                    request, now, thresholds=thresholds, draw=lambda n, d=draw: d[0] % n,
                    tried=tried,
                )  # fmt: skip
            except RequestRefused:
                refused += 1
                break
            # The spares are whom a hedge or a retry could reach.
            for name in (decision.endpoint, *decision.spares):
                listed, members = may[name]
                assert request.data_class in listed
                assert members is None or request.tenant in members
            reached[decision.endpoint] += 1
            tried |= {decision.endpoint}
    assert min(reached.values()) > SEQUENCES // 100
    assert refused > SEQUENCES // 100
