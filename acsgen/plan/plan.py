# SPDX-License-Identifier: Apache-2.0
"""The result of planning: steps, buffers, and what they cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from acsgen.graph import Add, DepthwiseConv2D, Graph, Op
from acsgen.graph.ops import Shape
from acsgen.plan.kernel_sets import KernelSet
from acsgen.plan.lists import Bits, ListSlot, bits_of, gates_in, with_lists
from acsgen.plan.masks import Mask


@dataclass(frozen=True)
class Buffer:
    """A tensor in memory, in one layout.

    offset: bytes from the start of the arena; None: the caller's input or output, or a mask.
    shares: the buffer whose memory this one is, computed in place or merely seen with another shape; slice_at: bytes
    from its start, of a part that is written where it lies in what is joined from it; else None, from its start.
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
    slice_at: int | None = None


ClosedInputs = Literal["zero", "table", "computed"]


@dataclass(frozen=True)
class Step:
    """One call of a kernel.

    kernel: name of the C function without prefix and suffix. inputs, output: names of buffers.
    active: the list that restricts the output groups; joined: the list that restricts the input groups.
    A list is named after its gate, or is one of `Plan.lists`. fill: (apply_mask) closed groups must really be
    zero. closed: (conv_join) where what a closed input group adds to a sum comes from; "zero": it adds nothing.
    when: the step does nothing of use unless one of these lists has an active group; (): it always does.
    before: (conv_join) a 1x1 depthwise convolution that the input goes through on the way. macs: with all gates
    open, without those of `before`. residual: (conv, conv_join) the addition that is done band by band, `rows`
    rows each, into the other addend's buffer. form: of the constants of a convolution
    (`acsgen.plan.conv_case.Form`), pack_rows: (conv_join) rows of the output whose input
    is gathered at a time; 0: all. form_why: the reason for it. most_scratch_bytes: what would make it quicker
    than scratch_bytes do; 0: nothing.
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
    closed: ClosedInputs = "zero"
    before: DepthwiseConv2D | None = None
    when: tuple[str, ...] = ()
    pack_limit: int = 0
    pack_rows: int = 0
    scratch_bytes: int = 0
    most_scratch_bytes: int = 0
    scratch_offset: int = 0
    macs: int = 0
    why: str = ""
    form: str = "plain"
    form_why: str = ""


class Term(NamedTuple):
    """Multiply-accumulates of one operator with all gates open, the lists whose densities they shrink by, and
    those of which one must have an active group for there to be any (as in Step)."""

    output: str
    macs: int
    active: str | None
    joined: str | None
    when: tuple[str, ...]


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
    lists: tuple[ListSlot, ...]
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
        """Multiply-accumulates that gates can save: those with every gate open, less those with every gate closed."""
        closed = {gate.mask: np.zeros(gate.groups) for gate in self.gates}
        return int(self.macs()) - int(self.macs(closed))

    def bits(self, name: str) -> Bits:
        """What the groups of a list hang on."""
        sizes = {gate.mask: gate.groups for gate in self.gates}
        return bits_of(name, sizes[name]) if name in sizes else next(s.bits for s in self.lists if s.name == name)

    def gates_of(self, term: Step | Term) -> tuple[str, ...]:
        """The gates that can shorten a step or an operator."""
        lists = [name for name in (term.active, term.joined, *term.when) if name]
        return tuple(dict.fromkeys(gate for name in lists for gate in gates_in(self.bits(name))))

    def with_lists(self, masks: Mapping[str, ArrayLike]) -> dict[str, NDArray[Any]]:
        """Masks of gates (..., G), and what they make of the lists."""
        return with_lists(masks, ((slot.name, slot.bits) for slot in self.lists), self.waiting)

    @property
    def waiting(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Gates that do not always decide, as their steps come, and others of which one must have an open group."""
        return tuple((step.output, step.when) for step in self.steps if step.kernel == "gate" and step.when)

    def idle_masks(self) -> list[str]:
        """Names of ApplyMask operators before which nothing is skipped: what they mask is always computed.

        So it is where the groups of the mask are not those of the convolution before it, where somebody else
        reads the unmasked tensor, where the gate itself looks at it, or where groups are smaller than skipping
        pays for with this kernel set.
        """
        masking = [step for step in self.steps if step.kernel == "apply_mask"]
        return [step.op.name for step in masking if self.buffers[step.inputs[0]].mask is None]

    @property
    def mask_bytes(self) -> int:
        return sum(gate.groups for gate in self.gates)

    def macs(self, masks: Mapping[str, ArrayLike] | None = None) -> NDArray[np.int64]:
        """Multiply-accumulates of a run for each row of the masks (N, G); None: all gates open, shape ()."""
        return count_macs(self.terms, self.with_lists(masks or {}))

    @property
    def terms(self) -> list[Term]:
        """What the operators that execute anything cost, in order."""
        terms: list[Term] = []
        for step in self.steps:
            if step.before:
                macs = step.before.macs(*self.graph.input_shapes(step.before))
                terms.append(Term(step.before.output, macs, None, step.joined, step.when))
            terms.append(Term(step.op.output, step.macs, step.active, step.joined, step.when))
        return terms


def root_of(buffers: Mapping[str, Buffer], name: str) -> str:
    """The buffer whose memory the buffer `name` is."""
    while (owner := buffers[name].shares) is not None:
        name = owner
    return name


def bytes_before(buffers: Mapping[str, Buffer], name: str) -> int:
    """Bytes from the start of its root to that of the buffer `name`."""
    before = 0
    while (owner := buffers[name].shares) is not None:
        before += buffers[name].slice_at or 0
        name = owner
    return before


def is_slice(buffers: Mapping[str, Buffer], name: str) -> bool:
    """Whether a buffer is only a part of its root, or lies in such a part."""
    while (owner := buffers[name].shares) is not None:
        if buffers[name].slice_at is not None:
            return True
        name = owner
    return False


def count_macs(terms: Iterable[Term], masks: Mapping[str, ArrayLike]) -> NDArray[np.int64]:
    """Sum over operators, each scaled by its lists' density.

    masks: 0 and 1, (..., G), of gates and lists (`Plan.with_lists`); what is not among them is open. The result
    has the shape (...) of the masks, () without any.
    """
    density = {name: np.asarray(mask, np.float64).mean(axis=-1) for name, mask in masks.items()}
    total: Any = np.zeros(np.broadcast_shapes(*(d.shape for d in density.values())))
    for term in terms:
        share: Any = 1.0
        for name in (term.active, term.joined):
            share = share * (density.get(name, 1.0) if name else 1.0)
        if term.when:
            share = share * np.any([np.greater(density.get(name, 1.0), 0) for name in term.when], axis=0)
        total = total + term.macs * share
    result: NDArray[np.int64] = np.rint(total).astype(np.int64)
    return result
