# SPDX-License-Identifier: Apache-2.0
"""What instructions cost on a core at zero wait states: a model for each family of cores.

All figures are *modelled*. Arm publishes a table for the Cortex-M4, but not for M7 and M33; each model says what its
figures come from. What depends on data, such as a division, is taken at one value; memory other than the flash
answers at once; an instruction whose condition fails costs what it would cost otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import capstone
from capstone import arm_const

#: A decoded instruction, as capstone gives it with details.
Instruction = Any


@dataclass(frozen=True)
class CoreModel:
    """How a core is timed.

    source: where the figures come from. cycles: the cost of each instruction of a block, which is entered at its
    beginning only, as long as the next instruction follows. taken: what an instruction costs more when another one
    follows. arrival: what it costs more when that one has four bytes and is not aligned to four.
    """

    title: str
    source: str
    architecture: int
    mode: int
    cycles: Callable[[Sequence[Instruction]], list[int]]
    taken: Callable[[Instruction], int]
    arrival: int

    def disassembler(self) -> Any:
        """Capstone for this core's instructions."""
        engine = capstone.Cs(self.architecture, self.mode)
        engine.detail = True
        return engine

    def direct_target(self, instruction: Instruction) -> int | None:
        """Where a branch leads to, if that stands in it."""
        if not self.ends_block(instruction) or not instruction.operands:
            return None
        last = instruction.operands[-1]
        if last.type != capstone.CS_OP_IMM:
            return None
        return int(last.imm) + (instruction.address if self.architecture == capstone.CS_ARCH_RISCV else 0)

    def ends_block(self, instruction: Instruction) -> bool:
        """Whether something else than the next instruction may follow."""
        if any(instruction.group(group) for group in (capstone.CS_GRP_JUMP, capstone.CS_GRP_CALL, capstone.CS_GRP_RET)):
            return True
        if self.architecture != capstone.CS_ARCH_ARM:
            return False
        return arm_const.ARM_REG_PC in instruction.regs_access()[1] and instruction.insn_name() in (*_LOADS, *_LISTS)


_LOADS = frozenset({"ldr", "ldrb", "ldrh", "ldrsb", "ldrsh"})
_STORES = frozenset({"str", "strb", "strh"})
_PAIRS = frozenset({"ldrd", "strd"})
_CORE_LISTS = frozenset({"ldm", "ldmdb", "stm", "stmdb", "push", "pop"})
_FLOAT_LISTS = frozenset({"vldmia", "vldmdb", "vstmia", "vstmdb", "vpush", "vpop"})
_LISTS = _CORE_LISTS | _FLOAT_LISTS
_DIVISIONS = frozenset({"sdiv", "udiv"})


def _address_registers(instruction: Instruction) -> set[int]:
    """Registers that an address is made of."""
    memory = [operand.mem for operand in instruction.operands if operand.type == arm_const.ARM_OP_MEM]
    registers = {register for part in memory for register in (part.base, part.index) if register}
    if instruction.insn_name() in _LISTS:
        registers |= {instruction.operands[0].reg} if _has_base(instruction) else {arm_const.ARM_REG_SP}
    return registers


def _has_base(instruction: Instruction) -> bool:
    return not instruction.insn_name().endswith(("push", "pop"))


def _words(instruction: Instruction) -> int:
    """Words that a load or store of a list moves."""
    moved = instruction.operands[1 if _has_base(instruction) else 0 :]
    doubles = [operand for operand in moved if arm_const.ARM_REG_D0 <= operand.reg <= arm_const.ARM_REG_D31]
    return len(moved) + len(doubles)


def _has_index(instruction: Instruction) -> bool:
    return any(o.type == arm_const.ARM_OP_MEM and o.mem.index for o in instruction.operands)


#: Cycles of the Cortex-M4 that do not depend on what comes before.
_M4_FIXED: dict[str, int] = {
    **dict.fromkeys(_PAIRS, 3),
    **dict.fromkeys(_DIVISIONS, 7),  # 2 to 12, with the operands
    **dict.fromkeys(("vldr", "vstr"), 2),
    **dict.fromkeys(("vdiv", "vsqrt"), 14),
    **dict.fromkeys(("vmla", "vmls", "vnmla", "vnmls", "vfma", "vfms", "vfnma", "vfnms"), 3),
    "it": 0,  # folded into the instruction before it
}


