# SPDX-License-Identifier: Apache-2.0
"""Where in the arena each buffer lies: as low as can be, and how far from the best that is.

Buffers that are alive at the same time must lie apart; the arena is what all need together. That is
dynamic storage allocation, which is hard in general but small here. The plan is exact where it reaches the
lower bound (the most bytes that are alive at once) or where a search has seen every other way.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

ALIGNMENT = 8

#: What the searches may try, a number and not a time, so that the same graph has the same plan everywhere.
#: Together they take about a second at the most; graphs of more buffers than LARGEST are not searched.
REORDERINGS = 400
NODES = 20_000
LARGEST = 100


@dataclass(frozen=True)
class Life:
    """A buffer that lives from step `first` to step `last`, both included, and never moves.

    bytes: its size. shrinks: (step, bytes) in ascending order: from this step on only so many are in use.
    """

    name: str
    bytes: int
    first: int
    last: int
    shrinks: tuple[tuple[int, int], ...] = ()

    def at(self, step: int) -> int:
        """Bytes that are in use during a step, a multiple of ALIGNMENT."""
        if not self.first <= step <= self.last:
            return 0
        return aligned(min((left for since, left in self.shrinks if since <= step), default=self.bytes))

    def over(self, other: Life) -> int:
        """How far above this one's offset `other` must start, if not below; 0 if they never meet."""
        # Neither grows, so where both begin to live is where they are largest.
        common = max(self.first, other.first)
        return self.at(common) if other.at(common) else 0


@dataclass(frozen=True)
class Placement:
    """Offsets by the buffers' names, bytes of all, and the least that any placement needs.

    optimal: no placement needs fewer bytes.
    """

    offsets: dict[str, int]
    bytes: int
    lower_bound: int
    optimal: bool

    @property
    def proof(self) -> str:
        """How good that is, for people: "optimal", or "within 1.3 %" of the lower bound."""
        return "optimal" if self.optimal else f"within {100 * (self.bytes / self.lower_bound - 1):.1f} %"


def lower_bound(lives: Sequence[Life]) -> int:
    """The most bytes that are alive at once: no arena can be smaller."""
    steps = range(max((life.last for life in lives), default=-1) + 1)
    return max((sum(life.at(step) for life in lives) for step in steps), default=0)


def place(lives: Sequence[Life]) -> Placement:
    """The best placement that is found: greedily in several orders, by mending the best of these, by search."""
    problem = _Problem.of(lives)
    bound = lower_bound(lives)
    offsets = min((problem.greedy(order) for order in problem.orders()), key=problem.height)
    offsets = _mended(problem, offsets, bound)
    optimal = problem.height(offsets) == bound
    if not optimal and len(lives) <= LARGEST:
        offsets, optimal = _Search(problem, bound, offsets).run()
    by_name = {life.name: offset for life, offset in zip(lives, offsets, strict=True)}
    return Placement(by_name, problem.height(offsets), bound, optimal)


Offsets = tuple[int, ...]


@dataclass(frozen=True)
class _Problem:
    """Lives by their index. sizes[i][t]: bytes in use at step t. over[i][j]: `Life.over`."""

    lives: Sequence[Life]
    sizes: tuple[tuple[int, ...], ...]
    over: tuple[tuple[int, ...], ...]

    @staticmethod
    def of(lives: Sequence[Life]) -> _Problem:
        steps = range(max((life.last for life in lives), default=-1) + 1)
        sizes = tuple(tuple(life.at(step) for step in steps) for life in lives)
        over = tuple(tuple(one.over(other) for other in lives) for one in lives)
        return _Problem(lives, sizes, over)

    def orders(self) -> Iterable[list[int]]:
        """By size, by area (size times lifetime), by start."""
        keys: tuple[Callable[[Life], tuple[int, int]], ...] = (
            lambda life: (-life.bytes, life.first),
            lambda life: (-life.bytes * (life.last - life.first + 1), life.first),
            lambda life: (life.first, -life.bytes),
        )
        for key in keys:
            yield sorted(range(len(self.lives)), key=lambda i: key(self.lives[i]))

    def greedy(self, order: Iterable[int]) -> Offsets:
        """Each at the lowest offset that is free, one after another."""
        offsets: dict[int, int] = {}
        for i in order:
            taken = sorted((at - self.over[i][j], at + self.over[j][i]) for j, at in offsets.items() if self.over[i][j])
            offset = 0
            for below, above in taken:
                if offset <= below:
                    break
                offset = max(offset, above)
            offsets[i] = offset
        return tuple(offsets[i] for i in range(len(self.lives)))

    def top(self, i: int, offset: int) -> int:
        return offset + max(self.sizes[i], default=0)

    def height(self, offsets: Offsets) -> int:
        return max((self.top(i, offset) for i, offset in enumerate(offsets)), default=0)


