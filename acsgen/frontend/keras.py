# SPDX-License-Identifier: Apache-2.0
"""A `.keras` file or a functional Keras model to a float graph.

Only this module and `acsgen.nn` import TensorFlow, and this one only when a model is read.
A new layer is one reader function and its row in `READERS`.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acsgen.errors import AcsgenError
from acsgen.frontend.keras_file import check_keras_file
from acsgen.graph import (
    Add,
    ApplyMask,
    AvgPool,
    BatchNorm,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    Gate,
    Graph,
    MaxPool,
    Op,
    Relu,
    Tensor,
)
from acsgen.graph.check import check_masks
from acsgen.graph.ir import make_graph
from acsgen.graph.ops import Padding, Pair


def load_keras(path: Path) -> Graph:
    """Reads a `.keras` checkpoint; no code from the file is executed.

    Raises AcsgenError if it is no checkpoint, or names the layer that is not supported.
    """
    check_keras_file(path, READERS)
    keras = _import_keras()
    try:
        with warnings.catch_warnings(action="ignore"):
            model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises whatever the broken part raised
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise AcsgenError(f"{path}: Keras cannot load this checkpoint: {reason[0]}") from error
    return read_model(model, name=path.stem)


def read_model(model: Any, name: str | None = None) -> Graph:
    """The float graph of a functional Keras model with one image-like input and one output."""
    model = getattr(model, "_functional", model) or model  # what a Sequential is inside
    ends = [len(getattr(model, end, None) or []) for end in ("inputs", "outputs")]
    if ends == [0, 0]:
        raise AcsgenError(f"model '{model.name}': has no graph yet: give it an Input, or build it, before it is saved")
    if ends != [1, 1]:
        raise AcsgenError(f"model '{model.name}': has {ends[0]} inputs and {ends[1]} outputs, one of each is supported")
    source = _source(model)
    names: dict[int, str] = {id(model.inputs[0]): source.name}
    shapes: dict[int, tuple[int, ...]] = {id(model.inputs[0]): source.shape}
    ops: list[Op] = []
    for node in _nodes(model):
        layer = node.operation
        place = _Place(
            layer=layer,
            inputs=tuple(names[id(t)] for t in node.arguments.keras_tensors),
            shapes=tuple(shapes[id(t)] for t in node.arguments.keras_tensors),
            output=_unused(_clean(layer.name), {source.name, *(op.output for op in ops), *names.values()}),
            is_last=node.outputs[0] is model.outputs[0],
        )
        added = _read(place)
        ops += added
        names[id(node.outputs[0])] = added[-1].output if added else place.inputs[0]
        shape = tuple(node.outputs[0].shape[1:])
        shapes[id(node.outputs[0])] = (prod(shape),) if added and isinstance(added[-1], Gate) else shape
    graph = make_graph(_clean(name or model.name), source, names[id(model.outputs[0])], ops)
    check_masks(graph)
    return graph


@dataclass(frozen=True)
class _Place:
    """A layer at its place in the graph: what it reads and how its output is called."""

    layer: Any
    inputs: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    output: str
    is_last: bool

    def unsupported(self, what: str) -> AcsgenError:
        reads = " and ".join(f"'{name}'" for name in self.inputs)
        return AcsgenError(
            f"layer '{self.layer.name}' ({type(self.layer).__name__}, reads {reads}): {what} is not supported"
        )

    def weights(self, name: str) -> NDArray[np.float32]:
        """A weight of the layer, checked: one number that is none makes every result wrong."""
        import keras

        values = np.asarray(keras.ops.convert_to_numpy(getattr(self.layer, name)), np.float32)
        if not np.isfinite(values).all():
            raise AcsgenError(
                f"layer '{self.layer.name}' ({type(self.layer).__name__}): NaN or infinity in its {name}: "
                "the training went wrong, take another checkpoint"
            )
        return values

    def bias(self, channels: int) -> NDArray[np.float32]:
        return self.weights("bias") if self.layer.use_bias else np.zeros(channels, np.float32)

    def named(self, part: str) -> str:
        return f"{self.output}/{part}"

    def padding(self, kernel: Pair, stride: Pair, dilation: Pair = (1, 1)) -> Padding:
        kind = self.layer.padding
        if kind == "same":
            return Padding.same((self.shapes[0][0], self.shapes[0][1]), kernel, stride, dilation)
        if kind == "valid":
            return Padding()
        raise self.unsupported(f"padding '{kind}'")

    def check(self) -> None:
        """AcsgenError if the layer is of a kind that no reader knows."""
        if getattr(self.layer, "data_format", "channels_last") != "channels_last":
            raise self.unsupported("data_format 'channels_first' (build it with 'channels_last', as (H, W, C))")
        if getattr(self.layer, "quantization_mode", None):
            raise self.unsupported(f"quantisation '{self.layer.quantization_mode}' by Keras (give the float model)")


# --- readers: one layer to the operators that compute it -------------------------------------------


def _conv2d(at: _Place) -> list[Op]:
    layer = at.layer
    kernel = at.weights("kernel")
    return _with_activation(
        at,
        lambda output: Conv2D(
            output, at.inputs, output,
            weights=kernel.transpose(3, 0, 1, 2).copy(),
            bias=at.bias(kernel.shape[3]),
            stride=_pair(layer.strides),
            padding=at.padding(kernel.shape[:2], _pair(layer.strides), _pair(layer.dilation_rate)),
            dilation=_pair(layer.dilation_rate),
            groups=layer.groups,
        ),
    )  # fmt: skip


def _dgconv2d(at: _Place) -> list[Op]:
    layer = at.layer
    at.weights("gate")
    kernel = at.weights("kernel")
    partition = tuple(int(g) for g in layer.channel_groups())
    same_group = np.equal.outer(partition, partition)
    return _with_activation(
        at,
        lambda output: Conv2D(
            output, at.inputs, output,
            weights=(kernel * same_group).transpose(3, 0, 1, 2).copy(),
            bias=at.bias(kernel.shape[3]),
            stride=_pair(layer.strides),
            padding=at.padding(kernel.shape[:2], _pair(layer.strides)),
            partition=partition,
        ),
    )  # fmt: skip


def _depthwise(at: _Place) -> list[Op]:
    layer = at.layer
    if layer.depth_multiplier != 1:
        raise at.unsupported(f"depth_multiplier {layer.depth_multiplier}")
    kernel = at.weights("kernel")[..., 0]
    return _with_activation(
        at,
        lambda output: DepthwiseConv2D(
            output, at.inputs, output,
            weights=kernel.copy(),
            bias=at.bias(kernel.shape[2]),
            stride=_pair(layer.strides),
            padding=at.padding(kernel.shape[:2], _pair(layer.strides), _pair(layer.dilation_rate)),
            dilation=_pair(layer.dilation_rate),
        ),
    )  # fmt: skip


def _dense(at: _Place) -> list[Op]:
    if len(at.shapes[0]) != 1:
        raise at.unsupported(f"an input of shape {at.shapes[0]} (flatten it before)")
    kernel = at.weights("kernel")
    return _with_activation(
        at,
        lambda output: Dense(output, at.inputs, output, weights=kernel.T.copy(), bias=at.bias(kernel.shape[1])),
    )


def _batch_norm(at: _Place) -> list[Op]:
    layer = at.layer
    if _pair((layer.axis, 0))[0] not in (-1, len(at.shapes[0])):
        raise at.unsupported(f"axis {layer.axis}")
    channels = at.shapes[0][-1]
    gamma = at.weights("gamma") if layer.scale else np.ones(channels)
    beta = at.weights("beta") if layer.center else np.zeros(channels)
    variance = at.weights("moving_variance") + layer.epsilon
    if (variance <= 0).any():
        raise at.unsupported("a variance that is not above zero")
    scale = gamma / np.sqrt(variance)
    offset = beta - at.weights("moving_mean") * scale
    return [BatchNorm(at.output, at.inputs, at.output, scale.astype(np.float32), offset.astype(np.float32))]


def _relu(at: _Place) -> list[Op]:
    layer = at.layer
    if layer.negative_slope or layer.threshold or layer.max_value not in (None, 6):
        raise at.unsupported("a ReLU with a slope, a threshold or a maximum other than 6")
    return [Relu(at.output, at.inputs, at.output, activation="relu" if layer.max_value is None else "relu6")]


def _activation(at: _Place) -> list[Op]:
    activation = _activation_name(at)
    return [] if activation == "none" else [Relu(at.output, at.inputs, at.output, activation=activation)]


def _softmax(at: _Place) -> list[Op]:
    if not at.is_last:
        raise at.unsupported("a softmax that is not the last layer")
    return []  # the host may take it: the logits decide


def _add(at: _Place) -> list[Op]:
    if len(at.inputs) != 2 or at.shapes[0] != at.shapes[1]:
        raise at.unsupported(f"adding {len(at.inputs)} tensors of shapes {', '.join(map(str, at.shapes))}")
    return [Add(at.output, at.inputs, at.output)]


def _pool(kind: type[MaxPool] | type[AvgPool]) -> Callable[[_Place], list[Op]]:
    def read(at: _Place) -> list[Op]:
        kernel, stride = _pair(at.layer.pool_size), _pair(at.layer.strides)
        return [kind(at.output, at.inputs, at.output, kernel, stride, at.padding(kernel, stride))]

    return read


def _global_pool(kind: type[MaxPool] | type[AvgPool]) -> Callable[[_Place], list[Op]]:
    def read(at: _Place) -> list[Op]:
        size = (at.shapes[0][0], at.shapes[0][1])
        pooled = kind(at.output, at.inputs, at.output, size, size)
        if at.layer.keepdims:
            return [pooled]
        return [pooled, Flatten(at.named("flat"), (pooled.output,), at.named("flat"))]

    return read


def _flatten(at: _Place) -> list[Op]:
    if len(at.shapes[0]) == 1:
        return []
    return [Flatten(at.output, at.inputs, at.output)]


def _gate(at: _Place) -> list[Op]:
    if len(at.shapes[0]) == 1:
        return [Gate(at.output, at.inputs, at.output)]
    flat = Flatten(at.named("flat"), at.inputs, at.named("flat"))
    return [flat, Gate(at.output, (flat.output,), at.output)]


def _apply_mask(at: _Place) -> list[Op]:
    partition = tuple(int(g) for g in at.layer.channel_group)
    return [ApplyMask(at.output, at.inputs, at.output, partition=partition)]


def _nothing(at: _Place) -> list[Op]:
    return []


#: Registered layer name -> reader. Layers that do nothing at inference are read as nothing.
READERS: dict[str, Callable[[_Place], list[Op]]] = {
    "Conv2D": _conv2d,
    "DepthwiseConv2D": _depthwise,
    "Dense": _dense,
    "BatchNormalization": _batch_norm,
    "ReLU": _relu,
    "Activation": _activation,
    "Softmax": _softmax,
    "Add": _add,
    "MaxPooling2D": _pool(MaxPool),
    "AveragePooling2D": _pool(AvgPool),
    "GlobalMaxPooling2D": _global_pool(MaxPool),
    "GlobalAveragePooling2D": _global_pool(AvgPool),
    "Flatten": _flatten,
    "Dropout": _nothing,
    "SpatialDropout2D": _nothing,
    "GaussianNoise": _nothing,
    "Identity": _nothing,
    "acsgen>DGConv2D": _dgconv2d,
    "acsgen>ChannelGate": _gate,
    "acsgen>ApplyMask": _apply_mask,
}


def _read(at: _Place) -> list[Op]:
    import keras

    at.check()
    kind = keras.saving.get_registered_name(type(at.layer))
    is_sum = kind == "Add"  # of two tensors, a layer or written as a + b; no other operation has a reader
    reader = READERS.get(kind) if is_sum or isinstance(at.layer, keras.layers.Layer) else None
    if reader is None:
        raise at.unsupported("this layer")
    return reader(at)


def _with_activation(at: _Place, make: Callable[[str], Op]) -> list[Op]:
    """The operator, and behind it the layer's own activation as an operator of its own."""
    activation = _activation_name(at)
    if activation == "none":
        return [make(at.output)]
    linear = make(at.named("linear"))
    return [linear, Relu(at.output, (linear.output,), at.output, activation=activation)]


