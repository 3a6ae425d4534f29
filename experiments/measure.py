# SPDX-License-Identifier: Apache-2.0
"""What int8 makes of the trained networks: accuracy, flipped mask bits, and a run of the firmware in the emulator."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from acsgen.emit.project import generate
from acsgen.files import whole_file
from acsgen.frontend.keras import load_keras
from acsgen.nn.data import Dataset, load
from acsgen.quantize import quantize
from acsgen.quantize.acsq import save_acsq
from acsgen.quantize.flips import compare
from acsgen.samples import Samples
from acsgen.target.boards import load_board
from acsgen.target.build import build
from acsgen.verify import verify
from experiments.jobs import Job
from experiments.train import CALIBRATION_IMAGES, DATA, MODEL, ROW

MEASURED = "measured.json"
BOARD = "stm32f405"
#: Images that run in the emulator, and of them those of which every tensor is compared.
EMULATED, COMPARED = 100, 10


def measure_unit(jobs: list[Job], root: Path) -> Iterator[str]:
    """Measures what is trained and not yet measured; yields a line after each job."""
    data: Dataset | None = None
    for job in jobs:
        folder = root / job.name
        if not (folder / ROW).is_file() or (folder / MEASURED).is_file():
            continue
        data = data or load(DATA)
        measured = measure(folder, data)
        with whole_file(folder / MEASURED) as part:
            part.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
        yield f"{job.name}: int8 accuracy {measured['int8_accuracy']:.4f}, {measured['mismatches']} mismatches"


def measure(folder: Path, data: Dataset) -> dict[str, Any]:
    """Of the network in a folder, over all test images; instructions over the first EMULATED of them."""
    began = time.time()
    network = load_keras(folder / MODEL)
    graph = quantize(network, data.train.x[:CALIBRATION_IMAGES])
    compared = compare(network, graph, data.test.x, data.test.y)
    save_acsq(graph, folder / "model.acsq")
    project = folder / "firmware"
    generate(folder / "model.acsq", load_board(BOARD), project, name="net", force=True)
    built = build(project)
    ran = verify(project, Samples(data.test.x, data.test.y).first(EMULATED), tensors=COMPARED)
    measured: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d", time.gmtime(began)),
        "images": len(data.test.x),
        "float_accuracy": compared.float_accuracy,
        "int8_accuracy": compared.int8_accuracy,
        "emulated": ran.samples,
        "mismatches": ran.mismatched_logits + ran.mismatched_masks + ran.mismatched_tensors,
        "instructions": float(np.mean(ran.instructions_gated)),
        "instructions_open": float(np.mean(ran.instructions_dense)),
        "macs_emulated": float(np.mean(ran.macs_gated)),
        "macs_open": ran.macs_dense,
        "flash_bytes": built.flash_bytes,
        "ram_bytes": built.ram_bytes,
    }
    if graph.gates:
        measured |= {"flipped_bits": compared.bits, "flipped_gates": dict(compared.gates)}
    measured["seconds"] = round(time.time() - began)
    return measured
