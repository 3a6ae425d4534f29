# SPDX-License-Identifier: Apache-2.0
"""Gives every buffer and every scratch its place in the arena, and kernels the scratch that is to spare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod

from acsgen.graph import Conv2D, Graph
from acsgen.graph.ops import Shape, image_shape
from acsgen.plan import arena
from acsgen.plan.bands import largest_band, packed_bytes
from acsgen.plan.cost import together_saves
from acsgen.plan.kernel_sets import KernelSet
from acsgen.plan.lists import ListSlot
from acsgen.plan.plan import Buffer, GateSlot, Plan, Step, bytes_before, is_slice, root_of


def give_places(
    graph: Graph,
    kernels: KernelSet,
    steps: Sequence[Step],
    buffers: Mapping[str, Buffer],
    gates: tuple[GateSlot, ...],
    lists: tuple[ListSlot, ...],
    result: str,
) -> Plan:
    """The plan of these steps. result: the buffer that is the caller's output."""
    head = 2 * sum(gate.groups for gate in gates) + sum(len(slot.bits) for slot in lists)
    head = -(-head // arena.ALIGNMENT) * arena.ALIGNMENT
    lived = _with_lives(steps, buffers, result)
    elsewhere = {root_of(lived, result), graph.input, *(gate.mask for gate in gates)}
    lives = _lives(lived, elsewhere)
    placement = arena.place([*lives, *_scratches(steps)])
    if kernels.packs or any(step.most_scratch_bytes for step in steps):
        roomy = _with_spare_scratch(graph, kernels, steps, lived, lives, placement.lower_bound)
        better = arena.place([*lives, *_scratches(roomy)])
        if better.bytes <= placement.bytes:
            steps, placement = roomy, better
    offsets = placement.offsets

    def offset(name: str) -> int | None:
        root = root_of(lived, name)
        return head + offsets[root] + bytes_before(lived, name) if root in offsets else None

    return Plan(
        graph,
        kernels,
        tuple(
            replace(step, scratch_offset=head + offsets.get(_scratch(i), 0), why=step.why + _why_bands(step))
            for i, step in enumerate(steps)
        ),
        {name: replace(buffer, offset=offset(name)) for name, buffer in lived.items()},
        gates,
        lists,
        head + placement.bytes,
        head + placement.lower_bound,
        placement.proof,
    )


def _with_lives(steps: Sequence[Step], buffers: Mapping[str, Buffer], result: str) -> dict[str, Buffer]:
    """Every buffer with the last step that reads it. One whose memory others are lives when any of them does."""
    first = {name: buffer.first for name, buffer in buffers.items()}
    last = dict(first)
    for i, step in enumerate(steps):
        for name in (*step.inputs, step.output):
            last[name] = i
    last[result] = len(steps) - 1
    own = dict(last)
    for name in buffers:
        owner = buffers[name].shares
        while owner is not None:
            first[owner], last[owner] = min(first[owner], buffers[name].first), max(last[owner], own[name])
            owner = buffers[owner].shares
    return {name: replace(buffer, first=first[name], last=last[name]) for name, buffer in buffers.items()}


def _lives(buffers: Mapping[str, Buffer], elsewhere: set[str]) -> list[arena.Life]:
    """The buffers that have memory of their own in the arena, smaller when only smaller ones still share it."""
    lives = []
    for name, buffer in buffers.items():
        if buffer.shares is not None or name in elsewhere:
            continue
        sharing = [
            other
            for other in buffers.values()
            if root_of(buffers, other.name) == name and not is_slice(buffers, other.name)
        ]
        sizes = [(other.first, other.bytes) for other in sharing if other.bytes < buffer.bytes]
        # A pool writes a smaller tensor; from the step behind it on only that is read.
        shrinks = tuple((first + 1, size) for first, size in sorted(sizes))
        lives.append(arena.Life(name, buffer.bytes, buffer.first, buffer.last, shrinks))
    return lives


def _scratch(step: int) -> str:
    return f"scratch {step}"


def _scratches(steps: Sequence[Step]) -> list[arena.Life]:
    return [arena.Life(_scratch(i), step.scratch_bytes, i, i) for i, step in enumerate(steps) if step.scratch_bytes]


def _with_spare_scratch(
    graph: Graph,
    kernels: KernelSet,
    steps: Sequence[Step],
    buffers: Mapping[str, Buffer],
    lives: Sequence[arena.Life],
    size: int,
) -> list[Step]:
    """Lets convolutions use what an arena of `size` bytes has to spare while they run: the fullest step stays it."""
    result = []
    for i, step in enumerate(steps):
        spare = size - sum(life.at(i) for life in lives)
        if step.pack_rows:
            result.append(_with_more_rows(graph, step, buffers[step.inputs[0]].shape, spare))
            continue
        wanted, why = _wanted_scratch(graph, kernels, buffers, step)
        granted = min(wanted, spare) // arena.ALIGNMENT * arena.ALIGNMENT
        result.append(replace(step, scratch_bytes=granted, why=why) if granted > step.scratch_bytes else step)
    return result


def _why_bands(step: Step) -> str:
    return f" {step.pack_rows} rows of the output at a time, which takes less scratch." if step.pack_rows else ""


def _with_more_rows(graph: Graph, step: Step, source: Shape, spare: int) -> Step:
    """Gathers the input of as many rows of the output at a time as `spare` bytes of scratch allow."""
    op = step.op
    assert isinstance(op, Conv2D)
    height, width, _ = image_shape(graph.shape(op.output))
    rest = step.scratch_bytes - packed_bytes(op, source, step.pack_rows)
    rows = max(largest_band(op, source, height, width, spare - rest), step.pack_rows)
    scratch = rest + packed_bytes(op, source, rows)
    return replace(step, scratch_bytes=scratch, pack_rows=rows % height)


def _wanted_scratch(graph: Graph, kernels: KernelSet, buffers: Mapping[str, Buffer], step: Step) -> tuple[int, str]:
    """Bytes with which a convolution computes all groups of its output in one walk over its input, and why it should.

    0 where it has no groups, or where that does not pay; where it has a form, what that would use.
    """
    if step.most_scratch_bytes:
        why = f"{step.why} As many rows with the same copy of the weights as there is room for."
        return step.most_scratch_bytes, why
    if step.form != "plain" or not kernels.together:  # takes all groups together as it is
        return 0, step.why
    op, groups = step.op, buffers[step.output].groups
    if step.kernel != "conv" or not isinstance(op, Conv2D) or groups == 1 or buffers[step.inputs[0]].groups > 1:
        return 0, step.why
    height, width, channels = image_shape(graph.shape(op.output))
    depth, taps, each = op.weights.shape[3], prod(op.kernel), channels // groups
    saved = together_saves(height * width, taps, depth, each)
    # A single tap with stride 1 is not spread out at all.
    if saved <= 0 or (taps == 1 and op.stride == (1, 1)):
        return 0, step.why
    gathered = (groups - 1) * each * (taps * depth + 12) + 4 if step.active else 0
    rows = min(height, max(2, kernels.band_bytes // (width * channels)))
    wanted = gathered + rows * width * channels + 4 + kernels.conv_scratch(op.kernel, depth)
    return wanted, f"{step.why} As many together as there is room for: each saves about {saved:,.0f} instructions."
