"""The engine computes what the model's file says, and needs nothing but memory to do so."""

import itertools
import json
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from gateway.models.importing import import_gguf
from gateway.models.tokenizer import Tokenizer
from sandbox.engines.decoding import CHUNK_TOKENS
from sandbox.engines.onnx import OnnxEngine

# Over 256 tokens, so that attention looks back over a good distance.
TEXT = """\
The night nurse on the third floor wrote everything down twice: once on the chart at the end of
the bed, and once in a small grey book that she kept in the pocket of her coat. Nobody had asked
her to. When the new doctor wanted to know why, she said that the chart told the hospital what had
happened, and the book told her what she had seen. For eleven years the two had agreed. Then, one
morning in March, a patient's temperature on the chart was a full degree lower than the one in the
book, and the time beside it was ten minutes later. She read both entries aloud. The doctor looked
at the ink, then at the clock above the door, and asked who else had been in the room. There were
only three people with a key to the cupboard where the charts were kept overnight: the nurse
herself, the porter, and the man who repaired the heating. By noon they had found the page that had
been taken out, folded into four behind a radiator, and with it the answer to a question that had
troubled the ward since Christmas. What she had built, without meaning to, was a second record that
could not be changed by anyone who held the first one. The hospital bought forty grey books.
"""


def softmax(logits):
    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


@pytest.fixture(scope="module")
def engine(smollm2, load_engine):
    return load_engine(smollm2)


@pytest.fixture(scope="module")
def ids(smollm2):
    return Tokenizer(smollm2.assets["tokenizer.json"]).encode(TEXT)[:256]


@pytest.fixture(scope="module")
def expected(smollm2_gguf, reference_logits, ids):
    return softmax(reference_logits(smollm2_gguf, ids).astype(np.float64))


def divergence(p, q):
    return float((p * (np.log(p) - np.log(q))).sum(-1).mean())


def test_reference_model_predicts_as_its_dequantised_weights_do(engine, ids, expected):
    decoding = engine.start(len(ids))
    ours = softmax(np.array([decoding.feed([i]) for i in ids], np.float64))
    following = np.arange(len(ids) - 1), ids[1:]
    perplexity, reference = (np.exp(-np.log(p[:-1][following]).mean()) for p in (ours, expected))
    assert perplexity / reference <= 1.01
    assert divergence(expected, ours) < 0.005


def test_a_prompt_is_predicted_from_as_its_dequantised_weights_do(engine, ids, expected):
    ours = softmax(engine.start(len(ids)).feed(ids).astype(np.float64))
    assert divergence(expected[-1], ours) < 0.005


def test_answers_do_not_hang_on_how_tokens_are_fed(engine, ids):
    whole = engine.start(200).feed(ids[:200])
    pieces = engine.start(200)
    for size in itertools.pairwise([0, 1, 3, 90, 199, 200]):
        last = pieces.feed(ids[slice(*size)])
    assert divergence(softmax(whole.astype(np.float64)), softmax(last.astype(np.float64))) < 0.005


# Activations are rounded to 8 bits in blocks of 32; what is wrong in kind is off by 0.2 and more.
ROUNDING = 0.04


def distance(ours, expected):
    return np.sqrt(((ours - expected) ** 2).mean()) / expected.std()


