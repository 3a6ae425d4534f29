# SPDX-License-Identifier: Apache-2.0
"""Which groups of which tensors a closed gate makes unnecessary.

Two facts let a group go uncomputed. Behind an ApplyMask a closed group is real zero; so it stays through
pooling and clamping, and what a filter of its own channels makes of it is a constant that is known at
compile time: a consumer need not read it. Before an ApplyMask a closed group is unused: whoever computes
it may leave it out, and so may the operators that feed only it.

Both hold for a tensor that is joined from parts, group by group: each group hangs on a bit of its own
part's gate, or is always there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from math import gcd
from typing import Literal

from acsgen.graph import (
    ApplyMask,
    AvgPool,
    Concatenate,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    Graph,
    MaxPool,
    Op,
    Relu,
)
from acsgen.graph.ops import Padding
from acsgen.plan.lists import Bits, bits_of, gates_in, refined, whole_gate

#: A list of groups is made of bytes.
MAX_GROUPS = 256


@dataclass(frozen=True)
class Mask:
    """The hold of gates on a tensor. bits: what each of its groups hangs on.

    list: the name of the list of active groups: of the gate whose bits these are, or of the first tensor
    that they belong to. closed: what a closed group of the tensor is for its readers.
    """

    list: str
    bits: Bits
    closed: Literal["zero", "constant", "unused"]

    @property
    def groups(self) -> int:
        return len(self.bits)

    @property
    def gates(self) -> tuple[str, ...]:
        return gates_in(self.bits)


#: Bits of a tensor and what its closed groups are, before the list has a name.
_Hold = tuple[Bits, Literal["zero", "constant", "unused"]]


def masks_of(graph: Graph, least: int = 1) -> dict[str, Mask]:
    """The mask of every tensor that has one, in the order of the operators.

    least: channels that a group must have; what a mask of smaller ones closes is computed, and cleared.
    """
    known = _known_groups(graph, least)
    holds = {**known, **_unused_groups(graph, known, least)}
    sizes = {gate.output: graph.shape(gate.output)[0] for gate in graph.gates}
    names: dict[Bits, str] = {}
    masks: dict[str, Mask] = {}
    for op in graph.ops:
        if op.output in holds:
            bits, closed = holds[op.output]
            name = names.setdefault(bits, whole_gate(bits, sizes) or f"{op.output}/groups")
            masks[op.output] = Mask(name, bits, closed)
    return masks


# --- behind a mask ---------------------------------------------------------------------------------


def _known_groups(graph: Graph, least: int) -> dict[str, _Hold]:
    """Tensors whose closed groups are zero or a constant."""
    holds: dict[str, _Hold] = {}
    worth = _worth_joining(graph)
    for op in graph.ops:
        hold = _known_behind(graph, op, holds, least)
        if hold is not None and (not isinstance(op, Concatenate) or op.output in worth[hold[1]]):
            holds[op.output] = hold
    return holds


def _known_behind(graph: Graph, op: Op, holds: Mapping[str, _Hold], least: int) -> _Hold | None:
    if isinstance(op, ApplyMask):
        bits = _applied(graph, op, least)
        return (bits, "zero") if bits else None
    if isinstance(op, Concatenate):
        return _joined(graph, op, holds, least)
    if op.inputs[0] not in holds:
        return None
    bits, closed = holds[op.inputs[0]]
    if isinstance(op, MaxPool | AvgPool | Relu):
        return bits, closed
    if isinstance(op, Flatten) and keeps_groups(graph, op):
        return bits, closed
    if isinstance(op, DepthwiseConv2D) or (isinstance(op, Conv2D) and op.groups > 1 and op.groups % len(bits) == 0):
        # Padding is real zero: around a zero it makes no difference, around another constant it does.
        return (bits, "constant") if closed == "zero" or op.padding == Padding() else None
    return None


def _applied(graph: Graph, op: ApplyMask, least: int) -> Bits | None:
    """The bits of a mask, if its groups have channels enough."""
    groups = graph.shape(op.inputs[1])[0]
    return bits_of(op.inputs[1], groups) if graph.shape(op.output)[-1] // groups >= least else None


def keeps_groups(graph: Graph, op: Flatten) -> bool:
    """Whether a flattened tensor has the groups of what it was: it was a single pixel."""
    return graph.shape(op.output)[0] == graph.shape(op.inputs[0])[-1]


def _joined(graph: Graph, op: Concatenate, holds: Mapping[str, _Hold], least: int) -> _Hold | None:
    """Groups as large as the parts allow: a part without a mask is always there."""
    channels = [graph.shape(name)[-1] for name in op.inputs]
    parts = [holds.get(name) for name in op.inputs]
    if not any(parts):
        return None
    each = reduce(gcd, (size // len(part[0]) if part else size for size, part in zip(channels, parts, strict=True)))
    if sum(channels) // each > MAX_GROUPS or each < least:
        return None
    bits: Bits = ()
    for size, part in zip(channels, parts, strict=True):
        bits += refined(part[0], size // each) if part else (None,) * (size // each)
    return bits, "zero" if all(part is None or part[1] == "zero" for part in parts) else "constant"


def _worth_joining(graph: Graph) -> dict[str, set[str]]:
    """Tensors whose groups, joined as groups, some reader leaves out and every reader can do without.

    By what closed groups are: "zero" or "constant". Others are joined as NHWC.
    """
    verdicts: dict[tuple[str, str], set[str]] = {}
    for op in reversed(graph.ops):
        for closed in ("zero", "constant"):
            readers = graph.consumers(op.output)
            found = {_reader_verdict(reader, closed, verdicts) for reader in readers}
            if op.output == graph.output and closed == "constant":
                found.add("needs")
            verdicts[op.output, closed] = found
    return {
        closed: {op.output for op in graph.ops if _is_worth(verdicts[op.output, closed])}
        for closed in ("zero", "constant")
    }


def _is_worth(verdicts: set[str]) -> bool:
    return "skips" in verdicts and "needs" not in verdicts


def _reader_verdict(reader: Op, closed: str, verdicts: Mapping[tuple[str, str], set[str]]) -> str:
    """What a reader does about closed groups: "skips" them, "needs" them, or is "indifferent": clears them first."""
    if isinstance(reader, Dense):
        return "skips"
    if isinstance(reader, Conv2D) and reader.groups == 1:
        return "skips" if closed == "zero" or reader.padding == Padding() else "needs"
    if isinstance(reader, DepthwiseConv2D | Conv2D):
        through = closed == "zero" or reader.padding == Padding()
        return "skips" if through and _is_worth(verdicts[reader.output, "constant"]) else "needs"
    if isinstance(reader, MaxPool | AvgPool | Relu | Flatten):
        behind = verdicts[reader.output, closed]
        return "needs" if "needs" in behind else "skips" if "skips" in behind else "indifferent"
    if isinstance(reader, Concatenate) and _is_worth(verdicts[reader.output, closed]):
        return "skips"
    return "indifferent" if closed == "zero" and not isinstance(reader, ApplyMask) else "needs"


# --- before a mask ---------------------------------------------------------------------------------


def _unused_groups(graph: Graph, known: Mapping[str, _Hold], least: int) -> dict[str, _Hold]:
    """Tensors whose closed groups nobody needs. What is zero already remains that, but a joined tensor's may not be."""
    before = ancestors(graph)
    unused: dict[str, _Hold] = {}
    for op in reversed(graph.ops):
        if op.output == graph.output or isinstance(op, ApplyMask):
            continue
        if op.output in known and _is_settled(op, known[op.output]):
            continue
        holds = {**known, **unused}
        found = {_ignored_by(graph, reader, op.output, holds, least) for reader in graph.consumers(op.output)}
        bits = next(iter(found), None)
        # A gate that looks at what this operator computes cannot decide whether to compute it.
        if len(found) == 1 and bits and not any(op.output in before[gate] for gate in gates_in(bits)):
            unused[op.output] = bits, "unused"
    return unused


