# SPDX-License-Identifier: Apache-2.0
"""Graph to Plan: drafts of one pass over the operators each, the best of which gives its buffers places."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from acsgen.errors import AcsgenError
from acsgen.graph import Concatenate, Graph
from acsgen.plan.choose import Chosen, Spare, check_layers, choose, without_largest
from acsgen.plan.draft import Draft
from acsgen.plan.kernel_sets import CMSIS_NN, KernelSet
from acsgen.plan.layout import layouts_of, listed_tensors
from acsgen.plan.layout_choice import alternatives, copies_cost, reason, with_reasons
from acsgen.plan.masks import MAX_GROUPS, Mask, masks_of
from acsgen.plan.needs import needs_of
from acsgen.plan.order import orders
from acsgen.plan.plan import Plan
from acsgen.plan.planners import PLANNERS


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
        faster = _planned(draft.again(chosen=chosen))
        if spare.arena_bytes is None or faster.arena_bytes <= spare.arena_bytes:
            return with_reasons(faster, reasons)
        chosen = without_largest(draft.offers, chosen)
    return with_reasons(planned, reasons)


def _with_cheapest_layouts(
    graph: Graph, kernels: KernelSet, masks: Mapping[str, Mask], wanted: Mapping[str, str]
) -> tuple[Draft, Plan, dict[str, str]]:
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
) -> tuple[Draft, Plan]:
    """The best order for these layouts, with the smallest constants."""
    layouts = layouts_of(graph, graph.ops, masks, chosen)
    listed = listed_tensors(graph, graph.ops, masks, layouts)
    needs = needs_of(graph, masks, listed)
    drafts = [
        Draft(graph, kernels, masks, layouts, listed, needs, ops, {}, frozenset(), wanted)
        for ops in orders(graph, masks, needs)
    ]
    planned = [_planned(draft) for draft in drafts]
    best = min(range(len(drafts)), key=lambda i: planned[i].arena_bytes)
    return _joined_in_place(drafts[best], planned[best])


def _planned(draft: Draft) -> Plan:
    """The plan of the operators in the draft's order."""
    for op in draft.ops:
        PLANNERS[type(op)](draft, op)
    result = draft.read(draft.graph.output, 1)
    if draft.root(result) == draft.graph.input:
        raise AcsgenError(f"graph '{draft.graph.name}' computes nothing")
    return draft.finish(result)


def _joined_in_place(draft: Draft, planned: Plan) -> tuple[Draft, Plan]:
    """The plan with as many tensors as possible whose parts are written where they lie joined.

    Their memory is taken from the first part on: where the arena would grow by that, parts are copied.
    """
    joined = [op.output for op in draft.ops if isinstance(op, Concatenate)]
    # All of them; else one more after another, what is joined from joined tensors first.
    for names in ([*joined], *([name] for name in reversed(joined))):
        other = draft.again(in_place=draft.in_place | set(names))
        found = _planned(other)
        if found.arena_bytes <= planned.arena_bytes:
            draft, planned = other, found
            if len(draft.in_place) == len(joined):
                break
    return draft, planned
