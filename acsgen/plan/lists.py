# SPDX-License-Identifier: Apache-2.0
"""What the groups of a tensor hang on: bits of gates, one gate's or those of several."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: What one group hangs on: the mask of a gate and the number of a bit of it; None: the group is always active.
Bit = tuple[str, int] | None
Bits = tuple[Bit, ...]


@dataclass(frozen=True)
class ListSlot:
    """A list of active groups that is made from the bits of gates at run time.

    A gate's own bits in their order need none, the gate writes that list itself. offset: bytes from the start
    of the arena, one for each group; step: the first step that reads the list.
    """

    name: str
    bits: Bits
    offset: int
    step: int


def bits_of(gate: str, groups: int) -> Bits:
    """The bits of a gate in their order."""
    return tuple((gate, g) for g in range(groups))


def refined(bits: Bits, groups: int) -> Bits:
    """The same of a finer division: each group cut into as many."""
    return tuple(bit for bit in bits for _ in range(groups // len(bits)))


def gates_in(bits: Bits) -> tuple[str, ...]:
    """The gates, each once, in the order in which they come."""
    return tuple(dict.fromkeys(bit[0] for bit in bits if bit))


def whole_gate(bits: Bits, sizes: Mapping[str, int]) -> str | None:
    """The gate whose bits these are, all and in order; sizes: bits of each gate."""
    gates = gates_in(bits)
    return gates[0] if len(gates) == 1 and bits == bits_of(gates[0], sizes[gates[0]]) else None


def with_lists(
    masks: Mapping[str, ArrayLike],
    lists: Iterable[tuple[str, Bits]],
    waiting: Iterable[tuple[str, tuple[str, ...]]] = (),
) -> dict[str, NDArray[Any]]:
    """Masks of gates (..., G), 0 and 1, and with them what they make of the lists.

    waiting: gates in the order in which they decide, each with those of which one must have opened a group before.
    A mask that is not decided, for that reason or because it holds something else than 0 and 1, is closed. A gate of
    which no mask is given is open.
    """
    known = {name: np.equal(mask, 1).astype(np.uint8) for name, mask in masks.items()}
    shape = np.broadcast_shapes(*(mask.shape[:-1] for mask in known.values()))
    for name, others in waiting:
        if name in known and all(other in known for other in others):
            asked = np.any([np.broadcast_to(known[other].any(axis=-1), shape) for other in others], axis=0)
            known[name] = np.where(asked[..., None], known[name], np.uint8(0))
    result = dict(known)
    for name, bits in lists:
        groups = [known[bit[0]][..., bit[1]] if bit and bit[0] in known else np.ones((), np.uint8) for bit in bits]
        result[name] = np.stack([np.broadcast_to(group, shape) for group in groups], axis=-1)
    return result
