"""A damaged GGUF file is refused in one line, whatever the damage."""

import random
import struct

import gguf as reference
import numpy as np
import pytest

from gateway.models import gguf
from gateway.models.blocks import unpack
from gateway.models.errors import ModelError, ModelUnreadable, ModelUnsupported
from gateway.models.importing import import_gguf


@pytest.fixture(scope="module")
def tiny(tiny_gguf):
    return tiny_gguf({"attn_q": "Q4_0", "attn_k": "Q8_0", "attn_v": "F16"})


def head_length(path):
    """Return where the tensors' data begins, as the reference reader has it."""
    return int(reference.GGUFReader(path).data_offset)


def test_reads_what_the_reference_reader_reads(tiny):
    expected = reference.GGUFReader(tiny)
    with gguf.opened(tiny) as file:
        assert file.tensors.keys() == {t.name for t in expected.tensors}
        for tensor in expected.tensors:
            ours = file.tensors[tensor.name]
            assert ours.kind == tensor.tensor_type.name
            assert list(ours.shape) == tensor.shape.tolist()[::-1]
            assert ours.data.tobytes() == tensor.data.tobytes()
        for key, value in file.metadata.items():
            contents = expected.fields[key].contents()
            assert (value.tolist() if isinstance(value, np.ndarray) else value) == contents


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "Q8_0"])
def test_blocks_are_worth_what_ggml_says(kind, tiny_gguf):
    expected = {t.name: t for t in reference.GGUFReader(tiny_gguf({"*": kind})).tensors}
    with gguf.opened(tiny_gguf({"*": kind})) as file:
        tensor = expected["blk.1.ffn_down.weight"]
        blocks = unpack(file.tensors["blk.1.ffn_down.weight"])
    values = blocks.scales[..., None] * (blocks.codes.astype(np.float32) - blocks.zero)
    if blocks.offsets is not None:
        values = values + blocks.offsets[..., None]
    dequantised = reference.dequantize(tensor.data, tensor.tensor_type)
    assert np.abs(values.reshape(dequantised.shape) - dequantised).max() < 1e-6
    assert (blocks.offsets is None) == (kind != "Q4_1")


def test_a_file_cut_anywhere_is_refused(tiny, tmp_path):
    content = tiny.read_bytes()
    cut = tmp_path / "cut.gguf"
    head = head_length(tiny)
    lengths = {*range(0, 64, 3), *range(64, head, 97), head - 1, head, head + 5}
    for length in sorted(lengths | {len(content) - 32, len(content) - 1}):
        cut.write_bytes(content[:length])
        with pytest.raises(ModelError) as refused:
            import_gguf(cut)
        assert "\n" not in str(refused.value)
        assert len(str(refused.value)) < 300


def test_flipped_bytes_are_refused_or_change_only_values(tiny):
    original, head = tiny.read_bytes(), head_length(tiny)
    source = random.Random(11)  # noqa: S311 - repeatable damage
    refused = []
    for _ in range(1500):
        content = bytearray(original)
        for _ in range(source.randint(1, 4)):
            content[source.randrange(head)] = source.randrange(256)
        try:
            gguf.parse(memoryview(content))
        except ModelError as error:
            refused.append(str(error))
    assert len(refused) > 300
    assert all("\n" not in message for message in refused)


def test_flipped_bytes_never_break_the_import_otherwise(tiny, tmp_path):
    original, head = tiny.read_bytes(), head_length(tiny)
    source = random.Random(12)  # noqa: S311 - repeatable damage
    damaged, refused = tmp_path / "damaged.gguf", []
    for _ in range(120):
        content = bytearray(original)
        # The first part holds the numbers; the vocabulary after it is mostly text.
        content[source.randrange(24, min(head, 1400))] = source.randrange(256)
        damaged.write_bytes(content)
        try:
            import_gguf(damaged)
        except ModelError as error:
            refused.append(str(error))
    assert len(refused) > 30
    assert all("\n" not in message for message in refused)


def test_a_file_of_another_kind_is_refused(tmp_path):
    other = tmp_path / "model.gguf"
    other.write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(ModelError, match="not a GGUF file"):
        import_gguf(other)