def m4_cycles(block: Sequence[Instruction]) -> list[int]:
    """Cortex-M4: Arm's *Cortex-M4 Technical Reference Manual* (r0p1), 3.3.1 (table of instructions), 3.3.2
    (loads and stores) and 7.2.3 (floating point).

    One cycle, but: a load two, or one behind a load on whose result its address does not depend (they pipeline);
    a store one, with a register as offset two unless it follows a load; a list of N words 1 + N, a pair 3; a load
    or store one more if its address was computed by the instruction before it.
    """
    costs: list[int] = []
    loaded: set[int] | None = None
    computed: set[int] = set()
    for instruction in block:
        name, address = instruction.insn_name(), _address_registers(instruction)
        written = set(instruction.regs_access()[1])
        is_load = name in _LOADS
        if is_load:
            cost = 1 if loaded is not None and not address & loaded else 2
        elif name in _STORES:
            cost = 2 if _has_index(instruction) and loaded is None else 1
        elif name in _LISTS:
            cost = 1 + _words(instruction)
        else:
            cost = _M4_FIXED.get(name, 1)
        costs.append(cost + bool(address & computed))
        loaded = written if is_load else None
        computed = set() if address else written
    return costs


#: Units of a Cortex-M7, and how many of each.
_M7_UNITS = {"load": 2, "store": 1, "alu": 2, "shift": 1, "mac": 1, "simd": 1, "branch": 1, "float": 1}
_M7_LATENCY = {"load": 2, "mac": 2, "float": 3}
_M7_ALONE = frozenset({*_DIVISIONS, *_PAIRS, *_LISTS, "tbb", "tbh", "mrs", "msr", "dmb", "dsb", "isb", "bkpt"})
_SIMD_NAMES = ("sxtb16", "uxtb16", "sxtab16", "uxtab16", "pkh", "ssat", "usat", "sadd", "ssub", "qadd", "qsub", "sel")
_MAC_NAMES = ("mul", "mla", "mls", "smul", "smla", "smml", "smmul", "smls", "smus", "smua", "umul", "umla", "umaa")


def m7_cycles(block: Sequence[Instruction]) -> list[int]:
    """Cortex-M7: Arm publishes no table. Two instructions issue together, in order, where units and operands allow:
    units and latencies as LLVM's scheduling model has them (llvm/lib/Target/ARM/ARMScheduleM7.td, by Arm).

    Branches are taken to be predicted.
    """
    ready: dict[int, int] = {}
    used: dict[str, int] = {}
    now, slots, costs = 0, 0, []
    for instruction in block:
        reads, writes = (set(registers) for registers in instruction.regs_access())
        name, units = instruction.insn_name(), _m7_units(instruction)
        alone = name in _M7_ALONE
        earliest = max([now, *(ready.get(register, 0) for register in reads)])
        full = slots == 2 or (alone and slots) or any(used.get(unit, 0) == _M7_UNITS[unit] for unit in units)
        start = max(earliest, now + 1) if full else earliest
        if name == "it":
            costs.append(0)
            continue
        if start > now:
            slots, used = 0, {}
        costs.append(start - now if costs else 1)
        slots = 2 if alone else slots + 1
        for unit in units:
            used[unit] = used.get(unit, 0) + 1
        busy = _m7_busy(instruction)
        costs[-1] += busy
        now = start + busy
        latency = max((_M7_LATENCY.get(unit, 1) for unit in units), default=1)
        if name in _LOADS and name != "ldr":
            latency += 1  # bytes and halfwords come one stage later
        base = _address_registers(instruction)
        ready |= {register: now + (1 if register in base else latency) for register in writes}
    return costs


def _m7_units(instruction: Instruction) -> tuple[str, ...]:
    name = instruction.insn_name()
    if name in _LOADS:
        return ("load",)
    if name in _STORES:
        return ("store",)
    if name.startswith("v"):
        return ("float",)
    if instruction.group(capstone.CS_GRP_JUMP) or instruction.group(capstone.CS_GRP_CALL):
        return ("branch",)
    if name.startswith(_SIMD_NAMES):
        return ("alu", "simd")
    if name.startswith(_MAC_NAMES):
        return ("mac",)
    shifted = any(o.type == arm_const.ARM_OP_REG and o.shift.type for o in instruction.operands)
    return ("alu", "shift") if shifted or name in ("lsl", "lsr", "asr", "ror") else ("alu",)


