"""The vLLM processor: its arithmetic against the NumPy sampler, its bookkeeping by both interfaces.

What needs torch is skipped without it; what needs vLLM's own classes, without them.
"""

import ast
import importlib
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from sandbox.candidates import candidates
from watermark import vllm
from watermark.argument import ARGUMENT, Mark, packed, unpacked
from watermark.detector import detect
from watermark.errors import KeyMalformed, TokenOutOfRange
from watermark.sampler import Sampler
from watermark.tensor_draws import CANDIDATES, Shape, TensorSampler, expanded
from watermark.vllm import MarkProcessor, mark_of

KEY, SEED, V = b"\x07" * 32, b"\x09" * 32, 5000


@dataclass
class Parameters:
    """What the processor reads of vLLM's SamplingParams."""

    extra_args: dict | None = None
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0


def marked(trace_id=7, *, key=KEY, **options):
    return Parameters({ARGUMENT: packed(Mark(key, trace_id))}, **options)


def test_module_needs_neither_torch_nor_vllm():
    for module in (vllm, importlib.import_module("watermark.tensor_draws")):
        tree = ast.parse(Path(module.__file__).read_text())
        names = [
            alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        ]
        assert "torch" not in names
    assert issubclass(MarkProcessor, vllm.Marking)


def test_mark_travels_as_one_argument():
    assert unpacked(packed(Mark(KEY, 0xFFFFFFFF))) == Mark(KEY, 0xFFFFFFFF)
    assert mark_of(marked(5)) == Mark(KEY, 5)
    assert mark_of(Parameters()) is mark_of(Parameters({})) is None
    assert mark_of(marked(5, temperature=0.0)) is None


@pytest.mark.parametrize("text", ["", "AAAA", 7, None, "\u00e9" * 48, "=" * 48])
def test_malformed_mark_is_refused_and_not_quoted(text):
    parameters = Parameters({ARGUMENT: text})
    if text is None:
        assert mark_of(parameters) is None
        return
    with pytest.raises(KeyMalformed) as refused:
        mark_of(parameters)
    with pytest.raises(ValueError, match="no mark"):
        MarkProcessor.validate_params(parameters)
    assert "AAAA" not in str(refused.value)


def test_key_expansion_is_that_of_fips_197():
    """Appendix A.3's key and two of its words."""
    key = bytes.fromhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
    words = expanded(key).astype("<i4").tobytes()
    assert words[32:36].hex() == "9ba35411"
    assert words[-4:].hex() == "706c631e"


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def test_tables_encrypt_as_aes_does(torch):
    sampler = TensorSampler(torch, "cpu", slots=2)
    rng = np.random.default_rng(1)
    keys = [rng.bytes(32), rng.bytes(32)]
    blocks = rng.integers(0, 256, (2, 300, 16), dtype=np.uint8)
    state = torch.from_numpy(blocks.copy().view("<i4"))
    low, high = sampler._tables.encrypt(
        state, torch.stack([torch.from_numpy(expanded(k)) for k in keys])
    )
    for row, key in enumerate(keys):
        cipher = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305
        output = np.frombuffer(cipher.update(blocks[row].tobytes()), "<u4").reshape(-1, 4)
        assert (low[row].numpy() == output[:, 0]).all()
        assert (high[row].numpy() == output[:, 1]).all()


def test_draws_are_the_samplers_to_the_last_bit(torch):
    rng = np.random.default_rng(2)
    tensor = TensorSampler(torch, "cpu", slots=3)
    rows = 3
    samplers = []
    for slot in range(rows):
        key = rng.bytes(32)
        tensor.mark(slot, key, slot * 1_000_003, Shape())
        samplers.append(Sampler(key, slot * 1_000_003, SEED))
    tensor.flush()
    for _ in range(40):
        older, newer = rng.integers(0, 1 << 18, (2, rows))
        ids = rng.integers(0, 1 << 18, (rows, 64))
        context = torch.from_numpy(older << 18 | newer)
        draws = tensor._draws(context, torch.from_numpy(ids), torch.arange(rows))
        for row, sampler in enumerate(samplers):
            packed_context = int(older[row]) << 18 | int(newer[row])
            symbol = sampler._codeword[sampler._cipher.position(packed_context)]
            expected = sampler._cipher.draws(
                np.uint64(packed_context), ids[row].astype(np.uint64), symbol
            )
            assert (draws[row].numpy().astype(np.uint64) == expected).all()


