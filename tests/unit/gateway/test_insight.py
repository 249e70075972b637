"""The loop sees what the log tells, groups it, and changes thresholds only for the better."""

from datetime import UTC, datetime

import msgspec
import pytest

from audit.store import open_log
from gateway.errors import SettingsInvalid, TuningImpossible
from gateway.insight import history
from gateway.insight.history import Served
from gateway.tiers import TUNED, RoutingTable, Tiers, load

HOUR = 3_600_000
BEGIN = int(datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp() * 1000)


def request(index=0, **changes):
    values = {"began_ms": BEGIN + index * 1000, "latency_ms": 100, "prompt_tokens": 20}
    values |= {"completion_tokens": 30, "choices": 1, "tier": "mobile", "endpoint": "local/m"}
    values |= {"ending": "completed", "score": 10, "task": "lookup", "failed": 0, "hedged": False}
    return Served(**(values | changes))


def outcome(**own):
    given = {"phase": "outcome", "ending": "completed", "latency_ms": 400, "prompt_tokens": 12}
    given |= {"completion_tokens": 34, "tier": "edge", "choices": [{}, {}]}
    return {"time": BEGIN + 400, "sealgate": given | own}


def test_an_outcome_tells_sizes_and_times_and_no_text():
    route = {"endpoint": "edge-1", "grade": 40, "task": "writing", "hedged": True}
    route |= {"failed": [{"endpoint": "x", "reason": "cut"}]}
    assert history.served(outcome(route=route)) == request(
        latency_ms=400, prompt_tokens=12, completion_tokens=34, choices=2, tier="edge",
        endpoint="edge-1", score=40, task="writing", failed=1, hedged=True,
    )  # fmt: skip
    assert history.served(outcome()).task == "ungraded"


def test_a_new_log_has_no_history(tmp_path):
    engine = open_log(tmp_path / "log.db")
    assert history.read(engine) == []
    engine.dispose()


def test_hours_are_rolled_up_by_tier():
    past = [request(i, latency_ms=100 * (i + 1)) for i in range(4)]
    past += [request(0, tier="edge", ending="failed"), request(0, began_ms=BEGIN + HOUR)]
    rolled = history.hours(past)
    assert [(h.begins_ms, h.tier, h.requests, h.failures) for h in rolled] == [
        (BEGIN, "edge", 1, 1), (BEGIN, "mobile", 4, 0), (BEGIN + HOUR, "mobile", 1, 0),
    ]  # fmt: skip
    assert (rolled[1].latency_p50_ms, rolled[1].latency_p95_ms) == (300, 400)
    assert rolled[1].completion_tokens == 120


def test_only_graded_requests_are_replayed():
    past = [request(5), request(2, task="ungraded"), request(3, score=80)]
    replayed = list(history.arrivals(past))
    assert [(a.at_s, a.score) for a in replayed] == [(0.0, 80), (2.0, 10)]


def kinds():
    """Two kinds that nobody could confuse."""
    short = [request(i, prompt_tokens=10 + i % 3, latency_ms=50 + i % 5) for i in range(40)]
    return short + [
        request(i, prompt_tokens=3000 + i, completion_tokens=400, latency_ms=9000 + i, score=90,
                tier="cloud", ending="failed" if i == 0 else "completed")
        for i in range(40)
    ]  # fmt: skip


def test_kinds_of_requests_are_told_apart_and_drawn():
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    from gateway.insight import clusters, report  # noqa: PLC0415

    found = clusters.clustered(kinds())
    assert found.places.shape == (80, 2)
    grouped = [c for c in found.clusters if c.label != clusters.NOISE]
    assert {tuple(c.tiers) for c in grouped} == {("mobile",), ("cloud",)}
    png = report.picture(found)
    assert png.startswith(b"\x89PNG")
    page = report.page(found, history.hours(kinds()), png)
    assert "<script" not in page
    assert "1 of 40 answers failed on cloud" in page
    assert "2026-03-01 12:00Z" in page


def test_too_few_requests_are_not_grouped():
    from gateway.insight import clusters  # noqa: PLC0415

    with pytest.raises(ValueError, match="too few"):
        clusters.clustered([request(i) for i in range(5)])


def crowd():
    """Graded so that all of it is the cloud's, though the edge would be good enough for most."""
    return [
        request(i, began_ms=BEGIN + 120 * i, score=62, completion_tokens=60) for i in range(200)
    ]


@pytest.fixture
def tuning():
    pytest.importorskip("simpy")
    from gateway.insight import tuning  # noqa: PLC0415

    return tuning


@pytest.fixture
def proposal(tuning):
    from gateway.insight.fleet import servers  # noqa: PLC0415

    fleet = servers(cloud=(4,), edge=(24,))
    return tuning.propose(RoutingTable(), list(history.arrivals(crowd())), fleet)


def test_a_proposal_relieves_the_tier_that_is_crowded(proposal):
    assert proposal.better
    assert proposal.routing.cloud_from == 70
    assert proposal.after_cost_s < proposal.before_cost_s / 2


def test_an_idle_fleet_is_left_as_it_is(tuning):
    from gateway.insight.fleet import servers  # noqa: PLC0415

    calm = [request(10 * i) for i in range(60)]
    found = tuning.propose(
        RoutingTable(), list(history.arrivals(calm)), servers(cloud=(64,), edge=(64,), mobile=(64,))
    )
    assert not found.better


def test_too_little_history_tunes_nothing(tuning):
    with pytest.raises(TuningImpossible, match="needed"):
        tuning.propose(RoutingTable(), [], ())


def test_what_is_applied_is_read_at_the_next_start_and_rolled_back(tuning, proposal, tmp_path):
    before = RoutingTable()
    tuning.apply(tmp_path, proposal, current=before)
    tuned = load(None, tuned=tmp_path / TUNED)
    assert tuned.routing == proposal.routing != before
    assert msgspec.structs.replace(tuned, routing=before) == Tiers()
    assert tuning.roll_back(tmp_path) == before
    assert load(None, tuned=tmp_path / TUNED).routing == before
    with pytest.raises(TuningImpossible, match="Nothing was tuned"):
        tuning.roll_back(tmp_path)


def test_a_tuned_file_can_change_thresholds_alone(tmp_path):
    (tmp_path / TUNED).write_text('[[remote]]\nname = "x"\n')
    with pytest.raises(SettingsInvalid, match="remote"):
        load(None, tuned=tmp_path / TUNED)
