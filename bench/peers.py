# SPDX-License-Identifier: Apache-2.0
"""ResNet8 of MLPerf Tiny with each kernel set, and as bakenn compiles it from the same weights.

    python -m bench.peers [--only cortex_m4] [-o build/bench/kernels.json]

Weights are random, from a fixed seed. Instructions are exact, counted in QEMU; cycles are modelled, for the same
code in the flash of two chips. The figures go into the file under `resnet8`, beside what is there.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from acsgen.emit.project import generate
from acsgen.errors import AcsgenError
from acsgen.golden.interpreter import run
from acsgen.graph import Graph
from acsgen.profile.cores import CORES
from acsgen.profile.counts import total
from acsgen.profile.image import read_image
from acsgen.profile.measure import measure_run
from acsgen.profile.profile import FOLDER, random_inputs
from acsgen.quantize.acsq import save_acsq
from acsgen.target.boards import Board, FlashTiming, load_board
from acsgen.target.build import build
from bench.bakenn_project import ENTRY, write_bakenn_project
from bench.mlperf_tiny import network
from bench.results import update_json
from bench.sizes import model_sizes

#: By the name of the results: the board in the emulator.
MACHINES = {
    "cortex_m4": "mps2-an386",
    "cortex_m55": "mps3-an547",
    "rv32imc": "riscv32-virt",
    "xtensa": "xtensa-sim",
}
#: Our own kernels of a machine.
OWN = {"cortex_m4": "acs", "cortex_m55": "acs_helium", "rv32imc": "acs_rv32", "xtensa": "acs_c"}


@dataclass(frozen=True)
class Variant:
    """kernels: the kernel set; None: OWN. options: how else `generate` is called."""

    kernels: str | None
    options: Mapping[str, Any]

    def kernels_of(self, machine: str) -> str:
        """The kernel set that this is on a machine, a key of MACHINES."""
        return self.kernels or OWN[machine]


#: By the name of the results; run where the board has the set.
VARIANTS: Mapping[str, Variant] = {
    "cmsis_nn": Variant("cmsis_nn", {}),
    "acs_no_winograd": Variant(None, {"winograd": False}),
    "acs": Variant(None, {}),
    "portable": Variant("portable", {}),
    "esp_nn": Variant("esp_nn", {}),
}
PEER = "bakenn"
#: Machines that it does not compile for.
NO_PEER = ("xtensa",)
#: The flash that code of a Cortex-M4 is modelled in, by the name of the cycles.
FLASHES: Mapping[str, FlashTiming | None] = {
    "cycles_no_wait": None,
    "cycles_f405": load_board("stm32f405").flash_timing,
    "cycles_l4r5": load_board("nucleo-l4r5zi").flash_timing,
}
#: The largest difference that bakenn's multipliers, made anew from float scales, may leave in an output.
TOLERANCE = 2


@dataclass(frozen=True)
class Row:
    """One run of the network. cycles: modelled, None where there is no model of core or flash. bytes: `bench.sizes`."""

    instructions: int
    cycles_no_wait: int | None
    cycles_f405: int | None
    cycles_l4r5: int | None
    text_bytes: int
    rodata_bytes: int
    ram_bytes: int


def kernel_set_row(graph: Graph, board: Board, kernels: str, folder: Path, **options: Any) -> Row:
    """The network as acsgen compiles it; options: of `generate`."""
    folder.mkdir(parents=True)
    model, project = folder / "model.acsq", folder / "project"
    save_acsq(graph, model)
    generate(model, board, project, name="bench", kernels=kernels, **options)
    return measure_project(graph, board, project, "bench_run", tolerance=0)


def bakenn_row(graph: Graph, board: Board, folder: Path) -> Row:
    """The network as bakenn compiles it."""
    project = folder / "bakenn"
    write_bakenn_project(graph, board, project)
    return measure_project(graph, board, project, ENTRY, tolerance=TOLERANCE)


def measure_project(graph: Graph, board: Board, project: Path, entry: str, tolerance: int) -> Row:
    """Builds and runs a project of `graph` on one random input.

    entry: name of the function that runs the model. Raises AcsgenError if its output differs from the golden model's by
    more than `tolerance`.
    """
    elf = build(project).elf
    image, x = read_image(elf), random_inputs(graph)
    golden = run(graph, x)[graph.output].astype(int)
    cycles: dict[str, int | None] = {}
    for name, flash in FLASHES.items():
        cycles[name] = None
        if flash is not None and not board.core.startswith("cortex-m4"):
            continue
        done = measure_run(board, image, entry, x, project / FOLDER, output_bytes=golden.size, flash=flash)
        if np.abs(done.outputs.ravel() - golden.ravel()).max() > tolerance:
            raise AcsgenError(f"{project}: its output is not the golden model's")
        cost = total(done.counts.cells.values())
        cycles[name] = cost.cycles if board.core in CORES else None
    sizes = model_sizes(elf)
    return Row(cost.instructions, **cycles, text_bytes=sizes.text, rodata_bytes=sizes.rodata, ram_bytes=sizes.ram)


def machine_rows(graph: Graph, machine: str, folder: Path, show: Callable[[str, Row], None]) -> dict[str, Row]:
    """All rows of one machine; `show` is called with each as soon as it is there."""
    rows, board = {}, load_board(MACHINES[machine])
    for name, variant in VARIANTS.items():
        kernels = variant.kernels_of(machine)
        if kernels in board.kernel_sets:
            rows[name] = kernel_set_row(graph, board, kernels, folder / name, **variant.options)
            show(name, rows[name])
    if machine not in NO_PEER:
        rows[PEER] = bakenn_row(graph, board, folder)
        show(PEER, rows[PEER])
    return rows


def _show(machine: str, name: str, row: Row) -> None:
    cycles = [f"{row.instructions / 1e6:7.2f} M instructions"]
    for title, value in (("", row.cycles_no_wait), (" F405", row.cycles_f405), (" L4R5", row.cycles_l4r5)):
        cycles += [] if value is None else [f"{value / 1e6:6.2f} M cycles{title}"]
    sizes = f"code {row.text_bytes:,}, constants {row.rodata_bytes:,}, RAM {row.ram_bytes:,}"
    print(f"{machine:10} {name:15} {', '.join(cycles)}; {sizes}", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", choices=MACHINES, help="this machine only")
    parser.add_argument("-o", "--output", type=Path, default=Path("build/bench/kernels.json"))
    options = parser.parse_args(arguments)
    graph = network("resnet8")
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for machine in [options.only] if options.only else MACHINES:
            rows = machine_rows(graph, machine, Path(folder) / machine, partial(_show, machine))
            results[machine] = {name: asdict(row) for name, row in rows.items()}
    update_json(options.output, {"resnet8": results})


if __name__ == "__main__":
    main()
