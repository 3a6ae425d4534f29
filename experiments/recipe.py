# SPDX-License-Identifier: Apache-2.0
"""The recipe that acsgen ships, on all images: trained as a user would, then measured as int8."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from acsgen.files import whole_file
from acsgen.frontend.keras import load_keras
from acsgen.nn.recipe import find_recipe
from acsgen.nn.training.run import CALIBRATION, GATED, LOG, Run, begin, train
from acsgen.quantize.flips import flips
from acsgen.samples import load_samples

RECIPE, RECIPE_FOLDER, SUMMARY = "fashion_acs_resnet", "recipe", "summary.json"


def run_recipe(root: Path) -> dict[str, Any]:
    """Trains, or goes on, and measures; returns what is in the folder's summary.json."""
    folder = root / RECIPE_FOLDER
    summary = folder / SUMMARY
    if summary.is_file():
        return dict(json.loads(summary.read_text(encoding="utf-8")))
    run = begin(find_recipe(RECIPE), folder, resume=folder.exists())
    report = train(run)
    result = _measure(run, report)
    with whole_file(summary) as part:
        part.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return result


def recipe_row(root: Path) -> dict[str, Any] | None:
    """What is known of the recipe, or None if it has not been trained."""
    summary = root / RECIPE_FOLDER / SUMMARY
    return dict(json.loads(summary.read_text(encoding="utf-8"))) if summary.is_file() else None


def _measure(run: Run, report: dict[str, Any]) -> dict[str, Any]:
    network = load_keras(run.folder / GATED)
    test = run.data.test
    calibration = load_samples(run.folder / CALIBRATION, network)
    counted = flips(network, test.x, calibration.x, test.y)
    assert counted.int8_accuracy is not None
    figures = report["summary"]
    started = (run.folder / LOG).read_text(encoding="utf-8").split(maxsplit=2)
    return {
        "date": started[1],
        "epochs": run.epochs,
        "accuracy": round(100 * figures["accuracy"], 2),
        "dense": round(100 * figures["accuracy_dense"], 2),
        "below": round(100 * (figures["accuracy_dense"] - figures["accuracy"]), 2),
        "share": round(100 * figures["macs_mean"] / figures["macs_dense_twin"], 1),
        "macs_mean": round(figures["macs_mean"]),
        "macs_min": figures["macs_min"],
        "macs_max": figures["macs_max"],
        "patterns": figures["mask_patterns"],
        "dynamic": round(100 * figures["dynamic_bits"]),
        "constant": round(100 * figures["accuracy_constant_masks"], 2),
        "shuffled": round(100 * figures["accuracy_shuffled_masks"], 2),
        "int8": round(100 * counted.int8_accuracy, 2),
        "flips": round(100 * counted.bits, 2),
    }
