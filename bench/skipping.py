# SPDX-License-Identifier: Apache-2.0
"""What skipping saves, exactly: instructions against multiply-accumulates, memory, and bits.

    python -m bench.skipping [--json FILE] [--graphs N] [--nets NAME ...] [--kernels SET]

Counted in QEMU (Cortex-M4, kernel set cmsis_nn unless told otherwise). Every network of `bench.networks` is run at
several densities with masks drawn at random; `dense` is its ungated twin, gates count on the gated side of both ratios:

    efficiency = (instructions gated / instructions dense) / (MACs gated / MACs dense)

RAM is that of MLPerf Tiny's ResNet8 without gates: the whole firmware's, that is arena, input, output, the
stack of the board's TOML, and what port and application keep.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from acsgen.graph.ungate import ungate
from acsgen.plan import KERNEL_SETS, Plan
from acsgen.report.tables import columns_table, count
from acsgen.target.boards import load_board
from acsgen.target.build import BuildResult
from acsgen.target.emulator import Emulator
from acsgen.target.link import RunMode
from bench.exactness import check
from bench.firmware import build_project
from bench.mlperf_tiny import image_classification
from bench.networks import NETWORKS, Network, int8_graph

BOARD = "mps2-an386"
DENSITIES = (1.0, 0.75, 0.5, 0.25)
#: Masks that are drawn for each density below 1.
DRAWS = 6
GRAPHS = 200
RESULT = Path("build/bench/skipping.json")

#: What was promised, by network and density: the largest efficiency.
PROMISED = {
    ("acs_resnet", "group16"): {0.75: 1.06, 0.5: 1.12, 0.25: 1.25},
    ("acs_bottleneck_resnet", "group16"): {0.75: 1.03, 0.5: 1.05, 0.25: 1.12},
}
#: ... and by how much all gates open may cost more than no gates and the gates by themselves; bytes of RAM.
PROMISED_OVERHEAD = 0.01
PROMISED_RAM = 45 * 1024


@dataclass(frozen=True)
class Row:
    """A network at one density. Instructions and MACs are means over the draws."""

    net: str
    mask: str
    density: float
    macs_dense: int
    macs_gated: float
    instructions_dense: int
    instructions_gated: float
    efficiency: float


@dataclass(frozen=True)
class Measured:
    """A network's rows; overhead: of all gates open over no gates and the gates by themselves, a share of 1."""

    rows: list[Row]
    overhead: float


def measure(network: Network, kernels: str, folder: Path) -> Measured:
    """Builds a network and its ungated twin, and runs both."""
    graph = int8_graph(network.build())
    board = load_board(BOARD)
    place = folder / f"{network.net}-{network.mask}"
    with ThreadPoolExecutor(2) as pool:
        built = pool.map(lambda pair: build_project(pair[0], board, place, pair[1], kernels), _pairs(graph))
        (gated, gated_elf), (twin, twin_elf) = built
    x = np.random.default_rng(1).integers(-128, 128, graph.shape(graph.input), np.int8)
    with Emulator(board, twin_elf.elf) as emulator:
        dense = emulator.run(x).instructions
    macs = int(twin.plan.macs())
    rows = []
    with Emulator(board, gated_elf.elf) as emulator:
        for density in DENSITIES:
            instructions, executed = [], []
            for masks in _draws(gated.plan, density):
                side_by_side = np.concatenate(list(masks.values()))
                instructions.append(emulator.run(x, RunMode.GIVEN, masks=side_by_side).instructions)
                executed.append(int(gated.plan.macs(masks)))
            mean, macs_gated = float(np.mean(instructions)), float(np.mean(executed))
            efficiency = (mean / dense) / (macs_gated / macs)
            rows.append(Row(network.net, network.mask, density, macs, macs_gated, dense, mean, efficiency))
        gates = _of_gates(gated.plan, emulator.run(x, RunMode.OPEN, steps=True).steps)
    return Measured(rows, rows[0].instructions_gated / (dense + gates) - 1)


def _pairs(graph: Any) -> list[tuple[Any, str]]:
    return [(graph, "gated"), (ungate(graph), "twin")]


