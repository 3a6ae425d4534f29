# SPDX-License-Identifier: Apache-2.0
"""The program that calls single kernels, for a Cortex-M4 in QEMU: the code that boards run.

Standard input and output go over semihosting, so that it answers the same requests as on the host.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from acsgen.emit.project import kernel_sources
from acsgen.plan import KernelSet
from acsgen.resources import resource_dir
from acsgen.target.boards import load_board
from tests.firmware.host import BOARD, HERE, WARNINGS


def build_kernels_for_qemu(kernel_set: KernelSet, folder: Path) -> Path:
    """`host/run_kernel.c` with runtime and kernels, for BOARD: a file that ends in .elf."""
    program = folder / "kernels.elf"
    kernels = kernel_sources(kernel_set)
    sources = [
        *(HERE / name for name in ("run_kernel.c", "cortex_m.c")),
        *sorted((resource_dir("firmware") / "runtime").glob("*.c")),
        *(path for path in kernels if path.suffix != ".h"),
    ]
    headers = {path.parent for path in kernels} | {resource_dir("firmware") / "runtime"}
    compiler = load_board(BOARD).toolchain.compiler
    linking = ("--specs=rdimon.specs", "-Wl,--section-start=.vectors=0")
    flags = (*load_board(BOARD).cpu_flags, "-std=c11", "-O3", *WARNINGS, *(f"-I{path}" for path in headers))
    done = subprocess.run(
        [compiler, *flags, *sources, *linking, "-o", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return program
