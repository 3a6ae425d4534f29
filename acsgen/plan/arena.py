# SPDX-License-Identifier: Apache-2.0
"""Where in the arena each buffer lies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

ALIGNMENT = 8


@dataclass(frozen=True)
class Life:
    """A buffer of `bytes` bytes that lives from step `first` to step `last`, both included."""

    name: str
    bytes: int
    first: int
    last: int

    def meets(self, other: Life) -> bool:
        return self.first <= other.last and other.first <= self.last


def place(lives: Sequence[Life]) -> tuple[dict[str, int], int]:
    """Offset of every buffer, and the bytes that all need together.

    Greedy, lowest free offset first, in a few orders of which the best wins: by size, by area (size
    times lifetime), by start.
    """
    orders: tuple[Callable[[Life], tuple[int, int]], ...] = (
        lambda life: (-life.bytes, life.first),
        lambda life: (-life.bytes * (life.last - life.first + 1), life.first),
        lambda life: (life.first, -life.bytes),
    )
    plans = [_place_in_order(sorted(lives, key=order)) for order in orders]
    return min(plans, key=lambda plan: plan[1])


def lower_bound(lives: Sequence[Life]) -> int:
    """The most bytes that are alive at once: no arena can be smaller."""
    steps = range(max((life.last for life in lives), default=-1) + 1)
    return max(
        (sum(_aligned(life.bytes) for life in lives if life.first <= step <= life.last) for step in steps),
        default=0,
    )


def _place_in_order(lives: Sequence[Life]) -> tuple[dict[str, int], int]:
    placed: list[tuple[int, Life]] = []
    for life in lives:
        offset = 0
        for start, other in sorted((p for p in placed if p[1].meets(life)), key=lambda p: p[0]):
            if offset + life.bytes <= start:
                break
            offset = max(offset, _aligned(start + other.bytes))
        placed.append((offset, life))
    end = max((_aligned(offset + life.bytes) for offset, life in placed), default=0)
    return {life.name: offset for offset, life in placed}, end


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
