# SPDX-License-Identifier: Apache-2.0
"""Trains jobs, each in a folder of its own; what is finished is not trained again."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from acsgen.files import whole_file
from acsgen.nn.data import Dataset, DataSpec, load
from acsgen.nn.macs import mac_table
from acsgen.nn.qat import QatSchedule, fine_tune
from acsgen.nn.training import Evaluation, Schedule, evaluate, train_pair
from acsgen.nn.training.pair import fast_form
from acsgen.nn.zoo import ZOO, copy_weights
from experiments.jobs import BATCH, DENSE_EPOCHS, GATED_EPOCHS, TRAIN_IMAGES, VALIDATION_IMAGES, Job

#: Of the training images, the first ones.
CALIBRATION_IMAGES = 200
#: Epochs between validations: only the last one's is written down.
NEVER = 10**6

MODEL, ROW, LOG = "model.keras", "row.json", "train.log"

DATA = DataSpec(source="fashion-mnist", train=TRAIN_IMAGES, validation=VALIDATION_IMAGES, seed=0)

DENSE = Schedule(epochs=DENSE_EPOCHS, batch=BATCH)
#: The weight of the budget: with the default of 4, schedules as short as this one end above their target.
GATED = Schedule(epochs=GATED_EPOCHS, batch=BATCH, budget_weight=16.0)
TUNED = QatSchedule(epochs=3, batch=BATCH)
STATIC = Schedule(epochs=DENSE_EPOCHS + GATED_EPOCHS, batch=BATCH)


def train_unit(jobs: list[Job], root: Path, precision: Any = "float32") -> Iterator[str]:
    """Trains what is not yet trained, in order; yields a line after each job."""
    data: Dataset | None = None
    for job in jobs:
        if (root / job.name / ROW).is_file():
            continue
        data = data or load(DATA)
        row = train_job(job, root, data, precision)
        keras.utils.clear_session()
        yield f"{job.name}: test accuracy {row['test']['accuracy']:.4f}, {row['seconds']} s"


def train_job(job: Job, root: Path, data: Dataset, precision: Any) -> dict[str, Any]:
    """Trains one job and measures it on the test images; returns what is in its row.json."""
    folder = root / job.name
    folder.mkdir(parents=True, exist_ok=True)
    began = time.time()
    arguments = dict(job.arguments)
    schedules: tuple[Schedule, Schedule | None] = DENSE, None
    twin = _model(root, job.teacher) if job.teacher else None
    teacher = None
    if job.kind == "gated":
        assert job.target is not None
        schedules = DENSE, replace(GATED, **{"target": job.target, **job.schedule})
    elif job.kind == "static":
        assert job.rival is not None and twin is not None
        schedules = STATIC, None
        rival = _read_row(root, job.rival)
        wide = _read_row(root, job.teacher)["arguments"]
        build = partial(
            ZOO[job.member].build, gated=False, input_shape=twin.input_shape[1:], classes=data.classes, **wide
        )
        teacher = fast_form(build, precision)
        copy_weights(twin, teacher)
        twin = None
        arguments["width"] = width_for(job.member, data, rival["test"]["macs_mean"])
    with _log(folder / LOG) as log:
        log(f"{job} {data.description}")
        if job.kind == "tuned":
            calibration = data.train.x[:CALIBRATION_IMAGES]
            model = fine_tune(twin, data.train.x, data.train.y, calibration, TUNED, job.seed, log)
        else:
            pair = train_pair(
                job.member,
                arguments,
                data,
                *schedules,
                seed=job.seed,
                log=log,
                precision=precision,
                validate_every=NEVER,
                dense=twin,
                teacher=teacher,
            )
            model = pair.gated if pair.gated is not None else pair.dense
        measured = evaluate(model, data.test.x, data.test.y, seed=job.seed)
        log(measured.text())
    model.save(folder / MODEL)
    row = {
        "job": asdict(job),
        "arguments": arguments,
        "date": time.strftime("%Y-%m-%d", time.gmtime(began)),
        "seconds": round(time.time() - began),
        "parameters": model.count_params(),
        "test": _rounded(measured),
    }
    # Written last, and at once: a folder with a row is a finished job.
    with whole_file(folder / ROW) as part:
        part.write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")
    return row


def width_for(member: str, data: Dataset, macs: float) -> float:
    """The `width` whose ungated network comes nearest to that many MACs; of equals the largest."""
    shape = tuple(int(size) for size in data.train.x.shape[1:])
    costs = {}
    for width in np.arange(1.0, 0.19, -0.02).round(2):
        network = ZOO[member].build(gated=False, input_shape=shape, classes=data.classes, width=float(width))
        costs[float(width)] = abs(mac_table(network).dense - macs)
    return min(costs, key=lambda width: costs[width])


def _model(root: Path, job: str) -> keras.Model:
    return keras.saving.load_model(root / job / MODEL, compile=False, safe_mode=True)


def _read_row(root: Path, job: str | None) -> dict[str, Any]:
    return dict(json.loads((root / str(job) / ROW).read_text(encoding="utf-8")))


def _rounded(measured: Evaluation) -> dict[str, Any]:
    values = asdict(measured)
    values["density"] = {name: [round(d, 4) for d in row] for name, row in measured.density.items()}
    return values


@contextmanager
def _log(path: Path) -> Iterator[Any]:
    with path.open("w", encoding="utf-8") as file:

        def log(line: str) -> None:
            file.write(f"{line}\n")
            file.flush()

        log(time.strftime("started %Y-%m-%d %H:%M:%S"))
        yield log