@pytest.mark.parametrize(
    "shape",
    [
        Shape(),
        Shape(temperature=0.6, top_k=50),
        Shape(top_p=0.8),
        Shape(temperature=1.3, top_k=200, top_p=0.95, min_p=0.02),
        Shape(top_k=1),
    ],
)
def test_tokens_are_those_that_the_numpy_sampler_draws(torch, shape):
    """Races of float64 may differ in their last digit; a tie that close has odds of 1e-12."""
    rng = np.random.default_rng(3)
    tensor = TensorSampler(torch, "cpu", slots=1)
    tensor.mark(0, KEY, 0xABCDEF01, shape)
    tensor.flush()
    sampler = Sampler(KEY, 0xABCDEF01, SEED)
    for step in range(300):
        context = (step, int(rng.integers(V)))
        logits = rng.normal(0, 3, V).astype(np.float32)
        ids, probs = candidates(
            logits,
            temperature=shape.temperature,
            top_k=shape.top_k or CANDIDATES,
            top_p=shape.top_p,
            min_p=shape.min_p,
        )
        expected = int(ids[sampler.draw(context, ids, probs)])
        older, newer = (torch.tensor([token]) for token in context)
        chosen = tensor.choose(torch.from_numpy(logits)[None], torch.tensor([0]), older, newer)
        assert int(chosen[0]) == expected


def test_tokens_that_a_grammar_masks_are_never_drawn(torch):
    tensor = TensorSampler(torch, "cpu", slots=1)
    tensor.mark(0, KEY, 1, Shape())
    tensor.flush()
    logits = torch.full((1, V), -torch.inf)
    logits[0, [17, 4000]] = torch.tensor([1.0, 0.5])
    drawn = {
        int(tensor.choose(logits, torch.tensor([0]), torch.tensor([i]), torch.tensor([0]))[0])
        for i in range(40)
    }
    assert drawn == {17, 4000}


class Engine:
    """A model of no weights: its logits follow from the last two tokens."""

    def __init__(self, torch):
        self.torch = torch

    def logits(self, histories):
        rows = [np.random.default_rng(h[-2:]).normal(0, 2, V) for h in histories]
        return self.torch.from_numpy(np.array(rows, np.float32))


def finite(row):
    return np.flatnonzero(np.isfinite(row.numpy()))


@dataclass
class Request:
    parameters: Parameters
    prompt: list
    outputs: list = field(default_factory=list)

    @property
    def history(self):
        return self.prompt + self.outputs


def first_runner(torch, slots=4):
    config = SimpleNamespace(
        model_config=SimpleNamespace(get_vocab_size=lambda: V),
        scheduler_config=SimpleNamespace(max_num_seqs=slots),
    )
    return MarkProcessor(config, torch.device("cpu"), False)


def update(*, added=(), removed=(), moved=()):
    entries = [(i, r.parameters, r.prompt, r.outputs) for i, r in added]
    return SimpleNamespace(added=entries, removed=list(removed), moved=list(moved))


def test_first_runners_answers_carry_their_own_marks_as_they_move(torch):
    """Requests enter, swap places and leave; each answer is traced to its own id."""
    processor, engine = first_runner(torch), Engine(torch)
    batch = [
        Request(marked(21), [1, 2, 3]),
        Request(Parameters(), [4, 5]),
        Request(marked(22), [6]),
    ]
    done = list(batch)
    processor.update_state(update(added=enumerate(batch)))
    swap = SimpleNamespace(name="SWAP")
    one_way = SimpleNamespace(name="UNIDIRECTIONAL")
    rng = np.random.default_rng(4)
    for step in range(300):
        if step == 100:
            batch[0], batch[2] = batch[2], batch[0]
            processor.update_state(update(moved=[(0, 2, swap)]))
        if step == 200:
            # The unmarked one leaves; the last takes its place.
            batch = [batch[0], batch[2]]
            processor.update_state(update(removed=[1], moved=[(2, 1, one_way)]))
        processor.update_state(None)
        logits = processor.apply(engine.logits([r.history for r in batch]))
        for row, request in zip(logits, batch, strict=True):
            left = finite(row)
            alone = request.parameters.extra_args and left.size == 1
            request.outputs.append(int(left[0]) if alone else int(rng.choice(left)))
    found = [detect(r.outputs, {"a": KEY}).trace_id for r in done]
    assert found == [21, None, 22]


def test_first_runner_leaves_a_context_seen_before_to_the_engine(torch):
    processor, engine = first_runner(torch), Engine(torch)
    request = Request(marked(), [1, 2])
    processor.update_state(update(added=[(0, request)]))
    request.outputs += [1, 2]
    processor.update_state(None)
    assert finite(processor.apply(engine.logits([request.history]))[0]).size == V
    request.outputs += [9]
    assert finite(processor.apply(engine.logits([request.history]))[0]).size == 1


def test_first_runner_leaves_tokens_that_come_late_unmarked_and_warns_once(torch, caplog):
    processor, engine = first_runner(torch), Engine(torch)
    request = Request(marked(), [1, 2], [5, -1])
    processor.update_state(update(added=[(0, request)]))
    for _ in range(3):
        assert finite(processor.apply(engine.logits([[1, 2, 5]]))[0]).size == V
    (line,) = [record.getMessage() for record in caplog.records]
    assert "--logits-processors" in line
    request.outputs[-1] = 6
    assert finite(processor.apply(engine.logits([[1, 2, 5, 6]]))[0]).size == 1


