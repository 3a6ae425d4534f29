# SPDX-License-Identifier: Apache-2.0
"""Timings of straight code, instruction by instruction, against what the manuals' rules give by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from acsgen.profile.cores import CORES
from acsgen.profile.table import blocks
from tests.profile.assembly import disassemble

M4 = {
    "one cycle each": ("add r0, r1, r2; smlad r3, r4, r5, r3; mul r0, r1, r2; ssat r0, #8, r1", [1, 1, 1, 1]),
    "a load alone": ("ldr r0, [r1]; add r2, r0, r3", [2, 1]),
    "loads pipeline": ("ldr r0, [r1]; ldrsb r2, [r3, #1]; ldrh r4, [r5, r6]", [2, 1, 1]),
    "but not through their address": ("ldr r0, [r1]; ldr r2, [r0]; ldr r3, [r4]", [2, 2, 1]),
    "through an address with write-back": ("ldr r0, [r1], #4; ldr r2, [r1]", [2, 2]),
    "a store hides in the buffer": ("str r0, [r1, #4]; add r2, r3, r4", [1, 1]),
    "a store with a register": ("str r0, [r1, r2]; ldr r3, [r4]; str r0, [r1, r2]", [2, 2, 1]),
    "no load behind a store pipelines": ("ldr r0, [r1]; str r2, [r3]; ldr r4, [r5]", [2, 1, 2]),
    "lists and pairs": ("ldm r0, {r1, r2, r3}; push {r4, lr}; ldrd r4, r5, [r6]; strd r4, r5, [r6]", [4, 3, 3, 3]),
    "lists of floats": ("vpush {d8, d9}; vldmia r0, {s0-s2}; vldr s0, [r1]", [5, 4, 2]),
    "an address just computed": ("add r0, r0, #4; ldr r1, [r0]; add r2, r3, r4; ldr r1, [r0]", [1, 3, 1, 2]),
    "a condition is folded in": ("cmp r0, r1; it eq; moveq r0, r1", [1, 0, 1]),
    "division": ("sdiv r0, r1, r2; udiv r0, r1, r2", [7, 7]),
}
M7 = {
    "two at a time": ("add r0, r1, r2; add r3, r4, r5; add r6, r7, r8; add r9, r10, r11", [1, 0, 1, 0]),
    "in order of their operands": ("add r0, r1, r2; add r3, r0, r5; add r6, r3, r8", [1, 1, 1]),
    "one multiplier": ("smlad r0, r1, r2, r3; smlad r4, r5, r6, r7; add r8, r8, #1", [1, 1, 0]),
    "a load and its use": ("ldr r0, [r1]; add r2, r0, r3", [1, 2]),
    "a byte comes later": ("ldrb r0, [r1]; add r2, r0, r3", [1, 3]),
    "two loads, one store": ("ldr r0, [r1]; ldr r2, [r3]; str r4, [r5]; str r6, [r7]", [1, 0, 1, 1]),
    "one shifter": ("add r0, r1, r2, lsl #2; add r3, r4, r5, lsl #2", [1, 1]),
}
RV32 = {
    "one cycle each": ("add a0, a1, a2; mul a3, a4, a5; sw a0, 0(a1)", [1, 1, 1]),
    "the high word, a remainder": ("mulh a0, a1, a2; rem a3, a4, a5", [5, 19]),
    "a load and its use": ("lw a0, 0(a1); add a2, a0, a3; lb t0, 0(a1); add a2, a0, a3", [1, 2, 1, 1]),
    "compressed, in place": ("lw a0, 8(sp); add a0, a0, a1; lw s0, 8(sp); add s1, s1, s1", [1, 2, 1, 1]),
    "stored at once": ("lw a0, 0(a1); sw a0, 400(a2); lw a3, 0(a1); beq a3, a4, .", [1, 2, 1, 2]),
    "loaded over": ("lw a0, 0(a1); li a0, 3; lbu t0, 0(t1); lui t0, 4", [1, 1, 1, 1]),
    "a jump to what was just computed": (
        "add t0, t0, a0; jalr ra, 0(t0); add t0, t0, a0; jalr ra, 0(t1)",
        [1, 2, 1, 1],
    ),
}
CASES = [
    (core, name, *case)
    for core, cases in (("cortex-m4f", M4), ("cortex-m33", M4), ("cortex-m7", M7), ("rv32imc", RV32))
    for name, case in cases.items()
]


@pytest.mark.parametrize(("core", "program", "cycles"), [(c, p, n) for c, _, p, n in CASES], ids=lambda value: None)
def test_straight_code(core: str, program: str, cycles: list[int], tmp_path: Path) -> None:
    model, instructions = disassemble(core, program, tmp_path)
    assert model.cycles(instructions) == cycles


def test_what_branches_cost(tmp_path: Path) -> None:
    assert [CORES["cortex-m4"].taken(None), CORES["cortex-m7"].taken(None)] == [2, 1]
    model, program = disassemble("rv32imc", "a: beqz a0, a; bne a0, a1, a; j a; jal ra, a; ret", tmp_path)
    assert [model.taken(instruction) for instruction in program] == [2, 2, 1, 1, 1]


ARM_LOOP = "push {r4, lr}; ldr r0, [r1]; a: ldr r2, [r3]; subs r4, r4, #1; bne a; bl a; add r0, r0, #1; pop {r4, pc}"
RV_LOOP = "addi sp, sp, -16; a: lw a2, 0(a3); addi a4, a4, -1; bnez a4, a; call a; addi a0, a0, 1; ret"


@pytest.mark.parametrize(
    ("core", "program", "sizes"),
    [("cortex-m4f", ARM_LOOP, [2, 3, 1, 2]), ("rv32imc", RV_LOOP.replace("call", "jal"), [1, 3, 1, 2])],
)
def test_blocks_begin_where_code_is_entered(core: str, program: str, sizes: list[int], tmp_path: Path) -> None:
    model, instructions = disassemble(core, program, tmp_path)
    assert [len(block) for block in blocks(instructions, model)] == sizes
