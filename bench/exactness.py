# SPDX-License-Identifier: Apache-2.0
"""Skipping never changes a bit: graphs in the emulator against the golden model, which multiplies by masks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from acsgen.golden import quantize_input, run
from acsgen.graph import Graph
from acsgen.plan import KernelSet, Spare, plan
from acsgen.quantize import quantize
from acsgen.target.boards import load_board
from acsgen.target.emulator import Emulator
from acsgen.target.link import RunMode
from acsgen.verify.verify import Comparison
from bench.firmware import Library, make_library
from bench.networks import int8_graph
from tests.graphs import random_graph

#: Inputs to each graph.
INPUTS = 2


@dataclass(frozen=True)
class Exactness:
    """graphs and inputs that were run, and how many tensors, masks and logits differed."""

    graphs: int
    inputs: int
    mismatches: int


def check(
    board: str, kernels: KernelSet, random_graphs: int, folder: Path, progress: Callable[[str], None]
) -> Exactness:
    """Runs every member of the zoo and random graphs on the board's emulator, each with the fastest constants.

    Each input by skipping, by multiplying, and by skipping with masks drawn at random.
    """
    library = make_library(load_board(board), kernels, folder)
    mismatches = inputs = graphs = 0
    with ThreadPoolExecutor(2) as pool:
        results = pool.map(lambda job: _check_graph(library, kernels, *job), _graphs(random_graphs))
        for wrong, count in results:
            graphs, inputs, mismatches = graphs + 1, inputs + count, mismatches + wrong
            if graphs % 50 == 0:
                progress(f"{graphs} graphs, {mismatches} mismatches")
    return Exactness(graphs, inputs, mismatches)


def _graphs(random_graphs: int) -> Iterator[tuple[str, Graph, NDArray[np.int8]]]:
    """Name, int8 graph, inputs."""
    from acsgen.nn.zoo import ZOO

    for member in ZOO.values():
        graph = int8_graph(member.build())
        rng = np.random.default_rng(0)
        yield member.name, graph, rng.integers(-128, 128, (INPUTS, *graph.shape(graph.input)), np.int8)
    for seed in range(random_graphs):
        drawn = random_graph(seed)
        graph = quantize(drawn.graph, drawn.samples)
        yield f"random{seed}", graph, quantize_input(graph, drawn.samples[:INPUTS])


def _check_graph(library: Library, kernels: KernelSet, name: str, graph: Graph, x: NDArray[np.int8]) -> tuple[int, int]:
    """Mismatches, and inputs."""
    planned = plan(graph, kernels, Spare(None))
    elf, seen = library.link(planned, name)
    rng = np.random.default_rng(len(graph.ops))
    given = {slot.mask: rng.integers(0, 2, (len(x), slot.groups), np.uint8) for slot in planned.gates}
    decided, forced = run(graph, x), run(graph, x, given)
    comparison = Comparison(graph, seen)
    with Emulator(library.board, elf) as emulator:
        for i, sample in enumerate(x):
            masks = np.concatenate([mask[i] for mask in given.values()]) if given else ()
            for mode, golden in ((RunMode.SKIP, decided), (RunMode.MULTIPLY, decided), (RunMode.GIVEN, forced)):
                result = emulator.run(sample, mode, masks=masks if mode is RunMode.GIVEN else (), tensors=True)
                comparison.compare_run(name, result, golden, i, mode)
                comparison.compare_tensors(name, result, golden, i, mode)
    return comparison.mismatches, len(x)