def _is_settled(op: Op, hold: _Hold) -> bool:
    return hold[1] == "zero" and not isinstance(op, Concatenate)


def _ignored_by(graph: Graph, reader: Op, tensor: str, holds: Mapping[str, _Hold], least: int) -> Bits | None:
    """The bits on which it hangs which groups of `tensor` its reader needs."""
    if isinstance(reader, ApplyMask):
        return _applied(graph, reader, least)
    if reader.output not in holds:
        return None
    bits, closed = holds[reader.output]
    if isinstance(reader, Concatenate):
        return _share(graph, reader, tensor, bits) if closed == "unused" else None
    if isinstance(reader, Flatten):
        return bits if keeps_groups(graph, reader) else None
    per_group = isinstance(reader, Conv2D) and reader.groups > 1 and reader.groups % len(bits) == 0
    return bits if per_group or isinstance(reader, MaxPool | AvgPool | Relu | DepthwiseConv2D) else None


def _share(graph: Graph, op: Concatenate, tensor: str, bits: Bits) -> Bits | None:
    """The bits of a joined tensor that are those of a part, which may be a part more than once."""
    parts = {part_bits(graph, op, i, bits) for i, name in enumerate(op.inputs) if name == tensor}
    return next(iter(parts)) if len(parts) == 1 else None


def part_bits(graph: Graph, op: Concatenate, index: int, bits: Bits) -> Bits | None:
    """The bits of part `index` of a joined tensor that has `bits`; None where a group lies across its ends."""
    channels = [graph.shape(name)[-1] for name in op.inputs]
    each = sum(channels) // len(bits)
    first, size = sum(channels[:index]), channels[index]
    return None if first % each or size % each else bits[first // each : (first + size) // each]


def ancestors(graph: Graph) -> dict[str, set[str]]:
    """The tensors that each tensor is computed from, itself included."""
    known: dict[str, set[str]] = {graph.input: {graph.input}}
    for op in graph.ops:
        known[op.output] = {op.output}.union(*(known[name] for name in op.inputs))
    return known
