# SPDX-License-Identifier: Apache-2.0
"""Graph to Plan: one pass over the scheduled operators that turns each into the call of a kernel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from types import MappingProxyType
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
    SumGate,
)
from acsgen.graph.ops import Padding
from acsgen.plan.choose import Chosen, Spare, check_layers, choose, without_largest
from acsgen.plan.conv_case import Form
from acsgen.plan.convolutions import plan_convolution
from acsgen.plan.fuse import fused_into_convolution, pools_in_place, take_in
from acsgen.plan.kernel_sets import CMSIS_NN, KernelSet
from acsgen.plan.layout import layouts_of, listed_tensors, read_as_image
from acsgen.plan.layout_choice import alternatives, copies_cost, reason, with_reasons
from acsgen.plan.lists import ListSlot
from acsgen.plan.masks import MAX_GROUPS, Mask, keeps_groups, masks_of
from acsgen.plan.memory import give_places
from acsgen.plan.needs import needs_of
from acsgen.plan.order import orders
from acsgen.plan.plan import Buffer, GateSlot, Plan, Step, root_of


def plan(
    graph: Graph,
    kernels: KernelSet = CMSIS_NN,
    spare: Spare | None = None,
    forms: Mapping[str, str] = MappingProxyType({}),
) -> Plan:
    """Plans an int8 graph for a kernel set: order, skipping, layouts, kernels and memory.

    Of the orders that are tried, the one with the smallest arena. spare: what faster forms of constants may take in
    that order; None: nothing. forms: by the name of a convolution, the form that it must take; AcsgenError if it
    cannot.
    """
    for gate in graph.gates:
        if graph.shape(gate.output)[0] > MAX_GROUPS:
            raise AcsgenError(f"Gate '{gate.name}': {graph.shape(gate.output)[0]} groups, at most {MAX_GROUPS} work")
    masks = masks_of(graph, kernels.least_group)
    draft, planned, reasons = _with_cheapest_layouts(graph, kernels, masks, forms)
    check_layers(forms, draft.offers, kernels.name)
    spare = spare or Spare()
    chosen: Chosen | None = choose(draft.offers, spare)
    if chosen == {name: forms[0] for name, forms in draft.offers.items()}:
        return with_reasons(planned, reasons)
    while chosen is not None:
        faster = draft.again(chosen=chosen).planned()
        if spare.arena_bytes is None or faster.arena_bytes <= spare.arena_bytes:
            return with_reasons(faster, reasons)
        chosen = without_largest(draft.offers, chosen)
    return with_reasons(planned, reasons)


def _with_cheapest_layouts(
    graph: Graph, kernels: KernelSet, masks: Mapping[str, Mask], wanted: Mapping[str, str]
) -> tuple[_Draft, Plan, dict[str, str]]:
    """The plan in which the layouts of tensors cost the fewest copies, and the reasons for them by tensor.

    First as `layouts_of` has them; then each alternative that would make a conversion unnecessary is planned, and taken
    where its copies cost less and its arena is not larger.
    """
    layouts: dict[str, int] = {}
    reasons: dict[str, str] = {}
    draft, planned = _with_layouts(graph, kernels, masks, wanted, layouts)
    cost = copies_cost(planned)
    # The costs are those of CMSIS-NN; other kernels read groups and NHWC at a price of their own.
    known = kernels.packs and kernels.conv_forms is None
    for other in alternatives(planned) if known else ():
        if other.items() <= layouts.items():
            continue
        found = _with_layouts(graph, kernels, masks, wanted, {**layouts, **other})
        saved = cost - copies_cost(found[1])
        growth = found[1].arena_bytes - planned.arena_bytes
        taken = saved > 0 and growth <= 0
        reasons |= {name: reason(draft.layouts[name], other[name], taken, saved, growth) for name in other}
        if taken:
            layouts |= other
            draft, planned = found
            cost -= saved
    return draft, planned, reasons


def _with_layouts(
    graph: Graph, kernels: KernelSet, masks: Mapping[str, Mask], wanted: Mapping[str, str], chosen: Mapping[str, int]
) -> tuple[_Draft, Plan]:
    """The best order for these layouts, with the smallest constants."""
    layouts = layouts_of(graph, graph.ops, masks, chosen)
    listed = listed_tensors(graph, graph.ops, masks, layouts)
    needs = needs_of(graph, masks, listed)
    drafts = [
        _Draft(graph, kernels, masks, layouts, listed, needs, ops, {}, frozenset(), wanted)
        for ops in orders(graph, masks, needs)
    ]
    planned = [draft.planned() for draft in drafts]
    best = min(range(len(drafts)), key=lambda i: planned[i].arena_bytes)
    return _joined_in_place(drafts[best], planned[best])


def _joined_in_place(draft: _Draft, planned: Plan) -> tuple[_Draft, Plan]:
    """The plan with as many tensors as possible whose parts are written where they lie joined.

    Their memory is taken from the first part on: where the arena would grow by that, parts are copied.
    """
    joined = [op.output for op in draft.ops if isinstance(op, Concatenate)]
    # All of them; else one more after another, what is joined from joined tensors first.
    for names in ([*joined], *([name] for name in reversed(joined))):
        other = draft.again(in_place=draft.in_place | set(names))
        found = other.planned()
        if found.arena_bytes <= planned.arena_bytes:
            draft, planned = other, found
            if len(draft.in_place) == len(joined):
                break
    return draft, planned


@dataclass
class _Draft:
    """A plan in the making: buffers without places, and which of them share memory."""

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

    def again(self, **changes: Any) -> _Draft:
        """A new draft of the same, but for these changes."""
        fresh: dict[str, Any] = {"offers": {}, "steps": [], "buffers": {}}
        return replace(self, **(fresh | changes))

    def planned(self) -> Plan:
        """The plan of the operators in the draft's order."""
        for op in self.ops:
            _PLANNERS[type(op)](self, op)
        result = self.read(self.graph.output, 1)
        if self.root(result) == self.graph.input:
            raise AcsgenError(f"graph '{self.graph.name}' computes nothing")
        return self.finish(result)

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


