# SPDX-License-Identifier: Apache-2.0
"""One gated network on every board with every kernel set that runs there, bit for bit the golden model's.

With --all-boards every pair is built and run; without, enough of them that each kind of core is.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from acsgen.emit.calls import EMITTERS
from acsgen.emit.fit import least_code_bytes
from acsgen.emit.project import generate
from acsgen.graph import AvgPool, Graph, MaxPool
from acsgen.graph.ops import Padding
from acsgen.plan import KERNEL_SETS, plan
from acsgen.quantize import quantize
from acsgen.quantize.acsq import save_acsq
from acsgen.samples import Samples
from acsgen.target.boards import list_boards, load_board
from acsgen.target.build import LOG_NAME, build
from acsgen.target.emulator import transports
from acsgen.verify import verify
from tests.graphs import Builder, mixed

#: What `tests/firmware/test_in_qemu.py` does not run already: other cores, and the other kernel set.
FEW = [
    ("microbit", "portable"),
    ("mps2-an505", "cmsis_nn"),
    ("mps3-an547", "cmsis_nn"),
    ("riscv32-virt", "portable"),
    ("stm32f405", "portable"),
    ("xtensa-sim", "portable"),
]

#: Over a UART, where an input takes longer, these do.
UART_SAMPLES = 2


def every_pair() -> list[tuple[str, str]]:
    return [(name, kernels) for name in list_boards() for kernels in load_board(name).kernel_sets]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "kernels" in metafunc.fixturenames:
        pairs = every_pair() if metafunc.config.getoption("--all-boards") else FEW
        metafunc.parametrize(("name", "kernels"), pairs)


def gated() -> tuple[Graph, Samples]:
    """A network for 16 KB of RAM, with every kernel: layers that skip in a row, and joins of what is left."""
    b = Builder(np.random.default_rng(7), (8, 8, 3))
    stem = b.relu(b.pad(b.conv("x", 8, activation="relu6"), Padding(0, 1, 0, 1)))
    gate = b.gate(stem, 4)
    wide = b.mask(b.conv(stem, 16, stride=(2, 2)), gate)
    pooled = b.mask(b.pool(b.depthwise(wide), MaxPool, (3, 3), (1, 1), same=True), gate)
    narrow = b.conv(b.mask(b.pool(pooled, AvgPool), gate), 8, (1, 1))
    whole = b.concat(narrow, b.mask(b.conv(b.relu(b.batch_norm(narrow)), 8), b.gate(narrow, 4)))
    narrow = b.conv(b.relu(b.batch_norm(whole)), 8, (1, 1))
    grouped = b.mask(b.conv(narrow, 8, groups=2), b.gate(narrow, 4))
    summed = b.add(grouped, b.shuffle(narrow, [1, 0, 3, 2, 5, 4, 7, 6]), activation="relu")
    joined = b.concat(summed, b.dgconv(narrow, mixed(b.rng, 8, 4)))
    output = b.dense(b.flatten(b.global_pool(joined)), 5)
    return quantize(b.graph(output), b.samples), Samples(b.samples, None)


GRAPH, SAMPLES = gated()


def test_the_network_uses_every_kernel_and_every_list() -> None:
    for kernels in KERNEL_SETS.values():
        steps = plan(GRAPH, kernels).steps
        assert {step.kernel for step in steps} == set(EMITTERS)
        assert {step.kernel for step in steps if step.active} >= {"conv", "depthwise", "max_pool", "avg_pool"}
        assert any(step.joined for step in steps) and any(step.before for step in steps)


def test_without_the_option_every_kind_of_core_and_every_kernel_set_runs() -> None:
    cores = {load_board(name).core for name, _ in [*FEW, ("mps2-an386", "")]}
    alike = {"cortex-m3": "cortex-m4f", "cortex-m7": "cortex-m4f"}
    assert {alike.get(core, core) for core in (load_board(name).core for name in list_boards())} == cores
    assert set(FEW) <= set(every_pair())
    assert {kernels for _, kernels in FEW} == set(KERNEL_SETS)


def test_the_golden_models_bits(tmp_path: Path, name: str, kernels: str) -> None:
    """Logits, masks and every tensor; over the UART the same, and to the instruction as long."""
    board, model, project = load_board(name), tmp_path / "model.acsq", tmp_path / "project"
    save_acsq(GRAPH, model)
    generated = generate(model, board, project, kernels=kernels)
    built = build(project)
    assert "warning" not in (project / ".pio" / LOG_NAME).read_text(encoding="utf-8")
    assert least_code_bytes(generated.plan) <= built.flash_bytes - generated.constant_bytes
    seen = [verify(project, SAMPLES, tensors=len(SAMPLES.x))]
    if "uart" in transports(board):
        few = Samples(SAMPLES.x[:UART_SAMPLES], None)
        seen.append(verify(project, few, tensors=UART_SAMPLES, transport="uart"))
    for result in seen:
        assert result.ok, result.first_difference
        assert result.compared_tensors == 2 * result.samples * len(generated.plan.steps)
        np.testing.assert_array_equal(result.instructions_gated, seen[0].instructions_gated[: result.samples])
        np.testing.assert_array_equal(result.instructions_dense, seen[0].instructions_dense[: result.samples])
    assert seen[0].distinct_masks > 1
    assert (seen[0].instructions_gated.min() > 0) and (seen[0].instructions_gated <= seen[0].instructions_dense).all()
