# SPDX-License-Identifier: Apache-2.0
"""Plan to C: what the templates print for each step.

One function per kernel, found through `EMITTERS`: it says which constants the call needs and how it is
written. How that is laid out on the page is the templates' matter.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from math import prod

import numpy as np

from acsgen.emit.convolutions import conv_call, depthwise_call, pool_call
from acsgen.emit.places import Array, Call, Layer, Places, braces, comment, laid_out, shape_argument
from acsgen.emit.sums import add_lines, coarseness
from acsgen.golden.arithmetic import activation_range
from acsgen.graph import Add, ApplyMask, Pad, Relu, Shuffle, SumGate
from acsgen.plan import Step


class Writer(Places):
    """A plan as calls."""

    @cached_property
    def calls(self) -> list[Call]:
        """Every step of the plan, in order."""
        return [EMITTERS[step.kernel](self, step) for step in self.plan.steps]

    @property
    def arrays(self) -> list[Array]:
        """The constants of all steps, and of the lists that they go by."""
        lists = [self.list_array(slot) for slot in self.plan.lists]
        return [*(array for call in self.calls for array in call.arrays), *lists]

    @property
    def constant_bytes(self) -> int:
        """Flash that weights and tables take."""
        return sum(array.values.nbytes for array in self.arrays)


def _add(writer: Places, step: Step) -> Call:
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
        f"{op.name}: sum of {added}, {laid_out(writer, step.output)}",
        f"acs_add_s8(&{name}, {places})",
        fallible=False,
        layers=(Layer("acs_add_t", name, lines),),
    )


def _clamp(writer: Places, step: Step) -> Call:
    op, out = step.op, writer.tensor(step.output)
    assert isinstance(op, Relu)
    low, high = activation_range(op.activation, out)
    code = (
        f"acs_clamp_s8({prod(out.shape)}, {low}, {high}, {writer.place(step.inputs[0])}, {writer.place(step.output)})"
    )
    return Call(step, comment(writer, step, op.activation), code, fallible=False)


def _concat(writer: Places, step: Step) -> Call:
    parts = ", ".join(f"{{{writer.place(b)}, {writer.tensor(b).shape[-1]}}}" for b in step.inputs)
    arguments = f"{shape_argument(writer.tensor(step.output))}, {len(step.inputs)}, (const acs_part_t[]){{{parts}}}"
    joined = " and ".join(writer.plan.buffers[b].tensor for b in step.inputs)
    text = f"{step.op.name}: channels of {joined} side by side, {laid_out(writer, step.output)}"
    return Call(step, text, f"acs_concat_s8({arguments}, {writer.place(step.output)})", fallible=False)


def _join(writer: Places, step: Step) -> Call:
    out = writer.tensor(step.output)
    parts = ", ".join(f"{{{writer.place(b)}, {writer.tensor(b).shape[-1]}}}" for b in step.inputs)
    arguments = f"{shape_argument(out)}, {writer.groups(step.output)}, {writer.list_of(step.active)}"
    joined = " and ".join(writer.plan.buffers[b].tensor for b in step.inputs)
    text = f"{step.op.name}: groups of {joined} one behind the other, {laid_out(writer, step.output)}"
    code = f"acs_join_s8({arguments}, (const acs_part_t[]){{{parts}}}, {writer.place(step.output)})"
    return Call(step, text, code, fallible=False)


def _pad(writer: Places, step: Step) -> Call:
    assert isinstance(step.op, Pad)
    source, target = (writer.tensor(b) for b in (step.inputs[0], step.output))
    corner = braces((step.op.padding.top, step.op.padding.left))
    shapes = f"{shape_argument(source)}, {shape_argument(target)}, (acs_pair_t){corner}"
    places = f"{writer.place(step.inputs[0])}, {writer.place(step.output)}"
    code = f"acs_pad_s8({shapes}, {target.zero_point}, {places})"
    return Call(step, comment(writer, step, "zeros around"), code, fallible=False)


def _shuffle(writer: Places, step: Step) -> Call:
    assert isinstance(step.op, Shuffle)
    order = writer.array(step.op, "order", np.array(step.op.order, np.uint16), "[output channel]: input channel")
    arguments = f"{shape_argument(writer.tensor(step.output))}, {order.name}, {writer.place(step.inputs[0])}"
    code = f"acs_shuffle_s8({arguments}, {writer.place(step.output)})"
    return Call(step, comment(writer, step, "channel permutation"), code, fallible=False, arrays=(order,))


def _gate(writer: Places, step: Step) -> Call:
    slot = writer.gates[step.output]
    places = f"bits + {slot.offset}, bits + {slot.list_offset}"
    text = f"{step.op.name}: gate, decides on {slot.groups} groups"
    arrays: tuple[Array, ...] = ()
    layers: tuple[Layer, ...] = ()
    if isinstance(step.op, SumGate):
        layer, arrays = _gate_layer(writer, step, step.op)
        layers = (layer,)
        decision = f"acs_gate_sums_s8(mode, &{layer.name}, {writer.place(step.inputs[0])}, {places})"
        text += f" by their sums, {step.macs} MACs"
    else:
        zero_point = writer.tensor(step.inputs[0]).zero_point
        decision = f"acs_gate_s8(mode, {slot.groups}, {zero_point}, {writer.place(step.inputs[0])}, {places})"
    if step.when:
        decision = f"({writer.condition(step)}) ? {decision} : acs_undecided({slot.groups}, {places})"
        text += f" if {' or '.join(step.when)} opened one"
    code = f"const acs_mask_t {writer.name(step.output)} = {decision}"
    return Call(step, text, code, fallible=False, layers=layers, arrays=arrays)


def _gate_layer(writer: Places, step: Step, op: SumGate) -> tuple[Layer, tuple[Array, ...]]:
    """The zero point's share of the sums is in the bias."""
    weights = op.weights.astype(np.int64)
    bias = op.bias.astype(np.int64) - writer.tensor(step.inputs[0]).zero_point * weights.sum(axis=1)
    arrays = (
        writer.array(op, "weights", op.weights, f"{braces(weights.shape)}: [group][input]"),
        writer.array(op, "bias", bias.astype(np.int32), "[group]: what its sum starts with"),
        writer.array(op, "step", op.step, "[group]: what a raised threshold adds"),
    )
    names = (f".{what} = {array.name}" for what, array in zip(("weights", "bias", "step"), arrays, strict=True))
    lines = (f".groups = {weights.shape[0]}, .inputs = {weights.shape[1]},", f"{', '.join(names)},")
    return Layer("acs_gate_t", f"{writer.name(op.output)}_sums", lines), arrays


