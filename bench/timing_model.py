# SPDX-License-Identifier: Apache-2.0
"""The timing model against published cycles: MLPerf Tiny's networks with CMSIS-NN on a Cortex-M4.

    python -m bench.timing_model [--only ds_cnn] [-o build/bench/timing_model.json]

Published are measurements of TensorFlow Lite Micro with CMSIS-NN on several vendors' Cortex-M4. Modelled is what acsgen
generates with CMSIS-NN 4.0.0, without the networks' softmax, in memory that answers at once and in the flash of two
chips. So an error is not the model's alone: releases of CMSIS-NN differ, and so may the kernels that are called.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from acsgen.target.boards import load_board
from bench.mlperf_tiny import NETWORKS, network
from bench.peers import kernel_set_row
from bench.results import update_json

#: Million cycles, least and most, by the names of NETWORKS.
PUBLISHED = {
    "resnet8": (35.6, 35.8),
    "autoencoder": (0.96, 0.97),
    "ds_cnn": (9.8, 11.2),
    "mobilenet": (20.7, 23.7),
}
#: Where other kernels run than in TFLM.
REMARKS = {"autoencoder": "acsgen's dense layers are 1x1 convolutions of one pixel, TFLM calls arm_fully_connected_s8"}


@dataclass(frozen=True)
class Check:
    """Million instructions and cycles of one network. error: of cycles_no_wait, against the nearest published ones."""

    macs: int
    instructions: float
    cycles_no_wait: float
    cycles_f405: float
    cycles_l4r5: float
    published: tuple[float, float]

    @property
    def error(self) -> float:
        nearest = min(max(self.cycles_no_wait, self.published[0]), self.published[1])
        return self.cycles_no_wait / nearest - 1


def check(name: str, folder: Path) -> Check:
    """Generates, builds and counts one network. Raises AcsgenError if its output is not the golden model's."""
    graph = network(name)
    row = kernel_set_row(graph, load_board("mps2-an386"), "cmsis_nn", folder / name)
    no_wait, f405, l4r5 = ((c or 0) / 1e6 for c in (row.cycles_no_wait, row.cycles_f405, row.cycles_l4r5))
    return Check(graph.macs(), row.instructions / 1e6, no_wait, f405, l4r5, PUBLISHED[name])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", choices=NETWORKS, help="this network only")
    parser.add_argument("-o", "--output", type=Path, default=Path("build/bench/timing_model.json"))
    options = parser.parse_args(arguments)
    print("network      M instructions   M cycles: no wait    F405    L4R5   published       error")
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in [options.only] if options.only else NETWORKS:
            row = check(name, Path(folder))
            modelled = f"{row.cycles_no_wait:19.2f} {row.cycles_f405:7.2f} {row.cycles_l4r5:7.2f}"
            least, most = row.published
            print(
                f"{name:12} {row.instructions:14.2f} {modelled}   {least:5.2f}-{most:5.2f} {row.error:+9.1%}",
                flush=True,
            )
            if remark := REMARKS.get(name):
                print(f"             {remark}", flush=True)
            results[name] = {**asdict(row), "error": row.error, "remark": REMARKS.get(name)}
    update_json(options.output, {"networks": results})


if __name__ == "__main__":
    main()
