# SPDX-License-Identifier: Apache-2.0
"""Sample files that are read, sample files that are refused, and the ranges that samples give."""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acsgen.errors import AcsgenError
from acsgen.graph import Dense, Flatten, Graph, Tensor
from acsgen.graph.evaluate import evaluate
from acsgen.graph.ir import make_graph
from acsgen.quantize.calibrate import BATCH, calibrate
from acsgen.samples import load_samples, read_samples
from tests.graphs import random_graph

SHAPE = (3, 2, 1)
GOOD = np.arange(24, dtype=np.uint8).reshape(4, *SHAPE)
#: Takes such samples and has four outputs.
MODEL = make_graph(
    "net",
    Tensor("x", SHAPE),
    "y",
    [Flatten("f", ("x",), "f"), Dense("y", ("f",), "y", np.ones((4, 6), np.float32), np.zeros(4, np.float32))],
)


def npz(path: Path, **arrays: Any) -> Path:
    with path.open("wb") as stream:
        np.savez(stream, **arrays)
    return path


@pytest.mark.parametrize(
    "dtype", ["u1", "i1", "i4", "u8", "f2", "f4", "f8", ">i2", ">f4", "?", "g"], ids=lambda name: np.dtype(name).name
)
def test_any_numeric_type(dtype: str, tmp_path: Path) -> None:
    samples = load_samples(npz(tmp_path / "s", x=GOOD.astype(dtype)), MODEL)
    assert samples.x.dtype == np.float32
    np.testing.assert_array_equal(samples.x, GOOD.astype(dtype).astype(np.float32))
    assert samples.y is None


def test_scale_and_labels(tmp_path: Path) -> None:
    path = npz(tmp_path / "s", x=GOOD, y=np.array([3, 1, 2, 0], np.uint8), scale=np.float32(1 / 255), more=1)
    samples = load_samples(path, MODEL)
    np.testing.assert_array_equal(samples.x, GOOD.astype(np.float32) * np.float32(1 / 255))
    assert samples.y is not None and samples.y.dtype == np.int64
    first = samples.first(2)
    assert len(first.x) == 2 and first.y is not None and first.y.tolist() == [3, 1]
    assert len(samples.first(100).x) == 4


def text(path: Path) -> None:
    path.write_text("x,y\n1,2\n", encoding="utf-8")


def lone_array(path: Path) -> None:
    with path.open("wb") as stream:
        np.save(stream, GOOD)


def corrupt(path: Path) -> None:
    npz(path, x=np.random.default_rng(0).random((100, *SHAPE)))
    content = bytearray(path.read_bytes())
    content[2000] ^= 0x55
    path.write_bytes(content)


def claims_to_be_huge(path: Path) -> None:
    stream = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": (10**13, *SHAPE)}
    np.lib.format.write_array_header_1_0(stream, header)  # type: ignore[arg-type]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", stream.getvalue() + bytes(100))


def saves(**arrays: Any) -> Callable[[Path], object]:
    return lambda path: npz(path, **arrays)