KINDS = ["Q4_0", "Q4_1", "Q8_0", "F16", "F32"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("embedding", KINDS)
def test_every_tensor_type_computes_what_it_says(
    kind, embedding, tiny_gguf, load_engine, reference_logits
):
    path = tiny_gguf({"*": kind, "token_embd": embedding})
    ids = list(range(2, 82))
    decoding = load_engine(import_gguf(path)).start(100)
    expected = reference_logits(path, ids)
    assert distance(decoding.feed(ids[:1]), expected[0]) < ROUNDING
    assert distance(decoding.feed(ids[1:]), expected[-1]) < ROUNDING


@pytest.mark.parametrize(
    ("kinds", "metadata"),
    [
        ({"output.weight": "Q8_0"}, {}),
        ({"rope_freqs.weight": "F32"}, {}),
        ({"attn_v": "Q8_0", "ffn_up": "Q4_0"}, {}),
        ({}, {"llama__rope__scaling__type": "linear", "llama__rope__scaling__factor": 4.0}),
        ({}, {"llama__rope__freq_base": 500.0}),
        ({}, {"llama__attention__layer_norm_rms_epsilon": 0.1}),
    ],
    ids=[
        "own head",
        "frequency factors",
        "mixed types",
        "stretched positions",
        "rope base",
        "epsilon",
    ],
)
def test_variations_compute_what_they_say(
    kinds, metadata, tiny_gguf, load_engine, reference_logits
):
    path = tiny_gguf(kinds, **metadata)
    ids = list(range(2, 82))
    expected = reference_logits(path, ids)[-1]
    ours = load_engine(import_gguf(path)).start(100).feed(ids)
    assert distance(ours, expected) < ROUNDING


def test_long_prompts_go_through_in_pieces(tiny_gguf, load_engine, reference_logits):
    path = tiny_gguf({"*": "F32"})
    ids = [2 + (i * 7) % 250 for i in range(2 * CHUNK_TOKENS + 77)]
    ours = load_engine(import_gguf(path)).start(len(ids)).feed(ids)
    expected = reference_logits(path, ids)[-1]
    assert distance(ours, expected) < 1e-4


@pytest.fixture(scope="module")
def tiny(tiny_gguf):
    return import_gguf(tiny_gguf())


def test_decodings_of_one_engine_do_not_meet(tiny, load_engine):
    engine = load_engine(tiny)
    alone = engine.start(8).feed([5, 6, 7])
    first, second = engine.start(8), engine.start(8)
    first.feed([5, 6])
    second.feed([9, 9])
    assert np.array_equal(first.feed([7]), load_alone(engine, [[5, 6], [7]]))
    assert np.allclose(alone, load_alone(engine, [[5, 6, 7]]))


def load_alone(engine, feeds):
    decoding = engine.start(8)
    return [decoding.feed(tokens) for tokens in feeds][-1]


def test_logits_stay_what_they_were_when_more_is_fed(tiny, load_engine):
    decoding = load_engine(tiny).start(8)
    first = decoding.feed([5])
    kept = first.copy()
    decoding.feed([6])
    assert np.array_equal(first, kept)


@pytest.mark.parametrize("length", [0, -1, 2049])
def test_a_decoding_longer_than_the_context_is_refused(length, tiny, load_engine):
    with pytest.raises(ValueError, match="1 to 2048 fit"):
        load_engine(tiny).start(length)


def test_feeding_more_than_there_is_room_for_is_refused(tiny, load_engine):
    decoding = load_engine(tiny).start(4)
    decoding.feed([5, 6, 7])
    with pytest.raises(ValueError, match="after 3 of 4"):
        decoding.feed([8, 9])
    with pytest.raises(ValueError, match="0 tokens"):
        decoding.feed([])


def test_the_engine_tells_what_a_sampler_needs(tiny, load_engine):
    engine = load_engine(tiny)
    assert (engine.vocab_size, engine.context_length) == (288, 2048)
    assert engine.eos == (1,)


def test_a_tensor_outside_the_weights_is_refused(tiny, pack_model):
    header, memory = pack_model(tiny)
    header["tensors"][3]["offset"] = len(memory) - 1
    with pytest.raises(ValueError, match="outside the weights"):
        OnnxEngine.load(header, memory)


def in_a_zygote(model, pack_model, tmp_path, script, *arguments):
    """Run a script in a fresh process that has loaded the model as `engine` from `memory`."""
    header, memory = pack_model(model)
    (tmp_path / "weights").write_bytes(memory)
    (tmp_path / "header").write_text(json.dumps(header))
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    setting = """
        import ctypes, json, mmap, os, sys, threading
        from pathlib import Path
        from sandbox.engines.onnx import OnnxEngine
        file = open(sys.argv[1] + "/weights", "rb")
        memory = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        header = json.loads(Path(sys.argv[1] + "/header").read_text())
        engine = OnnxEngine.load(header, memoryview(memory))
    """
    environment = {"HOME": str(home), "OPENBLAS_NUM_THREADS": "1", "PATH": os.environ["PATH"]}
    return subprocess.run(
        [
            *(sys.executable, "-c", textwrap.dedent(setting) + textwrap.dedent(script)),
            *(str(tmp_path), *arguments),
        ],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_loading_starts_no_thread_and_writes_no_file(tiny, pack_model, tmp_path):
    script = """
        print(len(os.listdir("/proc/self/task")))
    """
    done = in_a_zygote(tiny, pack_model, tmp_path, script)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "1", "")
    assert list((tmp_path / "home").rglob("*")) == []


def test_the_weights_memory_can_go_once_the_engine_stands(tiny, pack_model, tmp_path):
    script = """
        before = engine.start(64).feed(list(range(2, 60))).tolist()
        import gc; gc.collect()
        memory.close()
        assert engine.start(64).feed(list(range(2, 60))).tolist() == before
    """
    done = in_a_zygote(tiny, pack_model, tmp_path, script)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_locked_child_decodes_with_memory_alone(tiny, pack_model, tmp_path):
    # mmap, mprotect, munmap, brk, mremap, madvise, futex, clock_gettime, exit_group; any other
    # call kills the child. sandbox.seccomp allows more, for what surrounds the engine.
    script = """
        import struct
        allowed = [9, 10, 11, 12, 25, 28, 202, 228, 231]
        load, equal, give, kill, allow = 0x20, 0x15, 0x06, 0x80000000, 0x7FFF0000
        code = [(load, 0, 0, 0)]
        for number in allowed:
            code += [(equal, 0, 1, number), (give, 0, 0, allow)]
        code.append((give, 0, 0, kill))
        program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *i) for i in code))
        header = struct.pack("=HxxxxxxQ", len(code), ctypes.addressof(program))
        prctl = ctypes.CDLL(None).prctl
        child = os.fork()
        if child == 0:
            prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
            prctl(22, 2, header)  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
            decoding = engine.start(1500)
            decoding.feed(list(range(2, 250)) * 5)
            for token in range(2, 22):
                logits = decoding.feed([token])
            if len(sys.argv) > 2:
                os.getppid()
            os._exit(7 if logits.size == engine.vocab_size else 8)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    done = in_a_zygote(tiny, pack_model, tmp_path, script)
    assert (done.stdout.strip(), done.stderr) == ("7", "")
    # The filter does stand: a call beyond the list ends the child with SIGSYS.
    done = in_a_zygote(tiny, pack_model, tmp_path, script, "ask for more")
    assert done.stdout.strip() == "-31"


@pytest.mark.parametrize("length", [0, -1, 2049])
def test_sequences_longer_than_the_context_are_refused_together(length, tiny, load_engine):
    with pytest.raises(ValueError, match="side by side"):
        load_engine(tiny).start_together(2, length)
