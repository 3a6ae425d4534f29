# SPDX-License-Identifier: Apache-2.0
"""Networks x boards x kernel sets, in QEMU and in Unicorn: bit for bit the golden model's.

With --all-boards every combination is built and run; without, one network on enough of them that each kind of core is.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from acsgen.emit.calls import EMITTERS
from acsgen.emit.fit import least_code_bytes
from acsgen.emit.project import Project, generate
from acsgen.errors import AcsgenError
from acsgen.plan import KERNEL_SETS, plan
from acsgen.quantize.acsq import save_acsq
from acsgen.samples import Samples
from acsgen.target.boards import list_boards, load_board
from acsgen.target.build import LOG_NAME, BuildResult, build
from acsgen.target.emulator import transports
from acsgen.target.engines import engines
from acsgen.verify import Verification, verify
from tests.matrix.nets import NETS, Net

Case = tuple[str, str, str]

#: What `tests/firmware/test_in_qemu.py` does not run already: other cores, and the other kernel set.
FEW = [
    ("kernels", "microbit", "portable"),
    ("kernels", "mps2-an386", "acs"),
    ("kernels", "mps2-an505", "acs"),
    ("kernels", "mps2-an505", "cmsis_nn"),
    ("kernels", "mps3-an547", "acs_helium"),
    ("kernels", "mps3-an547", "cmsis_nn"),
    ("kernels", "riscv32-virt", "acs_rv32"),
    ("kernels", "riscv32-virt", "portable"),
    ("kernels", "stm32f405", "portable"),
    ("kernels", "xtensa-sim", "acs_c"),
    ("kernels", "xtensa-sim", "esp_nn"),
    ("kernels", "xtensa-sim", "esp_nn_s3"),
    ("kernels", "xtensa-sim", "portable"),
]

#: Network and board: what does not fit.
TOO_BIG = {("demo", "microbit")}

#: How many samples run over a UART, where an input takes longer, and in Unicorn, where an instruction does.
UART_SAMPLES = UNICORN_SAMPLES = 2


def every_case() -> list[Case]:
    boards = [board for board in map(load_board, list_boards()) if board.emulator]
    return [(net, board.name, kernels) for net in NETS for board in boards for kernels in board.kernel_sets]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "kernels" in metafunc.fixturenames:
        cases = every_case() if metafunc.config.getoption("--all-boards") else FEW
        metafunc.parametrize(("net", "name", "kernels"), cases)


@cache
def made(net: str) -> Net:
    return NETS[net]()


def project_of(folder: Path, net: str, name: str, kernels: str) -> tuple[Path, Project, BuildResult]:
    """A built project; the compiler warned of nothing."""
    model, project = folder / "model.acsq", folder / "project"
    save_acsq(made(net)[0], model)
    generated = generate(model, load_board(name), project, name="net", kernels=kernels)
    built = build(project)
    assert "warning" not in (project / ".pio" / LOG_NAME).read_text(encoding="utf-8")
    return project, generated, built


def test_the_first_network_uses_every_kernel_and_every_list() -> None:
    for kernels in KERNEL_SETS.values():
        steps = plan(made("kernels")[0], kernels).steps
        assert {step.kernel for step in steps} == set(EMITTERS)
        assert {step.kernel for step in steps if step.active} >= {"conv", "depthwise", "max_pool", "avg_pool"}
        assert any(step.joined for step in steps) and any(step.before for step in steps)


def test_without_the_option_every_kind_of_core_and_every_kernel_set_runs() -> None:
    cores = {load_board(name).core for name in [*(name for _, name, _ in FEW), "mps2-an386"]}
    alike = {"cortex-m3": "cortex-m4f", "cortex-m7": "cortex-m4f"}
    assert {alike.get(core, core) for core in (load_board(name).core for _, name, _ in every_case())} == cores
    assert set(FEW) <= set(every_case())
    assert {kernels for *_, kernels in FEW} == set(KERNEL_SETS)


def test_the_matrix_is_complete() -> None:
    cores = {load_board(name).core for _, name, _ in every_case()}
    assert cores >= {f"cortex-m{core}" for core in ("0", "3", "4f", "7", "33", "55")} | {"rv32imc", "xtensa-lx106"}
    in_unicorn = {load_board(name).core for _, name, _ in every_case() if "unicorn" in engines(load_board(name))}
    assert in_unicorn == {f"cortex-m{core}" for core in ("0", "3", "4f", "7", "33")}
    assert {net for net, *_ in every_case()} == {"kernels", "demo", "acs_resnet", "acs_densenet"}


def test_the_golden_models_bits(tmp_path: Path, net: str, name: str, kernels: str) -> None:
    """Logits, masks and every tensor; over the UART the same, and to the instruction as long; in Unicorn too."""
    if (net, name) in TOO_BIG:
        with pytest.raises(AcsgenError, match=f"the model is too big for board {name}: RAM: needs at least"):
            project_of(tmp_path, net, name, kernels)
        return
    board, samples = load_board(name), made(net)[1]
    project, generated, built = project_of(tmp_path, net, name, kernels)
    assert least_code_bytes(generated.plan) <= built.flash_bytes - generated.constant_bytes
    seen = [verify(project, samples, tensors=len(samples.x), engine="qemu")]
    if net == "kernels" and "uart" in transports(board):
        seen.append(verify(project, samples.first(UART_SAMPLES), tensors=UART_SAMPLES, transport="uart"))
    for result in seen:
        assert result.ok, result.first_difference
        assert result.compared_tensors == 2 * result.samples * len(generated.plan.steps)
        np.testing.assert_array_equal(result.instructions_gated, seen[0].instructions_gated[: result.samples])
        np.testing.assert_array_equal(result.instructions_dense, seen[0].instructions_dense[: result.samples])
    assert seen[0].distinct_masks > 1
    # With every group open a run costs as much, but for the few instructions that follow the data.
    assert seen[0].instructions_gated.min() > 0
    assert (seen[0].instructions_gated <= 1.001 * seen[0].instructions_dense).all()
    if "unicorn" in engines(board):
        same_in_unicorn(project, samples, seen[0])


def same_in_unicorn(project: Path, samples: Samples, in_qemu: Verification) -> None:
    """The second engine agrees; it counts from call to call, which always differs by as many."""
    result = verify(project, samples.first(UNICORN_SAMPLES), tensors=1, engine="unicorn")
    assert result.ok, result.first_difference
    more = {
        *(result.instructions_gated - in_qemu.instructions_gated[: result.samples]).tolist(),
        *(result.instructions_dense - in_qemu.instructions_dense[: result.samples]).tolist(),
    }
    assert len(more) == 1 and abs(min(more)) < 30
