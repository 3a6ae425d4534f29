# SPDX-License-Identifier: Apache-2.0
"""What a firmware's ELF says of its code: where it lies, its functions, and the step of the model it belongs to.

Nothing is added to a firmware in order to profile it. Steps are told apart by the line table that every build
writes beside the code: each call of a kernel stands on lines of its own in the generated ``<model>.c``.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from elftools.common.exceptions import DWARFError, ELFError
from elftools.elf.elffile import ELFFile

from acsgen.errors import AcsgenError

#: In generated C: what follows every step.
_OBSERVED = re.compile(r"^\s*observe\(observer, (\d+),")


@dataclass(frozen=True)
class Symbol:
    """A function or a variable. address: without the bit that marks Thumb code; size: 0 if the ELF does not say."""

    name: str
    address: int
    size: int
    is_function: bool


@dataclass(frozen=True)
class Segment:
    """Bytes that are loaded. load: where they lie in flash; address: where the program uses them."""

    load: int
    address: int
    data: bytes


@dataclass(frozen=True)
class Place:
    """Where an instruction lies. conditional: within an IT block of Thumb code."""

    address: int
    size: int
    conditional: bool = False


@dataclass(frozen=True)
class Image:
    """A firmware. code: address ranges [begin, end) of instructions, ascending."""

    path: Path
    machine: str
    """The architecture as ELF names it: ``EM_ARM``, ``EM_RISCV``, ``EM_XTENSA``."""
    segments: tuple[Segment, ...]
    symbols: tuple[Symbol, ...]
    code: tuple[tuple[int, int], ...]

    @property
    def functions(self) -> list[Symbol]:
        """Functions by ascending address."""
        return sorted((s for s in self.symbols if s.is_function), key=lambda symbol: symbol.address)

    def symbol(self, name: str) -> Symbol:
        """The symbol of this name. Raises AcsgenError if there is none, or several."""
        found = {symbol for symbol in self.symbols if symbol.name == name}
        if len(found) != 1:
            raise AcsgenError(f"{self.path}: {len(found) or 'no'} symbols {name}: build the project again")
        return found.pop()

    def places(self) -> Iterator[Place]:
        """Every instruction, by ascending address; on Xtensa, where code has gaps, whatever might be one."""
        size_of = _SIZES[self.machine]
        for begin, end in self.code:
            at, data, conditional = begin, self.bytes_at(begin, end - begin), 0
            while at < end:
                start = int.from_bytes(data[at - begin : at - begin + 2], "little")
                size = size_of(start)
                yield Place(at, size, conditional > 0)
                conditional = conditional - 1 if conditional else 0
                if self.machine == "EM_ARM" and start >> 8 == _IT and start & 0xF:
                    conditional = 4 - ((start & -start).bit_length() - 1)
                at += size if self.machine != "EM_XTENSA" else 1

    def bytes_at(self, address: int, size: int) -> bytes:
        """Code or constants as they lie in flash."""
        for segment in self.segments:
            if segment.load <= address and address + size <= segment.load + len(segment.data):
                return segment.data[address - segment.load : address - segment.load + size]
        raise AcsgenError(f"{self.path}: nothing lies at {address:#x}")


#: The upper byte of Thumb's IT, whose lower half says by its lowest set bit how many instructions it rules.
_IT = 0xBF
#: Size of an instruction, by its first halfword.
_SIZES: dict[str, Callable[[int], int]] = {
    "EM_ARM": lambda start: 4 if start >> 11 in (0b11101, 0b11110, 0b11111) else 2,
    "EM_RISCV": lambda start: 4 if start & 3 == 3 else 2,
    "EM_XTENSA": lambda start: 2 if start & 8 else 3,
}


class Namer:
    """Finds the function that an address belongs to: the last one that begins before it."""

    def __init__(self, functions: list[Symbol]) -> None:
        unique = {symbol.address: symbol for symbol in reversed(functions)}
        self._starts = sorted(unique)
        self.names = tuple(unique[start].name for start in self._starts) or ("?",)

    def index(self, address: int) -> int:
        """Index into `names`."""
        return max(0, bisect_right(self._starts, address) - 1)


def read_image(path: Path) -> Image:
    """Reads an ELF. Raises AcsgenError if it is none, or has lost its symbols."""
    try:
        with path.open("rb") as stream:
            file = ELFFile(stream)
            table: Any = file.get_section_by_name(".symtab")
            if table is None:
                raise AcsgenError(f"{path}: has no symbols: build the project again")
            raw = [(s.name, s["st_value"], s["st_size"], s["st_info"]["type"]) for s in table.iter_symbols()]
            segments = tuple(
                Segment(s["p_paddr"], s["p_vaddr"], s.data()) for s in file.iter_segments("PT_LOAD") if s["p_filesz"]
            )
            machine = str(file["e_machine"])
            if machine not in _SIZES:
                raise AcsgenError(f"{path}: firmware for {machine}, profiled can be: {', '.join(_SIZES)}")
    except (OSError, ELFError) as error:
        raise AcsgenError(f"cannot read firmware {path}: {error}") from error
    thumb = 1 if machine == "EM_ARM" else 0
    symbols = tuple(
        Symbol(name, value & ~thumb if kind == "STT_FUNC" else value, size, kind == "STT_FUNC")
        for name, value, size, kind in raw
        if name and kind in ("STT_FUNC", "STT_OBJECT", "STT_NOTYPE")
    )
    if machine != "EM_ARM":
        symbols = _with_assembly(symbols)
    return Image(path, machine, segments, symbols, _code(machine, symbols, segments))


def step_ranges(image: Image, source: Path) -> list[tuple[int, int, int]]:
    """Code of the generated `source` by step of the plan: (begin, end, step), addresses ascending.

    Code that was inlined into it from other files, or that stands between the steps, is in no range.
    Raises AcsgenError if the firmware's line table does not lead to all steps.
    """
    steps = _steps_by_line(source)
    rows = _rows(image.path, source.name)
    ranges = [(begin, end, steps[line]) for (begin, line), (end, _) in pairwise(rows) if begin < end and line in steps]
    missing = set(steps.values()) - {step for *_, step in ranges}
    if missing or not steps:
        raise AcsgenError(f"{image.path}: cannot tell the steps of {source.name} apart: build the project again")
    return sorted(ranges)


def _steps_by_line(source: Path) -> dict[int | None, int]:
    """Line of generated C -> step. A step is the lines without a blank one before its observation."""
    try:
        lines = source.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise AcsgenError(f"{source}: cannot be read ({error.strerror}): generate the project again") from error
    steps: dict[int | None, int] = {}
    begin = 1
    for number, line in enumerate(lines, 1):
        if not line.strip():
            begin = number + 1
        if match := _OBSERVED.match(line):
            steps |= dict.fromkeys(range(begin, number + 1), int(match[1]))
            begin = number + 1
    return steps


def _rows(elf: Path, name: str) -> list[tuple[int, int | None]]:
    """The line table of the source called `name`: (address, line), a row is valid up to the next one's address.

    The line is None where the code comes from another file, or ends.
    """
    try:
        with elf.open("rb") as stream:
            file = ELFFile(stream)
            dwarf = file.get_dwarf_info()
            for unit in dwarf.iter_CUs() if file.get_section_by_name(".debug_line") else ():
                program = dwarf.line_program_for_CU(unit)
                if program is not None and unit.get_top_DIE().get_full_path().endswith(f"/{name}"):
                    return [row for entry in program.get_entries() if (row := _row(program, entry, name))]
    except (OSError, ELFError, DWARFError) as error:
        raise AcsgenError(f"cannot read the line table of firmware {elf}: {error}") from error
    raise AcsgenError(f"{elf}: has no line table of {name}: build the project again")


def _row(program: Any, entry: Any, name: str) -> tuple[int, int | None] | None:
    state = entry.state
    if state is None:
        return None
    first = 0 if program["version"] >= 5 else 1
    files = program["file_entry"]
    own = not state.end_sequence and files[state.file - first].name == name.encode()
    return state.address, state.line if own else None


def _with_assembly(symbols: tuple[Symbol, ...]) -> tuple[Symbol, ...]:
    """Makes functions of what assembly left without type and size: each reaches to the next symbol."""
    limits = {symbol.name: symbol.address for symbol in symbols if symbol.name in ("port_code_start", "port_code_end")}
    begin, end = limits.get("port_code_start", 0), limits.get("port_code_end", 0)
    sized = [symbol for symbol in symbols if symbol.is_function and symbol.size]
    inside = {address for symbol in sized for address in range(symbol.address, symbol.address + symbol.size)}
    loose = {
        symbol
        for symbol in symbols
        if begin <= symbol.address < end and symbol.address not in inside and symbol.name[0] not in ".$"
    }
    starts = sorted({symbol.address for symbol in (*sized, *loose)} | {end})
    found = [
        Symbol(symbol.name, symbol.address, starts[bisect_right(starts, symbol.address)] - symbol.address, True)
        for symbol in loose
    ]
    return (*(symbol for symbol in symbols if symbol not in loose), *found)


def _code(machine: str, symbols: tuple[Symbol, ...], segments: tuple[Segment, ...]) -> tuple[tuple[int, int], ...]:
    """Ranges of instructions: on Arm what the mapping symbols ($t, $d) say, elsewhere the functions."""
    if machine != "EM_ARM":
        return tuple(sorted({(s.address, s.address + s.size) for s in symbols if s.is_function and s.size}))
    marks = sorted({(s.address, s.name[:2] == "$t") for s in symbols if s.name[:2] in ("$t", "$d")})
    ends = [address for address, _ in marks[1:]]
    ends += [max((s.load + len(s.data) for s in segments), default=0)]
    return tuple((begin, end) for (begin, is_code), end in zip(marks, ends, strict=True) if is_code and begin < end)
