import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy import image
from privacy.errors import ModelUnsealable
from privacy.tensors import tensor_bytes

LENGTHS = st.lists(st.integers(0, 700), max_size=8)


def tensors_of(lengths):
    fill = np.random.default_rng(5)
    return {
        f"t{number}": fill.integers(1, 256, length, dtype=np.uint8)
        for number, length in enumerate(lengths)
    }


@given(
    lengths=LENGTHS,
    graph=st.integers(1, 200),
    limit=st.integers(64, 600),
    shared=st.integers(0, 600),
)
def test_cuts_carry_every_tensor_to_its_place(lengths, graph, limit, shared):
    tensors = tensors_of(lengths)
    placed = image.places(graph, tensors)
    memory = bytearray(max([graph, *(place.end for place in placed)]))
    end = graph
    for cut in image.cuts(placed, shared_limit_bytes=shared, limit_bytes=limit):
        assert end <= cut.offset
        assert 0 < cut.length <= limit
        content = b"".join(bytes(piece) for _, piece in image.content(cut, placed, tensors))
        assert len(content) == cut.length
        end = cut.offset + cut.length
        memory[cut.offset : end] = content
    for place in placed:
        assert place.offset % 64 == 0
        assert memory[place.offset : place.end] == tensors[place.name].tobytes()


def test_small_tensors_share_a_cut_and_large_ones_do_not():
    placed = image.places(1, tensors_of([10, 20, 30, 1000, 10, 10]))
    cuts = image.cuts(placed, shared_limit_bytes=256, limit_bytes=256)
    assert [cut.length for cut in cuts] == [158, 256, 256, 256, 232, 74]
    # One that is no longer small has a message to itself, so that it is read alone.
    cuts = image.cuts(placed, shared_limit_bytes=100, limit_bytes=2048)
    assert [cut.length for cut in cuts] == [84, 30, 1000, 74]


@pytest.mark.parametrize(
    "tensor",
    [
        np.arange(6, dtype=">i4"),
        np.arange(6, dtype=np.float16).reshape(2, 3).T,
        np.arange(12, dtype=np.int64)[::2],
        np.array(True),
        np.zeros((0, 3), dtype=np.float32),
    ],
)
def test_bytes_are_little_endian_and_contiguous(tensor):
    data = bytes(tensor_bytes(tensor))
    little = np.dtype(tensor.dtype.name).newbyteorder("<")
    assert np.array_equal(np.frombuffer(data, little).reshape(tensor.shape), tensor)


@pytest.mark.parametrize(
    "tensor", [np.array(["a"]), np.array([None]), np.zeros(2, np.complex64), np.longdouble(1)]
)
def test_a_type_without_a_fixed_form_is_refused(tensor):
    with pytest.raises(ModelUnsealable, match="odd"):
        image.places(1, {"odd": np.asarray(tensor)})


def test_a_tensor_of_nothing_takes_no_room_between_others():
    tensors = tensors_of([10, 0, 10])
    placed = image.places(1, tensors)
    (cut,) = image.cuts(placed)
    said = [(name, bytes(piece)) for name, piece in image.content(cut, placed, tensors)]
    assert [name for name, _ in said if name] == ["t0", "t2"]
    assert len(b"".join(piece for _, piece in said)) == cut.length == 64 + 10
