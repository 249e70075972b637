"""What a tier sends together goes on together: as many pieces, and one write for all of them."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import telling
from gateway.backends.base import Text
from gateway.backends.events import EventReader, Expected
from gateway.backends.remote import _Tally, _told
from gateway.choice import Choice
from gateway.errors import UpstreamFailed
from gateway.marking import ChoiceMark
from gateway.question import Ended, Piece
from gateway.remote_reading import Said
from gateway.speaking import Whole
from tests.unit.gateway import upstreams

event, DONE = upstreams.event, upstreams.DONE


def told(*parts):
    """Return the items of each read, and what the last one ends with, if it fails."""
    reader, tally = EventReader(Expected(upstreams.MODEL, 64)), _Tally()
    found = []
    for part in parts:
        found.append([])
        try:
            for item in _told(reader.feed(part), tally):
                found[-1].append(item)
        except UpstreamFailed as error:
            return found, error.reason
    return found, None


def test_each_text_of_a_read_but_the_last_says_that_more_is_there():
    whole = b"".join(upstreams.GOOD)
    ((*texts, last),), failure = told(whole)
    assert [text.more for text in texts] == [True] * len(texts)
    assert len(texts) > 1
    assert last.more is False
    assert failure is None


@given(st.integers(1, 60))
def test_the_last_text_of_any_read_is_not_held_back(size):
    whole = b"".join(upstreams.GOOD)
    reads, _ = told(*(whole[at : at + size] for at in range(0, len(whole), size)))
    assert [items[-1].more for items in reads if items] == [False for items in reads if items]
    assert "".join(item.text for items in reads for item in items) == "Hello!"


def test_what_came_before_a_fault_in_the_same_read_is_told():
    (items,), failure = told(b"".join([*upstreams.GOOD[:2], b"data: nonsense\n\n"]))
    assert failure == "garbage"
    assert items
    assert all(isinstance(item, Text) for item in items)
    assert items[-1].more is False


async def batches(monkeypatch, *said, stops=()):
    async def spoken(_question, _work):
        for item in said:
            yield item
        yield Whole("stop", None, {}, len(said))

    monkeypatch.setattr(telling, "spoken", spoken)
    monkeypatch.setattr(telling, "job", lambda *_: None)
    question = SimpleNamespace(stops=stops)
    choice = Choice(ChoiceMark(1, b""))
    run = telling.Telling(question, 0, choice, None).told(mark_key=b"", began=lambda _: None)
    return [list(batch) async for batch in run], choice


async def test_pieces_that_came_together_are_one_batch(monkeypatch):
    said = [Said("a", more=True), Said("b", more=True), Said("c"), Said("d")]
    found, choice = await batches(monkeypatch, *said)
    assert found == [
        [Piece(0, "a"), Piece(0, "b"), Piece(0, "c")],
        [Piece(0, "d")],
        [Ended(0, "stop")],
    ]
    assert choice.text == ["a", "b", "c", "d"]


@pytest.mark.parametrize("more", [True, False])
async def test_a_stop_string_among_them_ends_the_answer_before_it(monkeypatch, more):
    said = [Said("one ", more=True), Said("two ", more=True), Said("END x", more=more)]
    found, choice = await batches(monkeypatch, *said, Said("never"), stops=("END",))
    *texts, end = [item for batch in found for item in batch]
    assert "".join(piece.text for piece in texts) == "one two "
    assert end == Ended(0, "stop")
    assert "never" not in "".join(choice.text)
