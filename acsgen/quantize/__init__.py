# SPDX-License-Identifier: Apache-2.0
"""Float graph to int8 graph: fold, order the channels, calibrate, quantise, decide on sums; the model.acsq file."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from acsgen.graph import Graph
from acsgen.quantize.calibrate import calibrate
from acsgen.quantize.fold import fold
from acsgen.quantize.int8 import quantize_graph
from acsgen.quantize.permute import make_groups_contiguous
from acsgen.quantize.sums import decide_on_sums
from acsgen.quantize.tail import collapse_tails


def prepare(graph: Graph) -> Graph:
    """The float graph that is quantised: BN folded, linear tails of gates collapsed, groups contiguous."""
    return make_groups_contiguous(collapse_tails(fold(graph)))


def quantize(
    graph: Graph,
    calibration: NDArray[np.float32],
    progress: Callable[[int], None] = lambda done: None,
    *,
    sums: bool = True,
) -> Graph:
    """The int8 graph of a float graph.

    calibration: float32 (N, *input shape). progress is called with the number of samples just done. sums: whether
    gates may decide on the accumulator of their last layer; else each has its logits.
    """
    prepared = prepare(graph)
    quantized = quantize_graph(prepared, calibrate(prepared, calibration, progress))
    return decide_on_sums(quantized, prepared, calibration) if sums else quantized
