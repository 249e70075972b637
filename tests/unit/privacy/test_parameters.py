"""The verbs a training script uses: seal, open, lazy tensors; safetensors and ONNX as sources."""

import json
import os
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from privacy import container, image, sealed, sources
from privacy.errors import ModelUnsealable, SealBroken
from privacy.lazy import LazyTensors, all_tensors
from privacy.sources import from_onnx, from_safetensors
from privacy.tensors import StoredTensor

TYPES = {
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "I64": np.int64,
    "U8": np.uint8,
    "BOOL": np.bool_,
}


def write_safetensors(path, tensors, metadata=None):
    """Write the format from its description: a length, a JSON header, the bytes."""
    names = {np.dtype(kind).name: name for name, kind in TYPES.items()}
    header, data = {}, b""
    for name, tensor in tensors.items():
        begin, data = len(data), data + tensor.tobytes()
        header[name] = {
            "dtype": names[tensor.dtype.name],
            "shape": list(tensor.shape),
            "data_offsets": [begin, len(data)],
        }
    if metadata:
        header["__metadata__"] = metadata
    raw = json.dumps(header).encode()
    path.write_bytes(len(raw).to_bytes(8, "little") + raw + data)
    return path


@pytest.fixture
def tensors():
    random = np.random.default_rng(3)
    made = {name: (random.random((7, 9)) * 4).astype(kind) for name, kind in TYPES.items()}
    return made | {"scalar": np.array(5, np.int64), "empty": np.zeros((0, 3), np.float32)}


@pytest.fixture
def sealed_from(tmp_path, keyring):
    def _seal(source, model_id="small"):
        path = tmp_path / f"{model_id}.sealed"
        sealed.seal(
            path, keyring=keyring, model_id=model_id, config=source.config,
            tensors=source.tensors, graph=source.graph,
        )  # fmt: skip
        return sealed.opened(path, keyring=keyring)

    return _seal


def same(found, expected):
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].shape == tensor.shape
        assert found[name].tobytes() == tensor.tobytes()


def test_safetensors_go_through_a_seal_unchanged(tmp_path, tensors, sealed_from):
    source = from_safetensors(write_safetensors(tmp_path / "m.safetensors", tensors, {"a": "b"}))
    with sealed_from(source) as reader:
        assert reader.manifest["config"]["metadata"] == {"a": "b"}
        lazy = LazyTensors(reader)
        same(lazy, tensors)
        # In another order, too: what messages share is found again.
        assert all(lazy[n].tobytes() == tensors[n].tobytes() for n in reversed(list(tensors)))
        for threads in (1, 3):
            same(all_tensors(reader, threads=threads), tensors)
        with pytest.raises(KeyError):
            lazy["absent"]


def test_the_real_librarys_files_are_read(tmp_path, sealed_from):
    safetensors = pytest.importorskip("safetensors.numpy", reason="safetensors itself")
    tensors = {"a": np.arange(12, dtype=np.float32).reshape(3, 4), "b": np.arange(3, dtype=np.int8)}
    safetensors.save_file(tensors, tmp_path / "m.safetensors")
    with sealed_from(from_safetensors(tmp_path / "m.safetensors")) as reader:
        same(all_tensors(reader), tensors)


def test_stored_tensors_have_the_digest_of_those_in_memory(tmp_path, keyring, tensors, sealed_from):
    stored = from_safetensors(write_safetensors(tmp_path / "m.safetensors", tensors))
    with sealed_from(stored, "stored") as one:
        path = tmp_path / "memory.sealed"
        model = sealed.seal(
            path, keyring=keyring, model_id="memory", config=stored.config, tensors=tensors
        )
        assert one.manifest["model_digest"] == model.model_digest


@pytest.mark.parametrize(
    "spoil",
    [
        lambda raw: raw[:-1],
        lambda raw: raw + b"x",
        lambda raw: raw[:8],
        lambda _: b"",
        lambda raw: b"\xff" * 8 + raw[8:],
        lambda raw: raw.replace(b'"data_offsets": [0,', b'"data_offsets": [4,'),
        lambda raw: raw.replace(b'"shape": [7, 9]', b'"shape": [7, 8]', 1),
        lambda raw: raw.replace(b'"dtype": "F32"', b'"dtype": "F31"', 1),
        lambda raw: raw.replace(b'"shape": [7, 9]', b'"shape": [63.0]', 1),
    ],
)
def test_a_damaged_safetensors_file_is_refused(tmp_path, tensors, spoil):
    path = write_safetensors(tmp_path / "m.safetensors", tensors)
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(ModelUnsealable):
        from_safetensors(path)


