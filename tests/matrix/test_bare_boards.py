# SPDX-License-Identifier: Apache-2.0
"""A small network on every board that is built bare, with the first and the last of its kernel sets.

It builds, fits and computes.

With --all-boards every such board; without, one with each kind of start-up that the boards in QEMU do not have.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from acsgen.emit.project import generate
from acsgen.quantize.acsq import save_acsq
from acsgen.target.boards import Board, list_boards, load_board
from acsgen.target.build import LOG_NAME, build
from acsgen.target.engines import engines
from acsgen.verify import verify
from tests.matrix.nets import Net, small
from tests.target.image import assert_within_memory

FEW = ("bluepill-f103c8", "nucleo-l4r5zi", "pico")


def bare_boards() -> list[Board]:
    return [board for board in map(load_board, list_boards()) if board.is_bare]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "bare" in metafunc.fixturenames:
        every = metafunc.config.getoption("--all-boards")
        boards = [board for board in bare_boards() if every or board.name in FEW]
        cases = [(board, name) for board in boards for name in sorted({board.kernel_sets[0], board.kernel_sets[-1]})]
        metafunc.parametrize(("bare", "kernels"), cases, ids=[f"{board.name}-{name}" for board, name in cases])


@cache
def network() -> Net:
    return small()


def test_few_are_among_all() -> None:
    assert set(FEW) < {board.name for board in bare_boards()}


def test_a_small_network_builds_fits_and_computes(tmp_path: Path, bare: Board, kernels: str) -> None:
    """No warning; all within flash and RAM; in the first engine that there is, the golden model's bits."""
    graph, samples = network()
    model, project = tmp_path / "model.acsq", tmp_path / "project"
    save_acsq(graph, model)
    generated = generate(model, bare, project, name="net", kernels=kernels)
    built = build(project)
    assert "warning" not in (project / ".pio" / LOG_NAME).read_text(encoding="utf-8")
    assert_within_memory(built.elf, bare)
    assert generated.plan.arena_bytes + bare.stack_bytes <= built.ram_bytes <= bare.ram.bytes
    assert generated.constant_bytes <= built.flash_bytes <= bare.flash.bytes
    if engine := next(iter(engines(bare)), None):
        result = verify(project, samples.first(2), tensors=2, engine=engine)
        assert result.ok, result.first_difference
