"""Workers of one model share its weights: a fork that answers writes a fraction of them."""

import gc
import os
from pathlib import Path

import pytest


def private_kib():
    """Return what only this process has written."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty:"))


@pytest.fixture(scope="module")
def engine(smollm2, load_engine):
    return load_engine(smollm2)


def answered(engine, tokens):
    decoding = engine.start(64 + tokens)
    token = int(decoding.feed([5] * 64).argmax())
    for _ in range(tokens):
        token = int(decoding.feed([token]).argmax())
    return token


def in_forks(count, engine):
    """Answer in processes that live at the same time; return what each wrote, in KiB."""
    reading, writing = os.pipe()
    start, go = os.pipe()
    children = []
    # As a zygote does: a collection would write to every object of the tests before this one.
    gc.freeze()
    gc.disable()
    for _ in range(count):
        child = os.fork()
        if not child:
            token = answered(engine, 8)
            os.write(writing, f"{token} {private_kib()}\n".encode())
            os.read(start, 1)
            os._exit(0)
        children.append(child)
    told = b""
    while told.count(b"\n") < count:
        told += os.read(reading, 4096)
    os.write(go, b"." * count)
    assert all(os.waitpid(child, 0)[1] == 0 for child in children)
    gc.enable()
    gc.unfreeze()
    for descriptor in (reading, writing, start, go):
        os.close(descriptor)
    return [tuple(map(int, line.split())) for line in told.splitlines()]


def test_two_workers_at_once_write_a_fraction_of_the_weights_each(smollm2, engine):
    weights_kib = sum(tensor.nbytes for tensor in smollm2.tensors.values()) >> 10
    token = answered(engine, 8)
    for answer, written_kib in in_forks(2, engine):
        assert answer == token
        # The context itself, and scratch memory: no copy of the weights.
        assert written_kib < weights_kib / 3


def test_what_a_context_takes_is_what_the_model_says(smollm2, engine):
    decoding = engine.start(512)
    held = sum(cache.nbytes for cache in decoding._caches.values())
    assert held == smollm2.state_bytes(512) == 512 * 45 * 1024