def _mended(problem: _Problem, offsets: Offsets, bound: int) -> Offsets:
    """Greedily again and again, each time with what reached highest placed somewhat earlier than in the best order."""
    rng = random.Random(0)  # noqa: S311, a seed of its own: the same plan every time
    best, order = offsets, sorted(range(len(offsets)), key=lambda i: (offsets[i], i))
    for _ in range(REORDERINGS):
        if problem.height(best) == bound:
            break
        highest = max(order, key=lambda i: (problem.top(i, best[i]), -i))
        at = order.index(highest if rng.random() < 0.5 else rng.choice(order))
        tried = order[:at] + order[at + 1 :]
        tried.insert(rng.randrange(at + 1), order[at])
        offsets = problem.greedy(tried)
        if problem.height(offsets) <= problem.height(best):
            best, order = offsets, tried
    return best


@dataclass
class _Search:
    """Branch and bound over the orders in which buffers lie on each other, lowest first.

    Every placement can be pushed down until each buffer lies at 0 or on another; taken by their offsets,
    such buffers are each placed on the highest of those below. So it is enough to try all orders with
    ascending offsets. A branch ends where the buffers that are left cannot be stacked below the best height.
    """

    problem: _Problem
    bound: int
    best: Offsets
    limit: int = 0
    nodes: int = 0
    seen: set[tuple[int, ...]] = field(default_factory=set)

    def run(self) -> tuple[Offsets, bool]:
        """The best placement, and whether it is known to be the best of all."""
        count = len(self.problem.lives)
        self.limit = self.problem.height(self.best) - ALIGNMENT
        steps = range(len(self.problem.sizes[0]))
        left = [sum(self.problem.sizes[i][t] for i in range(count)) for t in steps]
        self._descend({}, [0] * len(left), left, 0, frozenset(range(count)))
        optimal = self.nodes < NODES or self.problem.height(self.best) == self.bound
        return self.best, optimal

    def _descend(
        self, placed: dict[int, int], tops: list[int], left: list[int], floor: int, rest: frozenset[int]
    ) -> None:
        """tops, left: by step, the height so far and the bytes to come; floor: the offset of the last buffer."""
        if not rest:
            self.best = tuple(placed[i] for i in range(len(self.problem.lives)))
            self.limit = self.problem.height(self.best) - ALIGNMENT
            return
        if any(more and max(top, floor) + more > self.limit for top, more in zip(tops, left, strict=True)):
            return
        key = (*sorted(rest), -1, floor, *(max(top, floor) for top in tops))
        if key in self.seen:
            return
        self.seen.add(key)
        for offset, _, i in sorted(self._candidates(placed, floor, rest)):
            self.nodes += 1
            if self.nodes >= NODES or self.limit < self.bound:
                return
            sizes = self.problem.sizes[i]
            higher = [max(top, offset + size) if size else top for top, size in zip(tops, sizes, strict=True)]
            fewer = [more - size for more, size in zip(left, sizes, strict=True)]
            self._descend({**placed, i: offset}, higher, fewer, offset, rest - {i})

    def _candidates(self, placed: dict[int, int], floor: int, rest: frozenset[int]) -> Iterable[tuple[int, int, int]]:
        """(offset, minus the area, index) of what can lie next."""
        over = self.problem.over
        for i in rest:
            offset = max((at + over[j][i] for j, at in placed.items() if over[j][i]), default=0)
            if offset >= floor:
                yield offset, -sum(self.problem.sizes[i]), i


def aligned(size: int) -> int:
    """The next multiple of ALIGNMENT."""
    return -(-size // ALIGNMENT) * ALIGNMENT
