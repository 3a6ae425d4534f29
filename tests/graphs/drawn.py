# SPDX-License-Identifier: Apache-2.0
"""Random networks that nobody thought of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from acsgen.graph.ir import Graph
from tests.graphs.author import Author
from tests.graphs.builder import Float
from tests.graphs.scenes import HEADS, SCENES


@dataclass(frozen=True)
class RandomGraph:
    """A graph, samples (SAMPLES, *input shape) to calibrate it, and the names of what was built in."""

    graph: Graph
    samples: Float
    scenes: frozenset[str]


def random_graph(seed: int) -> RandomGraph:
    """Two to four scenes one after another, between a stem and a head; the same for the same seed."""
    rng = np.random.default_rng(seed)
    author = Author(rng)
    tensor = author.stem()
    for scene in rng.choice(len(SCENES), int(rng.integers(2, 5)), replace=False):
        tensor = author.play(SCENES[scene], tensor)
    tensor = author.play(HEADS[rng.integers(len(HEADS))], tensor)
    tensor = author.curtain(tensor)
    return RandomGraph(author.graph(tensor), author.samples, frozenset(author.scenes))
