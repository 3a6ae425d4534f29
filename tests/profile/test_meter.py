# SPDX-License-Identifier: Apache-2.0
"""The meter with programs of a few instructions, whose cost follows from the rules in meter.h by hand."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from acsgen.errors import AcsgenError
from acsgen.profile.counts import Cost, Counts, read_counts
from acsgen.profile.native import build_native

FLASH, RAM = 0x0800_0000, 0x2000_0000
#: Where the programs begin, and where they are called from.
ENTRY, CALLER = FLASH + 0x100, FLASH + 0x10


@dataclass(frozen=True)
class Program:
    """Instructions of 2 bytes from ENTRY on, unless `sizes` says otherwise. Cost, in the order of `meter_code_t`."""

    cycles: Sequence[int]
    sizes: Sequence[int] = ()
    conditional: frozenset[int] = frozenset()
    taken: int = 0
    arrival: int = 0
    steps: Sequence[int] = ()
    wait_states: int = 0
    prefetch: int = 0
    line_bytes: int = 8
    instruction_lines: int = 0
    data_lines: int = 0
    functions: Sequence[int] = field(default=())

    def addresses(self) -> list[int]:
        sizes = self.sizes or [2] * len(self.cycles)
        return [ENTRY + sum(sizes[:i]) for i in range(len(sizes))]

    def table(self) -> bytes:
        entries = {CALLER: (2, 0, 1, self.taken, 0, 0xFFFF, 0), CALLER + 2: (2, 0, 1, 0, 0, 0xFFFF, 0)}
        sizes = self.sizes or [2] * len(self.cycles)
        for i, (address, size) in enumerate(zip(self.addresses(), sizes, strict=True)):
            step = self.steps[i] if self.steps else 0xFFFF
            function = self.functions[i] if self.functions else 0
            unaligned = self.arrival if size == 4 and address % 4 else 0
            entries[address] = (size, int(i in self.conditional), self.cycles[i], self.taken, unaligned, step, function)
        count = (max(entries) - CALLER) // 2 + 1
        rows = [entries.get(CALLER + 2 * i, (0, 0, 0, 0, 0, 0xFFFF, 0)) for i in range(count)]
        steps, functions = (1 + max([n for n in ns if n != 0xFFFF], default=0) for ns in (self.steps, self.functions))
        header = struct.pack(
            "<4s14I", b"ACSM", 1, ENTRY, CALLER, count, 2, steps, functions, FLASH, 0x1000, self.line_bytes,
            self.wait_states, self.prefetch, self.instruction_lines, self.data_lines,
        )  # fmt: skip
        return header + b"".join(struct.pack("<5BxHH", *row) for row in rows)


Report = int | tuple[int, int]
"""An instruction by its number; or (address, bytes) that the last one reads."""
Measure = Callable[..., Counts]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Any:
    library = ctypes.CDLL(str(build_native("unicorn_hooks", tmp_path_factory.mktemp("native"))))
    library.meter_open.restype = ctypes.c_void_p
    library.meter_save.restype = ctypes.c_bool
    return library


@pytest.fixture
def measure(library: Any, tmp_path: Path) -> Iterator[Measure]:
    opened: list[ctypes.c_void_p] = []

    def measure(program: Program, reports: Sequence[Report], returns: bool = True) -> Counts:
        """Calls the program from CALLER, reports its instructions, returns."""
        table = program.table()
        meter = ctypes.c_void_p(library.meter_open(table, ctypes.c_size_t(len(table))))
        assert meter
        opened.append(meter)
        addresses = program.addresses()
        library.meter_instruction(meter, ctypes.c_uint32(CALLER))
        for report in reports:
            if isinstance(report, tuple):
                library.meter_read(meter, ctypes.c_uint32(report[0]), ctypes.c_uint32(report[1]))
            else:
                library.meter_instruction(meter, ctypes.c_uint32(addresses[report] if report >= 0 else RAM))
        if returns:
            library.meter_instruction(meter, ctypes.c_uint32(CALLER + 2))
            library.meter_instruction(meter, ctypes.c_uint32(CALLER + 2))
        saved = tmp_path / "counts.txt"
        assert library.meter_save(meter, str(saved).encode())
        return read_counts(saved)

    yield measure
    for meter in opened:
        library.meter_close(meter)


def only(counts: Counts) -> Cost:
    (cost,) = counts.cells.values()
    return cost


def test_a_run_ends_where_it_was_called(measure: Measure) -> None:
    counts = measure(Program([1, 2, 3]), [0, 1, 2])
    assert counts.runs == 1 and only(counts) == Cost(3, 6)
    unfinished = measure(Program([1, 2, 3]), [0, 1], returns=False)
    assert unfinished.runs == 0 and only(unfinished) == Cost(2, 3)


def test_a_branch_costs_when_it_is_taken(measure: Measure) -> None:
    assert only(measure(Program([1, 1, 1], taken=2), [0, 1, 2])).core == 3
    assert only(measure(Program([1, 1, 1], taken=2), [0, 1, 0, 1, 2])).core == 5 + 2
    wide = Program([1, 1, 1], sizes=[2, 4, 2], taken=2, arrival=1)
    assert only(measure(wide, [0, 1, 2])).core == 3
    assert only(measure(wide, [0, 1, 1, 2])).core == 4 + 2 + 1


def test_what_an_engine_leaves_out_of_an_it_block(measure: Measure) -> None:
    program = Program([1, 0, 1, 1, 4], conditional=frozenset({2, 3}), taken=2)
    everything = only(measure(program, [0, 1, 2, 3, 4]))
    assert everything == Cost(5, 7)
    assert only(measure(program, [0, 1, 4])) == only(measure(program, [0, 1, 2, 4])) == everything
    jumped_over = only(measure(program, [0, 4]))
    assert jumped_over == Cost(2, 5 + 2)


def test_cells(measure: Measure) -> None:
    """Callees count for the step that called them; what comes before the first step for the last cell."""
    none = 0xFFFF
    program = Program([1, 1, 1, 1, 5], steps=[none, 0, none, 1, none], functions=[0, 0, 0, 0, 1])
    counts = measure(program, [0, 1, 4, 2, 3, 4, 4])
    assert counts.cells == {
        (2, 0): Cost(1, 1),
        (0, 0): Cost(2, 2),
        (0, 1): Cost(1, 5),
        (1, 0): Cost(1, 1),
        (1, 1): Cost(2, 10),
    }


def test_wait_states_without_cache(measure: Measure) -> None:
    """Eight instructions lie in two lines; a jump back fetches its line again."""
    program = Program([1] * 8, wait_states=3)
    assert only(measure(program, range(8))) == Cost(8, 8, fetch=2 * 3)
    # The flash is free again a cycle after it delivered: no matter here, where four instructions lie between.
    assert only(measure(program, [0, 1, 0, 1])) == Cost(4, 4, fetch=2 * 3)


def test_an_instruction_across_two_lines(measure: Measure) -> None:
    """The second read begins one cycle after the first ended."""
    program = Program([1, 1, 1, 1], sizes=[2, 2, 2, 4], wait_states=3)
    assert only(measure(program, range(4))).fetch == 3 + 3


def test_instruction_cache(measure: Measure) -> None:
    loop = [0, 1, 2, 3, 4, 5, 6, 7] * 3
    program = Program([1] * 8, wait_states=3, instruction_lines=2)
    assert only(measure(program, loop)).fetch == 2 * 3
    assert only(measure(replace(program, instruction_lines=1), loop)).fetch == 6 * 3


def test_the_line_that_was_not_used_for_longest_makes_room(measure: Measure) -> None:
    """Lines A B A C: C takes the place of B."""
    program = Program([1] * 12, wait_states=3, instruction_lines=2)
    order = [0, 4, 0, 8]
    assert only(measure(program, [*order, 0])).fetch == 3 * 3
    assert only(measure(program, [*order, 4])).fetch == 4 * 3


def test_prefetch(measure: Measure) -> None:
    """Line 0 comes after 2 cycles. Line 1 is read from 3, when the flash is free, to 6: when line 0 is done."""
    program = Program([1] * 8, wait_states=2, prefetch=1)
    assert only(measure(program, range(8))).fetch == 2
    slow = replace(program, wait_states=5)
    # Read from cycle 6 (5, and one until the flash is free) to 12; line 0's last instruction ends at 9.
    assert only(measure(slow, range(8))).fetch == 5 + (12 - 9)
    missed = replace(slow, cycles=[1] * 12)
    # A jump to line 2 waits until the useless read of line 1 is over, at 12.
    assert only(measure(missed, [0, 8])).fetch == 5 + (12 - 6) + 5


def test_data_cache(measure: Measure) -> None:
    program = Program([1] * 4, wait_states=3, line_bytes=16, data_lines=1)
    a, b = FLASH + 0x200, FLASH + 0x300
    reads = [0, (a, 4), 1, (a + 12, 4), 2, (RAM, 4)]
    assert only(measure(program, reads)) == Cost(3, 3, fetch=3, data=3)
    # The flash was busy with the fetch until cycle 4, the instruction ended at 4.
    assert only(measure(program, [0, (a, 4), 1, (b, 4), 2, (a, 4)])).data == 3 * 3
    assert only(measure(replace(program, data_lines=2), [0, (a, 4), 1, (b, 4), 2, (a, 4)])).data == 2 * 3
    across = only(measure(program, [0, (a + 14, 4)]))
    assert across.data == 3 + 1 + 3


def test_every_run_begins_with_cold_caches(measure: Measure) -> None:
    once = [0, 1, 2, 3, (FLASH + 0x200, 4)]
    program = Program([1] * 4, wait_states=3, instruction_lines=8, data_lines=8)
    assert only(measure(program, once)) == Cost(4, 4, fetch=3, data=3)


def test_a_run_that_nobody_calls(library: Any, tmp_path: Path) -> None:
    """The processor stops at the end of a run and is set to its beginning; code follows its last instruction."""
    program = Program([1] * 4)
    addresses, table = program.addresses(), program.table()
    meter = ctypes.c_void_p(library.meter_open(table, ctypes.c_size_t(len(table))))
    for _ in range(3):
        for i in (0, 3, 1, 2):
            library.meter_instruction(meter, ctypes.c_uint32(addresses[i]))
        library.meter_close_run(meter)
    saved = tmp_path / "counts.txt"
    assert library.meter_save(meter, str(saved).encode())
    library.meter_close(meter)
    counts = read_counts(saved)
    assert counts.runs == 3 and only(counts).instructions == 12


def test_code_that_nobody_knows(measure: Measure) -> None:
    with pytest.raises(AcsgenError, match="1 instructions were executed outside the firmware's code"):
        measure(Program([1, 1]), [0, -1, 1])


def test_nothing_was_counted(tmp_path: Path) -> None:
    with pytest.raises(AcsgenError, match="no run of the model was seen"):
        read_counts(tmp_path / "counts.txt")


@pytest.mark.parametrize("table", [b"", b"ACSM", bytes(200)])
def test_a_table_that_is_none(library: Any, table: bytes) -> None:
    assert not library.meter_open(table, ctypes.c_size_t(len(table)))
    good = Program([1]).table()
    assert not library.meter_open(good[:-1], ctypes.c_size_t(len(good) - 1))


def test_no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        AcsgenError, match=r"profiling compiles a counter with gcc; install it: .*apt-get install .*gcc"
    ):
        build_native("qemu_plugin", tmp_path)
