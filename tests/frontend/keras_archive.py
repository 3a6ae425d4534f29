# SPDX-License-Identifier: Apache-2.0
"""`.keras` files that nobody trained: made by hand, or changed after saving. No TensorFlow."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any


def rewrite_config(path: Path, change: Callable[[Any], None]) -> None:
    """Changes a saved model's config.json in place."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(entries["config.json"])
    change(config)
    write_archive(path, {**entries, "config.json": json.dumps(config).encode()})


def write_archive(path: Path, entries: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def write_config(path: Path, config: Any) -> Path:
    """A `.keras` file with this config and no weights."""
    entries = {"metadata.json": b"{}", "config.json": json.dumps(config).encode(), "model.weights.h5": b""}
    return write_archive(path, entries)


def sequential_config(*layers: dict[str, Any]) -> dict[str, Any]:
    """What Keras writes for a Sequential of these layers."""
    return {
        "module": "keras",
        "class_name": "Sequential",
        "config": {"name": "net", "trainable": True, "layers": [INPUT, *layers]},
        "registered_name": None,
        "build_config": {"input_shape": [None, 4, 4, 1]},
    }


def layer_config(kind: str, module: str = "keras.layers", **config: Any) -> dict[str, Any]:
    """What Keras writes for a layer."""
    return {"module": module, "class_name": kind, "config": {"name": kind.lower(), **config}, "registered_name": None}


INPUT = layer_config("InputLayer", batch_shape=[None, 4, 4, 1], dtype="float32")
