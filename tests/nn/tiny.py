# SPDX-License-Identifier: Apache-2.0
"""A data set and a recipe that train in seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

#: Groups are learned in the twin and in the gates: all four phases.
MODEL = """
member = "acs_bottleneck_resnet"
stem = 4
gate = "conv"
gate_hidden = 4
blocks = [{name = "a", middle = 8, out = 4, group_size = 4}]
"""


def write_data(path: Path, count: int = 320) -> None:
    """Noise with one brighter pixel of three, which the label tells."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, count)
    images = rng.random((count, 8, 8, 1), np.float32) * np.float32(0.5)
    images[np.arange(count), labels] += np.float32(0.5)
    np.savez(path, x=images, y=labels)


def write_recipe(folder: Path, model: str = MODEL, quantize_epochs: int = 0, **train: str | int | float) -> Path:
    """A recipe of four short phases, in a folder with its data. train: keys of [train], as TOML writes them."""
    keys = {"group_epochs": 1, "dense_epochs": 1, "gated_epochs": 2, "batch": 64, "shift": 1, "target": 0.6, **train}
    lines = "\n".join(f"{key} = {value}" for key, value in keys.items())
    write_data(folder / "data.npz")
    path = folder / "tiny.toml"
    path.write_text(
        f"""
[data]
source = "npz"
path = "data.npz"
train = 192
validation = 64
test = 64
[model]
{model}
[train]
{lines}
[quantize]
epochs = {quantize_epochs}
""",
        encoding="utf-8",
    )
    return path