def test_a_missing_or_empty_file_is_refused(tmp_path):
    with pytest.raises(ModelUnreadable, match="No such file"):
        import_gguf(tmp_path / "absent.gguf")
    (tmp_path / "empty.gguf").touch()
    with pytest.raises(ModelError, match="empty"):
        import_gguf(tmp_path / "empty.gguf")


def test_another_version_is_refused_by_number():
    with pytest.raises(ModelUnsupported, match="version 9"):
        gguf.parse(memoryview(b"GGUF" + struct.pack("<IQQ", 9, 0, 0)))


@pytest.mark.parametrize("counts", [(1 << 40, 0), (0, 1 << 40), (1 << 63, 1 << 63)])
def test_absurd_counts_are_refused_at_once(counts):
    with pytest.raises(ModelError, match="damaged"):
        gguf.parse(memoryview(b"GGUF" + struct.pack("<IQQ", 3, *counts) + bytes(4096)))


def test_an_absurd_array_or_string_is_refused_at_once():
    entry = struct.pack("<Q", 1) + b"k" + struct.pack("<I", 9) + struct.pack("<IQ", 0, 1 << 60)
    with pytest.raises(ModelError, match="damaged"):
        gguf.parse(memoryview(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + entry + bytes(4096)))
    entry = struct.pack("<Q", 1 << 50)
    with pytest.raises(ModelError, match="damaged"):
        gguf.parse(memoryview(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + entry + bytes(4096)))


def test_a_tensor_beyond_the_end_is_refused_by_name():
    name = b"token_embd.weight"
    entry = struct.pack("<Q", len(name)) + name + struct.pack("<IQQ", 2, 1 << 20, 1 << 20)
    content = b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + entry + struct.pack("<IQ", 0, 0)
    with pytest.raises(ModelError, match=r"token_embd\.weight ends at byte"):
        gguf.parse(memoryview(content + bytes(4096)))


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"general__architecture": "mamba"}, "architecture 'mamba' is not supported"),
        ({"llama__expert_count": 8}, "mixtures of experts"),
        ({"llama__rope__scaling__type": "yarn"}, "rotary scaling 'yarn'"),
        ({"llama__rope__dimension_count": 8}, "differs from the key length 16"),
        ({"tokenizer__ggml__pre": "falcon"}, "pre-tokeniser 'falcon' is not supported"),
        ({"tokenizer__ggml__model": "t5"}, "tokeniser 't5' is not supported"),
        ({"tokenizer__ggml__model": "llama"}, "without a token for each byte"),
    ],
)
def test_what_is_not_computed_is_refused_by_name(metadata, message, tiny_gguf):
    with pytest.raises(ModelUnsupported, match=message):
        import_gguf(tiny_gguf(**metadata))


@pytest.mark.parametrize("kind", ["Q5_0", "Q5_1"])
def test_an_unsupported_tensor_type_is_refused_by_name(kind, tiny_gguf):
    with pytest.raises(ModelUnsupported, match=rf"blk\.0\.ffn_down\.weight is {kind}"):
        import_gguf(tiny_gguf({"ffn_down": kind}))


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"llama__block_count": 3}, r"tensor blk\.2\.attn_norm\.weight is missing"),
        ({"llama__feed_forward_length": 128}, "has shape"),
        ({"llama__attention__head_count": 3}, "is not supported|no multiple|has shape"),
        ({"llama__context_length": None}, "llama.context_length is missing"),
        ({"llama__attention__layer_norm_rms_epsilon": 0.0}, "not a positive number"),
        ({"tokenizer__ggml__eos_token_id": 100000}, "no token of the vocabulary"),
        ({"tokenizer__ggml__merges": ["x yz"]}, "not in the vocabulary"),
        ({"tokenizer__chat_template": None}, "no chat template"),
    ],
)
def test_numbers_that_contradict_the_tensors_are_refused(metadata, message, tiny_gguf):
    with pytest.raises(ModelError, match=message):
        import_gguf(tiny_gguf(**metadata))


def test_layers_beyond_the_declared_ones_are_refused(tiny_gguf):
    with pytest.raises(ModelUnsupported, match=r"blk\.1\.\w+\.weight belongs to a variation"):
        import_gguf(tiny_gguf(llama__block_count=1))
