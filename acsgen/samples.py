# SPDX-License-Identifier: Apache-2.0
"""Samples: inputs for calibration and verification, and the `.npz` files that hold them."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acsgen.errors import AcsgenError
from acsgen.graph import Graph

#: A file of samples that unpacks to more is refused.
MAX_BYTES = 2**31


@dataclass(frozen=True)
class Samples:
    """Inputs in the model's own units. x: float32 (N, *shape); y: int64 labels (N,) or None."""

    x: NDArray[np.float32]
    y: NDArray[np.int64] | None

    def first(self, count: int) -> Samples:
        return Samples(self.x[:count], None if self.y is None else self.y[:count])


def load_samples(path: Path, graph: Graph) -> Samples:
    """`read_samples`, then `check_samples`."""
    samples = read_samples(path)
    check_samples(samples, graph, path)
    return samples


def read_samples(path: Path) -> Samples:
    """Reads an `.npz` of samples, or an `.npy` of their `x`.

    It needs no model, so that a wrong file is found before one is loaded.

    Arrays: `x` (N, *shape) of any numeric type; optional `scale`, a number that x is multiplied by
    (so that images may be stored as uint8); optional `y` (N,) labels.
    Raises AcsgenError on NaN or infinity, no samples, or no such file.
    """
    arrays = _read_arrays(path)
    if "x" not in arrays or arrays["x"].dtype.kind not in "buif":
        raise AcsgenError(f"{path}: needs a numeric array 'x' of shape (N, ...)")
    x, scale = arrays["x"], arrays.get("scale", np.float32(1))
    if not x.ndim or not x.size:
        raise AcsgenError(f"{path}: 'x' has shape {x.shape}, the model needs (N, ...) with N above 0")
    if scale.shape != () or scale.dtype.kind not in "uif" or not 0 < scale < np.inf:
        raise AcsgenError(f"{path}: 'scale' is one number above 0 that x is multiplied by")
    with np.errstate(over="ignore"):
        scaled = x.astype(np.float32) * np.float32(scale)
    bad = np.flatnonzero(~np.isfinite(scaled).reshape(len(x), -1).all(axis=1))
    if len(bad):
        raise AcsgenError(f"{path}: NaN or infinity in {len(bad)} of {len(x)} samples, first in sample {bad[0]}")
    y = arrays.get("y")
    if y is not None and (y.shape != (len(x),) or y.dtype.kind not in "ui"):
        raise AcsgenError(f"{path}: 'y' has shape {y.shape} and type {y.dtype}, needs {len(x)} integer labels")
    return Samples(scaled, None if y is None else y.astype(np.int64))


def check_samples(samples: Samples, graph: Graph, path: Path) -> None:
    """AcsgenError if samples, read from `path`, have not the shape or the classes of a model."""
    shape, classes = graph.shape(graph.input), prod(graph.shape(graph.output))
    if samples.x.shape[1:] != shape:
        wanted = f"(N, {', '.join(map(str, shape))})"
        raise AcsgenError(f"{path}: 'x' has shape {samples.x.shape}, the model needs {wanted} with N above 0")
    if samples.y is not None:
        bad = np.flatnonzero((samples.y < 0) | (samples.y >= classes))
        if len(bad):
            raise AcsgenError(
                f"{path}: 'y' has label {samples.y[bad[0]]} in sample {bad[0]}, "
                f"the model has {classes} outputs: labels are 0 to {classes - 1}"
            )


def load_inputs(path: Path, graph: Graph) -> NDArray[np.int8]:
    """Reads a `.npy` file of one input (*shape) or several (N, *shape), as the int8 that an int8 graph reads.

    int8 is taken as it is; everything else is in the model's own units and quantised.
    Raises AcsgenError on another shape or type, NaN or infinity, no inputs, or no such file.
    """
    from acsgen.golden.interpreter import quantize_input

    try:
        with path.open("rb") as stream:
            x = np.load(stream, allow_pickle=False)
    except FileNotFoundError as error:
        raise AcsgenError(f"{path}: no such file") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise AcsgenError(f"{path}: no .npy file of an array, or a damaged one: {error}") from error
    shape = graph.shape(graph.input)
    if not isinstance(x, np.ndarray) or x.dtype.kind not in "buif":
        raise AcsgenError(f"{path}: needs a numeric array, saved with numpy.save")
    if x.shape == shape:
        x = x[None]
    if x.shape[1:] != shape or not x.size:
        wanted = ", ".join(map(str, shape))
        raise AcsgenError(f"{path}: has shape {x.shape}, the model needs ({wanted}) or (N, {wanted}) with N above 0")
    if not np.isfinite(x).all():
        raise AcsgenError(f"{path}: NaN or infinity in it")
    return x if x.dtype == np.int8 else quantize_input(graph, x.astype(np.float32))


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        if path.suffix == ".npy":
            return {"x": np.load(path, mmap_mode="r", allow_pickle=False)}
        with path.open("rb") as stream, zipfile.ZipFile(stream) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > MAX_BYTES:
            raise AcsgenError(f"{path}: {size} bytes unpacked, at most {MAX_BYTES} are read: give fewer samples")
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in ("x", "y", "scale") if name in file.files}
    except FileNotFoundError as error:
        raise AcsgenError(f"{path}: no such file") from error
    except AcsgenError:
        raise
    except OSError as error:
        raise AcsgenError(f"{path}: cannot be read: {error.strerror or error}") from error
    except Exception as error:  # a damaged archive raises whatever its broken part makes of it
        raise AcsgenError(
            f"{path}: no .npz file of samples (arrays x, and optionally y and scale), or a damaged one: {error}"
        ) from error
