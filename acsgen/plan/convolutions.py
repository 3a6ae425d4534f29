# SPDX-License-Identifier: Apache-2.0
"""How a convolution or a fully connected layer becomes the call of a kernel: what it reads, skips, and works in."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from acsgen.graph import Conv2D, Dense, DepthwiseConv2D
from acsgen.graph.ops import Pair, Shape, image_shape
from acsgen.plan.arena import aligned
from acsgen.plan.bands import pack_rows, packed_bytes
from acsgen.plan.choice import FEW_PIXELS, closed_inputs, why_all_inputs
from acsgen.plan.choose import forced
from acsgen.plan.conv_case import PLAIN, ConvCase, Form, conv_case
from acsgen.plan.cost import pack_limit
from acsgen.plan.draft import Draft
from acsgen.plan.kernel_sets import KernelSet
from acsgen.plan.layout import read_layout
from acsgen.plan.plan import ClosedInputs


@dataclass(frozen=True)
class _Read:
    """What a convolution reads. shape: the image, or (1, 1, N); groups: of the layout it wants. joined: the list of
    the active groups that all outputs read, if there is one. constant: the others hold a constant. before: a layer
    that is done on the way."""

    tensor: str
    shape: Shape
    groups: int
    kernel: Pair
    joined: str | None
    constant: bool
    before: DepthwiseConv2D | None


def plan_convolution(draft: Draft, op: Conv2D | Dense) -> None:
    """Appends the call of a convolution: one that joins if all outputs read an input that lies in groups."""
    read = _read_by(draft, op)
    unread = None if read.tensor in draft.listed else draft.masks.get(read.tensor)
    source = draft.read(read.before.inputs[0] if read.before else read.tensor, read.groups)
    active = draft.active(op.output)
    form = _form(draft, op, read)
    own = form if form and form.name != PLAIN else None
    formed: dict[str, Any] = {}
    if form:
        formed = {"form": form.name, "form_why": form.why, "most_scratch_bytes": form.most_scratch_bytes}
    all_inputs = why_all_inputs(op, unread)
    if read.joined is None and (read.groups == 1 or (isinstance(op, Conv2D) and op.groups > 1)):
        why = (f"Only the groups that {active} opens." if active else "Every group.") + all_inputs
        channels = read.shape[2] // read.groups
        scratch = own.scratch_bytes if own else _call_scratch(draft, op, read, channels)
        draft.write(op, "conv", source, active=active, scratch_bytes=scratch, why=why, **formed)
        return
    pixels, outputs = prod(image_shape(draft.graph.shape(op.output))[:2]), op.weights.shape[0]
    limit, rows, why = 0, 0, f"Reads what {read.joined} opens." if read.joined else "Reads every group."
    closed: ClosedInputs = "zero"
    reason = ""
    if read.constant:
        closed, reason = closed_inputs(read.groups, pixels, outputs, op.weights.size)
        reason = f" {reason}"
    if own:
        scratch = own.scratch_bytes
    else:
        scratch = _call_scratch(draft, op, read, read.shape[2])
        if _packs(draft.kernels, read, pixels):
            limit = pack_limit(read.groups, pixels) if read.joined else 0
            if read.groups > 1 or read.before:
                rows, image = _image(draft, op, read)
                scratch += image
            scratch += aligned(outputs * prod(read.kernel) * read.shape[2] * limit // read.groups) if limit else 0
            why = "Reads all groups as NHWC."
            if limit:
                why = f"Packs what {read.joined} opens, up to {limit} of {read.groups} groups."
        scratch += aligned(4 * outputs) if read.constant else 0
    draft.write(
        op,
        "conv_join",
        source,
        active=active,
        joined=read.joined,
        before=read.before,
        pack_limit=limit,
        pack_rows=rows,
        closed=closed,
        scratch_bytes=scratch,
        why=why + all_inputs + reason,
        **formed,
    )


def _image(draft: Draft, op: Conv2D | Dense, read: _Read) -> tuple[int, int]:
    """(rows of the output whose input is packed at a time, 0: all; bytes of scratch that it takes)."""
    target = image_shape(draft.graph.shape(op.output))
    rows = pack_rows(op, read.shape, target) if isinstance(op, Conv2D) else 0
    if not isinstance(op, Conv2D) or rows in (0, target[0]):
        return 0, aligned(prod(read.shape))
    return rows, packed_bytes(op, read.shape, rows)


def _read_by(draft: Draft, op: Conv2D | Dense) -> _Read:
    graph = draft.graph
    if isinstance(op, Dense):
        tensor = draft.image_of(op.inputs[0])
        listed = tensor in draft.listed
        shape = image_shape(graph.shape(tensor)) if listed else (1, 1, op.weights.shape[1])
        groups = draft.layouts[tensor] if listed else 1
        kernel = (shape[0], shape[1])
    else:
        tensor = op.inputs[0]
        shape = image_shape(graph.shape(tensor))
        groups, kernel = read_layout(op, draft.layouts[tensor]), op.kernel
    joined = draft.active(tensor) if isinstance(op, Dense) or op.groups == 1 else None
    constant = joined is not None and draft.masks[tensor].closed == "constant"
    return _Read(tensor, shape, groups, kernel, joined, constant, draft.scaling_before(tensor))


def _form(draft: Draft, op: Conv2D | Dense, read: _Read) -> Form | None:
    """How a convolution is emitted; None: the kernel set takes plain constants only."""
    if draft.kernels.conv_forms is None:
        return None
    case = _case(draft, op, read)
    alone = read.joined is not None and read.groups == 1
    case = case.behind(read.constant, read.before is not None, alone)
    draft.offers[op.name] = forced(op.name, case, draft.kernels.conv_forms(case), draft.wanted.get(op.name))
    return draft.form_of(op)


def _case(draft: Draft, op: Conv2D | Dense, read: _Read) -> ConvCase:
    source, target = (draft.graph.tensors[name] for name in (read.tensor, op.output))
    return conv_case(op, source, target, read.groups, draft.layouts[op.output], read.joined is not None)


def _call_scratch(draft: Draft, op: Conv2D | Dense, read: _Read, channels: int) -> int:
    """Bytes in which plain constants and so many channels are convolved."""
    least = draft.kernels.conv_scratch(read.kernel, channels)
    return least + (draft.kernels.call_scratch(_case(draft, op, read)) if draft.kernels.call_scratch else 0)


def _packs(kernels: KernelSet, read: _Read, pixels: int) -> bool:
    """Whether a convolution of plain constants gathers what is active."""
    small = read.shape[2] // read.groups < kernels.small_group and pixels >= FEW_PIXELS
    return kernels.packs or read.before is not None or small
