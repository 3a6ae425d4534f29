# SPDX-License-Identifier: Apache-2.0
"""Plan to C: what the templates print for each step.

One function per kernel, found through `EMITTERS`: it says which constants the call needs and how it is
written. How that is laid out on the page is the templates' matter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acsgen.emit.forms import FORMS
from acsgen.emit.names import Names
from acsgen.emit.sums import add_lines, coarseness, residual_lines
from acsgen.golden.arithmetic import activation_range
from acsgen.graph import (
    Add,
    ApplyMask,
    AvgPool,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    MaxPool,
    Pad,
    Relu,
    Shuffle,
    Tensor,
)
from acsgen.graph.ops import image_shape
from acsgen.plan import Buffer, Plan, Step
from acsgen.plan.conv_case import ConvCase, conv_case

Pair = tuple[int, int]
_C_TYPES = {"int8": "int8_t", "int32": "int32_t", "uint16": "uint16_t"}


@dataclass(frozen=True)
class Array:
    """A constant array of the weights file."""

    name: str
    values: NDArray[Any]
    comment: str

    @property
    def ctype(self) -> str:
        return _C_TYPES[self.values.dtype.name]


@dataclass(frozen=True)
class Layer:
    """A constant struct that describes a layer: its C type, and its fields as C text, line by line."""

    ctype: str
    name: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Call:
    """A step as C. code: the call; fallible: it returns false when it refuses."""

    step: Step
    comment: str
    code: str
    fallible: bool
    layer: Layer | None = None
    arrays: tuple[Array, ...] = ()


class Writer:
    """Knows the C names and places of a plan's buffers and gates."""

    def __init__(self, plan: Plan, model: str) -> None:
        self.plan = plan
        self.model = model
        self.names = Names(model)
        self.gates = {slot.mask: slot for slot in plan.gates}

    @cached_property
    def calls(self) -> list[Call]:
        """Every step of the plan, in order."""
        return [EMITTERS[step.kernel](self, step) for step in self.plan.steps]

    @property
    def arrays(self) -> list[Array]:
        """The constants of all steps."""
        return [array for call in self.calls for array in call.arrays]

    @property
    def constant_bytes(self) -> int:
        """Flash that weights and tables take."""
        return sum(array.values.nbytes for array in self.arrays)

    def name(self, name: str) -> str:
        return self.names.of(name)

    def place(self, name: str) -> str:
        """A buffer as a C expression."""
        if self.plan.root(name) == self.plan.graph.input:
            return "input"
        return "output" if self.plan.buffers[name].offset is None else f"at + AT_{self.name(name).upper()}"

    def offsets(self) -> list[tuple[str, str, str]]:
        """The arena's buffers in the order of the network: name of the offset, its value, a comment."""
        return [self._offset(b) for b in self.plan.buffers.values() if b.offset is not None]

    def _offset(self, buffer: Buffer) -> tuple[str, str, str]:
        macro = f"AT_{self.name(buffer.name).upper()}"
        if buffer.shares is not None:
            return macro, f"AT_{self.name(buffer.shares).upper()}", "the same bytes"
        return macro, str(buffer.offset), f"{buffer.bytes} bytes, steps {buffer.first} to {buffer.last}"

    def list_of(self, gate: str | None) -> str:
        return "NULL" if gate is None else f"&{self.name(gate)}.active"

    def scratch(self, step: Step) -> str:
        if not step.scratch_bytes:
            return "acs_scratch(NULL, 0)"
        return f"acs_scratch(at + {self.scratch_name(step)}, {step.scratch_bytes})"

    def scratch_name(self, step: Step) -> str:
        return f"SCRATCH_{self.name(step.op.name).upper()}"

    def scratches(self) -> list[tuple[str, str, str]]:
        """The kernels' scratch in the order of the network, as `offsets`."""
        return [
            (self.scratch_name(step), str(step.scratch_offset), f"{step.scratch_bytes} bytes, step {index}")
            for index, step in enumerate(self.plan.steps)
            if step.scratch_bytes
        ]

    def tensor(self, buffer: str) -> Tensor:
        return self.plan.graph.tensors[self.plan.buffers[buffer].tensor]

    def groups(self, buffer: str) -> int:
        return self.plan.buffers[buffer].groups

    def array(self, step: Step, what: str, values: NDArray[Any], comment: str) -> Array:
        # Two underscores, which no identifier has within: demo's x_conv is not demo_x's conv.
        return Array(f"{self.model}__{self.name(step.op.name)}_{what}", values, comment)