NO_SAMPLES = r"no \.npz file of samples \(arrays x, and optionally y and scale\), or a damaged one"
REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, "no such file"),
    "folder": (lambda path: path.mkdir(), "cannot be read: Is a directory"),
    "empty": (lambda path: path.touch(), NO_SAMPLES),
    "text": (text, NO_SAMPLES),
    "npy": (lone_array, NO_SAMPLES),
    "corrupt": (corrupt, NO_SAMPLES),
    "huge": (claims_to_be_huge, NO_SAMPLES),
    "objects": (saves(x=np.array([{}, []], object)), f"{NO_SAMPLES}: Object arrays cannot be loaded"),
    "objects as labels": (saves(x=GOOD, y=np.array([None] * 4)), NO_SAMPLES),
    "no x": (saves(images=GOOD), r"needs a numeric array 'x' of shape \(N, \.\.\.\)"),
    "text as x": (saves(x=np.array(["a", "b"])), "needs a numeric array 'x'"),
    "complex x": (saves(x=GOOD.astype(complex)), "needs a numeric array 'x'"),
    "a number as x": (saves(x=np.float32(3)), r"'x' has shape \(\), the model needs \(N, \.\.\.\)"),
    "one sample without N": (saves(x=GOOD[0]), r"'x' has shape \(3, 2, 1\), the model needs \(N, 3, 2, 1\)"),
    "without channels": (saves(x=GOOD[..., 0]), r"'x' has shape \(4, 3, 2\), the model needs"),
    "no samples": (saves(x=GOOD[:0]), r"'x' has shape \(0, 3, 2, 1\), the model needs .* with N above 0"),
    "NaN": (
        saves(x=np.where(GOOD == 13, np.nan, GOOD.astype(np.float32))),
        "NaN or infinity in 1 of 4 samples, first in sample 2",
    ),
    "more than a float": (saves(x=GOOD * 1e300), "NaN or infinity in 4 of 4 samples"),
    "scale of text": (saves(x=GOOD, scale="1/255"), "'scale' is one number above 0"),
    "scale of many": (saves(x=GOOD, scale=np.ones(3)), "'scale' is one number above 0"),
    "scale 0": (saves(x=GOOD, scale=0), "'scale' is one number above 0"),
    "scale NaN": (saves(x=GOOD, scale=np.nan), "'scale' is one number above 0"),
    "too few labels": (saves(x=GOOD, y=np.arange(3)), r"'y' has shape \(3,\) and type int64, needs 4 integer labels"),
    "labels one-hot": (saves(x=GOOD, y=np.eye(4)), r"'y' has shape \(4, 4\) .* needs 4 integer labels"),
    "a label too many": (
        saves(x=GOOD, y=np.array([0, 3, 4, 99])),
        "'y' has label 4 in sample 2, the model has 4 outputs: labels are 0 to 3",
    ),
    "a label below 0": (saves(x=GOOD, y=np.array([0, -1, 0, 0])), "'y' has label -1 in sample 1"),
    "a label beyond int64": (saves(x=GOOD, y=np.array([0, 2**63, 0, 0], np.uint64)), "'y' has label .* in sample 1"),
    "labels of text": (saves(x=GOOD, y=np.array(list("abcd"))), "needs 4 integer labels"),
}


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(make: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    path = tmp_path / "samples.npz"
    make(path)
    with pytest.raises(AcsgenError, match=message) as raised:
        load_samples(path, MODEL)
    assert str(raised.value).startswith(f"{path}: ") and "\n" not in str(raised.value)


def test_more_than_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[load_samples.__module__], "MAX_BYTES", 10)
    with pytest.raises(AcsgenError, match="bytes unpacked, at most 10 are read: give fewer samples"):
        load_samples(npz(tmp_path / "s", x=GOOD), MODEL)


def test_samples_are_read_without_a_model(tmp_path: Path) -> None:
    samples = read_samples(npz(tmp_path / "s", x=np.ones((5, 7))))
    assert samples.x.shape == (5, 7)


def test_ranges_are_those_of_all_samples() -> None:
    case = random_graph(1)
    samples = np.concatenate([case.samples] * 10)[: 2 * BATCH + 3]
    done: list[int] = []
    ranges = calibrate(case.graph, samples, done.append)
    assert done == [BATCH, BATCH, 3]
    values = evaluate(case.graph, samples)
    assert set(ranges) == set(values)
    for name, (low, high) in ranges.items():
        np.testing.assert_allclose((low, high), (values[name].min(), values[name].max()), rtol=1e-5)


def two_layers(weight: float) -> Graph:
    weights, bias = np.full((1, 1), weight, np.float32), np.zeros(1, np.float32)
    ops = [Dense("a", ("x",), "a", weights, bias), Dense("b", ("a",), "b", weights, bias)]
    return make_graph("net", Tensor("x", (1,)), "b", ops)


def test_a_tensor_that_overflows_is_named() -> None:
    samples = np.zeros((60, 1), np.float32)
    samples[55] = 10
    with pytest.raises(
        AcsgenError, match="tensor 'b' becomes NaN or infinite on samples 50 to 59: are the samples sca"
    ):
        calibrate(two_layers(1e20), samples)


@pytest.mark.parametrize("value", [0, 0.5])
def test_samples_without_a_range(value: float) -> None:
    samples = np.full((40, 1), value, np.float32)
    message = f"every value of the calibration samples is {value:g}: give samples as in training"
    with pytest.raises(AcsgenError, match=message):
        calibrate(two_layers(1), samples)
    samples[7] = 1
    assert calibrate(two_layers(1), samples)["b"] == (value, 1)
