# SPDX-License-Identifier: Apache-2.0
"""Where images come from, how they are divided, and what is said when they cannot be had."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image

from acsgen.errors import AcsgenError
from acsgen.nn import data, data_files
from acsgen.nn.data import Dataset, DataSpec, load
from acsgen.nn.data_files import read_idx


def idx_bytes(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def numbered(count: int, first: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 4, 5) whose first two bytes are their own number, and labels: the number modulo 3."""
    numbers = np.arange(first, first + count)
    images = np.zeros((count, 4, 5), np.uint8)
    images[:, 0, 0], images[:, 0, 1] = numbers // 256, numbers % 256
    return images, (numbers % 3).astype(np.uint8)


def write_idx_folder(folder: Path, packed: bool) -> Path:
    folder.mkdir(exist_ok=True)
    for prefix, (images, labels) in (("train", numbered(300)), ("t10k", numbered(60, 300))):
        for name, array in (("images-idx3", images), ("labels-idx1", labels)):
            content = idx_bytes(array)
            path = folder / f"{prefix}-{name}-ubyte{'.gz' if packed else ''}"
            path.write_bytes(gzip.compress(content) if packed else content)
    return folder


def numbers_of(x: np.ndarray) -> np.ndarray:
    bytes_ = np.rint(x[:, 0, :2, 0].astype(np.float64) * 255).astype(int)
    return np.asarray(bytes_[:, 0] * 256 + bytes_[:, 1])


def check(dataset: Dataset, train: int, validation: int, test: int) -> list[np.ndarray]:
    """The parts have these sizes, right types, ranges and labels, and share no image; returns their numbers."""
    found = []
    for split, count in ((dataset.train, train), (dataset.validation, validation), (dataset.test, test)):
        assert split.x.dtype == np.float32 and split.y.dtype == np.int64
        assert split.x.shape == (count, 4, 5, 1) and split.y.shape == (count,)
        assert split.x.min() >= 0 and split.x.max() <= 1
        found.append(numbers_of(split.x))
        np.testing.assert_array_equal(split.y, found[-1] % 3)
    everything = np.concatenate(found)
    assert len(np.unique(everything)) == len(everything) == train + validation + test
    return found


@pytest.mark.parametrize("packed", [False, True])
def test_idx_folder(packed: bool, tmp_path: Path) -> None:
    folder = write_idx_folder(tmp_path / "set", packed)
    spec = DataSpec("idx", folder, validation=40, seed=3)
    dataset = load(spec)
    train, validation, test = check(dataset, 260, 40, 60)
    assert dataset.classes == 3 and test.tolist() == list(range(300, 360))
    # As the demo divides: the first of the permutation are held back.
    order = np.random.default_rng(3).permutation(300)
    assert validation.tolist() == order[:40].tolist() and train.tolist() == order[40:].tolist()
    assert dataset.description == "set: 3 classes, 4x5x1, 260 train, 40 validation, 60 test images, seed 3"
    fewer = check(load(DataSpec("idx", folder, train=20, validation=40, test=10, seed=3)), 20, 40, 10)
    assert fewer[0].tolist() == train[:20].tolist() and set(fewer[2]) < set(test)
    other = check(load(DataSpec("idx", folder, validation=40, seed=4)), 260, 40, 60)
    assert set(other[1]) != set(validation)


def test_idx_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "file"
    good = idx_bytes(numbered(3)[0])
    for content, message in (
        (good[:-1], "truncated, 59 of 60 bytes"),
        (good[:9], "bad shape"),
        (b"\0\0\x09" + good[3:], "not an idx file"),
        (struct.pack(">HBB3I", 0, 8, 3, 2**31, 2**31, 2**31), "at most"),  # and no memory is asked for
        (b"", "not an idx file"),
    ):
        path.write_bytes(content)
        with pytest.raises(AcsgenError, match=message):
            read_idx(path)
    (tmp_path / "file.gz").write_bytes(gzip.compress(good)[:-12])
    with pytest.raises(AcsgenError, match="cannot be read"):
        read_idx(tmp_path / "file.gz")
    with pytest.raises(AcsgenError, match="no such file"):
        load(DataSpec("idx", tmp_path / "nowhere"))


