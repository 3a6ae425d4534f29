# SPDX-License-Identifier: Apache-2.0
"""What a `.keras` file may hold, checked before TensorFlow is imported and before Keras builds anything.

Keras makes objects of whatever classes `config.json` names, and its `safe_mode` has been got round more
than once. So every class that a file names must stand on a list: layers that acsgen reads, and the plain
data that goes with them.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from acsgen.errors import AcsgenError

#: A checkpoint for a microcontroller is small; anything larger is refused before it is unpacked.
MAX_CHECKPOINT_BYTES = 512 * 1024 * 1024
MAX_CONFIG_BYTES = 16 * 1024 * 1024
#: The numbers that decide how much memory building a layer takes, and where they end.
MAX_SIZE = 1 << 16
_SIZES = ("batch_shape", "units", "filters", "kernel_size", "depth_multiplier", "padding")

_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"
_ENTRIES = {_CONFIG, _WEIGHTS, "metadata.json"}
_MODELS = ("Functional", "Sequential")
#: Modules of Keras whose classes are plain data, of no effect on inference.
_PLAIN = ("keras.initializers", "keras.regularizers", "keras.constraints")
#: What stands for tensors and tuples in a file.
_MARKS = ("__keras_tensor__", "__tuple__")


def check_keras_file(path: Path, layers: Collection[str]) -> None:
    """AcsgenError if `path` is no checkpoint or holds a layer that is not in `layers` (registered names)."""
    config = _read_config(path)
    if not isinstance(config, dict) or config.get("class_name") not in _MODELS:
        raise AcsgenError(f"{path}: no functional or sequential Keras model: save one of these with model.save()")
    try:
        inner = config["config"]
        for layer in inner["layers"]:
            _check_layer(path, layer, layers)
        rest = {key: value for key, value in inner.items() if key != "layers"}
        for found in _named_classes({"model": rest, "build_config": config.get("build_config")}):
            raise AcsgenError(f"{path}: the model's {found} is not supported")
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise AcsgenError(f"{path}: damaged: its {_CONFIG} describes no model") from error


def _read_config(path: Path) -> Any:
    if not path.exists():
        raise AcsgenError(f"{path}: no such file")
    if not path.is_file():
        raise AcsgenError(f"{path}: a folder or a device, not a .keras file")
    try:
        with path.open("rb") as stream, zipfile.ZipFile(stream) as archive:
            _check_entries(path, archive)
            return json.loads(archive.read(_CONFIG))
    except AcsgenError:
        raise
    except OSError as error:
        raise AcsgenError(f"{path}: cannot be read: {error.strerror or error}") from error
    except zipfile.BadZipFile as error:
        raise AcsgenError(f"{path}: no checkpoint, or a damaged one: a .keras file is a zip archive") from error
    except Exception as error:  # a damaged archive raises whatever the broken part raised
        raise AcsgenError(f"{path}: damaged: {_CONFIG} cannot be read ({type(error).__name__})") from error


def _check_entries(path: Path, archive: zipfile.ZipFile) -> None:
    sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
    if missing := sorted({_CONFIG, _WEIGHTS} - set(sizes)):
        raise AcsgenError(f"{path}: no checkpoint: {' and '.join(missing)} missing in the archive")
    if strange := sorted(set(sizes) - _ENTRIES):
        raise AcsgenError(f"{path}: holds '{strange[0]}', which belongs to no layer that is supported")
    total = sum(sizes.values())
    if total > MAX_CHECKPOINT_BYTES or sizes[_CONFIG] > MAX_CONFIG_BYTES:
        raise AcsgenError(f"{path}: {total} bytes unpacked, more than any network for a microcontroller has")


def _check_layer(path: Path, layer: dict[str, Any], layers: Collection[str]) -> None:
    kind, config = layer["class_name"], layer["config"]
    where = f"{path}: layer '{config['name']}' ({kind}{_reads(layer)})"
    if not _is_known(layer, layers):
        supported = ", ".join(sorted(name.rpartition(">")[2] for name in layers))
        raise AcsgenError(f"{where}: this layer is not supported; these are: {supported}")
    parts = {key: value for key, value in {**layer, **config}.items() if key != "config"}
    for found in _named_classes(parts):
        raise AcsgenError(f"{where}: its {found} is not supported")
    for key in _SIZES:
        if any(isinstance(size, int) and size > MAX_SIZE for size in _listed(config.get(key))):
            raise AcsgenError(f"{where}: its {key} {config[key]} is more than any microcontroller takes")


def _is_known(layer: dict[str, Any], layers: Collection[str]) -> bool:
    kind, module, registered = layer["class_name"], layer.get("module"), layer.get("registered_name")
    if registered is not None and registered != kind:
        return registered in layers
    if module == "keras.layers":
        return kind in layers or kind == "InputLayer"
    return kind == "Add" and module == "keras.src.ops.numpy"  # a + b of two tensors


def _reads(layer: dict[str, Any]) -> str:
    """The layers that this one reads, as text."""
    nodes = layer.get("inbound_nodes") or []
    names = dict.fromkeys(str(name) for node in nodes for name in _history(node))
    return f", reads {' and '.join(map(repr, names))}" if names else ""


def _history(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        if value.get("class_name") == "__keras_tensor__":
            yield value["config"]["keras_history"][0]
        else:
            for part in value.values():
                yield from _history(part)
    elif isinstance(value, list):
        for part in value:
            yield from _history(part)


def _named_classes(parts: dict[str, Any]) -> Iterator[str]:
    """Where a class is named that is not plain data: 'activation (LeakyReLU)'."""
    for key, value in parts.items():
        for found in _classes(value):
            yield f"{key} ({found})"


def _classes(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "class_name" in value and not _is_plain(value):
            yield str(value["class_name"])
        for part in value.values():
            yield from _classes(part)
    elif isinstance(value, list):
        for part in value:
            yield from _classes(part)


def _is_plain(value: dict[str, Any]) -> bool:
    module, kind, registered = value.get("module"), value["class_name"], value.get("registered_name")
    if registered is not None and registered != kind:
        return str(registered).startswith("acsgen>")
    return module in _PLAIN or (module, kind) == ("keras", "DTypePolicy") or (module is None and kind in _MARKS)


def _listed(value: Any) -> list[Any]:
    """What a value holds, however deep its lists are."""
    return [part for item in value for part in _listed(item)] if isinstance(value, list) else [value]
