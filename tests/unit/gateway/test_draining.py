"""What an operator drains gets no new request, from the moment that the order is written."""

import json
import os

import pytest

from gateway import draining
from gateway.balancer import Balancer, Endpoint
from gateway.breakers import Breaker
from gateway.draining import Order, Standing
from gateway.errors import RequestRefused, SettingsInvalid
from gateway.router import AUTO, Candidate, Wanted
from gateway.routes import _Own
from gateway.slots import FairSlots

WANTED = Wanted("ward", "public", AUTO, 0, 10, 10)


def place(name, tier):
    return Candidate(name, tier, name, "rack", frozenset({"public"}), None, 100, 100, 1)


@pytest.fixture
def balancer(tmp_path):
    standing = Standing(tmp_path)

    def endpoint(name, tier):
        there = place(name, tier)
        return Endpoint(
            there, _Own(), Breaker(lambda: 0.0), FairSlots(1, waiting_limit=1),
            lambda: standing.order.covers(there),
        )  # fmt: skip

    return Balancer([endpoint("a", "edge"), endpoint("b", "cloud")], draw=lambda _: 0)


@pytest.mark.parametrize("name", ["a", "edge"])
def test_an_endpoint_or_its_tier_gets_nothing_until_it_is_resumed(balancer, tmp_path, name):
    assert balancer.decide(WANTED).endpoint == "a"
    draining.write(tmp_path, Order((name,)))
    decided = balancer.decide(WANTED)
    assert decided.endpoint == "b"
    assert "draining" in [v.word for v in decided.verdicts]
    assert decided.spares == ()
    draining.write(tmp_path, Order())
    assert balancer.decide(WANTED).endpoint == "a"


def test_where_all_drain_the_refusal_says_to_try_again(balancer, tmp_path):
    draining.write(tmp_path, Order(("edge", "cloud")))
    with pytest.raises(RequestRefused) as refused:
        balancer.decide(WANTED)
    assert (refused.value.status, refused.value.code) == (503, "no_tier_available")


@pytest.mark.parametrize("rubbish", [b"{", b"[]", b'{"names": 5}', b'{"unknown": 1}', b"\xff"])
def test_an_order_that_makes_no_sense_changes_nothing_and_warns(tmp_path, caplog, rubbish):
    standing = Standing(tmp_path)
    draining.write(tmp_path, Order(("edge",)))
    assert standing.order.names == ("edge",)
    scratch = tmp_path / "scratch"
    scratch.write_bytes(rubbish)
    scratch.replace(tmp_path / draining.FILE)
    assert standing.order.names == ("edge",)
    assert standing.order.names == ("edge",)
    assert len(caplog.records) == 1
    with pytest.raises(SettingsInvalid, match="Correct or remove"):
        draining.read(tmp_path)
    os.unlink(tmp_path / draining.FILE)  # noqa: PTH108 - the plain call
    assert standing.order == Order()


def test_commands_give_an_order_with_an_entry_each(sealgate, tmp_path):
    code, out, _ = sealgate("route", "drain", "edge", "--replica", "--json")
    assert (code, json.loads(out)) == (0, {"names": ["edge"], "replica": True})
    assert json.loads(sealgate("route", "drain", "cloud", "--json")[1])["names"] == [
        "edge", "cloud",
    ]  # fmt: skip
    assert Standing(tmp_path / "home").order == Order(("edge", "cloud"), replica=True)
    code, out, _ = sealgate("route", "resume", "edge", "--replica")
    assert (code, "cloud" in out, "replica" in out) == (0, True, False)
    found = json.loads(sealgate("audit", "search", "--json")[1])["data"]
    operations = [each["event"]["api"]["operation"] for each in found]
    assert operations.count("routing.drained") == 2
    assert operations.count("routing.resumed") == 1


@pytest.mark.parametrize(
    "words", [("drain",), ("drain", "nobody"), ("resume",), ("resume", "edge")]
)
def test_a_name_that_is_none_is_a_wrong_use(sealgate, words):
    code, _, err = sealgate("route", *words)
    assert code == 2
    assert err