def test_npz_with_one_set(tmp_path: Path) -> None:
    images, labels = numbered(100)
    np.savez(tmp_path / "a.npz", x=images, y=labels)
    bytes_ = load(DataSpec("npz", tmp_path / "a.npz"))
    check(bytes_, 80, 10, 10)
    np.savez(tmp_path / "b.npz", x=images.astype(np.float64), y=labels.astype(np.int32), scale=np.float32(1 / 255))
    scaled = load(DataSpec("npz", tmp_path / "b.npz"))
    for name in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(bytes_, name).x, getattr(scaled, name).x)
    np.testing.assert_array_equal(bytes_.train.x, images[..., None][numbers_of(bytes_.train.x)] * np.float32(1 / 255))


def test_npz_with_its_own_parts(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {}
    for part, (count, first) in {"train": (50, 0), "validation": (20, 50), "test": (30, 70)}.items():
        arrays[f"x_{part}"], arrays[f"y_{part}"] = numbered(count, first)
    np.savez(tmp_path / "a.npz", class_names=np.array(["x", "y", "z"]), **arrays)
    dataset = load(DataSpec("npz", tmp_path / "a.npz", validation=15))
    train, validation, test = check(dataset, 50, 15, 30)
    assert max(train) < 50 <= min(validation) and test.tolist() == list(range(70, 100))
    assert dataset.class_names == ("x", "y", "z")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((9, 4, 5), np.uint8)}, "has x, but no y"),
        ({"y": np.arange(9)}, "needs the arrays x and y"),
        ({"x": np.zeros((9, 4, 5)), "y": np.arange(8)}, "needs 9 integers"),
        ({"x": np.zeros((9, 4, 5)), "y": np.arange(9) - 1}, "integers from 0"),
        ({"x": np.zeros((9, 4)), "y": np.arange(9)}, r"\(N, H, W, C\)"),
        ({"x": np.full((9, 4, 5), 255.0), "y": np.arange(9)}, "outside 0..1"),
        ({"x": np.full((9, 4, 5), np.nan), "y": np.arange(9)}, "NaN"),
        ({"x": np.zeros((9, 4, 5)), "y": np.arange(9), "scale": np.zeros(2)}, "'scale' is one number"),
        ({"x": np.zeros((9, 4, 5)), "y": np.zeros(9, int)}, "all labels are the same"),
        ({"x": np.zeros((1, 4, 5)), "y": np.zeros(1, int)}, "1 images for 'test' asked for, 0 are left"),
    ],
)
def test_npz_that_will_not_do(arrays: dict[str, np.ndarray], message: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", allow_pickle=False, **arrays)
    with pytest.raises(AcsgenError, match=message):
        load(DataSpec("npz", tmp_path / "a.npz"))


def test_sizes_are_looked_at_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = numbered(100)
    np.savez(tmp_path / "a.npz", x=images, y=labels)
    monkeypatch.setattr(data, "MAX_BYTES", 100 * 4 * 5 * 4 - 1)
    with pytest.raises(AcsgenError, match="the images take 8000 bytes, at most 7999"):
        load(DataSpec("npz", tmp_path / "a.npz"))
    check(load(DataSpec("npz", tmp_path / "a.npz", train=79)), 79, 10, 10)
    monkeypatch.setattr(data_files, "MAX_FILE_BYTES", 1000)
    with pytest.raises(AcsgenError, match="at most 1000 are read"):
        load(DataSpec("npz", tmp_path / "a.npz"))


def write_pictures(folder: Path, count: int) -> None:
    for number, (name, colour) in enumerate({"cat": (255, 0, 0), "dog": (0, 51, 0)}.items()):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            size = (5, 4) if i % 2 else (10, 8)
            Image.new("RGB", size, colour).save(folder / name / f"{i}.{'png' if number else 'bmp'}")
        (folder / name / "notes.txt").write_text("no picture", encoding="utf-8")


def test_folder_of_pictures(tmp_path: Path) -> None:
    write_pictures(tmp_path, 10)
    dataset = load(DataSpec("folder", tmp_path, size=(4, 5)))
    assert dataset.class_names == ("cat", "dog") and dataset.classes == 2
    assert [len(split.y) for split in (dataset.train, dataset.validation, dataset.test)] == [16, 2, 2]
    wanted = np.array([[1, 0, 0], [0, 0.2, 0]], np.float32)[dataset.train.y]
    np.testing.assert_allclose(dataset.train.x, np.broadcast_to(wanted[:, None, None], (16, 4, 5, 3)), atol=1e-6)
    grey = load(DataSpec("folder", tmp_path, channels=1))
    assert grey.train.x.shape == (16, 8, 10, 1)  # as large as the first picture
    # ITU-R 601: 0.299 of the red, 0.587 of the green.
    np.testing.assert_allclose(grey.train.x[:, 0, 0, 0], np.array([0.299, 0.1174])[grey.train.y], atol=0.5 / 255)


def test_folder_with_its_own_test(tmp_path: Path) -> None:
    write_pictures(tmp_path / "train", 10)
    write_pictures(tmp_path / "test", 3)
    dataset = load(DataSpec("folder", tmp_path, validation=4))
    assert [len(split.y) for split in (dataset.train, dataset.validation, dataset.test)] == [16, 4, 6]
    (tmp_path / "test" / "cow").mkdir()
    Image.new("L", (5, 4)).save(tmp_path / "test" / "cow" / "a.png")
    with pytest.raises(AcsgenError, match="a class that"):
        load(DataSpec("folder", tmp_path))


def test_pictures_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AcsgenError, match="no such folder"):
        load(DataSpec("folder", tmp_path / "nowhere"))
    with pytest.raises(AcsgenError, match="no pictures in sub-folders"):
        load(DataSpec("folder", tmp_path))
    write_pictures(tmp_path, 10)
    monkeypatch.setattr(data_files, "MAX_PIXELS", 79)
    with pytest.raises(AcsgenError, match="10 x 8 pixels are too many"):
        load(DataSpec("folder", tmp_path, size=(4, 5)))
    monkeypatch.undo()
    (tmp_path / "cat" / "0.bmp").write_bytes(b"BM")
    with pytest.raises(AcsgenError, match=r"0\.bmp: cannot be read as a picture"):
        load(DataSpec("folder", tmp_path))


