# SPDX-License-Identifier: Apache-2.0
"""LiteRT's reference kernels as a judge of int8 operators.

`compute` writes a .tflite model with a single operator, whose scales, zero points, weights, strides
and activations are those of the given operator dataclass, and runs it with the reference kernels
(`BUILTIN_REF`; the optimised ones differ by one in places). LiteRT gets scales, never multipliers:
how these follow from the scales is judged as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import ai_edge_litert.schema_py_generated as schema
import flatbuffers
import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

from acsgen.graph.ir import Tensor
from acsgen.graph.ops import (
    Add,
    AvgPool,
    Concatenate,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    MaxPool,
    Op,
    Pad,
    Padding,
    Pair,
    Relu,
    Shape,
)

Array = NDArray[Any]

TYPES = {
    np.dtype(np.int8): schema.TensorType.INT8,
    np.dtype(np.int32): schema.TensorType.INT32,
    np.dtype(np.float32): schema.TensorType.FLOAT32,
}
ACTIVATIONS = {
    "none": schema.ActivationFunctionType.NONE,
    "relu": schema.ActivationFunctionType.RELU,
    "relu6": schema.ActivationFunctionType.RELU6,
}


class Constant(NamedTuple):
    """A tensor that stands in the model; scales along `axis` if there is more than one, or none."""

    data: Array
    scales: NDArray[np.float32] | None
    axis: int = 0


class Kernel(NamedTuple):
    """An operator as LiteRT knows it: names in the schema, settings, constants after the inputs."""

    builtin: str
    options: str
    settings: dict[str, int]
    constants: tuple[Constant, ...] = ()
    version: int = 2


def compute(
    op: Op,
    values: tuple[Array, ...],
    sources: tuple[Tensor, ...],
    target: Tensor,
    weight_scales: NDArray[np.float32] | None = None,
) -> NDArray[np.int8]:
    """The output of `op` for `values` (N, ...) by LiteRT; `requantize` of the operator is not read."""
    shape = (len(values[0]), *op.output_shape(*(value.shape[1:] for value in values)))
    return run_kernel(KERNELS[type(op)](op, sources, weight_scales), values, sources, target, shape)


def quantize(x: NDArray[np.float32], tensor: Tensor) -> NDArray[np.int8]:
    """LiteRT's Quantize of real values (N, ...)."""
    kernel = Kernel("QUANTIZE", "QuantizeOptions", {}, version=1)
    return run_kernel(kernel, (x,), (Tensor("x", x.shape[1:]),), tensor, x.shape)


def run_kernel(
    kernel: Kernel, values: tuple[Array, ...], sources: tuple[Tensor, ...], target: Tensor, shape: Shape
) -> NDArray[np.int8]:
    """The int8 output of a model that consists of `kernel`."""
    buffers = [schema.BufferT()]
    tensors = [
        _tensor(value.dtype, value.shape, source.scale, source.zero_point)
        for value, source in zip(values, sources, strict=True)
    ]
    for constant in kernel.constants:
        tensor = _tensor(constant.data.dtype, constant.data.shape, constant.scales, 0)
        if constant.scales is not None:
            tensor.quantization.quantizedDimension = constant.axis
        tensor.buffer = len(buffers)
        tensors.append(tensor)
        buffers.append(schema.BufferT())
        buffers[-1].data = np.frombuffer(constant.data.tobytes(), np.uint8)
    tensors.append(_tensor(np.dtype(np.int8), shape, target.scale, target.zero_point))

    operator = schema.OperatorT()
    operator.inputs = np.arange(len(tensors) - 1, dtype=np.int32)
    operator.outputs = np.array([len(tensors) - 1], np.int32)
    if kernel.options:
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, kernel.options)
        operator.builtinOptions = getattr(schema, f"{kernel.options}T")()
    for name, setting in kernel.settings.items():
        if not hasattr(operator.builtinOptions, name):
            raise AttributeError(f"{kernel.options} has no '{name}'")
        setattr(operator.builtinOptions, name, setting)

    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, kernel.builtin)
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    code.version = kernel.version
    graph: Any = schema.SubGraphT()
    graph.tensors, graph.operators = tensors, [operator]
    graph.inputs, graph.outputs = np.arange(len(values), dtype=np.int32), operator.outputs
    model = schema.ModelT()
    model.version, model.buffers, model.operatorCodes, model.subgraphs = 3, buffers, [code], [graph]
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")

    interpreter = Interpreter(
        model_content=bytes(builder.Output()),
        num_threads=1,
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
    )
    interpreter.allocate_tensors()
    for value, detail in zip(values, interpreter.get_input_details(), strict=True):
        interpreter.set_tensor(detail["index"], value)
    interpreter.invoke()
    result: NDArray[np.int8] = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    return result


