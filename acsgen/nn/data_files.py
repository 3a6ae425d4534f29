# SPDX-License-Identifier: Apache-2.0
"""Labelled images in files: idx, `.npz`, and folders of pictures. Sizes are looked at before memory is asked for."""

from __future__ import annotations

import gzip
import math
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from acsgen.errors import AcsgenError

__all__ = ["MAX_FILE_BYTES", "Pool", "read_folder", "read_idx", "read_idx_folder", "read_npz"]

#: A file that unpacks to more is refused.
MAX_FILE_BYTES = 2**31
#: A picture with more pixels is refused.
MAX_PIXELS = 2**26
_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")


@dataclass(frozen=True)
class Pool:
    """Images to choose from. y: (N,) int64; take(rows) gives (len(rows), H, W, C) float32 in [0, 1]."""

    title: str
    shape: tuple[int, int, int]
    y: NDArray[np.int64]
    take: Callable[[NDArray[np.int64]], NDArray[np.float32]]
    class_names: tuple[str, ...] = ()

    @staticmethod
    def of_array(
        title: str, x: NDArray[Any], y: NDArray[Any], class_names: tuple[str, ...] = (), scale: float | None = None
    ) -> Pool:
        """Images (N, H, W) or (N, H, W, C) and labels (N,), checked. scale: of x, 1 / 255 for bytes by default."""
        x = x[..., None] if x.ndim == 3 else x
        if x.ndim != 4 or x.dtype.kind not in "uif" or not x.size:
            raise AcsgenError(f"{title}: images have shape {x.shape} and type {x.dtype}, needs numbers (N, H, W, C)")
        if y.shape != (len(x),) or y.dtype.kind not in "ui" or y.min() < 0:
            raise AcsgenError(
                f"{title}: labels have shape {y.shape} and type {y.dtype}, needs {len(x)} integers from 0"
            )
        if class_names and y.max() >= len(class_names):
            raise AcsgenError(f"{title}: label {y.max()}, but {len(class_names)} classes: labels start at 0")
        factor = np.float32(scale if scale is not None else 1 / 255 if x.dtype == np.uint8 else 1)

        def take(rows: NDArray[np.int64]) -> NDArray[np.float32]:
            images = x[rows].astype(np.float32) * factor
            # NaN is not between them either.
            if not (images.min() >= 0 and images.max() <= 1 + 1e-6):
                raise AcsgenError(
                    f"{title}: images outside 0..1 or NaN: give bytes, or a 'scale' that brings them there"
                )
            return cast(NDArray[np.float32], images)

        return Pool(title, cast(tuple[int, int, int], x.shape[1:]), y.astype(np.int64), take, class_names)


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Reads an idx file of bytes, gzipped if it ends in `.gz`: any shape of up to 4 axes, uint8."""
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            magic = file.read(4)
            if len(magic) != 4 or magic[:3] != b"\0\0\x08" or not 1 <= magic[3] <= 4:
                raise AcsgenError(f"{path}: not an idx file of unsigned bytes")
            header = file.read(4 * magic[3])
            shape = tuple(int(n) for n in np.frombuffer(header[: len(header) // 4 * 4], ">u4"))
            size = math.prod(shape)
            if len(shape) != magic[3] or not size:
                raise AcsgenError(f"{path}: bad shape {shape}")
            if size > MAX_FILE_BYTES:
                raise AcsgenError(f"{path}: {size} bytes, at most {MAX_FILE_BYTES} are read")
            data = np.frombuffer(file.read(size), np.uint8)
    except FileNotFoundError as error:
        raise AcsgenError(f"{path}: no such file") from error
    except (EOFError, OSError, zlib.error) as error:
        raise AcsgenError(f"{path}: cannot be read: {error}") from error
    if data.size != size:
        raise AcsgenError(f"{path}: truncated, {data.size} of {size} bytes")
    return data.reshape(shape)


def read_idx_folder(folder: Path, title: str, class_names: tuple[str, ...] = ()) -> dict[str, Pool]:
    """The four files of MNIST and its kin: {train,t10k}-{images-idx3,labels-idx1}-ubyte, with or without `.gz`."""
    pools = {}
    for part, prefix in (("train", "train"), ("test", "t10k")):
        images, labels = (
            read_idx(packed if (packed := folder / f"{name}.gz").exists() else folder / name)
            for name in (f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte")
        )
        pools[part] = Pool.of_array(title, images, labels, class_names)
    return pools


def read_npz(path: Path) -> dict[str, Pool]:
    """Arrays `x` and `y`, or `x_train`, `y_train` with `x_test`, `y_test` or `x_validation`, `y_validation` or both;
    optionally `scale`, a number that the images are multiplied by, and `class_names`."""
    known = {
        f"{axis}{end}": part
        for end, part in (("", "train"), ("_train", "train"), ("_validation", "validation"), ("_test", "test"))
        for axis in "xy"
    }
    try:
        with path.open("rb") as stream, zipfile.ZipFile(stream) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > MAX_FILE_BYTES:
            raise AcsgenError(f"{path}: {size} bytes unpacked, at most {MAX_FILE_BYTES} are read: give fewer images")
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in (*known, "scale", "class_names") if name in file.files}
    except FileNotFoundError as error:
        raise AcsgenError(f"{path}: no such file") from error
    except AcsgenError:
        raise
    except Exception as error:  # a damaged archive raises whatever its broken part makes of it
        raise AcsgenError(f"{path}: no .npz file of images, or a damaged one: {error}") from error
    scale = arrays.get("scale")
    if scale is not None and (scale.shape != () or scale.dtype.kind not in "uif" or not 0 < scale < np.inf):
        raise AcsgenError(f"{path}: 'scale' is one number above 0 that the images are multiplied by")
    if ("x" in arrays) == ("x_train" in arrays):
        raise AcsgenError(f"{path}: needs the arrays x and y, or x_train and y_train, and not both")
    names = tuple(str(name) for name in arrays.get("class_names", np.array([])).reshape(-1))
    pools = {}
    for name, part in known.items():
        if name.startswith("x") and name in arrays:
            labels = arrays.get(f"y{name[1:]}")
            if labels is None:
                raise AcsgenError(f"{path}: has {name}, but no y{name[1:]}")
            title = path.name if part == "train" else f"{path.name}, {part}"
            pools[part] = Pool.of_array(title, arrays[name], labels, names, None if scale is None else float(scale))
    return pools


def read_folder(folder: Path, size: tuple[int, int] | None, channels: int) -> dict[str, Pool]:
    """Pictures, a sub-folder for each class; these in folders `train`, and `test` or `validation` or both, if there.

    size: rows and columns that pictures are brought to; without it those of the first one.
    Only the chosen ones are decoded.
    """
    if not folder.is_dir():
        raise AcsgenError(f"{folder}: no such folder")
    parts = {part: folder / part for part in ("train", "validation", "test") if (folder / part).is_dir()}
    if "train" not in parts:
        parts = {"train": folder}
    names = tuple(sorted(path.name for path in parts["train"].iterdir() if path.is_dir()))
    pools: dict[str, Pool] = {}
    for part, place in parts.items():
        files, labels = [], []
        for path in sorted(place.iterdir()):
            found = [p for p in sorted(path.glob("*")) if p.suffix.lower() in _SUFFIXES] if path.is_dir() else []
            if found and path.name not in names:
                raise AcsgenError(f"{path}: a class that {parts['train']} has not")
            files += found
            labels += [names.index(path.name)] * len(found) if found else []
        if not files:
            raise AcsgenError(f"{place}: no pictures in sub-folders, one for each class")
        if size is None:
            size = _opened(files[0], lambda image: (image.height, image.width))
        pools[part] = _pictures(str(folder), files, np.array(labels, np.int64), size, channels, names)
    return pools


def _pictures(
    title: str, files: list[Path], y: NDArray[np.int64], size: tuple[int, int], channels: int, names: tuple[str, ...]
) -> Pool:
    shape = (*size, channels)

    def decode(image: Any) -> NDArray[np.uint8]:
        # Resampled before the colours are reduced, a palette would be mixed: convert first.
        image = image.convert("L" if channels == 1 else "RGB")
        if image.size != size[::-1]:
            image = image.resize(size[::-1])
        return np.asarray(image, np.uint8).reshape(shape)

    def take(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        images = np.empty((len(rows), *shape), np.float32)
        for i, row in enumerate(rows):
            images[i] = _opened(files[row], decode)
        images *= np.float32(1 / 255)
        return images

    return Pool(title, shape, y, take, names)


def _opened(path: Path, read: Callable[[Any], Any]) -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise AcsgenError("the source 'folder' needs Pillow: pip install 'acsgen[data]'") from error
    try:
        with Image.open(path) as image:  # reads the header only
            if image.width * image.height > MAX_PIXELS:
                raise AcsgenError(f"{path}: {image.width} x {image.height} pixels are too many: give it smaller")
            return read(image)
    except AcsgenError:
        raise
    except Exception as error:  # a damaged picture raises whatever its format's reader makes of it
        raise AcsgenError(f"{path}: cannot be read as a picture: {error}") from error
