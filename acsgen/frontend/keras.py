# SPDX-License-Identifier: Apache-2.0
"""A `.keras` file or a functional Keras model to a float graph.

Only this module and `acsgen.nn` import TensorFlow, and this one only when a model is read.
A new layer is one reader function and its row in `READERS`.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acsgen.errors import AcsgenError
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
from acsgen.graph.ir import make_graph
from acsgen.graph.ops import Padding, Pair

#: A checkpoint for a microcontroller is small; anything larger is refused before it is unpacked.
MAX_CHECKPOINT_BYTES = 512 * 1024 * 1024


def load_keras(path: Path) -> Graph:
    """Reads a `.keras` checkpoint; no code from the file is executed (`safe_mode`).

    Raises AcsgenError if it is no checkpoint, or names the layer that is not supported.
    """
    _check_archive(path)
    keras = _import_keras()
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises whatever the broken part raised
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise AcsgenError(f"{path}: Keras cannot load this checkpoint: {reason[0]}") from error
    return read_model(model, name=path.stem)


def read_model(model: Any, name: str | None = None) -> Graph:
    """The float graph of a functional Keras model with one image-like input and one output."""
    if len(getattr(model, "inputs", None) or []) != 1 or len(model.outputs) != 1:
        raise AcsgenError(f"model '{model.name}': needs a functional graph with one input and one output")
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
            output=_unused(layer.name, set(names.values())),
            is_last=node.outputs[0] is model.outputs[0],
        )
        added = _read(place)
        ops += added
        names[id(node.outputs[0])] = added[-1].output if added else place.inputs[0]
        shapes[id(node.outputs[0])] = tuple(node.outputs[0].shape[1:])
    return make_graph(name or model.name, source, names[id(model.outputs[0])], ops)


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

    def named(self, part: str) -> str:
        return f"{self.output}/{part}"

    def padding(self, kernel: Pair, stride: Pair, dilation: Pair = (1, 1)) -> Padding:
        kind = self.layer.padding
        if kind == "same":
            return Padding.same((self.shapes[0][0], self.shapes[0][1]), kernel, stride, dilation)
        if kind == "valid":
            return Padding()
        raise self.unsupported(f"padding '{kind}'")

    def channels_last(self) -> None:
        if getattr(self.layer, "data_format", "channels_last") != "channels_last":
            raise self.unsupported("data_format 'channels_first'")


# --- readers: one layer to the operators that compute it -------------------------------------------


def _conv2d(at: _Place) -> list[Op]:
    layer = at.layer
    kernel = layer.kernel.numpy()
    return _with_activation(
        at,
        lambda output: Conv2D(
            output, at.inputs, output,
            weights=kernel.transpose(3, 0, 1, 2).copy(),
            bias=_bias(layer, kernel.shape[3]),
            stride=_pair(layer.strides),
            padding=at.padding(kernel.shape[:2], _pair(layer.strides), _pair(layer.dilation_rate)),
            dilation=_pair(layer.dilation_rate),
            groups=layer.groups,
        ),
    )  # fmt: skip


def _dgconv2d(at: _Place) -> list[Op]:
    layer = at.layer
    kernel = layer.kernel.numpy()
    partition = tuple(int(g) for g in layer.channel_groups())
    same_group = np.equal.outer(partition, partition)
    return _with_activation(
        at,
        lambda output: Conv2D(
            output, at.inputs, output,
            weights=(kernel * same_group).transpose(3, 0, 1, 2).copy(),
            bias=_bias(layer, kernel.shape[3]),
            stride=_pair(layer.strides),
            padding=at.padding(kernel.shape[:2], _pair(layer.strides)),
            partition=partition,
        ),
    )  # fmt: skip


def _depthwise(at: _Place) -> list[Op]:
    layer = at.layer
    if layer.depth_multiplier != 1:
        raise at.unsupported(f"depth_multiplier {layer.depth_multiplier}")
    kernel = layer.kernel.numpy()[..., 0]
    return _with_activation(
        at,
        lambda output: DepthwiseConv2D(
            output, at.inputs, output,
            weights=kernel.copy(),
            bias=_bias(layer, kernel.shape[2]),
            stride=_pair(layer.strides),
            padding=at.padding(kernel.shape[:2], _pair(layer.strides), _pair(layer.dilation_rate)),
            dilation=_pair(layer.dilation_rate),
        ),
    )  # fmt: skip


def _dense(at: _Place) -> list[Op]:
    layer = at.layer
    if len(at.shapes[0]) != 1:
        raise at.unsupported(f"an input of shape {at.shapes[0]}, flatten it first;")
    kernel = layer.kernel.numpy()
    return _with_activation(
        at,
        lambda output: Dense(
            output, at.inputs, output, weights=kernel.T.copy(), bias=_bias(layer, kernel.shape[1])
        ),
    )


def _batch_norm(at: _Place) -> list[Op]:
    layer = at.layer
    if _pair((layer.axis, 0))[0] not in (-1, len(at.shapes[0])):
        raise at.unsupported(f"axis {layer.axis}")
    channels = at.shapes[0][-1]
    gamma = layer.gamma.numpy() if layer.scale else np.ones(channels)
    beta = layer.beta.numpy() if layer.center else np.zeros(channels)
    scale = gamma / np.sqrt(layer.moving_variance.numpy() + layer.epsilon)
    offset = beta - layer.moving_mean.numpy() * scale
    return [
        BatchNorm(at.output, at.inputs, at.output, scale=scale.astype("float32"), offset=offset.astype("float32"))
    ]


def _relu(at: _Place) -> list[Op]:
    layer = at.layer
    if layer.negative_slope or layer.threshold or layer.max_value not in (None, 6, 6.0):
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

    at.channels_last()
    reader = READERS.get(keras.saving.get_registered_name(type(at.layer)))
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
    name = getattr(function, "__name__", "linear")
    if name == "softmax" and at.is_last:
        return "none"
    known = {"linear": "none", "relu": "relu", "relu6": "relu6"}
    if name not in known:
        raise at.unsupported(f"activation '{name}'")
    return known[name]


def _bias(layer: Any, channels: int) -> NDArray[np.float32]:
    return layer.bias.numpy() if layer.use_bias else np.zeros(channels, "float32")


def _pair(value: Any) -> Pair:
    if isinstance(value, int):
        return value, value
    return int(value[0]), int(value[-1])


def _source(model: Any) -> Tensor:
    shape = tuple(model.inputs[0].shape[1:])
    if len(shape) not in (1, 3) or None in shape:
        raise AcsgenError(f"model '{model.name}': its input must have a fixed shape (H, W, C) or (C,), not {shape}")
    return Tensor(model.inputs[0].name, tuple(int(d) for d in shape))


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


def _check_archive(path: Path) -> None:
    """Refuses what cannot be a `.keras` file before TensorFlow is imported."""
    if not path.is_file():
        raise AcsgenError(f"{path}: no such file")
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
            entries = set(archive.namelist())
    except (zipfile.BadZipFile, OSError) as error:
        raise AcsgenError(f"{path}: no checkpoint: a .keras file is a zip archive, this is not") from error
    if not {"config.json", "model.weights.h5"} <= entries:
        raise AcsgenError(f"{path}: no checkpoint: config.json or model.weights.h5 is missing in the archive")
    if size > MAX_CHECKPOINT_BYTES:
        raise AcsgenError(f"{path}: {size} bytes unpacked, more than the {MAX_CHECKPOINT_BYTES} that are accepted")


def _import_keras() -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        import keras
    except ImportError as error:
        raise AcsgenError(
            "reading a Keras checkpoint needs TensorFlow: pip install 'acsgen[keras]'"
        ) from error
    import acsgen.nn.layers  # noqa: F401  registers DGConv2D, ChannelGate and ApplyMask

    return keras
