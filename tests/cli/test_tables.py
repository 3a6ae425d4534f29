# SPDX-License-Identifier: Apache-2.0
"""Tables keep their figures: in a pipe each row is a line, in a terminal of 80 columns words are wrapped."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from acsgen.plan import plan
from acsgen.quantize.acsq import load_acsq
from acsgen.report import tables
from acsgen.target.boards import list_boards, load_board
from acsgen.target.doctor import Check
from tests.cli.conftest import Run
from tests.models import renamed

CHECKS = [
    Check("python", True, "3.11.7", ">=3.11", "install Python"),
    Check("arm-none-eabi-gcc", True, "arm-none-eabi-gcc (15:12.2.rel1-1) 12.2.1 20221205", "GNU compiler", "apt"),
    Check("arm-none-eabi-libc", True, "/usr/lib/gcc/arm-none-eabi/12.2.1/../../../arm-none-eabi/lib/libc.a", "C", "x"),
    Check("qemu-system-arm", False, "missing", "QEMU", "apt-get install -y --no-install-recommends qemu-system-arm"),
]


def at_80_columns(table: Any) -> list[str]:
    text = io.StringIO()
    Console(file=text, width=80).print(table)
    lines = text.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in text.getvalue()
    return lines


RUN_IN = {
    "esp32": "nothing+",
    "mps3-an547": "QEMU",
    "pico": "Unicorn*",
    "riscv32-virt": "QEMU*",
    "stm32f405": "QEMU Unicorn*",
}


def test_boards_at_80_columns() -> None:
    boards = [load_board(name) for name in list_boards()]
    lines = at_80_columns(tables.boards_table(boards))
    for board in boards:
        (line,) = [line for line in lines if line.startswith(f"{board.name} ")]
        assert f"{board.flash.bytes // 1024} KiB" in line and f"{board.ram.bytes // 1024} KiB" in line
        assert board.name not in RUN_IN or line.rstrip().endswith(f" {RUN_IN[board.name]}")
    assert [line.strip() for line in lines[-2:]] == [
        "* (instructions only); see docs/boards.md",
        "+ needs PlatformIO's registry, never run; see docs/library.md",
    ]
    words = {word for line in lines for word in line.split()}
    for board in boards:
        assert set(board.title.split()) <= words


def test_doctor_at_80_columns() -> None:
    lines = at_80_columns(tables.doctor_table(CHECKS))
    assert len(lines) <= 8
    assert any(line.split() == ["MISSING", "qemu-system-arm", "QEMU", "missing"] for line in lines)
    assert tables.doctor_advice(CHECKS).splitlines()[1:] == [f"  {CHECKS[-1].fix}"]
    assert tables.doctor_advice(CHECKS[:-1]) == ""


def test_graph_and_plan_at_80_columns(model: Path) -> None:
    graph = load_acsq(model)
    graph = renamed(graph, {op.output: f"stage{i}_{op.output}" for i, op in enumerate(graph.ops)})
    planned = plan(graph)
    for table in (tables.graph_table(graph), tables.plan_table(planned)):
        text = "\n".join(at_80_columns(table))
        for op in graph.ops:
            macs = op.macs(*graph.input_shapes(op))
            assert not macs or f"{macs:,}" in text
    assert all(f" {buffer.offset} " in text for buffer in planned.buffers.values() if buffer.offset is not None)
    assert f"stage{graph.ops.index(graph.gates[0])}_gate" in text.replace("\n", "")


def test_figures_at_80_columns() -> None:
    path = "/a/very/long/path" * 8
    lines = at_80_columns(tables.figures_table("Built", {"elf": path, "flash_bytes": 138424, "share": 0.51234}))
    assert "138,424" in lines[-2] and "0.5123" in lines[-1]
    assert "".join(line[11:].strip() for line in lines[1:-2]) == path


def test_a_row_is_a_line_in_a_pipe(run: Run) -> None:
    lines = run("boards").out.splitlines()
    assert [line.split()[0] for line in lines] == ["Boards", "name", *list_boards(), "*", "+"]
    assert not [line for line in lines if line != line.rstrip()]


def test_columns_can_be_set_for_a_pipe(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert max(map(len, run("boards").out.splitlines())) <= 80
