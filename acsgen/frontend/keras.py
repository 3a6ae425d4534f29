# SPDX-License-Identifier: Apache-2.0
"""A `.keras` file or a functional Keras model to a float graph.

Only this package and `acsgen.nn` import TensorFlow, and this one only when a model is read.
What a layer becomes is said by `acsgen.frontend.keras_layers`.
"""

from __future__ import annotations

import os
import re
import warnings
from math import prod
from pathlib import Path
from typing import Any

from acsgen.errors import AcsgenError
from acsgen.frontend.keras_file import check_keras_file
from acsgen.frontend.keras_layers import READERS, Place, read_layer, shape_in_graph
from acsgen.graph import Gate, Graph, Op, Reshape, Tensor
from acsgen.graph.check import check_masks
from acsgen.graph.ir import make_graph
from acsgen.graph.ops import Shape


def load_keras(path: Path) -> Graph:
    """Reads a `.keras` checkpoint; no code from the file is executed.

    Raises AcsgenError if it is no checkpoint, or names the layer that is not supported.
    """
    check_keras_file(path, READERS)
    keras = import_keras()
    try:
        with warnings.catch_warnings(action="ignore"):
            model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises whatever the broken part raised
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise AcsgenError(f"{path}: Keras cannot load this checkpoint: {reason[0]}") from error
    return read_model(model, name=path.stem)


def read_model(model: Any, name: str | None = None) -> Graph:
    """The float graph of a functional Keras model with one input and one output.

    Both keep the shapes that they have in Keras: images, signals or vectors.
    """
    model = getattr(model, "_functional", model) or model  # what a Sequential is inside
    ends = [len(getattr(model, end, None) or []) for end in ("inputs", "outputs")]
    if ends == [0, 0]:
        raise AcsgenError(f"model '{model.name}': has no graph yet: give it an Input, or build it, before it is saved")
    if ends != [1, 1]:
        raise AcsgenError(f"model '{model.name}': has {ends[0]} inputs and {ends[1]} outputs, one of each is supported")
    source = _source(model)
    ops = _in_shape(source.name, source.shape, shape_in_graph(source.shape), f"{source.name}/image")
    names: dict[int, str] = {id(model.inputs[0]): ops[-1].output if ops else source.name}
    shapes: dict[int, Shape] = {id(model.inputs[0]): source.shape}
    for node in _nodes(model):
        layer = node.operation
        place = Place(
            layer=layer,
            inputs=tuple(names[id(t)] for t in node.arguments.keras_tensors),
            shapes=tuple(shapes[id(t)] for t in node.arguments.keras_tensors),
            output=_unused(_clean(layer.name), {source.name, *(op.output for op in ops), *names.values()}),
            output_shape=tuple(node.outputs[0].shape[1:]),
            is_last=node.outputs[0] is model.outputs[0],
        )
        added = read_layer(place)
        ops += added
        names[id(node.outputs[0])] = added[-1].output if added else place.inputs[0]
        is_gate = bool(added) and isinstance(added[-1], Gate)
        shapes[id(node.outputs[0])] = (prod(place.output_shape),) if is_gate else place.output_shape
    result, shape = names[id(model.outputs[0])], shapes[id(model.outputs[0])]
    ops += _in_shape(result, shape_in_graph(shape), shape, f"{result}/signal")
    graph = make_graph(_clean(name or model.name), source, ops[-1].output if ops else result, ops)
    check_masks(graph)
    return graph


def _in_shape(tensor: str, shape: Shape, wanted: Shape, output: str) -> list[Op]:
    """Between a signal and the image of one row that it is within the graph."""
    return [] if shape == wanted else [Reshape(output, (tensor,), output, wanted)]


def _source(model: Any) -> Tensor:
    shape = tuple(model.inputs[0].shape[1:])
    if len(shape) not in (1, 2, 3) or None in shape:
        raise AcsgenError(
            f"model '{model.name}': its input must have a fixed shape (H, W, C), (T, C) or (C,), not {shape}"
        )
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


def import_keras() -> Any:
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
