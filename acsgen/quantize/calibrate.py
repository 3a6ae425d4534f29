# SPDX-License-Identifier: Apache-2.0
"""Calibration: the range of every tensor over sample inputs, and the data files that hold them."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from acsgen.errors import AcsgenError
from acsgen.graph import Graph
from acsgen.graph.evaluate import evaluate
from acsgen.graph.ops import Shape

Range = tuple[float, float]

#: Samples evaluated at a time: bounds memory, every tensor of a batch is alive at once.
BATCH = 50


@dataclass(frozen=True)
class Samples:
    """Inputs in the model's own units. x: float32 (N, *shape); y: int64 labels (N,) or None."""

    x: NDArray[np.float32]
    y: NDArray[np.int64] | None

    def first(self, count: int) -> Samples:
        return Samples(self.x[:count], None if self.y is None else self.y[:count])


def load_samples(path: Path, shape: Shape) -> Samples:
    """Reads an `.npz` of samples.

    Arrays: `x` (N, *shape) of any numeric type; optional `scale`, a number that x is multiplied by
    (so that images may be stored as uint8); optional `y` (N,) labels.
    Raises AcsgenError on another shape, NaN or infinity, no samples, or no such file.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ("x", "y", "scale") if name in file.files}
    except FileNotFoundError as error:
        raise AcsgenError(f"{path}: no such file") from error
    except (ValueError, OSError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise AcsgenError(f"{path}: no .npz file of samples (arrays x, and optionally y and scale)") from error
    if "x" not in arrays or arrays["x"].dtype.kind not in "buif":
        raise AcsgenError(f"{path}: needs a numeric array 'x' of shape (N, {', '.join(map(str, shape))})")
    x = arrays["x"]
    if x.shape[1:] != shape or not len(x):
        raise AcsgenError(f"{path}: 'x' has shape {x.shape}, the model needs (N, {', '.join(map(str, shape))})")
    scaled = (x * np.float32(arrays.get("scale", 1.0))).astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(scaled).reshape(len(x), -1).all(axis=1))
    if len(bad):
        raise AcsgenError(f"{path}: NaN or infinity in {len(bad)} of {len(x)} samples, first in sample {bad[0]}")
    y = arrays.get("y")
    if y is not None and (y.shape != (len(x),) or y.dtype.kind not in "ui"):
        raise AcsgenError(f"{path}: 'y' has shape {y.shape} and type {y.dtype}, needs {len(x)} integer labels")
    return Samples(scaled, None if y is None else y.astype(np.int64))


def calibrate(
    graph: Graph, x: NDArray[np.float32], progress: Callable[[int], None] = lambda done: None
) -> dict[str, Range]:
    """Minimum and maximum of every tensor over the samples x (N, *input shape), masks applied."""
    ranges: dict[str, Range] = {}
    for start in range(0, len(x), BATCH):
        batch = x[start : start + BATCH]
        for name, values in evaluate(graph, batch).items():
            low, high = ranges.get(name, (np.inf, -np.inf))
            ranges[name] = (min(low, float(values.min())), max(high, float(values.max())))
        progress(len(batch))
    return ranges
