# SPDX-License-Identifier: Apache-2.0
"""The result of planning: steps, buffers, and what they cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from acsgen.graph import Add, Graph, Op
from acsgen.graph.ops import Shape
from acsgen.plan.kernel_sets import KernelSet
from acsgen.plan.masks import Mask


@dataclass(frozen=True)
class Buffer:
    """A tensor in memory, in one layout.

    offset: bytes from the start of the arena; None: the caller's input or output, or a mask.
    shares: the buffer whose memory this one is, computed in place or merely seen with another shape.
    mask: present if closed groups may hold anything.
    """

    name: str
    tensor: str
    shape: Shape
    groups: int
    mask: Mask | None
    bytes: int
    offset: int | None
    first: int
    last: int
    shares: str | None = None


@dataclass(frozen=True)
class Step:
    """One call of a kernel.

    kernel: name of the C function without prefix and suffix. inputs, output: names of buffers.
    active: gate whose list restricts the output groups; joined: gate whose list restricts the input
    groups. fill: (apply_mask) closed groups must really be zero. macs: with all gates open.
    residual: (conv, conv_join) the addition that is done band by band, `rows` rows each, into the other
    addend's buffer. form: of the constants of a convolution (`acsgen.plan.conv_case.Form`), form_why: the
    reason for it. most_scratch_bytes: what would make it quicker than scratch_bytes do; 0: nothing.
    """

    kernel: str
    op: Op
    inputs: tuple[str, ...]
    output: str
    active: str | None = None
    joined: str | None = None
    fill: bool = False
    residual: Add | None = None
    rows: int = 0
    pack_limit: int = 0
    scratch_bytes: int = 0
    most_scratch_bytes: int = 0
    scratch_offset: int = 0
    macs: int = 0
    why: str = ""
    form: str = "plain"
    form_why: str = ""


@dataclass(frozen=True)
class GateSlot:
    """Where a gate's decision lies. offset: bytes from the start of the arena; list_offset likewise."""

    mask: str
    groups: int
    offset: int
    list_offset: int


@dataclass(frozen=True)
class Plan:
    """How an int8 graph is executed.

    lower_bound_bytes: the most bytes that are needed at once. arena_proof: "optimal" if no arena of these
    steps is smaller, else how near to the bound it is.
    """

    graph: Graph
    kernel_set: KernelSet
    steps: tuple[Step, ...]
    buffers: Mapping[str, Buffer]
    gates: tuple[GateSlot, ...]
    arena_bytes: int
    lower_bound_bytes: int
    arena_proof: str

    def root(self, name: str) -> str:
        """The buffer whose memory the buffer `name` is."""
        return root_of(self.buffers, name)

    @property
    def kernels(self) -> set[str]:
        """Kernels in use; a conv_join is a conv that packs before it."""
        fused = {"add" for step in self.steps if step.residual is not None}
        return fused | {step.kernel.removesuffix("_join") for step in self.steps}

    @property
    def skippable_macs(self) -> int:
        """Multiply-accumulates of the steps that some gate can shorten."""
        return sum(step.macs for step in self.steps if step.active or step.joined)

    def idle_masks(self) -> list[str]:
        """Names of ApplyMask operators before which nothing is skipped: what they mask is always computed.

        So it is where the groups of the mask are not those of the convolution before it, where somebody else
        reads the unmasked tensor, or where the gate itself looks at it.
        """
        writer = {step.output: step for step in self.steps}
        masking = [step for step in self.steps if step.kernel == "apply_mask"]
        return [step.op.name for step in masking if getattr(writer.get(step.inputs[0]), "active", None) is None]

    @property
    def mask_bytes(self) -> int:
        return sum(gate.groups for gate in self.gates)

    def macs(self, masks: Mapping[str, ArrayLike] | None = None) -> NDArray[np.int64]:
        """Multiply-accumulates of a run for each row of the masks (N, G); None: all gates open, shape ()."""
        return count_macs(((step.macs, step.active, step.joined) for step in self.steps), masks)


def root_of(buffers: Mapping[str, Buffer], name: str) -> str:
    """The buffer whose memory the buffer `name` is."""
    while (owner := buffers[name].shares) is not None:
        name = owner
    return name


def count_macs(
    steps: Iterable[tuple[int, str | None, str | None]], masks: Mapping[str, ArrayLike] | None
) -> NDArray[np.int64]:
    """Sum over steps (MACs, gate of the outputs, gate of the inputs), each scaled by its masks' density.

    masks: 0 and 1, (..., G). The result has the shape (...) of the masks, () without any.
    """
    density = {name: np.asarray(mask, np.float64).mean(axis=-1) for name, mask in (masks or {}).items()}
    total: Any = np.zeros(np.broadcast_shapes(*(d.shape for d in density.values())))
    for macs, *gates in steps:
        share: Any = 1.0
        for gate in gates:
            share = share * (density.get(gate, 1.0) if gate else 1.0)
        total = total + macs * share
    result: NDArray[np.int64] = np.rint(total).astype(np.int64)
    return result