@pytest.fixture
def quiet(monkeypatch):
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "1")
    monkeypatch.setenv("ORT_TELEMETRY_DISABLED", "1")


@pytest.fixture
def onnx_model():
    weight = np.arange(64 * 8, dtype=np.float32).reshape(64, 8)
    small = np.array([1.5], np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "weight"], ["h"]),
            helper.make_node("Mul", ["h", "small"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8])],
        [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(small, "small")],
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9
    ), weight


@pytest.mark.parametrize("external", [False, True])
def test_onnx_goes_through_a_seal_and_runs(
    tmp_path, onnx_model, sealed_from, monkeypatch, external
):
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "1")
    monkeypatch.setenv("ORT_TELEMETRY_DISABLED", "1")
    import onnxruntime  # noqa: PLC0415

    model, weight = onnx_model
    path = tmp_path / "m.onnx"
    onnx.save(model, path, save_as_external_data=external, size_threshold=64, location="m.data")
    source = from_onnx(path)
    assert set(source.tensors) == {"weight"}
    assert isinstance(source.tensors["weight"], StoredTensor) is external
    with sealed_from(source) as reader:
        found = all_tensors(reader)
        same(found, {"weight": weight})
        whole = reader.image()
        graph = bytes(whole[: reader.manifest["graph"]["length"]])
    options = onnxruntime.SessionOptions()
    value = onnxruntime.OrtValue.ortvalue_from_numpy(found["weight"])
    options.add_external_initializers(["weight"], [value])
    session = onnxruntime.InferenceSession(graph, options)
    x = np.ones((1, 64), np.float32)
    assert np.allclose(session.run(None, {"x": x})[0], x @ weight * 1.5)


def test_an_onnx_file_reaches_into_no_other_directory(tmp_path, onnx_model):
    model, _ = onnx_model
    (tmp_path / "secret").write_bytes(bytes(4096))
    directory = tmp_path / "models"
    directory.mkdir()
    onnx.save(model, directory / "m.onnx", save_as_external_data=True, size_threshold=64)
    reached = onnx.load(directory / "m.onnx", load_external_data=False)
    for initializer in reached.graph.initializer:
        for each in initializer.external_data:
            if each.key == "location":
                each.value = "../secret"
    (directory / "m.onnx").write_bytes(reached.SerializeToString())
    with pytest.raises(ModelUnsealable, match="outside"):
        from_onnx(directory / "m.onnx")


def test_what_is_no_onnx_is_refused(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"\xff" * 100)
    with pytest.raises(ModelUnsealable):
        from_onnx(tmp_path / "m.onnx")


def test_torch_tensors_come_out_as_they_went_in(tmp_path, tensors, sealed_from):
    torch = pytest.importorskip("torch", reason="the extra [train]")
    from privacy.torch_tensors import LazyTorchTensors, all_torch_tensors  # noqa: PLC0415

    source = from_safetensors(write_safetensors(tmp_path / "m.safetensors", tensors))
    with sealed_from(source) as reader:
        for found in (LazyTorchTensors(reader), all_torch_tensors(reader)):
            assert found["BF16"].dtype == torch.bfloat16
            for name, tensor in tensors.items():
                assert tuple(found[name].shape) == tensor.shape
                raw = found[name].contiguous().reshape(-1).view(torch.uint8).numpy()
                assert raw.tobytes() == tensor.tobytes()


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 400), max_size=12),
    limit=st.sampled_from([64, 128, 256]),
    threads=st.integers(1, 3),
)
def test_every_cut_gives_every_tensor(tmp_path_factory, sizes, limit, threads):
    """Tensors that share messages and tensors cut into several, read singly and at once."""
    from privacy.custodians.keyfile import KeyFile  # noqa: PLC0415
    from privacy.keyring import Keyring  # noqa: PLC0415

    directory = tmp_path_factory.mktemp("cuts")
    keyring = Keyring.create(directory / "ring", KeyFile.create(directory / "key"))
    random = np.random.default_rng(1)
    tensors = {
        f"t{number}": random.integers(0, 256, size, np.uint8) for number, size in enumerate(sizes)
    }
    real = image.cuts
    try:
        image.cuts = lambda placed: real(placed, limit_bytes=limit)
        sealed.seal(directory / "m", keyring=keyring, model_id="m", config={}, tensors=tensors)
    finally:
        image.cuts = real
    with sealed.opened(directory / "m", keyring=keyring) as reader:
        same(LazyTensors(reader), tensors)
        same(all_tensors(reader, threads=threads), tensors)
        reader.check()


