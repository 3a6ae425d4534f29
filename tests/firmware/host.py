# SPDX-License-Identifier: Apache-2.0
"""Firmware on the host: generated models and the runtime, compiled with gcc under sanitizers.

Our own files are compiled with every warning as an error, CMSIS-NN quietly. A program is one model (or
the kernels) with a `main` that reads requests from standard input and writes what came out.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acsgen.emit.calls import Writer
from acsgen.emit.cmsis import ENTRY_POINTS
from acsgen.emit.libraries import LIBRARIES
from acsgen.emit.project import kernel_sources
from acsgen.emit.render import model_files
from acsgen.golden import told_masks
from acsgen.plan import KernelSet, Plan
from acsgen.plan.document import PlanFile, plan_document, read_plan
from acsgen.resources import resource_dir
from acsgen.target.link import RunMode

HERE = Path(__file__).parent / "host"

WARNINGS = ("-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Werror")
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
COMMON = ("-std=c11", "-O1", "-g", *SANITIZERS)
#: __GNUC_PYTHON__ is CMSIS-NN's own switch for a host without Arm's intrinsics; it forgets __RESTRICT.
CMSIS_ON_HOST = ("-D__GNUC_PYTHON__", "-D__RESTRICT=__restrict")

#: Of a kernel set that runs other code on its chip: what says so, and a stand-in for the code that a host cannot run.
#: That library writes words where they are not aligned, which the chip can do.
CHIPS = {
    "esp_nn_s3": (
        ("-DCONFIG_NN_OPTIMIZED", "-DCONFIG_IDF_TARGET_ESP32S3", "-fno-sanitize=alignment"),
        HERE / "esp32s3.c",
    )
}

#: The emulators of boards that programs run on: BOARD.elf (see qemu.py), which stands for {}.
QEMU = {
    board: (program, "-M", *machine, "-display", "none", "-monitor", "none", "-serial", "none",
            "-semihosting-config", "enable=on,target=native", *load)
    for board, program, machine, *load in (
        ("mps2-an386", "qemu-system-arm", ("mps2-an386",), "-kernel", "{}"),
        ("mps3-an547", "qemu-system-arm", ("mps3-an547",), "-kernel", "{}"),
        ("riscv32-virt", "qemu-system-riscv32", ("virt", "-bios", "none", "-cpu", "rv32"), "-kernel", "{}"),
        ("xtensa-sim", "qemu-system-xtensa", ("sim", "-cpu", "lx106"), "-device", "loader,file={},cpu-num=0"),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Kit:
    """What all programs share: the runtime and a kernel set as a library. headers: folders to search."""

    kernel_set: KernelSet
    library: Path
    headers: tuple[Path, ...]


@dataclass(frozen=True)
class Kernels:
    """A program that calls single functions of the runtime (see calls.py)."""

    kernel_set: KernelSet
    program: Path


@dataclass(frozen=True)
class Model:
    """A compiled model."""

    program: Path
    plan: Plan
    seen: PlanFile


@dataclass(frozen=True)
class Run:
    """What one run gave. masks: of all gates side by side. tensors: by index in plan.json."""

    output: NDArray[np.int8]
    masks: NDArray[np.uint8]
    tensors: dict[int, bytes]


def gcc(*arguments: str | Path) -> None:
    """Runs gcc; AssertionError with what it said if it fails."""
    done = subprocess.run(["gcc", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"gcc {' '.join(map(str, arguments))}:\n{done.stderr}"


def build_kit(folder: Path, kernel_set: KernelSet) -> Kit:
    """Compiles runtime, kernels and the library that they stand on into one library in `folder`."""
    objects, library = folder / "objects", folder / "libfirmware.a"
    objects.mkdir()
    runtime = resource_dir("firmware") / "runtime"
    kernels = kernel_sources(kernel_set)
    system: tuple[str | Path, ...] = ()
    chip, *stand_ins = CHIPS.get(kernel_set.name, ((),))
    if kernel_set.library:
        for name, content in LIBRARIES[kernel_set.library](set(ENTRY_POINTS), None).items():
            path = folder / "library" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        system = ("-isystem", folder / "library" / "Include", *CMSIS_ON_HOST, *chip)
        compile_in(objects, *COMMON, "-w", *system, *sorted((folder / "library" / "Source").rglob("*.c")))
    ours = [*sorted(runtime.glob("*.c")), *(path for path in kernels if path.suffix == ".c"), *stand_ins]
    headers = [f"-I{path}" for path in sorted({path.parent for path in kernels} | {runtime})]
    compile_in(objects, *COMMON, *WARNINGS, "-pedantic", *system, *headers, *ours)
    subprocess.run(["ar", "rcs", library, *sorted(objects.glob("*.o"))], check=True)
    return Kit(kernel_set, library, (runtime,))


def build_kernels(kit: Kit, folder: Path) -> Path:
    """The program that calls single functions of the runtime (see calls.py)."""
    program = folder / "kernels"
    headers = [f"-I{path}" for path in kit.headers]
    gcc(*COMMON, *WARNINGS, "-pedantic", *headers, HERE / "run_kernel.c", kit.library, "-o", program)
    return program


def compile_in(folder: Path, *arguments: str | Path) -> None:
    """Compiles sources to objects in `folder`."""
    done = subprocess.run(["gcc", "-c", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def build_model(kit: Kit, plan: Plan, folder: Path, name: str = "net") -> Model:
    """Generates the model's C in `folder` and compiles it."""
    write_model(plan, folder, name)
    program = folder / "model"
    headers = [f"-I{path}" for path in (folder, *kit.headers)]
    sources = [HERE / "run_model.c", *sorted(folder.glob("*.c"))]
    gcc(*COMMON, *WARNINGS, "-pedantic", *headers, *sources, kit.library, "-o", program)
    return Model(program, plan, read_plan(folder / "plan.json"))