def test_digits_come_with_a_package() -> None:
    dataset = load(DataSpec("digits", train=300, validation=200, test=100))
    assert dataset.train.x.shape == (300, 28, 28, 1) and dataset.classes == 10
    assert dataset.train.x.max() == 1.0
    assert set(dataset.train.y) == set(range(10))
    # A digit looks like the mean of its own class more than like that of another: labels belong to images.
    means = np.stack([dataset.train.x[dataset.train.y == k].mean(axis=0).ravel() for k in range(10)])
    distance = ((dataset.test.x.reshape(100, 1, -1) - means) ** 2).sum(axis=-1)
    assert (distance.argmin(axis=1) == dataset.test.y).mean() > 0.6


def test_fashion_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "FASHION_MNIST", tmp_path / "fashion")
    with pytest.raises(AcsgenError, match=r"apt-get install .* dataset-fashion-mnist"):
        load(DataSpec())
    write_idx_folder(tmp_path / "fashion", packed=True)
    dataset = load(DataSpec(validation=100))
    check(dataset, 200, 100, 60)
    assert dataset.classes == len(dataset.class_names) == 10


def test_keras_datasets(monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = numbered(120)
    parts = (images[:100], labels[:100, None]), (images[100:], labels[100:, None])  # labels as of CIFAR
    monkeypatch.setattr(keras.datasets.cifar10, "load_data", lambda: parts)
    check(load(DataSpec("keras:cifar10")), 90, 10, 20)

    def refuse() -> None:
        raise OSError("URL fetch failure on https://x: None\n -- no network")

    monkeypatch.setattr(keras.datasets.mnist, "load_data", refuse)
    with pytest.raises(AcsgenError) as caught:
        load(DataSpec("keras:mnist"))
    assert str(caught.value) == (
        "keras:mnist: could not be fetched, take a source that needs no network: URL fetch failure on https://x: None"
    )


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (DataSpec("fashion_mnist"), "data source 'fashion_mnist' is not known; did you mean fashion-mnist?"),
        (DataSpec("zzz"), "data source 'zzz' is not known; there are fashion-mnist, digits, npz, idx, folder, keras:"),
        (DataSpec("keras:cifar"), "keras.datasets has no images called 'cifar'"),
        (DataSpec("keras"), "data source 'keras' is not known"),
        (DataSpec("npz"), "data source 'npz' needs 'path'"),
        (DataSpec("digits", Path("x")), "data source 'digits' has no 'path'"),
        (DataSpec("npz", Path("nowhere.npz")), "nowhere.npz: no such file"),
        (DataSpec("npz", Path(__file__)), "no .npz file of images"),
    ],
)
def test_sources_that_are_none(spec: DataSpec, message: str) -> None:
    with pytest.raises(AcsgenError) as caught:
        load(spec)
    assert message in str(caught.value) and "\n" not in str(caught.value)
