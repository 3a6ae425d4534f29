# SPDX-License-Identifier: Apache-2.0
"""The program that calls single kernels, for the machines of QEMU: the code that boards run.

Standard input and output go over semihosting, so that it answers the same requests as on the host.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from acsgen.emit.cmsis import ENTRY_POINTS
from acsgen.emit.libraries import LIBRARIES
from acsgen.emit.project import kernel_sources
from acsgen.plan import KernelSet
from acsgen.resources import resource_dir
from acsgen.target.boards import load_board
from tests.firmware.host import HERE, WARNINGS


@dataclass(frozen=True)
class Machine:
    """How a program becomes one of a board. source: of `host`, besides run_kernel.c. port: whose headers it reads.

    ports: folders of the firmware's that are compiled with it, where the C library brings no start-up.
    """

    source: str
    port: str
    flags: tuple[str, ...]
    ports: tuple[str, ...] = ()


#: Where picolibc's linker script puts things, in the machine's RAM.
_RISCV_MEMORY = {"__flash": 0x80000000, "__flash_size": 0x400000, "__ram": 0x80400000, "__ram_size": 0x800000}

#: Stack and, behind what the linker places, heap: in the only memories that the Xtensa machine has.
_XTENSA_MEMORY = {
    "ACS_FLASH_BASE": 0x60000000,
    "ACS_FLASH_BYTES": 0x400000,
    "ACS_RAM_BASE": 0x3FF40000,
    "ACS_RAM_BYTES": 0xC0000,
    "ACS_STACK_BYTES": 0x2000,
    "__heap_end": 0x40000000,
}

#: By board.
MACHINES: Mapping[str, Machine] = {
    **dict.fromkeys(
        ("mps2-an386", "mps3-an547"),
        Machine("cortex_m.c", "cortex_m", ("--specs=rdimon.specs", "-Wl,--section-start=.vectors=0")),
    ),
    "riscv32-virt": Machine(
        "riscv32.c",
        "riscv",
        (
            "--specs=picolibc.specs",
            "--crt0=hosted",
            *(f"-Wl,--defsym={name}={number:#x}" for name, number in _RISCV_MEMORY.items()),
        ),
    ),
    "xtensa-sim": Machine(
        "xtensa.c",
        "xtensa",
        (
            "-nostartfiles",
            f"-T{resource_dir('firmware') / 'ports' / 'common' / 'firmware.ld'}",
            "-Wl,--defsym=__heap_start=port_bss_end",
            *(f"-Wl,--defsym={name}={number:#x}" for name, number in _XTENSA_MEMORY.items()),
        ),
        ("common", "xtensa", "xtensa_sim"),
    ),
}


def build_kernels_for_qemu(kernel_set: KernelSet, board: str, folder: Path) -> Path:
    """`host/run_kernel.c` with runtime and kernels, for a board: a file BOARD.elf."""
    program = folder / f"{board}.elf"
    machine, firmware = MACHINES[board], resource_dir("firmware")
    kernels = kernel_sources(kernel_set)
    sources = [
        *(HERE / name for name in ("run_kernel.c", machine.source)),
        *sorted((firmware / "runtime").glob("*.c")),
        *(path for path in kernels if path.suffix != ".h"),
        *(path for port in machine.ports for path in sorted((firmware / "ports" / port).glob("*.c"))),
        *([firmware / "app" / "link.c"] if machine.ports else []),
    ]
    headers = {path.parent for path in kernels} | {firmware / "runtime"}
    headers |= {firmware / "ports" / port for port in (machine.port, *machine.ports)}
    headers |= {firmware / "app"} if machine.ports else set()
    flags = (*load_board(board).cpu_flags, "-std=c11", "-O3", *(f"-I{path}" for path in sorted(headers)))
    library = _library(kernel_set, (*flags, "-w"), board, folder) if kernel_set.library else ()
    _compile(board, *flags, *WARNINGS, *sources, *library, *machine.flags, "-o", program)
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