def _activation_name(at: _Place) -> str:
    function = getattr(at.layer, "activation", None)
    name = "linear" if function is None else getattr(function, "__name__", type(function).__name__)
    if name == "softmax" and at.is_last:
        return "none"
    known = {"linear": "none", "relu": "relu", "relu6": "relu6"}
    if name not in known:
        raise at.unsupported(f"activation '{name}'")
    return known[name]


def _pair(value: Any) -> Pair:
    if isinstance(value, int):
        return value, value
    return int(value[0]), int(value[-1])


def _source(model: Any) -> Tensor:
    shape = tuple(model.inputs[0].shape[1:])
    if len(shape) not in (1, 3) or None in shape:
        raise AcsgenError(f"model '{model.name}': its input must have a fixed shape (H, W, C) or (C,), not {shape}")
    return Tensor(_clean(model.inputs[0].name), tuple(int(d) for d in shape))


def _nodes(model: Any) -> list[Any]:
    """The graph's calls of layers in topological order, nested inputs left out."""
    ordered = []
    for depth in sorted(model._nodes_by_depth, reverse=True):
        ordered += [node for node in model._nodes_by_depth[depth] if not node.is_input]
    return ordered


def _unused(name: str, taken: set[str]) -> str:
    """A layer that is called twice gets a second name for its second output."""
    candidate, count = name, 1
    while candidate in taken:
        count += 1
        candidate = f"{name}_{count}"
    return candidate


def _clean(name: str) -> str:
    """A name without what could end a C comment or a line; names go into generated files."""
    return re.sub(r"[^\w .:#+-]", "_", name)


def _import_keras() -> Any:
    """TensorFlow writes to stderr from C++ when it is imported, unless told otherwise before."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    try:
        import keras

        import acsgen.nn.layers  # noqa: F401  registers DGConv2D, ChannelGate and ApplyMask
    except Exception as error:  # Keras raises what its backend raised
        raise AcsgenError(
            f"Keras cannot be imported with backend {os.environ['KERAS_BACKEND']} ({error}): "
            "pip install keras tensorflow-cpu"
        ) from error
    return keras
