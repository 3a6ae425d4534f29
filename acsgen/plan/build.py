# SPDX-License-Identifier: Apache-2.0
"""Graph to Plan: one pass over the scheduled operators that turns each into the call of a kernel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

from acsgen.errors import AcsgenError
from acsgen.graph import (
    Add,
    ApplyMask,
    AvgPool,
    Concatenate,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    Gate,
    Graph,
    MaxPool,
    Op,
    Pad,
    Relu,
    Reshape,
    Shuffle,
)
from acsgen.graph.ops import image_shape
from acsgen.plan.choose import Chosen, Spare, choose, without_largest
from acsgen.plan.conv_case import Form, conv_case
from acsgen.plan.cost import pack_limit
from acsgen.plan.fuse import fused_into_convolution, pools_in_place
from acsgen.plan.kernel_sets import CMSIS_NN, KernelSet
from acsgen.plan.layout import layouts_of, listed_tensors, read_layout
from acsgen.plan.masks import Mask, masks_of
from acsgen.plan.memory import give_places
from acsgen.plan.order import orders
from acsgen.plan.plan import Buffer, GateSlot, Plan, Step, root_of

#: A list of groups is made of bytes.
MAX_GROUPS = 256


def plan(graph: Graph, kernels: KernelSet = CMSIS_NN, spare: Spare | None = None) -> Plan:
    """Plans an int8 graph for a kernel set: order, skipping, layouts, kernels and memory.

    Of the orders that are tried, the one with the smallest arena. spare: what faster forms of constants may take in
    that order; None: nothing.
    """
    for gate in graph.gates:
        if graph.shape(gate.output)[0] > MAX_GROUPS:
            raise AcsgenError(f"Gate '{gate.name}': {graph.shape(gate.output)[0]} groups, at most {MAX_GROUPS} work")
    masks = masks_of(graph)
    drafts = [_drafted(graph, kernels, masks, ops, {}) for ops in orders(graph, masks)]
    draft, planned = min(drafts, key=lambda drafted: drafted[1].arena_bytes)
    spare = spare or Spare()
    chosen: Chosen | None = choose(draft.offers, spare)
    if chosen == {name: forms[0] for name, forms in draft.offers.items()}:
        return planned
    while chosen is not None:
        faster = _drafted(graph, kernels, masks, draft.ops, chosen)[1]
        if spare.arena_bytes is None or faster.arena_bytes <= spare.arena_bytes:
            return faster
        chosen = without_largest(draft.offers, chosen)
    return planned


def _drafted(
    graph: Graph, kernels: KernelSet, masks: Mapping[str, Mask], ops: tuple[Op, ...], chosen: Chosen
) -> tuple[_Draft, Plan]:
    layouts = layouts_of(graph, ops, masks)
    draft = _Draft(graph, kernels, masks, layouts, listed_tensors(graph, ops, masks, layouts), ops, chosen)
    for op in ops:
        _PLANNERS[type(op)](draft, op)
    result = draft.read(graph.output, 1)
    if draft.root(result) == graph.input:
        raise AcsgenError(f"graph '{graph.name}' computes nothing")
    return draft, draft.finish(result)


@dataclass
class _Draft:
    """A plan in the making: buffers without places, and which of them share memory."""

    graph: Graph
    kernels: KernelSet
    masks: Mapping[str, Mask]
    layouts: Mapping[str, int]
    listed: set[str]
    ops: tuple[Op, ...]
    chosen: Chosen
    offers: dict[str, tuple[Form, ...]] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    buffers: dict[str, Buffer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.define(self.graph.input, self.graph.input, 1)

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
        self.steps.append(Step(kernel, op, inputs, op.output, macs=macs, **details))  # type: ignore[arg-type]

    def active(self, tensor: str) -> str | None:
        """The gate by whose list `tensor` is written."""
        return self.masks[tensor].gate if tensor in self.listed else None

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
            self.steps.append(Step(kernel, op, (source,), name, active=self.active(tensor), why=why))
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
        return give_places(self.graph, self.kernels, self.steps, self.buffers, _gate_slots(self.graph), result)


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


# --- one planner for each operator -----------------------------------------------------------------


def _conv(draft: _Draft, op: Conv2D | Dense) -> None:
    if isinstance(op, Dense):
        source = draft.read(op.inputs[0], 1)
        shape: tuple[int, ...] = (1, 1, op.weights.shape[1])
        groups = 1
        kernel, weights_per_input = (1, 1), op.weights.shape[0]
    else:
        shape = image_shape(draft.graph.shape(op.inputs[0]))
        groups = read_layout(op, draft.layouts[op.inputs[0]])
        source = draft.read(op.inputs[0], groups)
        kernel, weights_per_input = op.kernel, op.weights.shape[0] * prod(op.kernel)
    active = draft.active(op.output)
    form = _form(draft, op, groups)
    if groups == 1 or (isinstance(op, Conv2D) and op.groups > 1):
        why = f"Only the groups that {active} opens." if active else "Every group."
        scratch = form.scratch_bytes if form else draft.kernels.conv_scratch(kernel, shape[2] // groups)
        draft.write(op, "conv", source, active=active, scratch_bytes=scratch, why=why, **_formed(form))
        return
    joined = draft.active(op.inputs[0])
    limit, scratch = 0, form.scratch_bytes if form else 0
    why = f"Reads what {joined} opens." if joined else "Reads every group."
    if draft.kernels.packs:
        pixels = prod(image_shape(draft.graph.shape(op.output))[:2])
        limit = pack_limit(groups, pixels) if joined else 0
        scratch = prod(shape) + 4 + draft.kernels.conv_scratch(kernel, shape[2])
        why = "Reads all groups as NHWC."
    if limit:
        scratch += weights_per_input * shape[2] * limit // groups + 4
        why = f"Packs what {joined} opens, up to {limit} of {groups} groups."
    skips: dict[str, Any] = {"active": active, "joined": joined, "pack_limit": limit}
    draft.write(op, "conv_join", source, **skips, scratch_bytes=scratch, why=why, **_formed(form))


def _form(draft: _Draft, op: Conv2D | Dense, groups: int) -> Form | None:
    """How a convolution that reads `groups` groups is emitted; None: the kernel set takes plain constants only."""
    if draft.kernels.conv_forms is None:
        return None
    source, target = (draft.graph.tensors[name] for name in (op.inputs[0], op.output))
    forms = draft.kernels.conv_forms(conv_case(op, source, target, groups, draft.layouts[op.output]))
    draft.offers[op.name] = forms
    return draft.form_of(op)


def _formed(form: Form | None) -> dict[str, Any]:
    """The details of a step that its form decides."""
    if form is None:
        return {}
    return {"form": form.name, "form_why": form.why, "most_scratch_bytes": form.most_scratch_bytes}


def _depthwise(draft: _Draft, op: DepthwiseConv2D) -> None:
    groups = draft.layouts[op.output]
    source = draft.read(op.inputs[0], groups)
    _, width, channels = draft.graph.shape(op.output)
    columns = (width - 1) * op.stride[1] + op.kernel[1]
    scratch = draft.kernels.depthwise_scratch(op.kernel, channels // groups, columns)
    draft.write(op, "depthwise", source, active=draft.active(op.output), scratch_bytes=scratch)


def _pool(kernel: str) -> Callable[[_Draft, MaxPool | AvgPool], None]:
    def planner(draft: _Draft, op: MaxPool | AvgPool) -> None:
        groups = draft.layouts[op.output]
        source = draft.read(op.inputs[0], groups)
        channels = draft.graph.shape(op.output)[2] // groups
        scratch = draft.kernels.avg_pool_scratch(op.kernel, channels) if kernel == "avg_pool" else 0
        in_place = pools_in_place(draft.graph, op) and draft.dies(source, op)
        shares = source if in_place else None
        draft.write(op, kernel, source, shares=shares, active=draft.active(op.output), scratch_bytes=scratch)

    return planner


def _add(draft: _Draft, op: Add) -> None:
    """Band by band into a residual if a convolution allows it, else in place where an addend is needed no more."""
    if fused_into_convolution(draft, op):
        return
    sources = [draft.read(name, 1) for name in op.inputs]
    draft.write(op, "add", *sources, shares=next((name for name in sources if draft.dies(name, op)), None))


def _relu(draft: _Draft, op: Relu) -> None:
    source = draft.read(op.inputs[0], draft.layouts[op.output])
    draft.write(op, "clamp", source, shares=source if draft.dies(source, op) else None)


def _shuffle(draft: _Draft, op: Shuffle) -> None:
    draft.write(op, "shuffle", draft.read(op.inputs[0], 1))


def _concatenate(draft: _Draft, op: Concatenate) -> None:
    """Side by side as NHWC; what a gate closed arrives as zeros."""
    draft.write(op, "concat", *(draft.read(name, 1) for name in op.inputs))


def _pad(draft: _Draft, op: Pad) -> None:
    draft.write(op, "pad", draft.read(op.inputs[0], 1))


def _reshape(draft: _Draft, op: Flatten | Reshape) -> None:
    """NHWC in memory order is in every other shape already."""
    source = draft.read(op.inputs[0], 1)
    draft.define(op.output, op.output, 1, shares=source)


def _gate(draft: _Draft, op: Gate) -> None:
    draft.write(op, "gate", draft.read(op.inputs[0], 1))


def _apply_mask(draft: _Draft, op: ApplyMask) -> None:
    """In place where nobody else reads the unmasked tensor."""
    source = draft.read(op.inputs[0], draft.layouts[op.output])
    draft.write(
        op,
        "apply_mask",
        source,
        op.inputs[1],
        shares=source if draft.dies(source, op) else None,
        active=op.inputs[1],
        fill=op.output not in draft.listed,
    )


_PLANNERS: dict[type[Op], Callable[[_Draft, Any], None]] = {
    Conv2D: _conv,
    Dense: _conv,
    DepthwiseConv2D: _depthwise,
    MaxPool: _pool("max_pool"),
    AvgPool: _pool("avg_pool"),
    Add: _add,
    Relu: _relu,
    Shuffle: _shuffle,
    Concatenate: _concatenate,
    Pad: _pad,
    Flatten: _reshape,
    Reshape: _reshape,
    Gate: _gate,
    ApplyMask: _apply_mask,
}
