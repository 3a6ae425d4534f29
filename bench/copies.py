# SPDX-License-Identifier: Apache-2.0
"""What moving bytes between layouts costs: the most that any other layout of masked tensors could save.

    python -m bench.copies [--nets acs_resnet ...]

Exact instructions of one random input in the emulator (Cortex-M4, kernel set cmsis_nn) with all gates open: of the run,
and of the functions that copy channels, which deal out what a convolution computes to its groups and gather what the
next one reads.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from acsgen.profile import profile
from acsgen.report.tables import columns_table, count
from acsgen.target.boards import load_board
from acsgen.target.link import RunMode
from bench.firmware import build_project
from bench.networks import NETWORKS, Network, int8_graph

BOARD = "mps2-an386"
COPYING = ("acs_copy_channels_s8", "acs_copy_s8")


@dataclass(frozen=True)
class Row:
    """A network with all gates open. copying: instructions in COPYING."""

    network: Network
    macs: int
    instructions: int
    copying: int


def measure(network: Network, folder: Path) -> Row:
    """Builds and profiles a network."""
    project, _ = build_project(int8_graph(network.build()), load_board(BOARD), folder, network.mask, "cmsis_nn")
    found = profile(project.path, mode=RunMode.OPEN)
    copying = sum(cost.instructions for name, cost in found.functions.items() if name in COPYING)
    return Row(network, found.macs, found.cost.instructions, copying)


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nets", nargs="*", choices=sorted({n.net for n in NETWORKS}), help="only these")
    arguments = parser.parse_args()
    numbers = ("MACs", "instructions", "copying", "share")
    table = columns_table("Copies between layouts on a Cortex-M4", "net", "mask", *numbers, numbers=numbers)
    for network in NETWORKS:
        if arguments.nets and network.net not in arguments.nets:
            continue
        with tempfile.TemporaryDirectory() as folder:
            row = measure(network, Path(folder))
        figures = count(row.macs), count(row.instructions), count(row.copying)
        table.add_row(network.net, network.mask, *figures, f"{100 * row.copying / row.instructions:.2f} %")
    Console(width=max(100, Console().width)).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
