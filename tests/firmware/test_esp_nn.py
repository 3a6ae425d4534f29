# SPDX-License-Identifier: Apache-2.0
"""What only an ESP32-S3 runs of ESP-NN, as far as a host can tell: ESP-NN's own C with stand-ins for the assembly.

The stand-ins (host/esp32s3.c) compute what the assembly files say, refuse what these cannot take, and name themselves.
"""

from __future__ import annotations

import ctypes
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from acsgen.emit.libraries import LIBRARIES
from acsgen.graph import Conv2D
from acsgen.graph.ops import Requantize
from acsgen.plan.conv_case import ConvCase
from acsgen.plan.esp_scratch import VECTOR, s3_call_bytes, s3_scratch
from acsgen.target.boards import load_board
from tests.firmware.calls import Reader, grouped, request, take_array, take_number
from tests.firmware.host import CHIPS, Kernels, Kit, gcc
from tests.firmware.test_kernels import as_conv_case, conv_arguments, one_sample
from tests.firmware.test_models import check, inputs, quantized
from tests.golden import cases
from tests.matrix.nets import NETS


@pytest.fixture(scope="module")
def s3(programs: Callable[[str], Kernels]) -> Path:
    return programs("esp_nn_s3").program


class Dims(ctypes.Structure):
    """data_dims_t."""

    _fields_ = tuple((name, ctypes.c_int32) for name in ("width", "height", "channels", "extra"))


class Params(ctypes.Structure):
    """conv_params_t."""

    _fields_ = tuple(
        (name, ctypes.c_int32)
        for name in ("in", "out", "stride_w", "stride_h", "pad_w", "pad_h", "dilate_w", "dilate_h", "low", "high")
    )


def write_library(folder: Path) -> list[Path]:
    """ESP-NN's convolutions; returns what is compiled."""
    for name, content in LIBRARIES["esp_nn"]({"conv"}, None).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return sorted((folder / "Source").iterdir())


def test_an_assembler_of_the_family_misses_the_chips_instructions_only(tmp_path: Path) -> None:
    """Includes, conditions and all other instructions are right."""
    sources, missed = write_library(tmp_path), 0
    command = [load_board("xtensa-sim").toolchain.compiler, "-c", "-w", f"-I{tmp_path}/Include", "-o", tmp_path / "o.o"]
    for source in sources:
        assert subprocess.run([*command, source], check=False).returncode == 0
        done = subprocess.run([*command, *CHIPS["esp_nn_s3"][0][:2], source], capture_output=True, check=False)
        errors = re.findall(r"[Ee]rror: (.*)", done.stderr.decode())
        assert {re.sub(" '.*", "", error) for error in errors} <= {"unknown opcode or format name"}
        assert bool(errors) == (done.returncode != 0)
        missed += bool(errors)
    assert missed == 5


def test_the_scratch_that_is_planned_is_what_esp_nn_asks_for(tmp_path: Path) -> None:
    sources = [path for path in write_library(tmp_path) if path.suffix == ".c"]
    flags, stand_in = CHIPS["esp_nn_s3"]
    library = tmp_path / "library.so"
    gcc("-w", "-shared", "-fPIC", *flags, f"-I{tmp_path}/Include", *sources, stand_in, "-o", library)
    ask = ctypes.CDLL(str(library)).esp_nn_get_conv_scratch_size_esp32s3
    for seed in range(300):
        groups = (1, 2, 4)[seed % 3]
        case = cases.conv2d(np.random.default_rng(seed), groups)
        conv = as_conv_case(case, (groups, groups))
        assert s3_call_bytes(conv) == ask(*(ctypes.byref(each) for each in structures(conv)))
        assert s3_scratch(conv) == s3_call_bytes(conv) + VECTOR


def structures(case: ConvCase) -> tuple[ctypes.Structure, ...]:
    """Dimensions of input, filter and output of one group, and the parameters."""
    assert isinstance(case.op, Conv2D)
    (height, width, _), channels = case.source, case.weights.shape[3]
    outputs = case.target[2] // case.output_groups
    padding = case.op.padding
    params = (0, 0, case.stride[1], case.stride[0], padding.left, padding.top, 1, 1, -128, 127)
    return (
        Dims(width, height, channels, 1),
        Dims(case.kernel[1], case.kernel[0], channels, outputs),
        Dims(case.target[1], case.target[0], outputs, 1),
        Params(*params),
    )


