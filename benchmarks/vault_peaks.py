"""The memory that one load takes at its peak, in a process of its own: `vault_peaks.py ort|torch`.

Prints one JSON object: peak_bytes, beyond what the process had before, and size_bytes.
"""

import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np

from privacy import sealed
from privacy.custodians.keyfile import KeyFile
from privacy.keyring import Keyring
from privacy.lazy import shaped
from privacy.tensors import dtype_of

# Below this, what the runtime takes for itself shows more than the load.
LEAST_BYTES = 256 << 20
# A model has some dozens of large tensors, whatever its size: the runtime holds two of them twice.
SIDES = {1 << 29: 2048, 0: 1024}


def main() -> None:
    """Measure the load that the first argument names."""
    kind, place, path = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    keyring = Keyring.unlock(place / "ring", KeyFile(place / "key"))
    if kind == "torch":
        import torch  # noqa: F401, PLC0415 - Imported before the memory is measured.

        size = sum(t["length"] for t in _manifest(path, keyring)["tensors"])
        peak = _peak(lambda: _torch(path, keyring))
    else:
        os.environ |= {"ORT_DISABLE_TELEMETRY": "1", "ORT_TELEMETRY_DISABLED": "1"}
        path, size = _onnx_model(place, keyring, max(path.stat().st_size, LEAST_BYTES))
        peak = _peak(lambda: _ort(path, keyring))
    print(json.dumps({"peak_bytes": peak, "size_bytes": size}))


def _manifest(path: Path, keyring: Keyring) -> dict:
    with sealed.opened(path, keyring=keyring) as reader:
        return reader.manifest


def _torch(path: Path, keyring: Keyring) -> object:
    from privacy.torch_tensors import all_torch_tensors  # noqa: PLC0415

    with sealed.opened(path, keyring=keyring) as reader:
        return all_torch_tensors(reader, threads=1)


def _onnx_model(place: Path, keyring: Keyring, size: int) -> tuple[Path, int]:
    """Seal a chain of float32 products of about that many bytes."""
    from onnx import TensorProto, helper  # noqa: PLC0415

    side = next(side for least, side in SIDES.items() if size >= least)
    count = size // (side * side * 4)
    weights, nodes = [], []
    for number in range(count):
        weight = TensorProto(name=f"w{number}", data_type=TensorProto.FLOAT, dims=[side, side])
        weight.data_location = TensorProto.EXTERNAL
        weight.external_data.add(key="location", value="sealed")
        weights.append(weight)
        nodes.append(helper.make_node("MatMul", [f"x{number}", f"w{number}"], [f"x{number + 1}"]))
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x0", TensorProto.FLOAT, [1, side])],
        [helper.make_tensor_value_info(f"x{count}", TensorProto.FLOAT, [1, side])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    one = np.full((side, side), 1e-3, np.float32)
    path = place / "chain.sealed"
    sealed.seal(
        path,
        keyring=keyring,
        model_id="chain",
        config={},
        graph=model.SerializeToString(),
        tensors={f"w{number}": one for number in range(count)},
    )
    return path, count * one.nbytes


def _ort(path: Path, keyring: Keyring) -> object:
    """Load as the zygote does: decrypted once, the session built over it, then let go."""
    import onnxruntime  # noqa: PLC0415

    with sealed.opened(path, keyring=keyring) as reader:
        image = reader.image(threads=1)
        described = reader.described
    with memoryview(image) as view:
        values = {
            tensor.name: onnxruntime.OrtValue.ortvalue_from_numpy(
                shaped(view[tensor.offset : tensor.end], dtype_of(tensor.dtype), tensor.shape)
            )
            for tensor in described.tensors
        }
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.add_external_initializers(list(values), list(values.values()))
        graph = bytes(view[: described.graph.length])
        session = onnxruntime.InferenceSession(graph, options)
    return session, values, image


def _peak(load: Callable[[], object]) -> int:
    """Return how much the process had at most, sampled, beyond what it had before."""
    before, most, over = _resident(), [0], threading.Event()

    def watch() -> None:
        while not over.wait(0.002):
            most[0] = max(most[0], _resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    loaded = load()
    over.set()
    watcher.join()
    most[0] = max(most[0], _resident())
    del loaded
    return most[0] - before


def _resident() -> int:
    """Return anonymous and shared memory, in bytes."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return sum(int(fields[name].split()[0]) for name in ("RssAnon", "RssShmem")) << 10


if __name__ == "__main__":
    main()