def _apply_mask(writer: Places, step: Step) -> Call:
    assert isinstance(step.op, ApplyMask)
    out, groups = writer.tensor(step.output), writer.groups(step.output)
    mask = f"&{writer.name(step.inputs[1])}"
    rest = f"{out.zero_point}, {writer.place(step.inputs[0])}, {writer.place(step.output)})"
    if groups % writer.gates[step.inputs[1]].groups:
        code = f"acs_mask_channels_s8({mask}, {shape_argument(out)}, {groups}, {rest}"
    else:
        fill = "true" if step.fill else "mode == ACS_MULTIPLY"
        code = f"acs_apply_mask_s8({fill}, {mask}, {prod(out.shape)}, {rest}"
    return Call(step, f"{step.op.name}: closed groups of {step.inputs[1]} are zero", code, fallible=False)


def _convert(writer: Places, step: Step) -> Call:
    out = writer.tensor(step.output)
    groups = max(writer.groups(step.inputs[0]), writer.groups(step.output))
    arguments = [shape_argument(out), str(groups), writer.list_of(step.active)]
    if step.kernel == "ungroup":
        arguments.append(str(out.zero_point))
    arguments += [writer.place(step.inputs[0]), writer.place(step.output)]
    what = "to NHWC" if step.kernel == "ungroup" else "to groups"
    text = f"{writer.plan.buffers[step.output].tensor}: {what}, {laid_out(writer, step.output)}"
    return Call(step, text, f"acs_{step.kernel}_s8({', '.join(arguments)})", fallible=False)


EMITTERS: dict[str, Callable[[Places, Step], Call]] = {
    "conv": conv_call,
    "conv_join": conv_call,
    "depthwise": depthwise_call,
    "max_pool": pool_call,
    "avg_pool": pool_call,
    "add": _add,
    "clamp": _clamp,
    "concat": _concat,
    "join": _join,
    "pad": _pad,
    "shuffle": _shuffle,
    "gate": _gate,
    "apply_mask": _apply_mask,
    "ungroup": _convert,
    "group": _convert,
}