def _draws(plan: Plan, density: float) -> Iterator[dict[str, NDArray[np.uint8]]]:
    """Masks of every gate, whose densities are the wanted one in the mean of all draws."""
    for draw in range(1 if density == 1 else DRAWS):
        rng = np.random.default_rng(draw)
        masks = {}
        for slot in plan.gates:
            masks[slot.mask] = np.zeros(slot.groups, np.uint8)
            opened = int(density * slot.groups + (draw + 0.5) / DRAWS)
            masks[slot.mask][rng.permutation(slot.groups)[:opened]] = 1
        yield masks


def _of_gates(plan: Plan, instructions: dict[int, int]) -> int:
    """Instructions of the steps that lead to nothing but a gate, gates included."""
    leading = {gate.mask for gate in plan.gates}
    for op in reversed(plan.graph.ops):
        readers = plan.graph.consumers(op.output)
        if readers and all(reader.output in leading for reader in readers):
            leading.add(op.output)
    return sum(instructions[i] for i, step in enumerate(plan.steps) if step.op.output in leading)


def memory(kernels: str, folder: Path) -> tuple[Plan, BuildResult]:
    """MLPerf Tiny's ResNet8."""
    project, built = build_project(int8_graph(image_classification()), load_board(BOARD), folder, "resnet8", kernels)
    return project.plan, built


def bench(
    nets: Iterable[Network], kernels: str, graphs: int, folder: Path, say: Callable[[str], None]
) -> dict[str, Any]:
    """All of it; what stands in skipping.json."""
    measured = []
    for network in nets:
        say(f"{network.net}, masks by {network.mask}")
        measured.append(measure(network, kernels, folder))
    say("ResNet8")
    plan, built = memory(kernels, folder)
    say("exactness")
    exact = check(BOARD, KERNEL_SETS[kernels], graphs, folder / "exactness", say)
    rows = [row for net in measured for row in net.rows]
    _print(measured, plan, built.ram_bytes)
    return {
        "rows": [asdict(row) for row in rows],
        "resnet8": {
            "arena_bytes": plan.arena_bytes,
            "lower_bound_bytes": plan.lower_bound_bytes,
            "ram_bytes": built.ram_bytes,
        },
        "exactness": asdict(exact),
    }


def _print(measured: list[Measured], plan: Plan, ram: int) -> None:
    numbers = ("density", "MACs dense", "gated", "instructions dense", "gated ", "efficiency", "promised")
    table = columns_table("Skipping on a Cortex-M4", "net", "mask", *numbers, numbers=numbers)
    for net in measured:
        for row in net.rows:
            promised = PROMISED.get((row.net, row.mask), {}).get(row.density)
            table.add_row(
                row.net, row.mask, f"{row.density:.2f}",
                count(row.macs_dense), count(row.macs_gated),
                count(row.instructions_dense), count(row.instructions_gated),
                f"{row.efficiency:.3f}", "" if promised is None else f"{promised:.2f}",
            )  # fmt: skip
        table.add_row("", "", "", "", "", "", "all open:", f"{100 * net.overhead:+.2f} %", f"{PROMISED_OVERHEAD:+.0%}")
    console = Console(width=max(120, Console().width))
    console.print(table)
    console.print(
        f"ResNet8: arena {count(plan.arena_bytes)} bytes, lower bound {count(plan.lower_bound_bytes)} "
        f"({plan.arena_proof}); RAM of the firmware {count(ram)} bytes (promised {count(PROMISED_RAM)})"
    )


def main() -> int:
    """Runs the bench; exit code 1 if a bit differed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, default=RESULT, help=f"where the figures go ({RESULT})")
    parser.add_argument("--graphs", type=int, default=GRAPHS, help=f"random graphs for exactness ({GRAPHS})")
    parser.add_argument("--nets", nargs="*", choices=sorted({n.net for n in NETWORKS}), help="only these")
    parser.add_argument("--kernels", default="cmsis_nn", choices=KERNEL_SETS, help="kernel set (cmsis_nn)")
    arguments = parser.parse_args()
    start = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - start:6.1f} s  {text}", flush=True)

    nets = [n for n in NETWORKS if arguments.nets is None or n.net in arguments.nets]
    with tempfile.TemporaryDirectory() as folder:
        figures = bench(nets, arguments.kernels, arguments.graphs, Path(folder), say)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    exact = figures["exactness"]
    say(f"exactness: {exact['graphs']} graphs, {exact['inputs']} inputs, {exact['mismatches']} mismatches")
    say(f"wrote {arguments.json}")
    return 1 if exact["mismatches"] else 0


if __name__ == "__main__":
    sys.exit(main())
