# SPDX-License-Identifier: Apache-2.0
"""The program that calls single kernels, for a Cortex-M in QEMU: the code that boards run.

Standard input and output go over semihosting, so that it answers the same requests as on the host.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from acsgen.emit.cmsis import ENTRY_POINTS
from acsgen.emit.libraries import LIBRARIES
from acsgen.emit.project import kernel_sources
from acsgen.plan import KernelSet
from acsgen.resources import resource_dir
from acsgen.target.boards import load_board
from tests.firmware.host import HERE, WARNINGS


def build_kernels_for_qemu(kernel_set: KernelSet, board: str, folder: Path) -> Path:
    """`host/run_kernel.c` with runtime and kernels, as the file BOARD.elf."""
    program = folder / f"{board}.elf"
    kernels = kernel_sources(kernel_set)
    sources = [
        *(HERE / name for name in ("run_kernel.c", "cortex_m.c")),
        *sorted((resource_dir("firmware") / "runtime").glob("*.c")),
        *(path for path in kernels if path.suffix != ".h"),
    ]
    headers = {path.parent for path in kernels} | {resource_dir("firmware") / "runtime"}
    linking = ("--specs=rdimon.specs", "-Wl,--section-start=.vectors=0")
    flags = (*load_board(board).cpu_flags, "-std=c11", "-O3", *(f"-I{path}" for path in headers))
    library = _library(kernel_set, (*flags, "-w"), board, folder) if kernel_set.library else ()
    _compile(board, *flags, *WARNINGS, *sources, *library, *linking, "-o", program)
    return program


def _library(kernel_set: KernelSet, flags: tuple[str, ...], board: str, folder: Path) -> tuple[str | Path, ...]:
    """Other people's sources, compiled quietly: objects, and where their headers are."""
    files = LIBRARIES[kernel_set.library or ""](set(ENTRY_POINTS), None)
    for name, content in files.items():
        path = folder / "library" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    headers = ("-isystem", folder / "library" / "Include")
    _compile(board, *flags, *headers, "-c", *sorted((folder / "library" / "Source").rglob("*.c")), cwd=folder)
    return (*headers, *sorted(folder.glob("*.o")))


def _compile(board: str, *arguments: str | Path, cwd: Path | None = None) -> None:
    command = [load_board(board).toolchain.compiler, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)
    assert done.returncode == 0, done.stderr
