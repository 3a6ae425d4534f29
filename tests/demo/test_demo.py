# SPDX-License-Identifier: Apache-2.0
"""The figures that the demo is for, from one run of it. Nothing is timed: that is the machine's business."""

from __future__ import annotations

import json
from pathlib import Path

from acsgen.demo import run_demo
from acsgen.quantize.acsq import load_acsq
from acsgen.report.inspect import inspect
from acsgen.resources import resource_dir
from acsgen.samples import read_samples

IMAGES = 500
KEYS = {
    "images", "mismatched_logits", "mismatched_masks", "mismatched_tensors", "float_accuracy", "int8_accuracy",
    "mean_macs_gated", "macs_dense", "mean_instructions_gated", "instructions_dense", "efficiency", "flash_bytes",
    "ram_bytes", "distinct_masks", "min_macs", "max_macs", "accuracy_constant_masks", "accuracy_shuffled_masks",
}  # fmt: skip


def test_demo(tmp_path: Path) -> None:
    """One test, so that the run is made once however the tests are distributed."""
    result = run_demo(tmp_path, "stm32f405", IMAGES)
    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert summary == result.summary
    assert set(summary) >= KEYS
    assert {path.name for path in tmp_path.iterdir()} == {
        "firmware", "firmware.acsq", "ungated", "ungated.acsq", "summary.json",
    }  # fmt: skip

    # The firmware is the golden model.
    assert result.ok and result.first_difference is None
    assert summary["images"] >= IMAGES and summary["images_with_tensors"] >= 20
    mismatched = ("mismatched_logits", "mismatched_masks", "mismatched_tensors", "mismatched_ungated")
    assert {name: summary[name] for name in mismatched} == dict.fromkeys(mismatched, 0)

    # It classifies as well as the network did.
    assert summary["int8_accuracy"] >= 0.91
    assert abs(summary["int8_accuracy"] - summary["float_accuracy"]) <= 0.005

    # What is skipped is saved.
    assert summary["mean_macs_gated"] <= 0.6 * summary["macs_dense"]
    assert summary["efficiency"] <= 1.15
    assert summary["efficiency_against_ungated"] <= 1.15

    # The masks follow the input, and that is worth something.
    assert summary["distinct_masks"] > 100
    assert summary["min_macs"] < summary["mean_macs_gated"] < summary["max_macs"]
    assert summary["accuracy_shuffled_masks"] < summary["int8_accuracy"] - 0.01

    # What is inspected before anything is built is what the firmware then executes.
    images = read_samples(resource_dir("demo") / "test.npz").first(IMAGES)
    inspected = inspect(load_acsq(tmp_path / "firmware.acsq"), images.x)
    assert inspected.macs == summary["macs_dense"] == summary["macs_ungated"] + inspected.overhead
    assert inspected.executed is not None
    executed = inspected.executed
    assert (executed.least, executed.most) == (summary["min_macs"], summary["max_macs"])
    assert executed.mean == summary["mean_macs_gated"]
