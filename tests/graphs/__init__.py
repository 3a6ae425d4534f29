# SPDX-License-Identifier: Apache-2.0
"""Float graphs for tests: a builder for small ones by hand, and random ones that nobody thought of."""

from tests.graphs.author import divisors
from tests.graphs.builder import SAMPLES, Builder, in_order, merged, mixed, relabelled, split
from tests.graphs.drawn import RandomGraph, random_graph
from tests.graphs.scenes import HEADS, SCENES
from tests.graphs.summed import quantize_with_logits, with_sum_gates

__all__ = [
    "HEADS",
    "SAMPLES",
    "SCENES",
    "Builder",
    "RandomGraph",
    "divisors",
    "in_order",
    "merged",
    "mixed",
    "quantize_with_logits",
    "random_graph",
    "relabelled",
    "split",
    "with_sum_gates",
]
