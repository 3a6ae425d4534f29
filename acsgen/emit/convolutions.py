# SPDX-License-Identifier: Apache-2.0
"""Convolutions and pools as C: a constant layer, its arrays, and the call of its kernel."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acsgen.emit.closed import closed_sums, closed_values
from acsgen.emit.forms import FORMS
from acsgen.emit.places import Array, Call, Layer, Places, braces, comment, dims
from acsgen.emit.sums import residual_lines
from acsgen.graph import AvgPool, Conv2D, Dense, DepthwiseConv2D, MaxPool, Tensor
from acsgen.graph.ops import Pair, image_shape
from acsgen.plan import Step
from acsgen.plan.conv_case import conv_case


def conv_call(writer: Places, step: Step) -> Call:
    op = step.op
    assert isinstance(op, Conv2D | Dense)
    source, target = _read_by(writer, step), writer.plan.graph.tensors[op.output]
    if isinstance(op, Conv2D):
        weights, stride, dilation, shape = op.weights, op.stride, op.dilation, image_shape(source.shape)
        padding = (op.padding.top, op.padding.left)
        what = f"{dims(op.kernel)} convolution" + ("" if stride == (1, 1) else f", stride {dims(stride)}")
    else:
        # A window as large as the image: a single pixel, or an image that is read without being flattened.
        shape = image_shape(source.shape) if step.joined else (1, 1, prod(source.shape))
        weights = op.weights.reshape(len(op.weights), *shape)
        stride, dilation, padding = (1, 1), (1, 1), (0, 0)
        what = "fully connected"
    arrays, constants = _constants(writer, step, source, target, weights)
    groups = f".input_groups = {writer.groups(step.inputs[0])}, .output_groups = {writer.groups(step.output)},"
    if step.kernel == "conv_join":
        groups += f" .pack_limit = {step.pack_limit},"
        groups += f" .pack_rows = {step.pack_rows}," if step.pack_rows else ""
    lines = _window_lines(shape, image_shape(target.shape), weights.shape[1:3], stride, padding, dilation)
    lines += [groups, *_requantize_lines(op, source, target), *constants, *residual_lines(writer.plan.graph, step)]
    layers: list[Layer] = []
    if step.closed != "zero":
        line, array = _closed_array(writer, step, weights)
        lines.append(line)
        arrays.append(array)
    if step.before:
        layer, extra = _depthwise_layer(writer, step.before, writer.groups(step.inputs[0]))
        layers.append(layer)
        arrays += extra
        lines.append(f".before = &{layer.name},")
        what = f"{what} behind {step.before.name}"
    joined = (writer.list_of(step.joined),) if step.kernel == "conv_join" else ()
    layers.append(Layer("acs_conv_t", writer.name(op.name), tuple(lines)))
    return _layer_call(writer, step, what, layers, arrays, joined)


def depthwise_call(writer: Places, step: Step) -> Call:
    assert isinstance(step.op, DepthwiseConv2D)
    layer, arrays = _depthwise_layer(writer, step.op, writer.groups(step.output))
    return _layer_call(writer, step, f"{dims(step.op.kernel)} depthwise convolution", [layer], arrays)


def pool_call(writer: Places, step: Step) -> Call:
    op = step.op
    assert isinstance(op, MaxPool | AvgPool)
    shapes = (image_shape(writer.tensor(step.inputs[0]).shape), image_shape(writer.tensor(step.output).shape))
    lines = _window_lines(*shapes, op.kernel, op.stride, (op.padding.top, op.padding.left), None)
    lines.append(f".groups = {writer.groups(step.output)},")
    kind = "average" if isinstance(op, AvgPool) else "maximum"
    layer = Layer("acs_pool_t", writer.name(op.name), tuple(lines))
    return _layer_call(writer, step, f"{dims(op.kernel)} {kind} pooling", [layer], [])


def _read_by(writer: Places, step: Step) -> Tensor:
    """What the operator of a step reads: a buffer, or what the operator before makes of it."""
    return writer.plan.graph.tensors[step.before.output] if step.before else writer.tensor(step.inputs[0])


def _depthwise_layer(writer: Places, op: DepthwiseConv2D, groups: int) -> tuple[Layer, list[Array]]:
    source, target = (writer.plan.graph.tensors[name] for name in (op.inputs[0], op.output))
    grouped = op.weights.reshape(*op.kernel, groups, -1).transpose(2, 0, 1, 3)
    layout = f"{braces(grouped.shape)}: [group][row][column][channel]"
    arrays = _channel_arrays(writer, op, np.ascontiguousarray(grouped), layout)
    shapes = (image_shape(source.shape), image_shape(target.shape))
    lines = _window_lines(*shapes, op.kernel, op.stride, (op.padding.top, op.padding.left), op.dilation)
    lines += [f".groups = {groups},", *_requantize_lines(op, source, target), *_plain_lines(arrays)]
    return Layer("acs_depthwise_t", writer.name(op.name), tuple(lines)), arrays


def _closed_array(writer: Places, step: Step, weights: NDArray[Any]) -> tuple[str, Array]:
    """The field of a conv_join that says what closed input groups add to a sum, and its array."""
    source = _read_by(writer, step)
    values = closed_values(writer.plan.graph, source.name)
    if step.closed == "computed":
        array = writer.array(step.op, "closed", values, "[input channel]: what it holds where its group is closed")
        return f".closed = {array.name},", array
    sums = closed_sums(weights, values, source.zero_point, writer.groups(step.inputs[0]))
    array = writer.array(step.op, "closed", sums, "[input group][output channel]: what it adds where it is closed")
    return f".closed_sums = {array.name},", array


def _window_lines(
    source: tuple[int, ...], target: tuple[int, ...], kernel: Pair, stride: Pair, padding: Pair, dilation: Pair | None
) -> list[str]:
    window = f".kernel = {braces(kernel)}, .stride = {braces(stride)}, .padding = {braces(padding)},"
    if dilation:
        window += f" .dilation = {braces(dilation)},"
    return [f".input = {braces(source)}, .output = {braces(target)},", window]


def _requantize_lines(op: Any, source: Tensor, target: Tensor) -> list[str]:
    return [
        f".input_zero_point = {source.zero_point}, .output_zero_point = {target.zero_point},",
        f".low = {op.requantize.low}, .high = {op.requantize.high},",
    ]


def _constants(
    writer: Places, step: Step, source: Tensor, target: Tensor, weights: NDArray[Any]
) -> tuple[list[Array], list[str]]:
    """Weights and requantisation of a convolution in the form of its step, and the fields that say where they are."""
    op = step.op
    assert isinstance(op, Conv2D | Dense)
    if step.form == "plain":
        layout = f"{braces(weights.shape)}: [output channel][row][column][input channel]"
        arrays = _channel_arrays(writer, op, weights, layout)
        return arrays, _plain_lines(arrays)
    groups = writer.groups(step.inputs[0]), writer.groups(step.output)
    packed = FORMS[step.form](conv_case(op, source, target, *groups, step.joined is not None))
    words = writer.array(op, "words", packed.words, packed.words_layout)
    finish = writer.array(op, "finish", packed.finish, packed.finish_layout)
    return [words, finish], [f".form = {packed.form}, .words = {words.name}, .finish = {finish.name},"]


def _plain_lines(arrays: list[Array]) -> list[str]:
    weights, bias, multiplier, shift = (array.name for array in arrays)
    return [f".weights = {weights}, .bias = {bias},", f".multiplier = {multiplier}, .shift = {shift},"]


def _channel_arrays(writer: Places, op: Any, weights: NDArray[Any], layout: str) -> list[Array]:
    return [
        writer.array(op, "weights", weights, layout),
        writer.array(op, "bias", op.bias, "[output channel]"),
        writer.array(op, "multiplier", op.requantize.multiplier, "[output channel], Q31"),
        writer.array(op, "shift", op.requantize.shift, "[output channel], > 0: left"),
    ]


def _layer_call(
    writer: Places, step: Step, what: str, layers: list[Layer], arrays: list[Array], joined: tuple[str, ...] = ()
) -> Call:
    """A kernel with the signature (layer, [joined,] active, input, output, scratch); the layer is the last one."""
    arguments = [
        f"&{layers[-1].name}",
        *joined,
        writer.list_of(step.active),
        writer.place(step.inputs[0]),
        writer.place(step.output),
        writer.scratch(step),
    ]
    return Call(
        step,
        comment(writer, step, what),
        f"acs_{step.kernel}_s8({', '.join(arguments)})",
        fallible=True,
        layers=tuple(layers),
        arrays=tuple(arrays),
    )