def test_a_flipped_byte_reaches_no_tensor(tmp_path, keyring):
    tensors = {f"t{number}": np.full(50_000, number, np.uint8) for number in range(4)}
    path = tmp_path / "m.sealed"
    sealed.seal(path, keyring=keyring, model_id="m", config={}, tensors=tensors)
    raw = bytearray(path.read_bytes())
    raw[container.HEADER_BYTES + 300] ^= 1
    path.write_bytes(raw)
    with sealed.opened(path, keyring=keyring) as reader:
        for load in (reader.image, lambda: all_tensors(reader, threads=3)):
            with pytest.raises(SealBroken):
                load()


BOUNDED = """
import sys
from pathlib import Path
from privacy import sealed
from privacy.custodians.keyfile import KeyFile
from privacy.keyring import Keyring
from privacy.lazy import LazyTensors
from privacy.tensors import StoredTensor
home, source, size = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
keyring = Keyring.create(home / "ring", KeyFile.create(home / "key"))
parts = 16
part = size // parts
tensors = {f"t{n}": StoredTensor(source, n * part, "uint8", (part,)) for n in range(parts)}
def peak():
    # Of this program alone: ru_maxrss remembers what the process held before it became this one.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
before = peak()
path = home / "large.sealed"
sealed.seal(path, keyring=keyring, model_id="large", config={}, tensors=tensors)
sealed.verify(path, keyring=keyring)
sealed.reencrypt(path, keyring=keyring)
with sealed.opened(path, keyring=keyring) as reader:
    lazy = LazyTensors(reader)
    if size <= 1 << 30:
        assert lazy["t0"][:4096].any()
    else:
        for index, message in enumerate(reader.described.messages):
            with memoryview(bytearray(message.length)) as out:
                reader.message(index, out)
print((peak() - before) * 1024)
"""


def bounded(tmp_path, size):
    source = tmp_path / "source"
    with source.open("wb") as file:
        file.write(os.urandom(4096))
        file.truncate(size)
    (tmp_path / "home").mkdir()
    command = [sys.executable, "-c", BOUNDED, str(tmp_path / "home"), str(source), str(size)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=900)
    return int(done.stdout)


def test_a_seal_takes_no_more_memory_than_its_largest_messages(tmp_path):
    assert bounded(tmp_path, 256 << 20) < 230 << 20


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_four_gib_seal_and_open_in_bounded_memory(tmp_path):
    """The same bound for 16 times the size: it is the message's, not the model's."""
    if (
        Path(tmp_path).stat()
        and os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize < 14 << 30
    ):
        pytest.skip("Too little disk for three files of 4 GiB.")
    assert bounded(tmp_path, 4 << 30) < 230 << 20


def test_a_file_that_shrank_after_its_header_was_read_is_not_sealed(tmp_path, keyring, tensors):
    path = write_safetensors(tmp_path / "m.safetensors", tensors)
    source = from_safetensors(path)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 20)
    out = tmp_path / "small.sealed"
    with pytest.raises(ModelUnsealable, match="ends too early"):
        sealed.seal(
            out,
            keyring=keyring,
            model_id="small",
            config=source.config,
            tensors=source.tensors,
            graph=b"graph",
        )
    assert not out.exists()


def test_an_onnx_file_with_a_type_that_cannot_be_sealed_is_refused(tmp_path, onnx_model):
    model, _ = onnx_model
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, size_threshold=64)
    odd = onnx.load(tmp_path / "m.onnx", load_external_data=False)
    odd.graph.initializer[0].data_type = TensorProto.COMPLEX64
    (tmp_path / "m.onnx").write_bytes(odd.SerializeToString())
    with pytest.raises(ModelUnsealable, match="'weight' is of type complex64"):
        from_onnx(tmp_path / "m.onnx")


def test_a_graph_that_fits_no_message_is_refused(tmp_path, onnx_model, monkeypatch):
    model, _ = onnx_model
    onnx.save(model, tmp_path / "m.onnx")
    monkeypatch.setattr(sources, "MESSAGE_LIMIT_BYTES", 100)
    with pytest.raises(ModelUnsealable, match="larger than 64 MiB"):
        from_onnx(tmp_path / "m.onnx")
