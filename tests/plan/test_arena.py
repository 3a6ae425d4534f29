# SPDX-License-Identifier: Apache-2.0
"""Where buffers lie: no byte is used for two things at once, and not many more than needed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from math import prod
from typing import Any

import numpy as np
import pytest

from acsgen.graph import Concatenate
from acsgen.plan import Plan
from acsgen.plan.arena import ALIGNMENT, Life, Placement, lower_bound, place
from acsgen.plan.plan import bytes_before
from tests.plan.small import random_plan


def random_lives(seed: int) -> list[Life]:
    rng = np.random.default_rng(seed)
    lives = []
    for i in range(int(rng.integers(1, 30))):
        first = int(rng.integers(0, 20))
        lives.append(Life(f"b{i}", int(rng.integers(1, 300)), first, first + int(rng.integers(0, 6))))
    return lives


@pytest.mark.parametrize("seed", range(50))
def test_lives_that_meet_lie_apart(seed: int) -> None:
    lives = random_lives(seed)
    placement = place(lives)
    offsets, size = placement.offsets, placement.bytes
    assert set(offsets) == {life.name for life in lives}
    assert all(offset % ALIGNMENT == 0 for offset in offsets.values())
    assert all(offsets[life.name] + life.bytes <= size for life in lives)
    for i, one in enumerate(lives):
        for other in lives[:i]:
            if one.first <= other.last and other.first <= one.last:
                first, second = sorted((offsets[life.name], life.bytes) for life in (one, other))
                assert first[0] + first[1] <= second[0]
    assert (
        lower_bound(lives)
        == placement.lower_bound
        <= size
        <= sum(-(-life.bytes // ALIGNMENT) * ALIGNMENT for life in lives)
    )


def test_what_never_meets_shares_its_place() -> None:
    lives = [Life("a", 100, 0, 1), Life("b", 40, 1, 2), Life("c", 100, 2, 3), Life("d", 56, 3, 3)]
    placement = place(lives)
    assert placement.bytes == lower_bound(lives) == 160
    assert placement.offsets["a"] == placement.offsets["c"]
    assert placement.optimal and placement.proof == "optimal"


def test_lower_bound_is_the_fullest_step() -> None:
    assert lower_bound([Life("a", 9, 0, 2), Life("b", 8, 2, 5), Life("c", 1, 5, 6)]) == 16 + 8


@pytest.mark.parametrize("seed", range(12))
def test_optimal_is_what_trying_everything_finds(seed: int) -> None:
    """Against all orders of five buffers, some of which shrink, each put down as low as it goes."""
    rng = np.random.default_rng(1000 + seed)
    lives = []
    for i in range(5):
        first, size = int(rng.integers(0, 5)), 8 * int(rng.integers(2, 9))
        shrinks = ((first + 1, size // 2),) if rng.random() < 0.3 else ()
        lives.append(Life(f"b{i}", size, first, first + int(rng.integers(0, 4)), shrinks))
    placement = place(lives)
    assert placement.optimal
    assert placement.bytes == min(stacked(order) for order in permutations(lives))
    assert peak(lives, placement.offsets) == placement.bytes


def stacked(lives: Sequence[Life]) -> int:
    """The height of buffers that are put down one after another, each on whatever it meets at any step."""
    offsets: dict[str, int] = {}
    for i, life in enumerate(lives):
        offset = 0
        while any(collide(life, offset, other, offsets[other.name]) for other in lives[:i]):
            offset += ALIGNMENT
        offsets[life.name] = offset
    return peak(lives, offsets)


def collide(one: Life, at: int, other: Life, there: int) -> bool:
    return any(
        (a := one.at(step)) and (b := other.at(step)) and at < there + b and there < at + a for step in range(10)
    )


def peak(lives: Sequence[Life], offsets: dict[str, int]) -> int:
    for i, one in enumerate(lives):
        assert not any(collide(one, offsets[one.name], other, offsets[other.name]) for other in lives[:i])
    return max(offsets[life.name] + life.at(step) for life in lives for step in range(10))


@pytest.mark.parametrize("seed", range(12))
def test_sixty_buffers_are_within_two_percent(seed: int) -> None:
    rng = np.random.default_rng(seed)
    firsts = rng.integers(0, 40, 60)
    lives = [
        Life(f"b{i}", int(rng.integers(1, 3000)), int(first), int(first + rng.integers(0, 6)))
        for i, first in enumerate(firsts)
    ]
    placement = place(lives)
    assert placement == place(lives), "the same every time"
    assert placement.bytes <= 1.02 * placement.lower_bound
    assert placement.proof == "optimal" or float(placement.proof.split()[1]) <= 2


def test_what_shrinks_leaves_room() -> None:
    lives = [Life("a", 800, 0, 3, ((2, 200),)), Life("b", 600, 2, 3)]
    placement = place(lives)
    assert (placement.bytes, placement.lower_bound, placement.optimal) == (800, 800, True)


def test_nothing_needs_nothing() -> None:
    assert place([]) == Placement({}, 0, 0, True)
    assert lower_bound([]) == 0


class Memory:
    """Who wrote each byte last; a run of a plan on names instead of numbers."""

    def __init__(self, planned: Plan) -> None:
        self._plan = planned
        self._written = {step.output for step in planned.steps}
        self._owners = {space: np.full(size, "", object) for space, size in self._spaces().items()}
        self.write(planned.graph.input)

    def _spaces(self) -> dict[str, int]:
        buffers, graph = self._plan.buffers, self._plan.graph
        return {
            "arena": self._plan.arena_bytes,
            "input": buffers[graph.input].bytes,
            "output": buffers[graph.output].bytes,
        }

    def content(self, name: str) -> Any:
        """What stands in each byte of a buffer: its own name, or that of another one, seen with another shape.

        A joined tensor's is that of its parts where they lie there, and its own where they are copied.
        """
        buffer = self._plan.buffers[name]
        if name not in self._written and buffer.shares is not None and buffer.slice_at is None:
            return self.content(buffer.shares)[: buffer.bytes]
        content = np.full(buffer.bytes, name, object)
        op = self._plan.graph.producer(buffer.tensor)
        if isinstance(op, Concatenate) and name == op.output:
            at = 0
            for part in op.inputs:
                size = prod(self._plan.graph.shape(part))
                if (there := self.part_at(name, part, at)) is not None:
                    content[at : at + size] = self.content(there)
                at += size
        return content

    def part_at(self, name: str, part: str, at: int) -> str | None:
        """The buffer of a part that lies `at` bytes from the start of what is joined from it."""
        buffers = self._plan.buffers
        before = bytes_before(buffers, name) + at
        for other in buffers.values():
            same = other.tensor == part and self._plan.root(other.name) == self._plan.root(name)
            if same and bytes_before(buffers, other.name) == before:
                return other.name
        return None

    def place(self, name: str) -> tuple[str, slice]:
        buffer = self._plan.buffers[name]
        if buffer.offset is not None:
            return "arena", slice(buffer.offset, buffer.offset + buffer.bytes)
        start = bytes_before(self._plan.buffers, name)
        space = "input" if self._plan.root(name) == self._plan.graph.input else "output"
        return space, slice(start, start + buffer.bytes)

    def write(self, name: str) -> None:
        space, where = self.place(name)
        self._owners[space][where][self.content(name) == name] = name

    def spoil(self, offset: int, size: int) -> None:
        self._owners["arena"][offset : offset + size] = "scratch"

    def holds(self, name: str) -> bool:
        space, where = self.place(name)
        return bool((self._owners[space][where] == self.content(name)).all())


def overlap(a: tuple[str, slice], b: tuple[str, slice]) -> bool:
    return a[0] == b[0] and a[1].start < b[1].stop and b[1].start < a[1].stop


@pytest.mark.parametrize("seed", range(60))
def test_every_step_finds_what_it_reads(seed: int) -> None:
    """The plan is run with the name of its writer in every byte; scratch spoils what it covers."""
    planned = random_plan(seed)
    memory = Memory(planned)
    masks = {gate.mask for gate in planned.gates}
    for step in planned.steps:
        inputs = [name for name in step.inputs if name not in masks]
        assert all(memory.holds(name) for name in inputs), f"{step.kernel} {step.op.name}"
        scratch = ("arena", slice(step.scratch_offset, step.scratch_offset + step.scratch_bytes))
        places = [memory.place(name) for name in inputs]
        if step.scratch_bytes:
            assert not any(overlap(scratch, taken) for taken in places)
            memory.spoil(step.scratch_offset, step.scratch_bytes)
        if step.output not in masks:
            target = memory.place(step.output)
            assert target[0] != "input", f"{step.kernel} {step.op.name} writes into the caller's input"
            in_place = planned.buffers[step.output].shares is not None
            if step.kernel in ("join", "concat"):  # what lies there already is where it belongs
                roots = [planned.root(name) for name in inputs]
                places = [place for place, root in zip(places, roots, strict=True) if root != planned.root(step.output)]
            assert in_place or not any(
                overlap(target, taken) for taken in [*places, *[scratch] * bool(step.scratch_bytes)]
            )
            memory.write(step.output)
    tensors = [name for name in planned.buffers if name not in masks]
    results = [name for name in tensors if planned.buffers[name].tensor == planned.graph.output]
    assert any(
        planned.buffers[name].groups == 1 and memory.place(name)[0] == "output" and memory.holds(name)
        for name in results
    )


@pytest.mark.parametrize("seed", range(60))
def test_offsets_and_sizes(seed: int) -> None:
    """Aligned, behind the decisions and lists of the gates, within the arena, not below what is alive."""
    planned = random_plan(seed)
    regions = [(b.offset, b.bytes) for b in planned.buffers.values() if b.offset is not None]
    regions += [(step.scratch_offset, step.scratch_bytes) for step in planned.steps if step.scratch_bytes]
    head = 2 * planned.mask_bytes
    for offset, size in regions:
        assert offset % ALIGNMENT == 0
        assert head <= offset <= offset + size <= planned.arena_bytes
    bits = [at for gate in planned.gates for at in range(gate.offset, gate.offset + gate.groups)]
    lists = [at for gate in planned.gates for at in range(gate.list_offset, gate.list_offset + gate.groups)]
    assert sorted(bits + lists) == list(range(head))
    assert bits == list(range(planned.mask_bytes)), "masks lie side by side in the order of the gates"
    assert head + alive_at_most(planned) <= planned.lower_bound_bytes <= planned.arena_bytes
    assert planned.arena_bytes <= 1.02 * planned.lower_bound_bytes
    assert planned.arena_proof == "optimal" or planned.arena_bytes > planned.lower_bound_bytes


def alive_at_most(planned: Plan) -> int:
    """The most bytes that are needed during one step, found by going back from the readers."""
    masks = {gate.mask for gate in planned.gates}
    first: dict[str, int] = {}
    last: dict[str, dict[str, int]] = {}  # by root, then by what is seen in its memory
    for i, step in enumerate(planned.steps):
        for name in (*step.inputs, step.output):
            root = planned.root(name)
            if root not in masks and planned.buffers[root].offset is not None:
                first.setdefault(root, i)
                last.setdefault(root, {})[name] = i
    return max(
        step.scratch_bytes
        + sum(
            max((planned.buffers[name].bytes for name, end in last[root].items() if i <= end), default=0)
            for root in first
            if first[root] <= i
        )
        for i, step in enumerate(planned.steps)
    )
