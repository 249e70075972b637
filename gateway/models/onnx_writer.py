"""Writing an ONNX graph down: nodes, small constants inside, weights outside by name."""

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import (
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    ValueInfoProto,
    helper,
    numpy_helper,
)

from gateway.models.blocks import Blocks

OPSET = 21
IR_VERSION = 10
CONTRIB = "com.microsoft"
# MatMulNBits' `accuracy_level`: activations rounded to 8 bits per block of 32, as llama.cpp does,
# or left as they are. The first is faster for one position, the second for many.
INT8_ACTIVATIONS = 4
FLOAT_ACTIVATIONS = 1


class OnnxWriter:
    """A graph under construction. Values are named by their tensors and nodes by their outputs."""

    def __init__(self) -> None:
        self.weights: dict[str, NDArray[Any]] = {}
        self._nodes: list[NodeProto] = []
        self._initializers: dict[str, TensorProto] = {}
        self._inputs: list[ValueInfoProto] = []
        self._outputs: list[ValueInfoProto] = []

    def input(self, name: str, dtype: int, shape: list[int | str]) -> str:
        """Declare a graph input and return its name."""
        self._inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def output(self, name: str, dtype: int, shape: list[int | str]) -> None:
        """Declare a graph output."""
        self._outputs.append(helper.make_tensor_value_info(name, dtype, shape))

    def node(self, operator: str, inputs: list[str], outputs: list[str], **attributes: Any) -> str:
        """Add a node of the ONNX domain and return its first output."""
        self._nodes.append(helper.make_node(operator, inputs, outputs, **attributes))
        return outputs[0]

    def contrib(
        self, operator: str, inputs: list[str], outputs: list[str], **attributes: Any
    ) -> str:
        """Add a node of ONNX Runtime's own domain and return its first output."""
        return self.node(operator, inputs, outputs, domain=CONTRIB, **attributes)

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """Store a small constant inside the graph and return its name."""
        self._initializers.setdefault(name, numpy_helper.from_array(value, name))
        return name

    def weight(self, name: str, value: NDArray[Any]) -> str:
        """Keep a tensor outside the graph, to be supplied by its name, and return the name."""
        if name not in self.weights:
            self.weights[name] = np.ascontiguousarray(value)
            self._initializers[name] = _external(name, self.weights[name])
        return name

    def linear(self, x: str, weight: str, value: Blocks | NDArray[np.float32], out: str) -> str:
        """Multiply `x` by the rows of a matrix: out = x · valueᵀ."""
        if isinstance(value, Blocks):
            return self._quantised_linear(x, weight, value, out)
        return self.node("MatMul", [x, self.weight(weight, value.T)], [out])

    def _quantised_linear(self, x: str, weight: str, blocks: Blocks, out: str) -> str:
        """Split scale · (code - zero) + offset: codes through MatMulNBits, offsets on block sums.

        Zero points that vary from block to block would fall off the kernel's fast path.
        """
        rows, count, size = blocks.codes.shape
        scaled = out if blocks.offsets is None else f"{out}/scaled"
        self.contrib(
            "MatMulNBits",
            [
                x,
                self.weight(f"{weight}/codes", blocks.packed),
                self.weight(f"{weight}/scales", blocks.scales),
            ],
            [scaled],
            K=count * size,
            N=rows,
            bits=blocks.bits,
            block_size=size,
            accuracy_level=INT8_ACTIVATIONS,
        )
        if blocks.offsets is None:
            return out
        offsets = self.weight(f"{weight}/offsets", blocks.offsets.T)
        shift = self.node("MatMul", [self._block_sums(x, count, size), offsets], [f"{out}/shift"])
        return self.node("Add", [scaled, shift], [out])

    def _block_sums(self, x: str, count: int, size: int) -> str:
        """Sum x over its blocks; a MatMul with ones is faster here than a reduction."""
        sums = f"{x}/sums{count}"
        if all(sums not in node.output for node in reversed(self._nodes)):
            ones = np.kron(np.eye(count, dtype=np.float32), np.ones((size, 1), np.float32))
            self.node("MatMul", [x, self.weight(f"ones{count}", ones)], [sums])
        return sums

    def model(self, name: str, *, outputs: Collection[str]) -> ModelProto:
        """Close the graph over what these outputs need."""
        nodes, used = _needed(self._nodes, outputs)
        graph: GraphProto = helper.make_graph(
            nodes,
            name,
            [value for value in self._inputs if value.name in used],
            [value for value in self._outputs if value.name in outputs],
            [tensor for key, tensor in self._initializers.items() if key in used],
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, 1)]
        return helper.make_model(
            graph, producer_name="sealgate", opset_imports=opsets, ir_version=IR_VERSION
        )


def with_float_activations(model: ModelProto) -> ModelProto:
    """Return a copy whose 4-bit products leave activations unrounded.

    The runtime has no such kernel for 8 bits.
    """
    copy = ModelProto()
    copy.CopyFrom(model)
    for node in copy.graph.node:
        attributes = {attribute.name: attribute for attribute in node.attribute}
        if node.op_type == "MatMulNBits" and attributes["bits"].i == 4:  # noqa: PLR2004
            attributes["accuracy_level"].i = FLOAT_ACTIVATIONS
    return copy


def _needed(nodes: list[NodeProto], outputs: Collection[str]) -> tuple[list[NodeProto], set[str]]:
    """Walk back from the outputs; return the nodes on the way, in order, and every value used."""
    used, kept = set(outputs), []
    for node in reversed(nodes):
        if not used.isdisjoint(node.output):
            kept.append(node)
            used.update(node.input)
    return kept[::-1], used


def _external(name: str, value: NDArray[Any]) -> TensorProto:
    """Reference a tensor that is never read from a file: the engine supplies it from memory."""
    tensor = TensorProto(
        name=name,
        data_type=helper.np_dtype_to_tensor_dtype(value.dtype),
        dims=value.shape,
        data_location=TensorProto.EXTERNAL,
    )
    tensor.external_data.add(key="location", value="sealed")
    return tensor
