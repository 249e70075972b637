import string
import struct
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sandbox import wire
from sandbox.errors import FrameInvalid

JOB = wire.Job(
    prompt=[1, 2, 3],
    max_tokens=5,
    temperature=0.7,
    top_k=50,
    top_p=0.9,
    eos=[2],
    mark_key=b"\xff" * 32,
    trace_id=0xFFFFFFFF,
    seed=b"\xee" * 32,
)
EVIDENCE = {"status": "weak", "marked": 3, "log_evidence": 1.5}
token_ids = st.lists(st.integers(0, 2**32 - 1), min_size=1)


@given(
    st.builds(
        wire.Job,
        prompt=token_ids,
        max_tokens=st.integers(0, 2**31),
        temperature=st.floats(0, 2),
        top_k=st.integers(1, 2**20),
        top_p=st.floats(0, 1, exclude_min=True),
        eos=st.lists(st.integers(0, 2**32 - 1)),
        mark_key=st.binary(min_size=32, max_size=32),
        trace_id=st.integers(0, 2**32 - 1),
        seed=st.binary(min_size=32, max_size=32),
    )
)
def test_job_comes_back_as_it_was(job):
    assert wire.decode_job(wire.encode(job)) == job


@given(token_ids)
def test_tokens_come_back_as_they_were(tokens):
    assert wire.unpack_tokens(wire.pack_tokens(tokens)) == tuple(tokens)


@given(st.binary(max_size=200), st.sampled_from(string.ascii_uppercase))
def test_frame_comes_apart_as_it_was_put_together(payload, kind):
    framed = wire.frame(kind.encode(), payload)
    header, body = framed[: wire.HEADER_BYTES], framed[wire.HEADER_BYTES :]
    assert wire.body_length(header) == len(body)
    assert wire.split_body(body) == (kind.encode(), payload)


def test_frame_is_laid_out_as_its_page_says():
    assert wire.frame(wire.TOKENS, wire.pack_tokens([258])) == (
        b"\x00\x00\x00\x06\x01T\x02\x01\x00\x00"
    )


def test_longest_frame_passes_and_one_byte_more_does_not():
    longest = wire.frame(wire.TOKENS, bytes(wire.MOST_BYTES - wire.LEAST_BYTES))
    assert wire.body_length(longest[:4]) == wire.MOST_BYTES
    with pytest.raises(FrameInvalid, match="over the limit"):
        wire.frame(wire.TOKENS, bytes(wire.MOST_BYTES - wire.LEAST_BYTES + 1))


@pytest.mark.parametrize("length", [0, 1, wire.MOST_BYTES + 1, 2**32 - 1])
def test_length_outside_the_limits_is_refused_before_its_bytes_are_read(length):
    with pytest.raises(FrameInvalid, match=str(length)):
        wire.body_length(struct.pack(">I", length))


@pytest.mark.parametrize("version", [0, 2, 255])
def test_other_version_is_refused_by_number(version):
    with pytest.raises(FrameInvalid, match=f"version {version}"):
        wire.split_body(bytes([version]) + b"T")


@pytest.mark.parametrize("length", [0, 1, 3, 5])
def test_tokens_that_are_not_whole_words_are_refused(length):
    with pytest.raises(FrameInvalid):
        wire.unpack_tokens(bytes(length))


@pytest.mark.parametrize(
    "decode", [wire.decode_job, wire.decode_end, wire.decode_spawned, wire.decode_exited]
)
@given(rubbish=st.binary(max_size=300))
@example(rubbish=b"")
@example(rubbish=b"\x80")
# Nested deeper than a decoder that recurses may follow.
@example(rubbish=b"\x91" * 5000)
# A map that says it has 2^32 - 1 entries.
@example(rubbish=b"\xdf\xff\xff\xff\xff")
# A reason that is no UTF-8.
@example(rubbish=b"\x81\xa6reason\xa1\xff")
def test_rubbish_is_refused_by_one_error(decode, rubbish):
    with pytest.raises(FrameInvalid):
        decode(rubbish)


@pytest.mark.parametrize(
    "end",
    [
        {"reason": "escaped", "evidence": EVIDENCE},
        {"reason": "stop", "evidence": EVIDENCE | {"status": "traceable\n"}},
        {"reason": "stop", "evidence": EVIDENCE | {"marked": -1}},
        {"reason": "stop", "evidence": EVIDENCE | {"marked": 2**40}},
        {"reason": "stop", "evidence": EVIDENCE | {"log_evidence": "much"}},
        {"reason": "stop", "evidence": {"status": "weak"}},
        {"reason": "stop"},
    ],
)
def test_worker_cannot_end_with_words_of_its_own(end):
    with pytest.raises(FrameInvalid):
        wire.decode_end(wire.encode(end))


def test_end_comes_back_as_it_was():
    end = wire.End("length", EVIDENCE)
    assert wire.decode_end(wire.encode(end)) == end


def test_job_prints_neither_prompt_nor_key():
    marked = replace(JOB, prompt=[777777], trace_id=0xABCDEF)
    for secret in ("777777", str(0xABCDEF), r"\xff", r"\xee"):
        assert secret not in repr(marked)


@pytest.mark.parametrize("payload", [b"", b"\x00"])
def test_sequences_frame_without_a_kind_is_refused(payload):
    with pytest.raises(FrameInvalid, match=f"has {len(payload)} bytes"):
        wire.split_sequence(payload)
    assert wire.split_sequence(wire.pack_sequence(3, b"T", b"rest")) == (3, b"T", b"rest")
