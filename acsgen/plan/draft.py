# SPDX-License-Identifier: Apache-2.0
"""A plan in the making: what planners of operators ask of it and append to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

from acsgen.graph import Conv2D, DepthwiseConv2D, Flatten, Graph, Op
from acsgen.graph.ops import Padding
from acsgen.plan.choose import Chosen
from acsgen.plan.conv_case import Form
from acsgen.plan.kernel_sets import KernelSet
from acsgen.plan.layout import read_as_image
from acsgen.plan.lists import ListSlot
from acsgen.plan.masks import Mask, keeps_groups
from acsgen.plan.memory import give_places
from acsgen.plan.plan import Buffer, GateSlot, Plan, Step, root_of


@dataclass
class Draft:
    """Buffers without places, which of them share memory, and the steps so far."""

    graph: Graph
    kernels: KernelSet
    masks: Mapping[str, Mask]
    layouts: Mapping[str, int]
    listed: set[str]
    needs: Mapping[str, tuple[str, ...]]
    ops: tuple[Op, ...]
    chosen: Chosen
    in_place: frozenset[str]  # tensors whose parts are written to their places, where that can be
    wanted: Mapping[str, str]
    offers: dict[str, tuple[Form, ...]] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    buffers: dict[str, Buffer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.define(self.graph.input, self.graph.input, 1)

    def again(self, **changes: Any) -> Draft:
        """A new draft of the same, but for these changes."""
        fresh: dict[str, Any] = {"offers": {}, "steps": [], "buffers": {}}
        return replace(self, **(fresh | changes))

    def define(
        self, name: str, tensor: str, groups: int, *, mask: Mask | None = None, shares: str | None = None
    ) -> str:
        """A new buffer, written by the step that comes next."""
        shape = self.graph.shape(tensor)
        at = len(self.steps)
        self.buffers[name] = Buffer(name, tensor, shape, groups, mask, prod(shape), None, at, at, shares)
        return name

    def write(self, op: Op, kernel: str, *inputs: str, shares: str | None = None, **details: object) -> None:
        """Appends the call that computes `op` into the buffer of its output."""
        mask = self.masks[op.output] if op.output in self.listed else None
        self.define(op.output, op.output, self.layouts[op.output], mask=mask, shares=shares)
        macs = op.macs(*self.graph.input_shapes(op))
        when = self.needs.get(op.output, ())
        self.steps.append(Step(kernel, op, inputs, op.output, when=when, macs=macs, **details))  # type: ignore[arg-type]

    def active(self, tensor: str) -> str | None:
        """The list by which `tensor` is written."""
        return self.masks[tensor].list if tensor in self.listed else None

    def image_of(self, tensor: str) -> str:
        """The image whose list the readers of a flattened tensor go by, without its being flattened; or itself."""
        producer = self.graph.producer(tensor)
        if not isinstance(producer, Flatten) or keeps_groups(self.graph, producer):
            return tensor
        image = producer.inputs[0]
        return image if image in self.listed and read_as_image(self.graph, producer) else tensor

    def scaling_before(self, tensor: str) -> DepthwiseConv2D | None:
        """The 1x1 depthwise convolution that the only reader of `tensor` does while it gathers the open groups."""
        op, readers = self.graph.producer(tensor), self.graph.consumers(tensor)
        if not isinstance(op, DepthwiseConv2D) or tensor not in self.listed or len(readers) != 1:
            return None
        joins = isinstance(readers[0], Conv2D) and readers[0].groups == 1
        plain = (op.kernel, op.stride, op.padding) == ((1, 1), (1, 1), Padding())
        return op if joins and plain and self.masks[tensor].closed == "constant" else None

    def read(self, tensor: str, groups: int) -> str:
        """A buffer that holds `tensor` in the wanted layout; converts if there is none yet."""
        written, name = self.layouts[tensor], f"{tensor}@{groups}"
        if groups == written:
            return tensor
        if prod(self.graph.shape(tensor)[:-1]) == 1 and tensor not in self.listed:
            # The same bytes in every layout.
            return name if name in self.buffers else self.define(name, tensor, groups, shares=tensor)
        nhwc = tensor
        if written > 1:
            nhwc = self._convert("ungroup", tensor, tensor, 1)
        return nhwc if groups == 1 else self._convert("group", nhwc, tensor, groups)

    def _convert(self, kernel: str, source: str, tensor: str, groups: int) -> str:
        name = f"{tensor}@{groups}"
        if name not in self.buffers:
            producer = self.graph.producer(tensor)
            op = replace(producer, inputs=(source,), output=name) if producer else Flatten(name, (source,), name)
            mask = self.masks[tensor] if tensor in self.listed else None
            # On the way to NHWC closed groups become zero: what they are, unless they are unused.
            cleared = kernel == "ungroup" and mask is not None and mask.closed == "zero"
            self.define(name, tensor, groups, mask=None if cleared else mask)
            why = "A reader of this tensor wants another layout."
            when = self.needs.get(tensor, ())
            self.steps.append(Step(kernel, op, (source,), name, active=self.active(tensor), when=when, why=why))
        return name

    def root(self, name: str) -> str:
        return root_of(self.buffers, name)

    def form_of(self, op: Op) -> Form | None:
        """The form that a planned convolution takes; None: it has no choice."""
        forms = self.offers.get(op.name)
        return None if forms is None else self.chosen.get(op.name, forms[0])

    def dies(self, name: str, op: Op) -> bool:
        """Whether nobody needs the bytes of a buffer once `op` has read them, so that it may write there."""
        root = self.root(name)
        held = {b.tensor for b in self.buffers.values() if self.root(b.name) == root}
        if root == self.graph.input or self.graph.output in held:
            return False
        readers = [reader for tensor in held for reader in self.graph.consumers(tensor)]
        return all(reader is op or reader.output in self.buffers for reader in readers)

    def finish(self, result: str) -> Plan:
        """Gives every buffer its place."""
        gates = _gate_slots(self.graph)
        lists = self._list_slots(2 * sum(gate.groups for gate in gates))
        return give_places(self.graph, self.kernels, self.steps, self.buffers, gates, lists, result)

    def _list_slots(self, at: int) -> tuple[ListSlot, ...]:
        """The lists that no gate writes by itself, in the order in which steps read them, from `at` on."""
        bits = {mask.list: mask.bits for mask in self.masks.values()}
        gates = {gate.output for gate in self.graph.gates}
        slots: dict[str, ListSlot] = {}
        for i, step in enumerate(self.steps):
            holes = self.buffers[step.output].mask
            for name in (step.active, step.joined, holes.list if holes else None, *step.when):
                if name and name not in gates and name not in slots:
                    slots[name] = ListSlot(name, bits[name], at, i)
                    at += len(bits[name])
        return tuple(slots.values())


def _gate_slots(graph: Graph) -> tuple[GateSlot, ...]:
    """All decisions lie side by side at the start of the arena, the lists of active groups behind."""
    total = sum(graph.shape(gate.output)[0] for gate in graph.gates)
    slots: list[GateSlot] = []
    at = 0
    for gate in graph.gates:
        groups = graph.shape(gate.output)[0]
        slots.append(GateSlot(gate.output, groups, at, total + at))
        at += groups
    return tuple(slots)