def called(program: Path, case: cases.Case, scratch: int | None = None) -> set[str]:
    """The stand-ins that a convolution in one group goes through; its result is the golden model's."""
    x, y = one_sample(case)
    room = s3_scratch(as_conv_case(case, (1, 1))) if scratch is None else scratch
    call = request("conv", *conv_arguments(case, 1, 1, 0, "plain"), None, grouped(x, 1), room)
    done = subprocess.run([program], input=call, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    reader = Reader(done.stdout)
    assert take_number(reader) == 1
    np.testing.assert_array_equal(take_array(reader, grouped(y, 1).shape), grouped(y, 1))
    return set(done.stderr.decode().split())


def drawn(kernel: int, channels: int, size: int = 6, outputs: int = 4, stride: int = 1, shift: int = -7) -> cases.Case:
    """A convolution without padding whose sums and shifts are as those of networks."""
    rng = np.random.default_rng((kernel, channels, size, outputs))
    out = (size - kernel) // stride + 1
    weights = rng.integers(-127, 128, (outputs, kernel, kernel, channels)).astype(np.int8)
    how = Requantize(
        rng.integers(1 << 30, (1 << 31) - 1, outputs).astype(np.int32), np.full(outputs, shift, np.int32), -128, 127
    )
    bias = rng.integers(-1000, 1000, outputs).astype(np.int32)
    op = Conv2D("c", ("x",), "y", weights, bias, (stride, stride), requantize=how)
    tensors = cases.Tensor("x", (size, size, channels), 0.1, -3), cases.Tensor("y", (out, out, outputs), 0.1, 5)
    x = rng.integers(-128, 128, (1, size, size, channels)).astype(np.int8)
    return cases.Case(op, tensors[:1], tensors[1], (x,))


@pytest.mark.parametrize(
    ("case", "way"),
    [
        (drawn(1, 16), "eights"),
        (drawn(1, 16, size=2), "eights"),
        (drawn(1, 5), "pixels"),
        (drawn(3, 3), "window"),
        (drawn(3, 16), "rows"),
        (drawn(3, 16, stride=2), "rows"),
        (drawn(3, 7), "rows"),
        (drawn(3, 64, outputs=32), "rows"),  # sums are made before
        (drawn(1, 16, stride=2), "rows"),
        (drawn(3, 16, shift=-22), "rows"),
        (drawn(3, 16, shift=0), "rows"),
    ],
)
def test_taken(s3: Path, case: cases.Case, way: str) -> None:
    assert called(s3, case) == {way}


@pytest.mark.parametrize("case", [drawn(3, 16, shift=-23), drawn(3, 16, shift=1), drawn(3, 16, shift=-30)])
def test_shifts_that_it_may_not_round_exactly(s3: Path, case: cases.Case) -> None:
    assert called(s3, case) == set()


def test_sums_that_it_may_not_round_exactly(s3: Path) -> None:
    """A bias of more than 2^30, or 2^15 products."""
    case = drawn(3, 16)
    assert isinstance(case.op, Conv2D)
    for bias, way in ((1 << 30, {"rows"}), ((1 << 30) + 1, set()), (-(1 << 30) - 1, set())):
        op = replace(case.op, bias=np.array([0, 0, 0, bias], np.int32))
        assert called(s3, replace(case, op=op)) == way
    assert called(s3, drawn(1, (1 << 15) - 8, size=1, outputs=1)) == {"eights"}
    assert called(s3, drawn(1, 1 << 15, size=1, outputs=1)) == set()


@pytest.mark.parametrize("kernels", ["esp_nn", "esp_nn_s3"])
def test_networks(kernels: str, kits: Callable[[str], Kit], tmp_path: Path) -> None:
    """One with every kernel and every kind of list, and random ones, all the way under sanitizers."""
    graph, samples = NETS["kernels"]()
    check(kits(kernels), graph, inputs(graph, samples.x, 1), tmp_path / "kernels")
    for seed in range(4):
        check(kits(kernels), *quantized(seed), tmp_path / str(seed))


def test_without_its_scratch(s3: Path) -> None:
    """ANSI C takes its place."""
    case = drawn(3, 16)
    assert called(s3, case, s3_call_bytes(as_conv_case(case, (1, 1))) - 1) == set()
    assert called(s3, case, 0) == set()