def _m7_busy(instruction: Instruction) -> int:
    """Cycles in which nothing else issues behind it."""
    name = instruction.insn_name()
    if name in _DIVISIONS:
        return 6
    return (_words(instruction) - 1) // 2 if name in _LISTS else 0


_RV_LOADS = frozenset({"lw", "lh", "lhu", "lb", "lbu", "c.lw", "c.lwsp"})
_RV_FIXED: dict[str, int] = {
    **dict.fromkeys(("mulh", "mulhsu", "mulhu"), 5),
    **dict.fromkeys(("div", "divu", "rem", "remu"), 19),  # 3 to 35, with the divisor
}


def rv32_cycles(block: Sequence[Instruction]) -> list[int]:
    """RV32IMC: Espressif publishes no table for the ESP32-C3. Taken are the figures of a core of its kind (four
    stages, in order, one multiplier), OpenHW's CV32E40P, from the table in its user manual, "Pipeline Details".

    One cycle; the high word of a product five; a division 3 to 35, taken at 19; one more for the instruction behind a
    load, or for a jump, that needs the result before it.
    """
    costs: list[int] = []
    before: Instruction | None = None
    for instruction in block:
        cost = _RV_FIXED.get(instruction.insn_name(), 1)
        if before is not None and _rv_waits(before, instruction):
            cost += 1
        costs.append(cost)
        before = instruction
    return costs


def _rv_waits(before: Instruction, instruction: Instruction) -> bool:
    """Whether an instruction must wait a cycle for the result of the one before it."""
    registers = [operand for operand in before.operands if operand.type == capstone.CS_OP_REG]
    if not registers:
        return False
    if instruction.insn_name() not in ("jalr", "c.jr", "c.jalr") and before.insn_name() not in _RV_LOADS:
        return False
    result = before.reg_name(registers[0].reg)
    # Capstone names what RISC-V's instructions read only in their text; the first operand is written, unless it is a
    # store, a branch, a jump, or a compressed one that works in place.
    name, operands = instruction.insn_name(), instruction.op_str.replace("(", ",").replace(")", "").split(",")
    read = [operand.strip() for operand in operands]
    writes_first = not name.startswith(("s", "c.s", "b", "c.b", "j", "c.j")) or name.startswith(("sl", "sr", "sub"))
    in_place = name.startswith("c.") and not name.startswith(("c.l", "c.mv"))
    return result in (read[1:] if writes_first and not in_place else read)


def _arm(title: str, source: str, cycles: Callable[[Sequence[Instruction]], list[int]], taken: int) -> CoreModel:
    mode = capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS
    return CoreModel(title, source, capstone.CS_ARCH_ARM, mode, cycles, lambda _: taken, arrival=1)


def _rv32_taken(instruction: Instruction) -> int:
    """Jumps are taken a stage earlier than branches."""
    return 2 if instruction.insn_name().removeprefix("c.").startswith("b") else 1


_M4 = _arm("Cortex-M4", "Arm's Cortex-M4 TRM", m4_cycles, taken=2)

#: By the name of the core in a board's TOML. Cores that are not here are counted, not timed.
CORES: dict[str, CoreModel] = {
    "cortex-m4": _M4,
    "cortex-m4f": _M4,
    "cortex-m7": _arm("Cortex-M7", "LLVM's scheduling model", m7_cycles, taken=1),
    # Arm publishes no table for it; LLVM too schedules it as a Cortex-M4.
    "cortex-m33": _arm("Cortex-M33, timed as a Cortex-M4", "Arm's Cortex-M4 TRM", m4_cycles, taken=2),
    "rv32imc": CoreModel(
        "RV32IMC, four stages",
        "OpenHW's CV32E40P user manual",
        capstone.CS_ARCH_RISCV,
        capstone.CS_MODE_RISCV32 | capstone.CS_MODE_RISCVC,
        rv32_cycles,
        _rv32_taken,
        arrival=1,
    ),
}
