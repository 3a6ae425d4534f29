# SPDX-License-Identifier: Apache-2.0
"""Calibration: the range of every tensor over sample inputs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from acsgen.errors import AcsgenError
from acsgen.graph import Graph
from acsgen.graph.evaluate import evaluate

Range = tuple[float, float]

#: Samples evaluated at a time: bounds memory, every tensor of a batch is alive at once.
BATCH = 50

#: With fewer samples the ranges are a guess.
FEW_SAMPLES = 32


def calibrate(
    graph: Graph, x: NDArray[np.float32], progress: Callable[[int], None] = lambda done: None
) -> dict[str, Range]:
    """Minimum and maximum of every tensor over the samples x (N, *input shape), masks applied.

    Raises AcsgenError where a value is NaN or infinite, and if the samples are one constant: no range is in them.
    """
    if x.min() == x.max():
        raise AcsgenError(f"every value of the calibration samples is {x.min():g}: give samples as in training")
    ranges: dict[str, Range] = {}
    for start in range(0, len(x), BATCH):
        batch = x[start : start + BATCH]
        with np.errstate(all="ignore"):
            tensors = evaluate(graph, batch)
        for name, values in tensors.items():
            if not np.isfinite(values).all():
                raise AcsgenError(
                    f"tensor '{name}' becomes NaN or infinite on samples {start} to {start + len(batch) - 1}: "
                    "are the samples scaled as in training?"
                )
            low, high = ranges.get(name, (np.inf, -np.inf))
            ranges[name] = (min(low, float(values.min())), max(high, float(values.max())))
        progress(len(batch))
    return ranges
