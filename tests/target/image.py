# SPDX-License-Identifier: Apache-2.0
"""Where a linked firmware lies, read from its ELF by another library than binutils."""

from __future__ import annotations

from pathlib import Path

from elftools.elf.elffile import ELFFile

from acsgen.target.boards import Board, Memory


def assert_within_memory(elf: Path, board: Board) -> None:
    """All that is loaded or reserved lies in the board's flash and RAM, and what is stored in its flash."""
    with elf.open("rb") as stream:
        loaded = list(ELFFile(stream).iter_segments("PT_LOAD"))
        segments = [(s["p_paddr"], s["p_filesz"], s["p_vaddr"], s["p_memsz"]) for s in loaded if s["p_memsz"]]
    assert segments
    for place, stored, address, used in segments:
        assert any(_holds(memory, address, used) for memory in (board.flash, board.ram))
        assert stored == 0 or _holds(board.flash, place, stored)


def _holds(memory: Memory, address: int, count: int) -> bool:
    return memory.base <= address and address + count <= memory.base + memory.bytes
