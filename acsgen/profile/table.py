# SPDX-License-Identifier: Apache-2.0
"""The meter's table: what every instruction of a firmware costs, and where it counts (``native/meter.h``)."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np

from acsgen.profile.cores import CoreModel, Instruction
from acsgen.profile.image import Image, Namer
from acsgen.target.boards import FlashTiming, Memory

NO_STEP = 0xFFFF

_HEADER = struct.Struct("<15I")
_MAGIC = int.from_bytes(b"ACSM", "little")
_VERSION = 1
#: One entry of the table: `meter_code_t`.
_CODE = np.dtype(
    [
        *((name, "u1") for name in ("bytes", "conditional", "cycles", "taken", "arrival", "unused")),
        ("step", "<u2"),
        ("function", "<u2"),
    ]
)


def make_table(
    image: Image,
    entry: int,
    namer: Namer,
    steps: Sequence[tuple[int, int, int]],
    core: CoreModel | None,
    flash: Memory,
    timing: FlashTiming | None,
) -> bytes:
    """The table of a firmware.

    entry: address of the function in which is counted. steps: code by step of the plan (`image.step_ranges`).
    core: None: every instruction costs one cycle, which means nothing. timing: None: no wait states.
    """
    unit = 1 if image.machine == "EM_XTENSA" else 2
    first, last = min(begin for begin, _ in image.code), max(end for _, end in image.code)
    code = np.zeros(-(-(last - first) // unit), _CODE)
    code["step"] = NO_STEP
    for begin, end, step in steps:
        code["step"][(begin - first) // unit : (end - first) // unit] = step
    for place in image.places():
        entry_at = code[(place.address - first) // unit]
        entry_at["bytes"], entry_at["conditional"], entry_at["cycles"] = place.size, place.conditional, 1
        entry_at["function"] = namer.index(place.address)
    if core is not None:
        for address, costs in _costs(image, core).items():
            entry_at = code[(address - first) // unit]
            entry_at["cycles"], entry_at["taken"], entry_at["arrival"] = costs
    line_bytes = timing.width_bits // 8 if timing else 4
    header = _HEADER.pack(
        _MAGIC, _VERSION, entry, first, len(code), unit,
        1 + max((step for *_, step in steps), default=-1), len(namer.names),
        flash.base, flash.bytes, line_bytes, timing.wait_states if timing else 0, bool(timing and timing.prefetch),
        *((timing.instruction_cache_bytes // line_bytes, timing.data_cache_bytes // line_bytes) if timing else (0, 0)),
    )  # fmt: skip
    return header + code.tobytes()


def _decode(image: Image, core: CoreModel) -> list[Instruction]:
    """Every instruction that the core's disassembler knows, by ascending address."""
    engine = core.disassembler()
    found: list[Instruction] = []
    for begin, end in image.code:
        found += engine.disasm(image.bytes_at(begin, end - begin), begin)
    return found


@lru_cache(maxsize=4)  # one firmware is often profiled several times, with other inputs or another flash
def _costs(image: Image, core: CoreModel) -> dict[int, tuple[int, int, int]]:
    """By the instruction's address: cycles, more if a branch is taken, more if one arrives here."""
    costs = {}
    for block in blocks(_decode(image, core), core):
        for instruction, cycles in zip(block, core.cycles(block), strict=True):
            arrival = core.arrival if instruction.size == 4 and instruction.address % 4 else 0
            costs[instruction.address] = (cycles, core.taken(instruction), arrival)
    return costs


def blocks(instructions: Sequence[Instruction], core: CoreModel) -> Iterable[list[Instruction]]:
    """Splits code where it can be entered or left: at the targets of branches, and behind branches."""
    targets = {core.direct_target(instruction) for instruction in instructions}
    block: list[Instruction] = []
    for instruction in instructions:
        follows = block and instruction.address == block[-1].address + block[-1].size
        if block and (instruction.address in targets or not follows or core.ends_block(block[-1])):
            yield block
            block = []
        block.append(instruction)
    if block:
        yield block