def _tensor(dtype: np.dtype[Any], shape: Shape, scales: Any, zero_point: int) -> Any:
    tensor: Any = schema.TensorT()
    tensor.type, tensor.shape, tensor.buffer, tensor.hasRank = (
        TYPES[dtype],
        np.array(shape, np.int32),
        0,
        True,
    )
    tensor.name = b"t"
    if scales is not None:
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale = np.atleast_1d(np.asarray(scales, np.float32))
        tensor.quantization.zeroPoint = np.full(tensor.quantization.scale.shape, zero_point, np.int64)
    return tensor


def _padding(kernel: Pair, stride: Pair, dilation: Pair, padding: Padding, shape: Shape) -> int:
    if padding == Padding():
        return int(schema.Padding.VALID)
    if padding == Padding.same((shape[0], shape[1]), kernel, stride, dilation):
        return int(schema.Padding.SAME)
    raise ValueError(f"LiteRT pads 'same' or 'valid', not {padding}")


def _constants(op: Conv2D | DepthwiseConv2D | Dense, source: Tensor, scales: Any, axis: int) -> Any:
    weights = op.weights[None] if isinstance(op, DepthwiseConv2D) else op.weights
    return Constant(weights, scales, axis), Constant(op.bias, np.float32(source.scale or 0) * scales, 0)


def _conv2d(op: Conv2D, sources: tuple[Tensor, ...], scales: NDArray[np.float32]) -> Kernel:
    settings = {
        "padding": _padding(op.kernel, op.stride, op.dilation, op.padding, sources[0].shape),
        "strideH": op.stride[0],
        "strideW": op.stride[1],
        "dilationHFactor": op.dilation[0],
        "dilationWFactor": op.dilation[1],
        "fusedActivationFunction": ACTIVATIONS[op.activation],
    }
    return Kernel("CONV_2D", "Conv2DOptions", settings, _constants(op, sources[0], scales, 0), version=5)


def _depthwise(op: DepthwiseConv2D, sources: tuple[Tensor, ...], scales: NDArray[np.float32]) -> Kernel:
    settings = {
        "padding": _padding(op.kernel, op.stride, op.dilation, op.padding, sources[0].shape),
        "strideH": op.stride[0],
        "strideW": op.stride[1],
        "dilationHFactor": op.dilation[0],
        "dilationWFactor": op.dilation[1],
        "depthMultiplier": 1,
        "fusedActivationFunction": ACTIVATIONS[op.activation],
    }
    constants = _constants(op, sources[0], scales, 3)
    return Kernel("DEPTHWISE_CONV_2D", "DepthwiseConv2DOptions", settings, constants, version=6)


def _dense(op: Dense, sources: tuple[Tensor, ...], scales: NDArray[np.float32]) -> Kernel:
    settings = {"fusedActivationFunction": ACTIVATIONS[op.activation]}
    constants = _constants(op, sources[0], scales, 0)
    return Kernel("FULLY_CONNECTED", "FullyConnectedOptions", settings, constants, version=5)


def _pool(op: MaxPool | AvgPool, sources: tuple[Tensor, ...], scales: None) -> Kernel:
    settings = {
        "padding": _padding(op.kernel, op.stride, (1, 1), op.padding, sources[0].shape),
        "strideH": op.stride[0],
        "strideW": op.stride[1],
        "filterHeight": op.kernel[0],
        "filterWidth": op.kernel[1],
    }
    builtin = "MAX_POOL_2D" if isinstance(op, MaxPool) else "AVERAGE_POOL_2D"
    return Kernel(builtin, "Pool2DOptions", settings)


def _add(op: Add, sources: tuple[Tensor, ...], scales: None) -> Kernel:
    return Kernel("ADD", "AddOptions", {"fusedActivationFunction": ACTIVATIONS[op.activation]})


def _concatenate(op: Concatenate, sources: tuple[Tensor, ...], scales: None) -> Kernel:
    return Kernel("CONCATENATION", "ConcatenationOptions", {"axis": -1})


def _pad(op: Pad, sources: tuple[Tensor, ...], scales: None) -> Kernel:
    """PAD, which fills with the zero point."""
    pad = op.padding
    sides = np.array([[0, 0], [pad.top, pad.bottom], [pad.left, pad.right], [0, 0]], np.int32)
    return Kernel("PAD", "PadOptions", {}, (Constant(sides, None),))


def _relu(op: Relu, sources: tuple[Tensor, ...], scales: None) -> Kernel:
    return Kernel(op.activation.upper(), "", {})


KERNELS: dict[type[Op], Callable[[Any, tuple[Tensor, ...], Any], Kernel]] = {
    Add: _add,
    AvgPool: _pool,
    Concatenate: _concatenate,
    Conv2D: _conv2d,
    Dense: _dense,
    DepthwiseConv2D: _depthwise,
    MaxPool: _pool,
    Pad: _pad,
    Relu: _relu,
}
