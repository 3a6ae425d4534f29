# SPDX-License-Identifier: Apache-2.0
"""What can be computed where one of its inputs lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from acsgen.graph import Add, AvgPool, Concatenate, Conv2D, Dense, DepthwiseConv2D, Graph, MaxPool
from acsgen.graph.ops import Padding, image_shape
from acsgen.plan.arena import ALIGNMENT
from acsgen.plan.draft import Draft
from acsgen.plan.plan import Buffer, Step, bytes_before


def pools_in_place(graph: Graph, op: MaxPool | AvgPool) -> bool:
    """Whether a pool may write where it reads, were its input needed no more.

    Kernels go through the windows in memory order and write a pixel once they have read its window. Without
    padding no pixel lies behind the start of its window, so what is overwritten is read already. The
    buffer is then larger than what it holds, so nobody may take it for the caller's output: its readers
    must have buffers of their own.
    """
    if op.padding != Padding() or op.output == graph.output:
        return False
    return all(isinstance(reader, Conv2D | Dense | DepthwiseConv2D) for reader in graph.consumers(op.output))


def fused_into_convolution(draft: Draft, op: Add) -> bool:
    """Lets a convolution that is already planned add its result to the other addend, band by band.

    Possible where the other addend was there before the convolution, is needed no more, and nobody reads it
    from the convolution on, itself included. Then the convolution's result needs no buffer.
    """
    for result, other in (op.inputs, op.inputs[::-1]):
        at = next((i for i, step in enumerate(draft.steps) if step.output == result and _adds(draft, step, op)), None)
        held = _as_nhwc(draft, other)
        if at is None or held is None or draft.buffers[held].first >= at or not draft.dies(held, op):
            continue
        root = draft.root(held)
        if all(draft.root(name) != root for step in draft.steps[at:] for name in step.inputs):
            _fuse(draft, at, held, op)
            return True
    return False


def _as_nhwc(draft: Draft, tensor: str) -> str | None:
    """The buffer that holds a tensor as NHWC, if there is one already."""
    names = (tensor, f"{tensor}@1")
    return next((name for name in names if name in draft.buffers and draft.buffers[name].groups == 1), None)


def _adds(draft: Draft, step: Step, op: Add) -> bool:
    """Whether a step is a convolution to NHWC whose result only `op` reads, and that works on bands of rows."""
    conv, buffer = step.op, draft.buffers[step.output]
    if step.kernel not in ("conv", "conv_join") or step.residual is not None or step.active is not None:
        return False
    if step.when != draft.needs.get(op.output, ()):
        return False  # one may run where the other does not
    if not isinstance(conv, Conv2D) or buffer.groups > 1 or draft.graph.consumers(conv.output) != (op,):
        return False
    if conv.kernel[0] == 1:  # as acs_cmsis_has_rows
        height = image_shape(draft.graph.shape(conv.inputs[0]))[0]
        rows = image_shape(buffer.shape)[0]
        return conv.kernel[1] == 1 and conv.padding.top == 0 and (rows - 1) * conv.stride[0] < height
    return True


def _fuse(draft: Draft, at: int, held: str, op: Add) -> None:
    step = draft.steps[at]
    del draft.buffers[step.output]
    shape = draft.graph.shape(op.output)
    mask = draft.masks[op.output] if op.output in draft.listed else None
    height, width, channels = image_shape(shape)
    form = draft.form_of(step.op)
    rows = min(max(1, (form or draft.kernels).band_bytes // (width * channels)), height)
    if width % 2 and 1 < rows < height:
        rows -= rows % 2  # CMSIS-NN takes pixels by pairs
    band = form.band_bytes if form else -(-rows * width * channels // 4) * 4
    draft.buffers[op.output] = Buffer(
        op.output, op.output, shape, 1, mask, height * width * channels, None, at, at, held
    )
    draft.steps[at] = replace(
        step,
        output=op.output,
        residual=op,
        rows=rows,
        scratch_bytes=step.scratch_bytes + band,
        most_scratch_bytes=step.most_scratch_bytes and step.most_scratch_bytes + band * height // rows,
        why=f"{step.why} Added to {other_of(op, step.op.output)} where that lies, {rows} rows at a time.",
    )


def other_of(op: Add, addend: str) -> str:
    """The other addend."""
    return op.inputs[1] if op.inputs[0] == addend else op.inputs[0]


def take_in(draft: Draft, op: Concatenate, parts: Sequence[str]) -> bool:
    """Moves the parts of a joined tensor into the places that they have in it; whether all of them are there then.

    The joined tensor's buffer is defined already, and lies part behind part: group-major, or a single pixel. A part is
    left where it is, to be copied, if it is not all that its memory holds, or the caller's, or not aligned there.
    """
    at, all_there = 0, True
    for part in parts:
        if _can_move(draft, part, at):
            root = draft.root(part)
            draft.buffers[root] = replace(draft.buffers[root], shares=op.output, slice_at=at)
        else:
            all_there = False
        at += draft.buffers[part].bytes
    return all_there


def _can_move(draft: Draft, part: str, at: int) -> bool:
    root = draft.root(part)
    whole = draft.buffers[root].bytes == draft.buffers[part].bytes and bytes_before(draft.buffers, part) == 0
    held = {buffer.tensor for buffer in draft.buffers.values() if draft.root(buffer.name) == root}
    callers = root == draft.graph.input or draft.graph.output in held
    return whole and not callers and at % ALIGNMENT == 0