# --- one planner for each operator -----------------------------------------------------------------


def _depthwise(draft: _Draft, op: DepthwiseConv2D) -> None:
    if draft.scaling_before(op.output):
        return
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
    """Group behind group, those that are open, or side by side as NHWC; what a gate closed is zero there.

    No step at all where every part is written to its place.
    """
    shape, groups = draft.graph.shape(op.output), draft.layouts[op.output]
    wanted = [draft.graph.shape(name)[-1] * groups // shape[-1] if groups > 1 else 1 for name in op.inputs]
    parts = [draft.read(name, part_groups) for name, part_groups in zip(op.inputs, wanted, strict=True)]
    in_place = op.output in draft.in_place and (groups > 1 or prod(shape[:-1]) == 1)
    if in_place:
        mask = draft.masks[op.output] if op.output in draft.listed else None
        draft.define(op.output, op.output, groups, mask=mask)
        if take_in(draft, op, parts):
            return
    if groups > 1:
        draft.write(op, "join", *parts, active=draft.active(op.output))
        return
    masked = any(name in draft.masks for name in op.inputs)
    why = "As NHWC: some reader needs closed groups, or none leaves them out." if masked else ""
    draft.write(op, "concat", *parts, why=why)


def _pad(draft: _Draft, op: Pad) -> None:
    draft.write(op, "pad", draft.read(op.inputs[0], 1))


def _reshape(draft: _Draft, op: Flatten | Reshape) -> None:
    """NHWC in memory order is in every other shape already, and so are the groups of a single pixel."""
    if isinstance(op, Flatten) and keeps_groups(draft.graph, op):
        source = draft.read(op.inputs[0], draft.layouts[op.output])
        mask = draft.masks[op.output] if op.output in draft.listed else None
        draft.define(op.output, op.output, draft.layouts[op.output], mask=mask, shares=source)
    elif draft.image_of(op.output) == op.output:
        draft.define(op.output, op.output, 1, shares=draft.read(op.inputs[0], 1))


def _gate(draft: _Draft, op: Gate) -> None:
    draft.write(op, "gate", draft.read(op.inputs[0], 1))


def _apply_mask(draft: _Draft, op: ApplyMask) -> None:
    """In place where nobody else reads the unmasked tensor."""
    small = op.output not in draft.masks
    least = f"Groups have less than {draft.kernels.least_group} channels"
    why = f"{least}, which these kernels compute at a time: all are computed." if small else ""
    source = draft.read(op.inputs[0], draft.layouts[op.output])
    draft.write(
        op,
        "apply_mask",
        source,
        op.inputs[1],
        shares=source if draft.dies(source, op) else None,
        active=op.inputs[1],
        fill=op.output not in draft.listed,
        why=why,
    )


_PLANNERS: dict[type[Op], Callable[[_Draft, Any], None]] = {
    Conv2D: plan_convolution,
    Dense: plan_convolution,
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
    SumGate: _gate,
    ApplyMask: _apply_mask,
}