def _dims(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _braces(values: tuple[int, ...]) -> str:
    return "{" + ", ".join(map(str, values)) + "}"


def _shape(tensor: Tensor) -> str:
    """An image's shape as an argument."""
    return f"(acs_shape_t){_braces(image_shape(tensor.shape))}"


def _laid_out(writer: Writer, buffer: str) -> str:
    """A buffer's shape as text: `4 groups of 14x14x16`, or `14x14x64`."""
    shape, groups = image_shape(writer.tensor(buffer).shape), writer.groups(buffer)
    if groups == 1:
        return _dims(shape)
    return f"{groups} groups of {_dims((*shape[:2], shape[2] // groups))}"


def _comment(writer: Writer, step: Step, what: str) -> str:
    text = f"{step.op.name}: {what}, {_laid_out(writer, step.inputs[0])} to {_laid_out(writer, step.output)}"
    if step.macs:
        text += f", {step.macs} MACs"
    return text + (f". {step.why}" if step.active or step.joined or step.residual else "")


def _window_lines(
    writer: Writer, step: Step, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair | None
) -> list[str]:
    source, target = (image_shape(writer.tensor(b).shape) for b in (step.inputs[0], step.output))
    if isinstance(step.op, Dense):
        source = (1, 1, prod(source))
    window = f".kernel = {_braces(kernel)}, .stride = {_braces(stride)}, .padding = {_braces(padding)},"
    if dilation:
        window += f" .dilation = {_braces(dilation)},"
    return [f".input = {_braces(source)}, .output = {_braces(target)},", window]


def _requantize_lines(writer: Writer, step: Step) -> list[str]:
    requantize = step.op.requantize  # type: ignore[attr-defined]
    return [
        f".input_zero_point = {writer.tensor(step.inputs[0]).zero_point}, "
        f".output_zero_point = {writer.plan.graph.tensors[step.op.output].zero_point},",
        f".low = {requantize.low}, .high = {requantize.high},",
    ]


def _constant_lines(arrays: list[Array]) -> list[str]:
    weights, bias, multiplier, shift = (array.name for array in arrays)
    return [f".weights = {weights}, .bias = {bias},", f".multiplier = {multiplier}, .shift = {shift},"]


def _case(writer: Writer, step: Step) -> ConvCase:
    assert isinstance(step.op, Conv2D | Dense)
    groups = writer.groups(step.inputs[0]), writer.groups(step.output)
    result = writer.plan.graph.tensors[step.op.output]  # of the convolution, not of a sum that it is added to
    return conv_case(step.op, writer.tensor(step.inputs[0]), result, *groups)


def _channel_arrays(writer: Writer, step: Step, weights: NDArray[Any], layout: str) -> list[Array]:
    op: Any = step.op
    return [
        writer.array(step, "weights", weights, layout),
        writer.array(step, "bias", op.bias, "[output channel]"),
        writer.array(step, "multiplier", op.requantize.multiplier, "[output channel], Q31"),
        writer.array(step, "shift", op.requantize.shift, "[output channel], > 0: left"),
    ]


def _conv(writer: Writer, step: Step) -> Call:
    op = step.op
    assert isinstance(op, Conv2D | Dense)
    if isinstance(op, Conv2D):
        weights, kernel, stride, dilation = op.weights, op.kernel, op.stride, op.dilation
        padding = (op.padding.top, op.padding.left)
        what = f"{_dims(kernel)} convolution" + ("" if stride == (1, 1) else f", stride {_dims(stride)}")
    else:
        weights = op.weights[:, None, None, :]
        kernel, stride, dilation, padding = (1, 1), (1, 1), (1, 1), (0, 0)
        what = "fully connected"
    shape = f"{_braces(weights.shape)}: [output channel][row][column][input channel]"
    if step.form == "plain":
        arrays = _channel_arrays(writer, step, weights, shape)
        constants = _constant_lines(arrays)
    else:
        packed = FORMS[step.form](_case(writer, step))
        arrays = [
            writer.array(step, "words", packed.words, packed.words_layout),
            writer.array(step, "finish", packed.finish, packed.finish_layout),
        ]
        constants = [f".form = {packed.form}, .words = {arrays[0].name}, .finish = {arrays[1].name},"]
    groups = f".input_groups = {writer.groups(step.inputs[0])}, .output_groups = {writer.groups(step.output)},"
    if step.kernel == "conv_join":
        groups += f" .pack_limit = {step.pack_limit},"
    lines = _window_lines(writer, step, kernel, stride, padding, dilation)
    lines += [groups, *_requantize_lines(writer, step), *constants, *residual_lines(writer.plan.graph, step)]
    joined = (writer.list_of(step.joined),) if step.kernel == "conv_join" else ()
    return _layer_call(writer, step, what, "acs_conv_t", lines, tuple(arrays), joined)


def _depthwise(writer: Writer, step: Step) -> Call:
    op = step.op
    assert isinstance(op, DepthwiseConv2D)
    groups, channels = writer.groups(step.output), op.weights.shape[2]
    grouped = op.weights.reshape(*op.kernel, groups, channels // groups).transpose(2, 0, 1, 3)
    shape = f"{_braces(grouped.shape)}: [group][row][column][channel]"
    arrays = _channel_arrays(writer, step, np.ascontiguousarray(grouped), shape)
    lines = _window_lines(writer, step, op.kernel, op.stride, (op.padding.top, op.padding.left), op.dilation)
    lines += [f".groups = {groups},", *_requantize_lines(writer, step), *_constant_lines(arrays)]
    return _layer_call(
        writer, step, f"{_dims(op.kernel)} depthwise convolution", "acs_depthwise_t", lines, tuple(arrays)
    )


def _pool(writer: Writer, step: Step) -> Call:
    op = step.op
    assert isinstance(op, MaxPool | AvgPool)
    padding = (op.padding.top, op.padding.left)
    lines = _window_lines(writer, step, op.kernel, op.stride, padding, None)
    lines.append(f".groups = {writer.groups(step.output)},")
    kind = "average" if isinstance(op, AvgPool) else "maximum"
    return _layer_call(writer, step, f"{_dims(op.kernel)} {kind} pooling", "acs_pool_t", lines, ())


def _layer_call(
    writer: Writer,
    step: Step,
    what: str,
    ctype: str,
    lines: list[str],
    arrays: tuple[Array, ...],
    joined: tuple[str, ...] = (),
) -> Call:
    """A kernel with the signature (layer, [joined,] active, input, output, scratch)."""
    name = writer.name(step.op.name)
    arguments = [
        f"&{name}",
        *joined,
        writer.list_of(step.active),
        writer.place(step.inputs[0]),
        writer.place(step.output),
        writer.scratch(step),
    ]
    return Call(
        step,
        _comment(writer, step, what),
        f"acs_{step.kernel}_s8({', '.join(arguments)})",
        fallible=True,
        layer=Layer(ctype, name, tuple(lines)),
        arrays=arrays,
    )


def _add(writer: Writer, step: Step) -> Call:
    op = step.op
    assert isinstance(op, Add)
    coarse, fine = sorted(step.inputs, key=lambda b: coarseness(writer.tensor(b)))
    out = writer.tensor(step.output)
    lines = (f".count = {prod(out.shape)},", *add_lines(op, writer.tensor(coarse), writer.tensor(fine), out))
    name = writer.name(op.name)
    places = ", ".join(writer.place(b) for b in (coarse, fine, step.output))
    added = " and ".join(writer.plan.buffers[b].tensor for b in (coarse, fine))
    return Call(
        step,
        f"{op.name}: sum of {added}, {_laid_out(writer, step.output)}",
        f"acs_add_s8(&{name}, {places})",
        fallible=False,
        layer=Layer("acs_add_t", name, lines),
    )


def _clamp(writer: Writer, step: Step) -> Call:
    op, out = step.op, writer.tensor(step.output)
    assert isinstance(op, Relu)
    low, high = activation_range(op.activation, out)
    code = (
        f"acs_clamp_s8({prod(out.shape)}, {low}, {high}, {writer.place(step.inputs[0])}, {writer.place(step.output)})"
    )
    return Call(step, _comment(writer, step, op.activation), code, fallible=False)


def _concat(writer: Writer, step: Step) -> Call:
    parts = ", ".join(f"{{{writer.place(b)}, {writer.tensor(b).shape[-1]}}}" for b in step.inputs)
    arguments = f"{_shape(writer.tensor(step.output))}, {len(step.inputs)}, (const acs_part_t[]){{{parts}}}"
    joined = " and ".join(writer.plan.buffers[b].tensor for b in step.inputs)
    text = f"{step.op.name}: channels of {joined} side by side, {_laid_out(writer, step.output)}"
    return Call(step, text, f"acs_concat_s8({arguments}, {writer.place(step.output)})", fallible=False)


def _pad(writer: Writer, step: Step) -> Call:
    assert isinstance(step.op, Pad)
    source, target = (writer.tensor(b) for b in (step.inputs[0], step.output))
    shapes = f"{_shape(source)}, {_shape(target)}, (acs_pair_t){_braces((step.op.padding.top, step.op.padding.left))}"
    places = f"{writer.place(step.inputs[0])}, {writer.place(step.output)}"
    code = f"acs_pad_s8({shapes}, {target.zero_point}, {places})"
    return Call(step, _comment(writer, step, "zeros around"), code, fallible=False)


def _shuffle(writer: Writer, step: Step) -> Call:
    assert isinstance(step.op, Shuffle)
    order = writer.array(step, "order", np.array(step.op.order, np.uint16), "[output channel]: input channel")
    arguments = f"{_shape(writer.tensor(step.output))}, {order.name}, {writer.place(step.inputs[0])}"
    code = f"acs_shuffle_s8({arguments}, {writer.place(step.output)})"
    return Call(step, _comment(writer, step, "channel permutation"), code, fallible=False, arrays=(order,))


def _gate(writer: Writer, step: Step) -> Call:
    slot = writer.gates[step.output]
    zero_point = writer.tensor(step.inputs[0]).zero_point
    code = (
        f"const acs_mask_t {writer.name(step.output)} = acs_gate_s8(mode, {slot.groups}, {zero_point}, "
        f"{writer.place(step.inputs[0])}, bits + {slot.offset}, bits + {slot.list_offset})"
    )
    return Call(step, f"{step.op.name}: gate, decides on {slot.groups} groups", code, fallible=False)


def _apply_mask(writer: Writer, step: Step) -> Call:
    assert isinstance(step.op, ApplyMask)
    out = writer.tensor(step.output)
    fill = "true" if step.fill else "mode == ACS_MULTIPLY"
    code = (
        f"acs_apply_mask_s8({fill}, &{writer.name(step.inputs[1])}, {prod(out.shape)}, {out.zero_point}, "
        f"{writer.place(step.inputs[0])}, {writer.place(step.output)})"
    )
    return Call(step, f"{step.op.name}: closed groups of {step.inputs[1]} are zero", code, fallible=False)


def _convert(writer: Writer, step: Step) -> Call:
    out = writer.tensor(step.output)
    groups = max(writer.groups(step.inputs[0]), writer.groups(step.output))
    arguments = [_shape(out), str(groups), writer.list_of(step.active)]
    if step.kernel == "ungroup":
        arguments.append(str(out.zero_point))
    arguments += [writer.place(step.inputs[0]), writer.place(step.output)]
    what = "to NHWC" if step.kernel == "ungroup" else "to groups"
    text = f"{writer.plan.buffers[step.output].tensor}: {what}, {_laid_out(writer, step.output)}"
    return Call(step, text, f"acs_{step.kernel}_s8({', '.join(arguments)})", fallible=False)


EMITTERS: dict[str, Callable[[Writer, Step], Call]] = {
    "conv": _conv,
    "conv_join": _conv,
    "depthwise": _depthwise,
    "max_pool": _pool,
    "avg_pool": _pool,
    "add": _add,
    "clamp": _clamp,
    "concat": _concat,
    "pad": _pad,
    "shuffle": _shuffle,
    "gate": _gate,
    "apply_mask": _apply_mask,
    "ungroup": _convert,
    "group": _convert,
}
