# SPDX-License-Identifier: Apache-2.0
"""What each operator becomes: the call of a kernel, or nothing where its bytes are there already."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

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
    MaxPool,
    Op,
    Pad,
    Relu,
    Reshape,
    Shuffle,
    SumGate,
)
from acsgen.plan.convolutions import plan_convolution
from acsgen.plan.draft import Draft
from acsgen.plan.fuse import fused_into_convolution, pools_in_place, take_in
from acsgen.plan.masks import keeps_groups


def _depthwise(draft: Draft, op: DepthwiseConv2D) -> None:
    if draft.scaling_before(op.output):
        return
    groups = draft.layouts[op.output]
    source = draft.read(op.inputs[0], groups)
    _, width, channels = draft.graph.shape(op.output)
    columns = (width - 1) * op.stride[1] + op.kernel[1]
    scratch = draft.kernels.depthwise_scratch(op.kernel, channels // groups, columns)
    draft.write(op, "depthwise", source, active=draft.active(op.output), scratch_bytes=scratch)


def _pool(kernel: str) -> Callable[[Draft, MaxPool | AvgPool], None]:
    def planner(draft: Draft, op: MaxPool | AvgPool) -> None:
        groups = draft.layouts[op.output]
        source = draft.read(op.inputs[0], groups)
        channels = draft.graph.shape(op.output)[2] // groups
        scratch = draft.kernels.avg_pool_scratch(op.kernel, channels) if kernel == "avg_pool" else 0
        in_place = pools_in_place(draft.graph, op) and draft.dies(source, op)
        shares = source if in_place else None
        draft.write(op, kernel, source, shares=shares, active=draft.active(op.output), scratch_bytes=scratch)

    return planner


def _add(draft: Draft, op: Add) -> None:
    """Band by band into a residual if a convolution allows it, else in place where an addend is needed no more."""
    if fused_into_convolution(draft, op):
        return
    sources = [draft.read(name, 1) for name in op.inputs]
    draft.write(op, "add", *sources, shares=next((name for name in sources if draft.dies(name, op)), None))


def _relu(draft: Draft, op: Relu) -> None:
    source = draft.read(op.inputs[0], draft.layouts[op.output])
    draft.write(op, "clamp", source, shares=source if draft.dies(source, op) else None)


def _shuffle(draft: Draft, op: Shuffle) -> None:
    draft.write(op, "shuffle", draft.read(op.inputs[0], 1))


def _concatenate(draft: Draft, op: Concatenate) -> None:
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


def _pad(draft: Draft, op: Pad) -> None:
    draft.write(op, "pad", draft.read(op.inputs[0], 1))


def _reshape(draft: Draft, op: Flatten | Reshape) -> None:
    """NHWC in memory order is in every other shape already, and so are the groups of a single pixel."""
    if isinstance(op, Flatten) and keeps_groups(draft.graph, op):
        source = draft.read(op.inputs[0], draft.layouts[op.output])
        mask = draft.masks[op.output] if op.output in draft.listed else None
        draft.define(op.output, op.output, draft.layouts[op.output], mask=mask, shares=source)
    elif draft.image_of(op.output) == op.output:
        draft.define(op.output, op.output, 1, shares=draft.read(op.inputs[0], 1))


def _gate(draft: Draft, op: Gate) -> None:
    draft.write(op, "gate", draft.read(op.inputs[0], 1))


def _apply_mask(draft: Draft, op: ApplyMask) -> None:
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


PLANNERS: dict[type[Op], Callable[[Draft, Any], None]] = {
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
