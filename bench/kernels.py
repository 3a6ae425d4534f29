# SPDX-License-Identifier: Apache-2.0
"""Single layers, and layers whose blocks are gated, by kernel set: instructions, exact, and cycles, modelled.

    python -m bench.kernels [--machine cortex_m4] [--kernels acs_no_winograd] [--only 3x3] [-o build/bench/kernels.json]

Every figure is of a generated and built project in QEMU whose outputs equal the golden model's. What one layer takes
is the difference of two chains of equal layers, one longer than the other. The figures go into the file under the name
of the machine: `layers` and `gated`.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from acsgen.emit.project import generate
from acsgen.errors import AcsgenError
from acsgen.golden import run
from acsgen.graph import Graph
from acsgen.profile.cores import CORES
from acsgen.profile.counts import total
from acsgen.profile.image import read_image
from acsgen.profile.measure import measure_run
from acsgen.profile.profile import FOLDER
from acsgen.quantize.acsq import save_acsq
from acsgen.target.boards import Board, load_board
from acsgen.target.build import build
from acsgen.target.link import RunMode
from bench.nets import conv_chain, depthwise_chain, gated_chain
from bench.peers import FLASHES, MACHINES, VARIANTS
from bench.results import update_json

#: Chains of equal layers.
LAYERS: dict[str, Callable[..., Graph]] = {
    **{f"3x3 C={c}": partial(conv_chain, 16, c, 3) for c in (16, 32, 64)},
    "5x5 C=16": partial(conv_chain, 16, 16, 5),
    **{f"1x1 C={c}": partial(conv_chain, 16, c, 1) for c in (32, 64)},
    **{f"3x3 C=32, {each} a group": partial(conv_chain, 16, 32, 3, 32 // each) for each in (8, 4)},
    "3x3 C=16, 2 a group": partial(conv_chain, 16, 16, 3, 8),
    **{f"depthwise {k}x{k} C=32": partial(depthwise_chain, 16, 32, k) for k in (3, 5)},
}
#: A layer whose blocks are gated: size, channels, kernel, groups.
GATED = {
    "3x3 C=64, 8 a block": (16, 64, 3, 8),
    "3x3 C=32, 4 a block": (16, 32, 3, 8),
    "1x1 C=64, 8 a block": (16, 64, 1, 8),
}
DENSITIES = (0.75, 0.5, 0.25)
#: The flash of chips, by the name of the cycles; for a Cortex-M4 only.
CHIPS = {name: flash for name, flash in FLASHES.items() if flash is not None}


@dataclass(frozen=True)
class LayerRow:
    """A layer with every gate open. ipm: instructions / MACs; cycles: None where the core has no model."""

    layer: str
    kernels: str
    instructions: int
    macs: int
    ipm: float
    cycles_f405: int | None
    cycles_l4r5: int | None


@dataclass(frozen=True)
class GatedRow:
    """efficiency: instruction ratio / MAC ratio against the same layer with every block open."""

    layer: str
    kernels: str
    density: float
    instructions: int
    instructions_open: int
    efficiency: float


@dataclass(frozen=True)
class Count:
    """Of one run: with the gates deciding, and forced open."""

    gated: int
    opened: int
    macs: int
    cycles: dict[str, int]  # gates open, in the flash of each chip

    def minus(self, other: Count) -> Count:
        cycles = {name: value - other.cycles[name] for name, value in self.cycles.items()}
        return Count(self.gated - other.gated, self.opened - other.opened, self.macs - other.macs, cycles)


@dataclass(frozen=True)
class Setting:
    """machine: a key of MACHINES; variant: of VARIANTS."""

    machine: str
    variant: str
    folder: Path

    @property
    def board(self) -> Board:
        return load_board(MACHINES[self.machine])

    @property
    def kernels(self) -> str:
        return VARIANTS[self.variant].kernels_of(self.machine)

    def measure(self, graph: Graph) -> Count:
        """Generates, builds and runs a graph on one input; AcsgenError if a bit is wrong."""
        model, project = self.folder / "model.acsq", self.folder / "project"
        save_acsq(graph, model)
        how = VARIANTS[self.variant].options
        generate(model, self.board, project, name="bench", kernels=self.kernels, force=True, **how)
        image = read_image(build(project).elf)
        x = np.random.default_rng(1).integers(-128, 128, (1, *graph.shape(graph.input))).astype(np.int8)

        def executed(mode: RunMode, flash: str | None = None) -> tuple[int, int]:
            golden = run(graph, x, "open" if mode is RunMode.OPEN else "run")[graph.output]
            place = project / FOLDER
            done = measure_run(
                self.board,
                image,
                "bench_run",
                x,
                place,
                output_bytes=golden.size,
                mask_bytes=sum(graph.shape(gate.output)[0] for gate in graph.gates),
                mode=mode,
                flash=CHIPS[flash] if flash else None,
            )
            if not np.array_equal(done.outputs.ravel(), golden.ravel()):
                raise AcsgenError(
                    f"{graph.name}, {self.variant} on {self.board.name}: the output is not the golden model's"
                )
            cost = total(done.counts.cells.values())
            return cost.instructions, cost.cycles

        chips = CHIPS if self.board.core in CORES and self.machine == "cortex_m4" else {}
        gated, opened = executed(RunMode.SKIP)[0], executed(RunMode.OPEN)[0]
        return Count(gated, opened, graph.macs(), {chip: executed(RunMode.OPEN, chip)[1] for chip in chips})

    def difference(self, make: Callable[..., Graph]) -> Count:
        """What one more layer takes."""
        short, long = (self.measure(make(length=length)) for length in (1, 2))
        return long.minus(short)


def layer_row(name: str, setting: Setting) -> LayerRow:
    count = setting.difference(LAYERS[name])
    cycles = [count.cycles.get(chip) for chip in ("cycles_f405", "cycles_l4r5")]
    return LayerRow(name, setting.variant, count.opened, count.macs, count.opened / count.macs, *cycles)


def gated_rows(name: str, setting: Setting) -> list[GatedRow]:
    """One row for each density."""
    size, channels, kernel, groups = GATED[name]
    rows = []
    for density in DENSITIES:
        count = setting.difference(partial(gated_chain, size, channels, kernel, groups, round(density * groups)))
        efficiency = count.gated / count.opened / density**2
        rows.append(GatedRow(name, setting.variant, density, count.gated, count.opened, efficiency))
    return rows


def machine_rows(machine: str, variants: Sequence[str], only: str, folder: Path) -> dict[str, list[dict[str, object]]]:
    """The rows of one machine, printed as they come."""
    layers, gated = [], []
    for setting in (Setting(machine, variant, folder) for variant in variants):
        if setting.kernels not in setting.board.kernel_sets:
            continue
        for name in (name for name in LAYERS if only in name):
            layers.append(row := layer_row(name, setting))
            cycles = "" if row.cycles_f405 is None else f", cycles F405 {row.cycles_f405:,}, L4R5 {row.cycles_l4r5:,}"
            counted = f"{row.instructions:10,} instructions {row.ipm:7.3f} a MAC{cycles}"
            print(f"{machine:10} {row.kernels:16}{name:26} {counted}", flush=True)
        for name in (name for name in GATED if only in f"gated {name}"):
            for each in gated_rows(name, setting):
                gated.append(each)
                text = f"{each.instructions:10,} instructions, efficiency {each.efficiency:.3f}"
                print(f"{machine:10} {each.kernels:16}{name:22} {each.density:3.0%} {text}", flush=True)
    return {"layers": [asdict(row) for row in layers], "gated": [asdict(row) for row in gated]}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--machine", choices=MACHINES, help="this one only")
    parser.add_argument("--kernels", action="append", choices=VARIANTS, help="may be given several times")
    parser.add_argument("--only", default="", help="layers whose name holds this text")
    parser.add_argument("-o", "--output", type=Path, default=Path("build/bench/kernels.json"))
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        for machine in [options.machine] if options.machine else MACHINES:
            rows = machine_rows(machine, options.kernels or list(VARIANTS), options.only, Path(folder))
            update_json(options.output, {machine: rows})


if __name__ == "__main__":
    main()