def write_model(plan: Plan, folder: Path, name: str = "net") -> None:
    """The files of a generated project that depend on the model."""
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in model_files(Writer(plan, name), 0).items():
        (folder / Path(path).name).write_text(text)
    (folder / "plan.json").write_text(json.dumps(plan_document(plan)))


def run_model(model: Model, x: NDArray[np.int8], mode: RunMode, poison: int, observe: bool = True) -> list[Run]:
    """Runs every sample of x (N, ...), each in an arena that is full of `poison`."""
    request = bytes([mode, poison, observe])
    reader = Reader(run_program(model.program, b"".join(request + sample.tobytes() for sample in x)))
    output, masks = model.plan.buffers[model.plan.graph.output].bytes, model.plan.mask_bytes
    runs = []
    for _ in x:
        tensors = {}
        for _ in model.plan.steps if observe else ():
            index, size = struct.unpack("<HI", reader.take(6))
            tensors[index] = reader.take(size)
        runs.append(
            Run(np.frombuffer(reader.take(output), np.int8), np.frombuffer(reader.take(masks), np.uint8), tensors)
        )
    reader.expect_end()
    return runs


def run_program(program: Path, requests: bytes) -> bytes:
    """Standard output of a program; AssertionError with the sanitizers' report if it fails."""
    done = subprocess.run(
        [part.format(program) for part in QEMU[program.stem]] if program.suffix == ".elf" else [program],
        input=requests,
        capture_output=True,
        timeout=120,
        check=False,
        env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"},  # a program that stops in the middle frees nothing
    )
    assert done.returncode == 0, f"exit code {done.returncode}:\n{done.stderr.decode()}"
    return done.stdout


class Reader:
    """Takes bytes one piece after another."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, count: int) -> bytes:
        piece = self._data[self._at : self._at + count]
        assert len(piece) == count, "the program wrote less than it should"
        self._at += count
        return piece

    def expect_end(self) -> None:
        assert self._at == len(self._data), "the program wrote more than it should"


def assert_same_bits(model: Model, runs: list[Run], golden: dict[str, NDArray[Any]], mode: RunMode) -> None:
    """Output, masks and every observed tensor equal the golden model's, `golden` (N, ...).

    In mode SKIP the closed groups of a tensor that the plan calls unwritten hold anything, and masks that nobody
    asks for are not decided.
    """
    output = golden[model.plan.graph.output]
    masks = model.seen.split_masks(np.array([run.masks for run in runs]))
    told = {gate: golden[gate] for gate in masks}
    if mode is RunMode.SKIP:
        told = told_masks(model.plan.graph, told, model.seen.always)
    for gate, mask in masks.items():
        np.testing.assert_array_equal(mask, told[gate], err_msg=f"{mode.name}: mask {gate}")
    lists = model.seen.with_lists(told)
    for observed in model.seen.observed:
        expected = told[observed.tensor] if observed.is_mask else golden[observed.tensor]
        seen = np.array([observed.to_nhwc(run.tensors[observed.index]) for run in runs]).view(expected.dtype)
        used = np.ones(expected.shape, bool)
        if mode is RunMode.SKIP and not observed.is_mask:
            channels = np.broadcast_to(observed.used(lists), (len(runs), expected.shape[-1]))
            used &= channels.reshape(len(runs), *(1,) * (expected.ndim - 2), expected.shape[-1])
        step = model.plan.steps[observed.index]
        np.testing.assert_array_equal(
            seen[used], expected[used], err_msg=f"{mode.name}: step {observed.index} {step.kernel} {step.op.name}"
        )
    np.testing.assert_array_equal(
        np.array([run.output for run in runs]).reshape(output.shape), output, err_msg=f"{mode.name}: output"
    )