def second_runner(torch, slots=4, length=700):
    tokens = torch.zeros((slots, length), dtype=torch.int32)
    prompts = torch.zeros(slots, dtype=torch.int32)
    states = SimpleNamespace(
        device=torch.device("cpu"),
        max_num_reqs=slots,
        vocab_size=V,
        all_token_ids=SimpleNamespace(gpu=tokens),
        prompt_len=SimpleNamespace(gpu=prompts),
    )
    return MarkProcessor(SimpleNamespace(), states), tokens, prompts


def context(torch, slots, tokens, lengths, *, local=None):
    newest = torch.tensor(lengths) - 1
    index = torch.tensor(slots)
    return SimpleNamespace(
        expanded_idx_mapping=index,
        idx_mapping=index,
        idx_mapping_np=np.array(slots),
        expanded_local_pos=torch.tensor(local or [0] * len(slots)),
        input_ids=tokens[index, newest],
        pos=newest,
        seq_lens_upper_bound_np=np.array(lengths),
    )


def test_second_runners_answers_carry_their_own_marks_in_any_order(torch):
    """Rows come in another order every step, and what draws is the slot."""
    processor, tokens, prompts = second_runner(torch)
    engine = Engine(torch)
    requests = {0: marked(31), 1: Parameters(), 3: marked(32, temperature=0.8, top_k=100)}
    lengths = {}
    for slot, parameters in requests.items():
        assert processor.add_request(slot, parameters) is (slot != 1)
        tokens[slot, :3] = torch.tensor([slot, 50, 60])
        prompts[slot] = lengths[slot] = 3
    rng = np.random.default_rng(5)
    for _ in range(300):
        processor.apply_staged_writes()
        slots = rng.permutation(list(requests)).tolist()
        ctx = context(torch, slots, tokens, [lengths[s] for s in slots])
        logits = engine.logits([tokens[s, : lengths[s]].tolist() for s in slots])
        for slot, row in zip(slots, processor.apply(logits, ctx), strict=True):
            left = finite(row)
            alone = slot != 1 and left.size == 1
            tokens[slot, lengths[slot]] = int(left[0]) if alone else int(rng.choice(left))
            lengths[slot] += 1
    found = [detect(tokens[s, 3:303].tolist(), {"a": KEY}).trace_id for s in requests]
    assert found == [31, None, 32]


def test_both_runners_and_the_gateway_draw_the_same(torch):
    """One request, three ways: the tokens are the same as long as no context repeats."""
    engine, sampler = Engine(torch), Sampler(KEY, 41, SEED)
    first = first_runner(torch)
    request = Request(marked(41), [8, 9])
    first.update_state(update(added=[(0, request)]))
    second, tokens, prompts = second_runner(torch)
    second.add_request(2, marked(41))
    second.apply_staged_writes()
    tokens[2, :2], prompts[2] = torch.tensor([8, 9]), 2
    for step in range(80):
        logits = engine.logits([request.history])
        ids, probs = candidates(logits[0].numpy(), temperature=1, top_k=CANDIDATES, top_p=1.0)
        expected = int(ids[sampler.draw(tuple(request.history[-2:]), ids, probs)])
        ctx = context(torch, [2], tokens, [2 + step])
        assert finite(second.apply(logits.clone(), ctx)[0]).tolist() == [expected]
        assert finite(first.apply(logits)[0]).tolist() == [expected]
        request.outputs.append(expected)
        tokens[2, 2 + step] = expected


def test_second_runner_leaves_repeats_drafts_and_recycled_slots_to_the_engine(torch):
    processor, tokens, prompts = second_runner(torch)
    engine = Engine(torch)
    processor.add_request(0, marked())
    processor.apply_staged_writes()
    tokens[0, :6], prompts[0] = torch.tensor([1, 2, 7, 1, 2, 9]), 2

    def left(length, **options):
        ctx = context(torch, [0], tokens, [length], **options)
        return finite(processor.apply(engine.logits([tokens[0, :length].tolist()]), ctx)[0]).size

    assert left(2) == 1
    assert left(5) == V
    assert left(6) == 1
    assert left(6, local=[1]) == V
    processor.add_request(0, Parameters())
    processor.apply_staged_writes()
    assert left(6) == V


def test_vocabulary_beyond_18_bits_is_refused(torch):
    states = SimpleNamespace(device=torch.device("cpu"), max_num_reqs=1, vocab_size=(1 << 18) + 1)
    with pytest.raises(TokenOutOfRange):
        MarkProcessor(SimpleNamespace(), states)


def test_vllm_takes_it_for_a_processor_of_both_interfaces():
    """Against the interface definitions of the vLLM that is installed."""
    for name in (vllm._FIRST_RUNNER, vllm._SECOND_RUNNER):
        interface = pytest.importorskip(name, exc_type=ImportError).LogitsProcessor
        assert issubclass(MarkProcessor, interface)
        assert not MarkProcessor.__abstractmethods__
        for method in (m for m in vars(interface) if not m.startswith("_")):
            assert callable(getattr(MarkProcessor, method))
