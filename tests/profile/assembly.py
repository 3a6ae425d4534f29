# SPDX-License-Identifier: Apache-2.0
"""Small programs in assembly, for rules that one can work out by hand."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from acsgen.profile.cores import CORES, CoreModel

#: By the beginning of a core's name: what assembles for it, and what a program begins with.
_ASSEMBLERS = {
    "cortex": (["arm-none-eabi-as", "-mcpu=cortex-m7", "-mthumb", "-mfpu=fpv5-sp-d16"], ".syntax unified\n"),
    "rv32": (["riscv64-unknown-elf-as", "-march=rv32imc", "-mabi=ilp32", "-mno-relax"], ""),
}


def assemble(core: str, program: str, folder: Path) -> bytes:
    """The code of a program, one instruction a line."""
    command, head = next(value for name, value in _ASSEMBLERS.items() if core.startswith(name))
    source, item, code = folder / "a.s", folder / "a.o", folder / "a.bin"
    source.write_text(head + program.replace(";", "\n") + "\n", encoding="ascii")
    subprocess.run([*command, "-o", item, source], check=True)
    objcopy = command[0].removesuffix("as") + "objcopy"
    subprocess.run([objcopy, "-O", "binary", "-j", ".text", item, code], check=True)
    return code.read_bytes()


def disassemble(core: str, program: str, folder: Path) -> tuple[CoreModel, list[Any]]:
    """The core's model, and the program as it sees it."""
    model = CORES[core]
    code = assemble(core, program, folder)
    instructions = list(model.disassembler().disasm(code, 0x1000))
    assert sum(instruction.size for instruction in instructions) == len(code)
    return model, instructions
