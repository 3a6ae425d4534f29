# SPDX-License-Identifier: Apache-2.0
"""What an emitted call is made of: names, places in the arena, arrays, layers, and pieces of text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acsgen.emit.names import Names
from acsgen.graph import Op, Tensor
from acsgen.graph.ops import image_shape
from acsgen.plan import Buffer, ListSlot, Plan, Step
from acsgen.plan.plan import bytes_before

#: ACS_ALWAYS of acs_layers.h.
ALWAYS = 0xFFFF
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
    layers: tuple[Layer, ...] = ()
    arrays: tuple[Array, ...] = ()


class Places:
    """Knows the C names and places of a plan's buffers, gates and lists."""

    def __init__(self, plan: Plan, model: str) -> None:
        self.plan = plan
        self.model = model
        self.names = Names(model)
        self.gates = {slot.mask: slot for slot in plan.gates}

    def name(self, name: str) -> str:
        return self.names.of(name)

    def place(self, name: str) -> str:
        """A buffer as a C expression."""
        if self.plan.root(name) == self.plan.graph.input:
            return "input"
        if self.plan.buffers[name].offset is not None:
            return f"at + AT_{self.name(name).upper()}"
        before = bytes_before(self.plan.buffers, name)
        return f"output + {before}" if before else "output"

    def offsets(self) -> list[tuple[str, str, str]]:
        """The arena's buffers in the order of the network: name of the offset, its value, a comment."""
        return [self._offset(b) for b in self.plan.buffers.values() if b.offset is not None]

    def _offset(self, buffer: Buffer) -> tuple[str, str, str]:
        macro = f"AT_{self.name(buffer.name).upper()}"
        if buffer.slice_at is not None:
            return macro, str(buffer.offset), f"{buffer.bytes} bytes of {buffer.shares}, where they are joined"
        if buffer.shares is not None:
            return macro, f"AT_{self.name(buffer.shares).upper()}", "the same bytes"
        return macro, str(buffer.offset), f"{buffer.bytes} bytes, steps {buffer.first} to {buffer.last}"

    def list_of(self, name: str | None) -> str:
        """A list of active groups as a C expression: a gate's, or one that was made from several."""
        if name is None:
            return "NULL"
        return f"&{self.name(name)}" + (".active" if name in self.gates else "")

    def count_of(self, name: str) -> str:
        """How many groups of a list are active, as a C expression."""
        return f"{self.name(name)}{'.active' if name in self.gates else ''}.count"

    def condition(self, step: Step) -> str:
        """Whether a step has anything to do, as a C expression; empty: it always has."""
        return " || ".join(f"{self.count_of(name)} > 0" for name in step.when)

    def made_lists(self, index: int) -> list[str]:
        """The lists that are made before a step, as C."""
        return [self._made_list(slot) for slot in self.plan.lists if slot.step == index]

    def _made_list(self, slot: ListSlot) -> str:
        groups = len(slot.bits)
        return (
            f"const acs_list_t {self.name(slot.name)} = acs_make_list(mode, {groups}, {self.list_array(slot).name}, "
            f"bits, bits + {slot.offset})"
        )

    def list_array(self, slot: ListSlot) -> Array:
        """The bits that the groups of a list hang on."""
        bits = [ALWAYS if bit is None else self.gates[bit[0]].offset + bit[1] for bit in slot.bits]
        comment = "[group]: the bit that opens it, ACS_ALWAYS: none"
        return Array(f"{self.model}__{self.name(slot.name)}", np.array(bits, np.uint16), comment)

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

    def array(self, op: Op, what: str, values: NDArray[Any], comment: str) -> Array:
        # Two underscores, which no identifier has within: demo's x_conv is not demo_x's conv.
        return Array(f"{self.model}__{self.name(op.name)}_{what}", values, comment)


def dims(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def braces(values: tuple[int, ...]) -> str:
    return "{" + ", ".join(map(str, values)) + "}"


def shape_argument(tensor: Tensor) -> str:
    """An image's shape as an argument."""
    return f"(acs_shape_t){braces(image_shape(tensor.shape))}"


def laid_out(writer: Places, buffer: str) -> str:
    """A buffer's shape as text: `4 groups of 14x14x16`, or `14x14x64`."""
    shape, groups = image_shape(writer.tensor(buffer).shape), writer.groups(buffer)
    if groups == 1:
        return dims(shape)
    return f"{groups} groups of {dims((*shape[:2], shape[2] // groups))}"


def comment(writer: Places, step: Step, what: str) -> str:
    text = f"{step.op.name}: {what}, {laid_out(writer, step.inputs[0])} to {laid_out(writer, step.output)}"
    if step.macs:
        text += f", {step.macs} MACs"
    return text + (f". {step.why}" if step.active or step.joined or step.residual else "")
