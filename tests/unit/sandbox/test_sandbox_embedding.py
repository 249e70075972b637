import asyncio
import fcntl
import json
import os
import socket
import struct

import numpy as np
import pytest

from gateway.models.bert import import_bert
from sandbox import wire
from sandbox.errors import FrameInvalid, WorkerDied
from sandbox.limits import Limits
from sandbox.pool import Finished, Pool, Started
from sandbox.readings import Undue, Vector, VectorReader
from tests import tiny_bert

SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW


@pytest.fixture(scope="module")
def send_weights(tmp_path_factory, pack_model):
    """What gives a zygote the tiny model, as the key broker does."""
    model = import_bert(tiny_bert.write(tmp_path_factory.mktemp("bert") / "tiny"))
    header, memory = pack_model(model)
    told = json.dumps(header).encode()

    def send(connection):
        descriptor = os.memfd_create("weights", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.write(descriptor, memory)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, SEALS)
        socket.send_fds(connection, [struct.pack(">I", len(told))], [descriptor])
        connection.sendall(told)
        os.close(descriptor)

    return send


def run_in_pool(send_weights, work):
    async def main():
        pool = Pool(size=1, limits=Limits(), send_weights=send_weights)
        await pool.start()
        try:
            return await work(pool)
        finally:
            await pool.stop()

    return asyncio.run(main())


async def embedded(pool, texts, *, dimensions=16):
    run = pool.embed(wire.Inputs(texts), dimensions=dimensions, deadline_s=60)
    return [item async for item in run]


def test_confined_worker_embeds_each_text_and_is_gone(send_weights):
    texts = [[2, 5, 3], [2, 6, 7, 3], [2, 3], *([[2, 8, 3]] * 40)]

    async def twice(pool):
        return await embedded(pool, texts), await embedded(pool, texts[:1])

    first, second = run_in_pool(send_weights, twice)
    for items, asked in ((first, texts), (second, texts[:1])):
        started, *vectors, finished = items
        assert isinstance(started, Started)
        assert isinstance(finished, Finished)
        assert finished.evidence["status"] == "unmarked"
        assert finished.attestation["end"]["how"] == "exit"
        assert finished.attestation["end"]["code"] == 0
        assert len(vectors) == len(asked)
        for vector, ids in zip(vectors, asked, strict=True):
            assert np.allclose(vector.values, tiny_bert.vector(ids), atol=1e-5)


@pytest.mark.parametrize("texts", [[[2] * 21], [[99]]])
def test_text_that_cannot_be_ends_its_worker_alone(send_weights, texts):
    async def work(pool):
        with pytest.raises(WorkerDied, match="ValueError"):
            await embedded(pool, texts)
        return await embedded(pool, [[2, 5, 3]])

    assert isinstance(run_in_pool(send_weights, work)[-1], Finished)


def test_worker_that_embeds_takes_no_question(send_weights):
    job = wire.Job([1], 1, 1.0, 1, 1.0, [], bytes(32), 0, bytes(32))

    async def work(pool):
        with pytest.raises(WorkerDied, match="takes texts"):
            [item async for item in pool.run(job, deadline_s=60)]

    run_in_pool(send_weights, work)


def test_texts_come_back_as_they_were():
    inputs = wire.Inputs([[1, 2], [3]])
    assert wire.decode_inputs(wire.encode(inputs)) == inputs


@pytest.mark.parametrize("texts", [[], [[]], [[1]] * (wire.MOST_INPUTS + 1), "x", [["x"]]])
def test_what_are_no_texts_is_refused(texts):
    with pytest.raises(FrameInvalid):
        wire.decode_inputs(wire.encode({"texts": texts}))


def test_most_texts_fit_a_frame():
    most = [[2**31] * (wire.MOST_INPUT_TOKENS // wire.MOST_INPUTS)] * wire.MOST_INPUTS
    wire.frame(wire.INPUTS, wire.encode(wire.Inputs(most)))


def reader(texts=1):
    return VectorReader(wire.Inputs([[1]] * texts), dimensions=2)


def test_reader_takes_one_vector_a_text():
    one = reader()
    vector = one.read(wire.VECTOR, struct.pack("<2f", 1, 2))
    assert isinstance(vector, Vector)
    assert vector.values.tolist() == [1, 2]
    one.close()


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (wire.TOKENS, b"\0\0\0\0"),
        (wire.VECTOR, struct.pack("<3f", 1, 2, 3)),
        (wire.VECTOR, struct.pack("<f", 1)),
        (wire.VECTOR, b""),
        (wire.VECTOR, struct.pack("<2f", 1, float("nan"))),
        (wire.VECTOR, struct.pack("<2f", float("inf"), float("-inf"))),
    ],
)
def test_frame_that_is_no_vector_is_refused(kind, payload):
    with pytest.raises(Undue):
        reader().read(kind, payload)


def test_vector_too_many_or_too_few_is_refused():
    with pytest.raises(Undue, match="last"):
        reader().close()
    one = reader()
    one.read(wire.VECTOR, bytes(8))
    with pytest.raises(Undue):
        one.read(wire.VECTOR, bytes(8))
