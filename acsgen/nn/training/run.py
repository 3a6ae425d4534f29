# SPDX-License-Identifier: Apache-2.0
"""A training run in a folder: begun from a recipe, interrupted and resumed, measured and reported.

`docs/training.md` says what the folder holds.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from acsgen.errors import AcsgenError
from acsgen.files import whole_file
from acsgen.nn.data import Dataset, load
from acsgen.nn.layers import DGConv2D
from acsgen.nn.macs import MacTable, mac_table
from acsgen.nn.recipe import Recipe, read_recipe
from acsgen.nn.training.loop import State
from acsgen.nn.training.measure import Evaluation, Meter
from acsgen.nn.training.networks import learned_groups
from acsgen.nn.training.pair import Pair, Reached, Start, train_pair
from acsgen.nn.training.plots import plot_run
from acsgen.nn.zoo import ZOO, gated_twin

__all__ = ["REPORT", "Run", "begin", "by_macs", "train"]

REPORT, STATE, LOG, COPY = "report.json", "state.npz", "train.log", "recipe.toml"
DENSE, GATED = "dense.keras", "gated.keras"
CALIBRATION, SAMPLES = "calibration.npz", "test.npz"
CALIBRATION_IMAGES, TEST_IMAGES = 200, 1000
#: Groups of test images of equal size, by executed MACs, in the report and its plot.
BINS = 10

Progress = Callable[..., None]


@dataclass(frozen=True)
class Run:
    """A run that can start or go on. epochs: of all phases together; done: how many of them are."""

    folder: Path
    recipe: Recipe
    data: Dataset
    epochs: int
    start: Start | None
    history: tuple[dict[str, Any], ...]  # one entry per finished epoch

    @property
    def done(self) -> int:
        return len(self.history)


def begin(recipe_path: Path, folder: Path, resume: bool = False) -> Run:
    """Reads recipe, data and, to resume, the state; makes the folder.

    Raises AcsgenError, before anything is written, if the recipe or the data are no good, the network cannot be
    built or reach its target, the folder exists and is not to be resumed, or was begun with another recipe.
    """
    recipe = read_recipe(recipe_path)
    copy = folder / COPY
    if resume:
        if not copy.is_file():
            raise AcsgenError(f"{folder} holds no run to go on with: leave out --resume to begin one")
        if read_recipe(copy).document != recipe.document:
            raise AcsgenError(f"{folder} was begun with another recipe than {recipe_path}: give another folder")
    elif folder.exists() or folder.is_symlink():
        raise AcsgenError(f"{folder} exists: go on with --resume, or give another folder")
    data = load(recipe.data)
    phases = _phases(recipe, data)
    start, history = _read_state(folder / STATE) if resume and (folder / STATE).exists() else (None, ())
    if not resume:
        folder.mkdir(parents=True)
        with whole_file(copy) as part:
            part.write_bytes(recipe_path.read_bytes())
    return Run(folder, recipe, data, sum(phases.values()) + recipe.quantize.epochs, start, history)


def train(run: Run, progress: Progress = lambda steps=0, title=None: None) -> dict[str, Any]:
    """Trains to the end, measures on the test images, and writes everything; returns what is in report.json.

    progress(steps, title) is called at every epoch. A finished run is not trained again.
    Raises AcsgenError if the loss is no longer a number; KeyboardInterrupt loses the epoch at work.
    """
    report = run.folder / REPORT
    if report.is_file():
        progress(run.epochs, title=f"{run.folder} is finished")
        return dict(json.loads(report.read_text(encoding="utf-8")))
    progress(run.done)
    train_, log_path = run.recipe.train, run.folder / LOG
    history = list(run.history)
    with _log(log_path, progress) as log:
        log(f"versions {_versions()}")
        log(run.data.description)
        if run.start is not None:
            log(f"going on after epoch {run.start.state.epochs} of phase {run.start.phase}")

        def keep(reached: Reached) -> None:
            history.append(_entry(reached))
            _write_state(run.folder / STATE, reached, history)
            progress(1)

        later = run.start is not None and run.start.phase in ("gates", "gated")
        dense = keras.saving.load_model(run.folder / DENSE, compile=False, safe_mode=True) if later else None
        pair = train_pair(
            run.recipe.model.member,
            run.recipe.model.arguments,
            run.data,
            replace(train_.schedule, epochs=train_.dense_epochs),
            replace(train_.schedule, epochs=train_.gated_epochs) if train_.gated_epochs else None,
            train_.seed,
            log,
            group_epochs=train_.group_epochs,
            precision=train_.precision,
            validate_every=train_.validate_every,
            dense=dense,
            start=run.start,
            keep=keep,
            keep_dense=partial(_save, run.folder / DENSE),
        )
        calibration = _write_samples(run)
        if pair.gated is not None:
            _save(run.folder / GATED, _fine_tuned(run, pair.gated, calibration, log))
            progress(run.recipe.quantize.epochs)
        progress(title="Measuring")
        result = _report(run, pair, history)
        for note in plot_run(run.folder, history, result):
            log(note)
        for name, value in result["summary"].items():
            log(f"{name} {value}")
    # A run with a report is a finished one.
    with whole_file(report) as part:
        part.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (run.folder / STATE).unlink(missing_ok=True)
    return result


def by_macs(
    macs: np.ndarray, right: np.ndarray, right_dense: np.ndarray, bins: int = BINS
) -> list[dict[str, float | int]]:
    """Images sorted by executed MACs, in groups of equal size: what they cost and how often the answer is right.

    macs (N,), right and right_dense (N,) bool, of the gated network and of its dense twin.
    """
    groups = np.array_split(np.argsort(macs, kind="stable"), min(bins, len(macs)))
    return [
        {
            "images": len(rows),
            "macs_mean": float(macs[rows].mean()),
            "accuracy": float(right[rows].mean()),
            "accuracy_dense": float(right_dense[rows].mean()),
        }
        for rows in groups
    ]


def _phases(recipe: Recipe, data: Dataset) -> dict[str, int]:
    """The epochs of each phase, from networks built as the training will; checks what they can reach."""
    spec, train_ = recipe.model, recipe.train
    batch, images = train_.schedule.batch, len(data.train.y)
    if images < batch:
        raise AcsgenError(f"{recipe.path}: {images} training images are fewer than a batch of {batch}: lower 'batch'")
    if recipe.quantize.epochs and not train_.gated_epochs:
        raise AcsgenError(f"{recipe.path}: quantize.epochs tunes the gated network: set gated_epochs above 0 too")
    if train_.gated_epochs and not ZOO[spec.member].gated:
        raise AcsgenError(f"{recipe.path}: {spec.member} has no gates: set gated_epochs = 0, or take another member")
    known = {
        **spec.arguments,
        "input_shape": tuple(int(n) for n in data.train.x.shape[1:]),
        "classes": data.classes,
        "seed": train_.seed,
    }
    phases = {}
    try:
        dense = ZOO[spec.member].build(gated=False, **known)
        phases["groups"] = train_.group_epochs if learned_groups(dense) else 0
        phases["dense"] = train_.dense_epochs
        table = mac_table(dense)
        if train_.gated_epochs:
            gated = gated_twin(dense, member=spec.member, **known)
            phases["gates"] = train_.group_epochs if learned_groups(gated) else 0
            phases["gated"] = train_.gated_epochs
            table = mac_table(gated)
    except AcsgenError as error:
        raise AcsgenError(f"{recipe.path}: [model] gives a network that acsgen cannot compile: {error}") from error
    except Exception as error:  # whatever Keras makes of unfit arguments
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise AcsgenError(f"{recipe.path}: [model] gives no network: {reason}") from error
    _check_target(recipe, table)
    return phases


def _check_target(recipe: Recipe, table: MacTable) -> None:
    least, target = table.fixed / table.dense, recipe.train.schedule.target
    if recipe.train.gated_epochs and target < least:
        raise AcsgenError(
            f"{recipe.path}: train.target is {target:g}, but {least:.3f} of the MACs cannot be skipped: raise it, "
            "or choose a network with more behind its masks"
        )


def _write_samples(run: Run) -> np.ndarray:
    """Writes samples for `acsgen quantize` and `acsgen verify`; returns the former."""
    calibration = run.data.train.x[:CALIBRATION_IMAGES]
    for name, split, count in (
        (CALIBRATION, run.data.train, CALIBRATION_IMAGES),
        (SAMPLES, run.data.test, TEST_IMAGES),
    ):
        with whole_file(run.folder / name) as part:
            np.savez_compressed(part, x=split.x[:count], y=split.y[:count])
    return calibration


def _fine_tuned(run: Run, gated: keras.Model, calibration: np.ndarray, log: Callable[[str], None]) -> keras.Model:
    """The network after the epochs of [quantize]; they are short, and begin anew in a run that is resumed."""
    spec, schedule = run.recipe.quantize, run.recipe.train.schedule
    if not spec.epochs:
        return gated
    from acsgen.nn.qat import QatSchedule, fine_tune

    log(f"phase quantize: {spec.epochs} epochs")
    steps = QatSchedule(
        epochs=spec.epochs,
        batch=schedule.batch,
        learning_rate=spec.learning_rate,
        weight_decay=schedule.weight_decay,
        flip=schedule.flip,
        shift=schedule.shift,
    )
    train = run.data.train
    return fine_tune(gated, train.x, train.y, calibration, steps, run.recipe.train.seed + 4, log)


def _report(run: Run, pair: Pair, history: list[dict[str, Any]]) -> dict[str, Any]:
    # Measured is what was written: the file that one goes on with.
    paths = [run.folder / DENSE] + ([run.folder / GATED] if pair.gated is not None else [])
    models = [keras.saving.load_model(path, compile=False, safe_mode=True) for path in paths]
    meters = {name: Meter(model) for name, model in zip(("dense", "gated"), models, strict=False)}
    data, seed = run.data, run.recipe.train.seed
    measured = {
        part: {name: meter.evaluate(split.x, split.y, seed=seed) for name, meter in meters.items()}
        for part, split in (("validation", data.validation), ("test", data.test))
    }
    table = mac_table(models[-1])
    result: dict[str, Any] = {
        "summary": _summary(measured["test"]),
        "versions": _versions(),
        "data": data.description,
        "class_names": list(data.class_names),
        "recipe": run.recipe.document,
        "parameters": models[-1].count_params(),
        "groups": {
            layer.name: layer.channel_groups().tolist() for layer in models[-1].layers if isinstance(layer, DGConv2D)
        },
        "macs_fixed": table.fixed,
        "macs_layers": table.layers(),
        **{part: {name: asdict(value) for name, value in parts.items()} for part, parts in measured.items()},
        "history": history,
    }
    if len(models) > 1:
        (dense, _), (gated, masks) = (meter.predict(data.test.x) for meter in meters.values())
        right = [logits.argmax(axis=1) == data.test.y for logits in (gated, dense)]
        result["by_macs"] = by_macs(np.asarray(table.executed(masks)), *right)
    return result


def _summary(test: dict[str, Evaluation]) -> dict[str, Any]:
    """The figures that tell what the run was worth, over the test images."""
    dense = test["dense"]
    result: dict[str, Any] = {
        "images": dense.images,
        "accuracy_dense": dense.accuracy,
        "macs_dense_twin": dense.macs_dense,
    }
    if (gated := test.get("gated")) is not None:
        result |= {
            "accuracy": gated.accuracy,
            "macs_mean": round(gated.macs_mean, 1),
            "macs_share": round(gated.share, 4),
            "macs_min": gated.macs_min,
            "macs_max": gated.macs_max,
            "macs_std": round(gated.macs_std, 1),
            "mask_patterns": gated.patterns,
            "dynamic_bits": round(gated.dynamic_bits, 4),
            "accuracy_constant_masks": gated.accuracy_constant,
            "accuracy_shuffled_masks": gated.accuracy_shuffled,
        }
    return result


def _entry(reached: Reached) -> dict[str, Any]:
    validation = reached.validation
    return {
        "phase": reached.phase,
        "epoch": reached.epoch.number,
        **reached.epoch.means,
        "validation_accuracy": None if validation is None else validation.accuracy,
        "validation_macs_share": None if validation is None else validation.share,
    }


def _write_state(path: Path, reached: Reached, history: list[dict[str, Any]]) -> None:
    state = reached.epoch.state()
    meta = {"phase": reached.phase, "epochs": state.epochs, "history": history}
    text = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    with whole_file(path) as part:
        np.savez(part, allow_pickle=False, meta=text, **state.arrays)


def _read_state(path: Path) -> tuple[Start, tuple[dict[str, Any], ...]]:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        meta = json.loads(arrays.pop("meta").tobytes())
        return Start(meta["phase"], State(meta["epochs"], arrays)), tuple(meta["history"])
    except OSError as error:
        raise AcsgenError(f"{path}: cannot be read: {error.strerror or error}") from error
    except Exception as error:  # a damaged archive raises whatever its broken part makes of it
        raise AcsgenError(f"{path} is damaged: begin anew in another folder: {error}") from error


def _save(path: Path, model: keras.Model) -> None:
    with whole_file(path) as part:
        model.save(part)


@contextmanager
def _log(path: Path, progress: Progress) -> Iterator[Callable[[str], None]]:
    """Lines to a file, each at once, and as titles to the progress bar."""
    began = time.strftime("%Y-%m-%d %H:%M:%S")
    with path.open("a", encoding="utf-8") as file:

        def log(line: str) -> None:
            file.write(f"{line}\n")
            file.flush()
            progress(title=line)

        file.write(f"started {began}\n")
        yield log


def _versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
    }
