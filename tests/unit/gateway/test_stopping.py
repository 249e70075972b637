from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gateway.stopping import StopWatcher

texts = st.text("ab ", max_size=40)
stops = st.lists(st.text("ab ", min_size=1, max_size=4), max_size=4).map(tuple)


def run(watcher, pieces):
    sent = [watcher.feed(piece) for piece in pieces]
    return [*sent, watcher.finish()]


def expected(text, stops):
    cuts = [text.find(stop) for stop in stops if stop in text]
    return text[: min(cuts)] if cuts else text


@given(texts, stops, st.lists(st.integers(0, 40)))
def test_pieces_make_the_text_before_the_first_stop_wherever_they_are_cut(text, stops, borders):
    edges = sorted({0, len(text), *(b for b in borders if b <= len(text))})
    pieces = [text[a:b] for a, b in pairwise(edges)]
    watcher = StopWatcher(stops)
    # A stop ends the stream of pieces: a later one, found earlier in the text, cannot be.
    sent = []
    for piece in pieces:
        sent.append(watcher.feed(piece))
        if watcher.stopped:
            break
    sent.append(watcher.finish())
    assert not any(stop in "".join(sent) for stop in stops)
    assert text.startswith("".join(sent))
    if len(pieces) <= 1 or not stops:
        assert "".join(sent) == expected(text, stops)


def test_beginning_of_a_stop_is_held_back_and_released_when_it_is_none():
    watcher = StopWatcher(("STOP",))
    assert watcher.feed("go ST") == "go "
    assert watcher.feed("UFF") == "STUFF"
    assert not watcher.stopped


def test_held_text_is_released_at_the_end():
    assert run(StopWatcher(("STOP",)), ["go STO"]) == ["go ", "STO"]


def test_earliest_of_several_stops_cuts():
    watcher = StopWatcher(("c", "b"))
    assert watcher.feed("abc") == "a"
    assert watcher.stopped
    assert watcher.feed("more") == watcher.finish() == ""


def test_without_stops_nothing_is_held():
    assert StopWatcher(()).feed("text") == "text"
